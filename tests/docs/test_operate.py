"""docs/operate.md and docs/api.md against a running receiver, and every name that any page tells to type."""

import configparser
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver import app, server
from receiver.api import OPERATIONS
from receiver.settings import PREFIX, Settings, load
from tests.docs.commands import problems, typed
from tests.docs.markdown import DOCS, PAGES, ROOT, blocks
from tests.docs.running import Served, at_hand, serving, shell

OPERATE = (DOCS / "operate.md").read_text("utf-8")
API = (DOCS / "api.md").read_text("utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operate")


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with serving("receiver serve", place, RECEIVER_PORT="0") as it:
        yield it


def test_the_calls_of_the_api_page_are_answered(served: Served, place: Path, capsys: pytest.CaptureFixture[str]):
    if not at_hand("curl", capsys, "docs/api.md's calls"):
        return
    calls = blocks(API, "bash")
    answers = [shell(call.text, place, URL=served.url, KEY=served.key) for call in calls]
    assert len(answers) >= 4
    assert all(answer.startswith("{") for answer in answers)


def test_a_backup_of_a_running_receiver_is_whole_and_private(served: Served, place: Path):
    (backup,) = blocks(OPERATE, "bash")
    made = shell("receiver source add generic --name before", place)
    shell(backup.text, place, DATABASE="receiver.db", BACKUP="copy.db")
    shell("receiver source add generic --name after", place)
    copy = sqlite3.connect(place / "copy.db")
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    copy.close()
    assert (place / "copy.db").stat().st_mode & 0o777 == 0o600
    listed = shell("receiver source list", place, RECEIVER_DATABASE_URL="sqlite:///copy.db")
    assert "before" in listed
    assert "after" not in listed
    assert "/in/generic/" in made


def test_the_files_are_those_of_the_page_and_private(served: Served, place: Path):
    named = set(re.findall(r"`(receiver\.db[\w.-]*)`", OPERATE))
    found = {path.name for path in place.glob("receiver.db*")}
    assert found <= named
    assert {path.name for path in place.glob("receiver.db*") if path.stat().st_mode & 0o077} == set()


def test_the_unit_gives_settings_that_are_understood_and_time_to_drain():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    (text,) = blocks(OPERATE, "ini")
    given = dict(line.removeprefix("Environment=").split("=", 1) for line in text.text.splitlines() if
                 line.startswith("Environment="))  # fmt: skip
    unit.read_string("\n".join(line for line in text.text.splitlines() if not line.startswith("Environment=")))
    assert load(None, given).public_url == "https://sms.example.com"
    assert float(unit["Service"]["TimeoutStopSec"]) > server.DRAIN_SECONDS + app.DRAIN_SECONDS
    assert unit["Service"]["ExecStart"].endswith("/bin/receiver serve")


def test_the_page_names_the_seconds_that_a_stop_takes():
    assert set(re.findall(r"(\d+) seconds", OPERATE)) == {f"{server.DRAIN_SECONDS + app.DRAIN_SECONDS:.0f}"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_is_there(page: Path):
    found = {" ".join(words): list(problems(words)) for words in typed(page.read_text("utf-8"))}
    assert {line: told for line, told in found.items() if told} == {}


def test_commands_are_found_on_the_pages_and_wrong_ones_would_be():
    assert ["keys", "create", "NAME", "--scope", "admin"] in list(typed(OPERATE))
    assert list(problems(["keys", "forge"])) == ["keys has no forge"]
    assert list(problems(["serve", "--loud"])) == ["serve has no --loud"]
    assert list(problems(["keys"])) == ["keys wants a command"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_is_one(page: Path):
    named = set(re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", page.read_text("utf-8")))
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    allowed = (
        known
        | {f"{name}_FILE" for name in known}
        | {"RECEIVER_URL", "RECEIVER_KEY", "RECEIVER_TEST", "RECEIVER_TEST_POSTGRES"}
    )
    assert named <= allowed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_operation_that_a_page_names_is_one(page: Path):
    known = {(operation.method, operation.path) for operation in OPERATIONS}
    named = set(re.findall(r"`(GET|POST|PATCH|PUT|DELETE) (/v1/[^`?\s]*)", page.read_text("utf-8")))
    assert named <= known
