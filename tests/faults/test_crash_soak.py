"""The entry of `make soak`: which faults it knows, what it prints, and when it fails."""

import importlib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import __main__ as soak
from tests.faults.fault import Fault, Report
from tests.faults.scene import told
from tests.faults.test_crash_checker import RIGHT

FOLDER = Path(__file__).parent
WELL, LOST, HURT = Report(2, 2, 0, 3, "all is well"), Report(2, 2, 1, 0), Report(2, 1, 0, 0)


def named(name: str, report: Report | None) -> Fault:
    def run(folder: Path, rounds: int, _chance: random.Random) -> Report:
        assert folder.is_dir()
        assert rounds == 9
        if report is None:
            raise ConnectionError("it went away")
        return report

    return Fault(name, 1, 9, run)


def test_every_fault_of_this_folder_is_in_the_soak():
    names = [path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith(("test_", "__"))]
    modules = [importlib.import_module(f"tests.faults.{name}") for name in names]
    for kind in ("FAULTS", "PLANTED"):
        there = [fault.name for module in modules for fault in getattr(module, kind, ())]
        assert sorted(there) == sorted(fault.name for fault in getattr(soak, kind))


def test_a_story_is_told_in_numbers():
    assert told(4, RIGHT) == Report(
        tried=4, survived=4, lost=0, duplicated=1, note="1 acknowledged, 5 requests to subscribers"
    )
    unheard = told(4, replace(RIGHT, heard=[], attempted=[]))
    assert (unheard.tried, unheard.survived, unheard.lost, unheard.well) == (4, 1, 3, False)
    assert unheard.note == "undelivered: evt_1 to sub_all, and 2 more"


def test_names_are_unlike_each_other():
    names = [fault.name for fault in (*soak.FAULTS, *soak.PLANTED)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("report", "code"), [(WELL, 0), (LOST, 1), (HURT, 1), (None, 1)])
def test_the_soak_fails_when_anything_was_lost_or_not_survived(
    report: Report | None, code: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(soak, "FAULTS", (named("one", WELL), named("two", report)))
    assert soak.main([]) == code
    assert soak.main(["--only", "ONE"]) == 0


def test_a_planted_fault_that_passes_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(soak, "PLANTED", (named("one", LOST), named("two", HURT)))
    assert soak.main(["--planted"]) == 0
    monkeypatch.setattr(soak, "PLANTED", (named("one", LOST), named("two", WELL)))
    assert soak.main(["--planted"]) == 1


def test_each_fault_has_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(soak, "FAULTS", (named("one", WELL),))
    soak.main(["--seed", "7"])
    seed, heading, line = capsys.readouterr().out.splitlines()
    assert seed == "seed 7"
    assert heading.split() == ["fault", "tried", "survived", "lost", "duplicated", "seconds"]
    assert line.split()[:5] == ["one", "2", "2", "0", "3"]
    assert line.endswith("all is well")


def test_a_name_that_no_fault_has_is_an_error():
    assert soak.main(["--only", "no such fault"]) == 1
