"""After a power loss all that was acknowledged is there, and this is shown by tests that see it when it is not."""

import random
from pathlib import Path

import pytest

from tests.faults import power
from tests.faults.power_images import (
    SECTOR,
    Acknowledged,
    Made,
    NamesSynced,
    Removed,
    Resized,
    Step,
    Synced,
    Written,
    image,
)
from tests.faults.power_run import Verdict
from tests.faults.power_traced import Trace

SHORT = power.FAULTS[0].short


def chance() -> random.Random:
    return random.Random(random.getrandbits(32))


def bad(verdicts: list[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.problem or verdict.lost]


def test_after_a_power_loss_everything_acknowledged_is_there_and_whole(tmp_path: Path):
    report = power.run(tmp_path, SHORT, chance())
    assert (report.tried, report.survived, report.lost, report.note) == (SHORT, SHORT, 0, "")


async def test_with_less_than_a_full_sync_acknowledged_messages_are_lost(tmp_path: Path):
    rarely = "wal_autocheckpoint = 4000"  # each checkpoint syncs the log, and would save what is to be lost
    verdicts = await power.survey(tmp_path, SHORT, chance(), "synchronous = NORMAL", rarely)
    assert sum(verdict.lost for verdict in verdicts) > 0
    assert [verdict.problem for verdict in verdicts if verdict.problem] == []


async def test_with_no_sync_at_all_the_file_itself_is_damaged(tmp_path: Path):
    """That a checkpoint is safe is seen by the same eyes."""
    verdicts = await power.survey(tmp_path, 2 * SHORT, chance(), "synchronous = OFF", power.OFTEN)
    assert any(verdict.problem for verdict in verdicts)


async def test_answers_before_the_commit_would_be_seen(tmp_path: Path):
    verdicts = await power.survey(tmp_path, SHORT, chance(), too_early=True)
    assert bad(verdicts)


async def test_the_records_have_checkpoints_and_a_log_that_is_begun_anew(tmp_path: Path):
    """What the images are cut from: else the test above would hold of a log that is only ever appended to."""
    record = await power.recorded(tmp_path / "life", power.OFTEN)
    (database,) = (step.file for step in record.steps if isinstance(step, Made) and step.path.endswith(".db"))
    (log,) = (step.file for step in record.steps if isinstance(step, Made) and step.path.endswith("-wal"))
    synced = [number for number, step in enumerate(record.steps) if step == Synced(database)]
    begun = [step for step in record.steps if isinstance(step, Written) and step.file == log and step.offset == 0]
    assert len(synced) > 4
    assert len(begun) > 1


def left(*steps: Step) -> set[tuple[tuple[str, bytes], ...]]:
    """Every outcome that many throws give."""
    return {tuple(sorted(image(steps, random.Random(seed)).items())) for seed in range(400)}


@pytest.mark.parametrize(
    ("steps", "outcomes"),
    [
        ([], {()}),
        ([Made("a", 1), Written(1, 0, b"x"), Synced(1), NamesSynced()], {(("a", b"x"),)}),
        ([Made("a", 1), Written(1, 0, b"x"), NamesSynced()], {(("a", b"x"),), (("a", b""),), (("a", b"\0"),)}),
        ([Made("a", 1), Written(1, 0, b"x"), Synced(1)], {(("a", b"x"),), ()}),
        ([Made("a", 1), Synced(1), NamesSynced(), Removed("a")], {(("a", b""),), ()}),
        ([Made("a", 1), NamesSynced(), Removed("a"), NamesSynced()], {()}),
        ([Made("a", 1), NamesSynced(), Removed("a"), Made("a", 2)], {(("a", b""),), ()}),
        (
            [Made("a", 1), NamesSynced(), Written(1, 0, b"xyz"), Synced(1), Resized(1, 1)],
            {(("a", b"xyz"),), (("a", b"x"),)},
        ),
    ],
)
def test_an_image_holds_what_was_synced_and_any_part_of_the_rest(
    steps: list[Step], outcomes: set[tuple[tuple[str, bytes], ...]]
):
    assert left(*steps) == outcomes


def test_a_write_is_torn_at_the_bounds_of_sectors():
    old, new = b"o" * (2 * SECTOR), b"n" * SECTOR
    files = left(Made("a", 1), Written(1, 0, old), Synced(1), NamesSynced(), Written(1, SECTOR // 2, new))
    half = SECTOR // 2
    parts = {tuple(content[start : start + half] for start in range(0, 2 * SECTOR, half)) for ((_, content),) in files}
    o, n = old[:half], new[:half]
    assert parts == {(o, o, o, o), (o, n, n, o), (o, n, o, o), (o, o, n, o)}


@pytest.mark.parametrize("pid", ["31234 ", "312   "])
def test_a_trace_is_read_however_long_its_process_ids_are(pid: str):
    """strace fills them up to five characters."""
    answer = "".join(f"\\x{byte:02x}" for byte in b"HTTP/1.1 200 OK")
    lines = [
        f'{pid}write(9<TCP:[127.0.0.1:80->127.0.0.1:4711]>, "{answer}", 15) = 15\n',
        f"{pid}fsync(7</x> <unfinished ...>\n",
        f"{pid}<... fsync resumed>) = 0\n",
    ]
    assert Trace(Path("/x"), {4711: [b"one"]}).read(iter(lines)) == [Acknowledged(b"one"), NamesSynced()]
