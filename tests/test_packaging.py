"""The wheel: all that an installed receiver needs is in it, and nothing else."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from receiver.fixtures import load_all

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel holds."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist], cwd=ROOT, check=True)
    [wheel] = dist.glob("*.whl")
    with ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


def files(folder: Path, pattern: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob(pattern) if path.is_file()}


def test_it_holds_the_package_and_the_recorded_requests(installed: Path):
    package = installed / "receiver"
    assert files(package / "_fixtures", "*") == files(ROOT / "fixtures", "*")
    for pattern in ("*.py", "*.sql", "py.typed"):
        assert files(package, pattern) == files(ROOT / "receiver", pattern) != set()
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"receiver"}
    assert files(installed, "LICENSE")


def test_commands_work_from_it(installed: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "trigger"],
        cwd=tmp_path, env={"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(fixture.name in done.stdout for fixture in load_all())
