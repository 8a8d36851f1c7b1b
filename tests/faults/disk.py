"""A disk that is full: vendors come back later, readers notice nothing, and all is well once there is room again.

`run` fills the recording disk at a random write; `run_small` gives a real process a file system of a few megabytes.
"""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from tests.faults.disk_process import Process, answered, can, furnish, load, process, statuses
from tests.faults.fault import Fault, Report
from tests.faults.power_images import acknowledged, image, lay_out
from tests.faults.power_run import Verdict, a_body, call, judged, on_disk
from tests.faults.recording_vfs import Disk, failure

MESSAGES = 30
_SMALL = 'mount -t tmpfs -o size=3m,mode=700 tmpfs "$1" && head -c 1M /dev/zero > "$1/ballast" && shift && exec "$@"'


@dataclass
class Room:
    """Writes succeed until `left` of them are done; None is room for all."""

    left: int | None = None

    def at_write(self, _path: str, _end: int) -> None:
        if self.left is not None:
            if self.left <= 0:
                raise failure(apsw.SQLITE_FULL)
            self.left -= 1


@dataclass(frozen=True)
class Filled:
    """What vendors got before the disk was full, while it was, and after; what readers saw meanwhile; what is left."""

    before: Sequence[int]
    during: Sequence[int]
    after: Sequence[int]
    seen: int
    verdict: Verdict


async def filled(folder: Path, writes: int, *pragmas: str) -> Filled:
    """A disk that is full after so many more writes, then has room again, then loses its power."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 — nothing else waits
    disk, room = Disk(), Room()
    disk.at_write = room.at_write
    bodies = [a_body(number) for number in range(3 * MESSAGES)]
    async with on_disk(disk, folder / "life", *pragmas) as way:
        before = await call(way, disk.steps, bodies[:MESSAGES])
        room.left = writes
        during = await call(way, disk.steps, bodies[MESSAGES : 2 * MESSAGES])
        ((seen,),) = await way.fetch("SELECT count(*) FROM receipts")
        room.left = None
        after = await call(way, disk.steps, bodies[2 * MESSAGES :])
        steps = [*disk.steps]
    lay_out(image(steps, random.Random(writes)), folder / "image")
    return Filled(before, during, after, seen, await judged(folder / "image", acknowledged(steps), bodies))


def well(found: Filled) -> bool:
    """Nothing but yes or later was said; later only while it was full; what was read is what was told."""
    told = [*found.before, *found.during].count(200)
    return (
        {*found.before, *found.after} == {200}
        and {*found.during} <= {200, 503}
        and found.seen == told
        and found.verdict == Verdict("", 0)
    )


def run(folder: Path, rounds: int, chance: random.Random) -> Report:
    survived = lost = 0
    for number in range(rounds):
        often = ["wal_autocheckpoint = 20"] if chance.random() < 0.5 else []
        found = asyncio.run(filled(folder / f"{number}", chance.randint(0, 250), *often))
        survived += well(found)
        lost += found.verdict.lost
    return Report(rounds, survived, lost, 0)


def until(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it came about in time."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def small(folder: Path) -> Sequence[str]:
    """Words to put before a command that finds a file system of 3 MB there, 1 MB of it taken by `ballast`."""
    return ("unshare", "-rm", "sh", "-c", _SMALL, "sh", str(folder))


def survived_small(folder: Path, bodies: Sequence[bytes]) -> tuple[bool, int]:
    """One process on a small disk: filled by vendors, relieved of its ballast, asked again. Was all well; what was lost?"""
    folder.mkdir(parents=True)
    with process(folder, *small(folder)) as it:
        inside = Path(f"/proc/{it.child.pid}/root{folder}")
        assert furnish(it) == 201
        found = asyncio.run(load(it, bodies))
        full = 503 in statuses(found) and {*statuses(found)} <= {200, 503}
        reads = it.api("GET", "/v1/events").status_code == 200 and it.api("GET", "/livez").status_code == 200
        later = it.api("POST", it.path, content=a_body(10_000))
        patient = later.status_code != 503 or int(later.headers["retry-after"]) > 0
        (inside / "ballast").unlink()
        recovered = until(lambda: it.post(a_body(10_001)) == 200)
        kept = {*answered(found), *([a_body(10_001)] if recovered else [])}
        missing = kept - _stored(it, len(bodies) + 10)
        code, _ = it.end(signal.SIGTERM)
    return full and reads and patient and recovered and code == 0 and not missing, len(missing)


def _stored(it: Process, most: int) -> set[bytes]:
    """What it has, by its own account: the file system ends with the process."""
    found: set[bytes] = set()
    after = ""
    while len(found) < most:
        page = it.api("GET", f"/v1/events?type=message.received&limit=500{after}").json()
        numbers = [int(event["data"]["vendor_message_id"][1:]) for event in page["data"]]
        found |= {a_body(number) for number in numbers}
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    return found


def run_small(folder: Path, rounds: int, _chance: random.Random) -> Report:
    if not can("unshare", "-rm", "true"):
        return Report(0, 0, 0, 0, "no user namespaces here")
    bodies = [a_body(number) for number in range(1500)]
    ended = [survived_small(folder / f"{number}", bodies) for number in range(rounds)]
    return Report(rounds, sum(fine for fine, _ in ended), sum(lost for _, lost in ended), 0)


FAULTS = (
    Fault("disk full", short=16, long=300, run=run),
    Fault("disk full, of 3 MB", short=0, long=2, run=run_small),
)
