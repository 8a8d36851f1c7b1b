"""A failed sync: who waits is told to come back, nobody is told yes afterwards, and the next start has all it promised."""

import random
import re
from pathlib import Path

import pytest

from tests.faults import sync_errors
from tests.faults.disk_process import can
from tests.faults.power import OFTEN
from tests.faults.power_images import Made, NamesSynced, NotSynced, Step, Synced, Written, image
from tests.faults.power_run import Verdict
from tests.faults.sync_errors import MESSAGES, Life, lived, on_the, stopped_believing, tried

SHORT = sync_errors.FAULTS[0].short
SOUND = {Verdict("", 0)}


def chance() -> random.Random:
    return random.Random(random.getrandbits(32))


def test_whichever_sync_fails_nothing_acknowledged_is_lost(tmp_path: Path):
    report = sync_errors.run(tmp_path, SHORT, chance())
    assert (report.tried, report.survived, report.lost) == (SHORT, SHORT, 0)


async def first_of_those_that_serve(folder: Path, path: str) -> tuple[int, Life]:
    for number in range(1, 20):
        life = await lived(folder / f"{number}", on_the(number, path), chance())
        if life.served:
            return number, life
    raise AssertionError("it never started")


async def test_who_waits_for_a_failed_sync_is_told_to_come_back_and_so_is_everybody_after(tmp_path: Path):
    number, first = await first_of_those_that_serve(tmp_path, "-wal")
    assert stopped_believing(first)
    assert 200 not in first.statuses
    second = await lived(tmp_path / "next", on_the(number + 1, "-wal"), chance())
    assert stopped_believing(second)
    assert 200 in second.statuses
    assert {*first.verdicts, *second.verdicts} == SOUND


async def test_a_sync_that_fails_in_a_checkpoint_costs_nothing_for_the_log_still_has_it_all(tmp_path: Path):
    """SQLite keeps that failure to itself, so calls go on; the database file is written again from the log."""
    _, life = await first_of_those_that_serve(tmp_path, ".db")
    assert not stopped_believing(life)
    often = await lived(tmp_path / "often", on_the(3, ".db"), chance(), OFTEN)
    assert (often.served, often.after, {*often.statuses}, len(often.statuses)) == (True, 200, {200}, MESSAGES)
    assert {*life.verdicts, *often.verdicts} == SOUND


async def test_an_answer_that_does_not_wait_for_its_sync_would_be_seen(tmp_path: Path):
    number, _ = await first_of_those_that_serve(tmp_path, "-wal")
    life = await lived(tmp_path / "hasty", on_the(number + 1, "-wal"), chance(), too_early=True)
    assert sum(verdict.lost for verdict in life.verdicts) > 0


def test_what_waited_for_a_failed_sync_is_not_written_by_a_later_one():
    """The rule that these images follow: on Linux the pages of a failed write count as written afterwards."""
    steps: list[Step] = [Made("a", 1), NamesSynced(), Written(1, 0, b"x"), NotSynced(1), Synced(1)]
    found = {image(steps, random.Random(seed))["a"] for seed in range(200)}
    assert found == {b"", b"\0", b"x"}


@pytest.mark.parametrize(("number", "code"), [(3, 3), (9, 3), (22, 1)])
def test_a_real_process_ends_says_so_in_one_line_and_its_files_are_sound(tmp_path: Path, number: int, code: int):
    """At the opening, in a migration, and with calls waiting. Without strace only the disk of the tests above is left."""
    if not can("strace", "-f", "-o", "/dev/null", "true"):
        return
    trial = tried(tmp_path / "a", number)
    assert trial.well, trial
    assert trial.code == code
    assert len(re.findall(r"^Error: ", trial.said, re.MULTILINE)) == 1
    assert "Traceback" not in trial.said
    assert (503 in trial.statuses) == (code == 1)


def test_a_folder_that_cannot_be_synced_is_no_place_for_a_log(tmp_path: Path):
    """SQLite syncs it too and takes no notice; but a log whose name is lost is lost."""
    if not can("strace", "-f", "-o", "/dev/null", "true"):
        return
    trial = tried(tmp_path / "a", 1, "fsync")
    assert (trial.code, trial.statuses) == (3, [])
    assert trial.said == f"Error: {tmp_path}/a: cannot be synced (Input/output error)\n"
