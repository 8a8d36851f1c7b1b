"""A sync fails: nobody who waits for it is told yes, nothing is believed any more, and the next start recovers.

`run` fails the first sync, then the second, and so on, of one life after another; what waited for it may be lost.
`run_traced` does it to the real process, where strace is there.
"""

import asyncio
import random
import signal
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from receiver.storage.database import StorageError
from tests.faults.disk_process import Answers, answered, can, furnish, load, process, statuses, tracing
from tests.faults.fault import Fault, Report
from tests.faults.power import OFTEN
from tests.faults.power_images import NotSynced, acknowledged, image, lay_out
from tests.faults.power_run import Verdict, a_body, call, judged, on_disk
from tests.faults.recording_vfs import Disk, failure

MESSAGES = 40
IMAGES = 3
TRACED_MESSAGES = 64


@dataclass(frozen=True)
class Life:
    """`statuses` are what vendors got; `after` is what one more got who called when all the others had their answers.

    `served` is false when it did not get as far as taking calls.
    """

    served: bool
    statuses: Sequence[int]
    after: int
    verdicts: Sequence[Verdict]


def on_the(number: int, path: str = "") -> Callable[[str], None]:
    """An I/O error at the n-th sync of files whose path ends so, once: the next sync is fine again, as on Linux."""
    left = number

    def at_sync(synced: str) -> None:
        nonlocal left
        if synced.endswith(path):
            left -= 1
            if left == 0:
                raise failure(apsw.SQLITE_IOERR_FSYNC)

    return at_sync


async def lived(
    folder: Path, at_sync: Callable[[str], None], chance: random.Random, *pragmas: str, too_early: bool = False
) -> Life:
    """With a disk that fails so; then what it may hold, at moments behind the failure and in the end."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 — nothing else waits
    disk = Disk()
    disk.at_sync = at_sync
    sent = [a_body(number) for number in range(MESSAGES)]
    found: list[int] = []
    after = 0
    served = False
    try:
        async with on_disk(disk, folder / "life", *pragmas) as way:
            served = True
            found = await call(way, disk.steps, sent, callers=4, too_early=too_early)
            after = (await call(way, disk.steps, [a_body(MESSAGES)], callers=1))[0]
    except (StorageError, sqlite3.Error):
        if served:
            raise
    failed = next((number for number, step in enumerate(disk.steps) if isinstance(step, NotSynced)), 0)
    verdicts = []
    for number in range(IMAGES):
        steps = disk.steps[: chance.randint(failed, len(disk.steps)) if number else None]
        lay_out(image(steps, chance), folder / f"image{number}")
        kept = acknowledged(steps)
        verdicts.append(await judged(folder / f"image{number}", kept, [*sent, a_body(MESSAGES)]))
    return Life(served, found, after, verdicts)


def stopped_believing(life: Life) -> bool:
    """Those who waited were told to come back, and so was everybody after them."""
    return life.after == 503 and 503 in life.statuses and {*life.statuses} <= {200, 503}


def run(folder: Path, rounds: int, chance: random.Random) -> Report:
    survived = lost = 0
    for number in range(1, rounds + 1):
        often = [OFTEN] if chance.random() < 0.5 else []
        life = asyncio.run(lived(folder / f"{number}", on_the(number), chance, *often))
        survived += not any(verdict.problem or verdict.lost for verdict in life.verdicts)
        lost += sum(verdict.lost for verdict in life.verdicts)
    return Report(rounds, survived, lost, 0)


@dataclass(frozen=True)
class Trial:
    """A real process, one of whose syncs failed; `code` and `said` are how it ended, `statuses` what callers got."""

    code: int
    said: str
    statuses: Sequence[int]
    verdict: Verdict

    @property
    def well(self) -> bool:
        """It did not start, or it told those who waited and ended; or SQLite took care of the failure by itself."""
        seen = {*self.statuses} - {200, 201}
        ended = self.code == 3 if not self.statuses else self.code == (1 if seen else 0)
        return ended and seen <= {0, 503} and not self.verdict.problem and not self.verdict.lost


def tried(folder: Path, number: int, call: str = "fdatasync") -> Trial:
    """Error at the n-th of these calls of one thread, which is the writer's, from the first start on."""
    folder.mkdir(parents=True)
    bodies = [a_body(each) for each in range(TRACED_MESSAGES)]
    before = tracing("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={number}")
    found: Answers = {}
    with process(folder, *before) as it:
        made = furnish(it) if it.url else 0
        if made == 201:
            found = asyncio.run(load(it, bodies, callers=4))
        noticed = made != 201 or {*statuses(found)} != {200}
        code, said = it.end(None if noticed else signal.SIGTERM)
    verdict = asyncio.run(judged(folder, answered(found), bodies))
    return Trial(code, said, [*([made] if made else []), *statuses(found)], verdict)


def run_traced(folder: Path, rounds: int, _chance: random.Random) -> Report:
    if not can("strace", "-f", "-o", "/dev/null", "true"):
        return Report(0, 0, 0, 0, "no strace here")
    trials = [tried(folder / f"{number}", number) for number in range(1, rounds + 1)]
    bad = [trial for trial in trials if not trial.well]
    lost = sum(trial.verdict.lost for trial in trials)
    return Report(rounds, rounds - len(bad), lost, 0, "; ".join(sorted({trial.said[-200:] for trial in bad})))


FAULTS = (
    Fault("sync errors", short=24, long=120, run=run),
    Fault("sync errors, traced", short=0, long=24, run=run_traced),
)
