"""docs/add-a-vendor.md: followed to the letter in a copy of the package, it adds a vendor that works."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from receiver.vendors import VENDORS
from tests.docs.markdown import DOCS, ROOT, Block, blocks

PAGE = (DOCS / "add-a-vendor.md").read_text("utf-8")
REQUEST, *_ = blocks(PAGE, "http")
EXPECTATION, EVENT = blocks(PAGE, "json")
ADAPTER, OWN_TEST = blocks(PAGE, "python")
LINES = blocks(PAGE, "diff")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, its fixtures and tests with Acme put in as the page says."""
    place = tmp_path_factory.mktemp("package")
    for name in ("receiver", "fixtures", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    (place / "receiver/vendors/acme.py").write_text(ADAPTER.text, "utf-8")
    (place / "tests/vendors/test_acme.py").write_text(OWN_TEST.text, "utf-8")
    (place / "fixtures/acme").mkdir()
    (place / "fixtures/acme/message.http").write_bytes(as_it_travels(REQUEST))
    (place / "fixtures/acme/message.json").write_text(EXPECTATION.text, "utf-8")
    registry = place / "receiver/vendors/__init__.py"
    registry.write_text(patched(registry.read_text("utf-8"), LINES), "utf-8")
    run(place, "tests.rewrite_fixtures", "acme")
    return place


def as_it_travels(block: Block) -> bytes:
    head, _, body = block.text.removesuffix("\n").partition("\n\n")
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body.encode()


def patched(text: str, differences: Sequence[Block]) -> str:
    """Each block of unified difference applied where its context stands, which must be in one place."""
    for block in differences:
        lines = block.text.splitlines(keepends=True)
        before = "\n" + "".join(line[1:] for line in lines if line[0] == " ")
        assert text.count(before) == 1, block
        text = text.replace(before, "\n" + "".join(line[1:] for line in lines))
    return text


def run(place: Path, *module: str) -> str:
    """`python -m` in the copy, with the copy's package before any other."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_acme_is_made_up():
    assert "acme" not in VENDORS


def test_the_fixture_and_its_own_tests_pass(copy: Path):
    said = run(
        copy, "pytest", "-q", "-p", "no:cacheprovider", "-k", "acme or length", "tests/vendors", "tests/test_layers.py"
    )
    passed = [line for line in said.splitlines() if " passed" in line]
    assert passed, said
    assert "failed" not in passed[0]
    assert int(passed[0].split(" passed")[0].split()[-1]) >= 6, said


def test_the_event_is_the_one_on_the_page(copy: Path):
    written = json.loads((copy / "fixtures/acme/message.json").read_text("utf-8"))
    assert written["outcome"] == "stored"
    (event,) = written["events"]
    shown = json.loads(EVENT.text)
    data = shown.pop("data")
    assert shown.items() <= event.items()
    assert {name: event["data"][name] for name in data} == data


def test_the_adapter_is_in_the_house_style(copy: Path):
    for path in ("receiver/vendors/acme.py", "receiver/vendors/__init__.py", "tests/vendors/test_acme.py"):
        run(copy, "ruff", "check", "--no-cache", path)
        run(copy, "ruff", "format", "--no-cache", "--check", path)


def test_docs_and_manifest_follow_by_themselves(copy: Path):
    page = "from tests.docs.of_vendors import vendors; print(vendors())"
    done = subprocess.run(
        [sys.executable, "-c", page], cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "## acme" in done.stdout
    assert "| `message` | A message | `message.received` | built |" in done.stdout
