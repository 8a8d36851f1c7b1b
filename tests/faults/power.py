"""Power loss. Killing a process does not test it: what the kernel holds survives. So the disk is rebuilt as it could be.

`FAULTS` are the rounds of `make soak`; a round is one image of the disk, cut at a random moment.
"""

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.faults.fault import Fault, Report
from tests.faults.power_images import acknowledged, image, lay_out
from tests.faults.power_run import Record, Verdict, a_body, call, judged, on_disk
from tests.faults.recording_vfs import Disk

MESSAGES = 60
OFTEN = "wal_autocheckpoint = 30"
IMAGES_A_RECORD = 40


async def recorded(folder: Path, *pragmas: str, too_early: bool = False) -> Record:
    """One life of a receiver's database, from its making to its closing."""
    disk = Disk()
    sent = [a_body(number) for number in range(MESSAGES)]
    async with on_disk(disk, folder, *pragmas) as way:
        statuses = await call(way, disk.steps, sent, too_early=too_early)
        assert statuses == [200] * MESSAGES, statuses
    return Record(disk.steps, sent)


async def judge(record: Record, folder: Path, chance: random.Random) -> Verdict:
    """The power fails at a random moment of that life."""
    steps = record.steps[: chance.randint(0, len(record.steps))]
    lay_out(image(steps, chance), folder)
    return await judged(folder, acknowledged(steps), record.sent)


async def survey(
    folder: Path, images: int, chance: random.Random, *pragmas: str, too_early: bool = False
) -> list[Verdict]:
    """So many images of as many lives as that takes, every second of them with checkpoints all the time."""
    verdicts: list[Verdict] = []
    for life in range(-(-images // IMAGES_A_RECORD)):
        often = (OFTEN,) if (life + chance.randint(0, 1)) % 2 else ()
        record = await recorded(folder / f"life{life}", *often, *pragmas, too_early=too_early)
        count = min(IMAGES_A_RECORD, images - len(verdicts))
        verdicts += [await judge(record, folder / f"life{life}-{number}", chance) for number in range(count)]
    return verdicts


def run(
    folder: Path, rounds: int, chance: random.Random, *, pragmas: Sequence[str] = (), too_early: bool = False
) -> Report:
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = asyncio.run(survey(folder, rounds, chance, *pragmas, too_early=too_early))
    bad = [verdict for verdict in verdicts if verdict.problem or verdict.lost]
    note = "; ".join(sorted({verdict.problem for verdict in bad if verdict.problem}))
    return Report(rounds, rounds - len(bad), sum(verdict.lost for verdict in bad), 0, note)


FAULTS = (Fault("power loss", short=40, long=400, run=run),)
PLANTED = (
    Fault("power loss, sync NORMAL", short=40, long=80, run=partial(run, pragmas=("synchronous = NORMAL",))),
    Fault("power loss, hasty answers", short=40, long=80, run=partial(run, too_early=True)),
)
