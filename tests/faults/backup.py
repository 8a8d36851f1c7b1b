"""A backup under load, restored elsewhere: all that was acknowledged before it began is there, nothing is sent again
unless asked, and asked to, everything is.
"""

import asyncio
import os
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.faults.fault import Fault, Report
from tests.faults.hearing import Behaviour
from tests.faults.history import Fate, Heard, History
from tests.faults.processes import ROOT, SETTINGS, Receiver
from tests.faults.scene import WISHES, Scene, Wish, scene, told
from tests.faults.waiting import HANG_SECONDS

FIRST, QUIET, ASKED = range(3)
"""The run that is backed up, and those of the two databases made of it."""
PROGRAM = (sys.executable, "-m", "receiver")


def silent_until(up: asyncio.Event) -> Behaviour:
    """A subscriber that is down in the first run, so that there is always something still to be sent."""

    async def behave(_event_id: str, _time: int) -> int | None:
        if up.is_set():
            return 200
        await up.wait()
        return None

    return behave


async def restored_elsewhere(folder: Path, chance: random.Random) -> tuple[History, list[Heard]]:
    """The history of what was restored and sent when asked, and what was heard unasked."""
    for name in ("first", "quiet", "asked"):
        (folder / name).mkdir()
    up = asyncio.Event()
    wishes = (*WISHES, Wish("down", "any", behave=silent_until(up)))
    async with scene(folder / "first", chance, wishes=wishes) as made:
        made.traffic.pause = 0.02
        async with made.load():
            await made.traffic.more(chance.randint(100, 200))
            before = await _backed_up(made, folder / "copy.db")
            await made.traffic.more(50)
            up.set()
            await made.kill()
        unasked = await _nothing_sent(made, folder)
        return _true_of_the_copy(await _all_sent(made, folder), before), unasked


async def _backed_up(made: Scene, copy: Path) -> Mapping[str, Fate]:
    """What was known of each message right before the copy was begun."""
    running = asyncio.create_task(command(made.receiver.folder, "backup", str(copy)))
    before: Mapping[str, Fate] = {}
    while not running.done():
        known = dict(made.traffic.fates)
        if any(copy.parent.glob(f"{copy.name}*")):
            break
        before = known
        await asyncio.sleep(0.001)
    await running
    return before


async def _nothing_sent(made: Scene, folder: Path) -> list[Heard]:
    """New messages go out; of the copy nothing does."""
    owed = _open(folder / "copy.db")
    assert owed > 0, "nothing was left to send"
    await command(folder / "quiet", "restore", "../copy.db")
    made.receiver = Receiver(folder / "quiet", ended_at=made.receiver.ended_at)
    await made.receiver.start()
    async with made.load():
        await made.traffic.more(100)
    await made.settled()
    assert (made.owed(), made.owed("held")) == (0, owed)
    assert await made.stop() == 0
    old = {event_id for (event_id,) in _read(folder / "copy.db", "SELECT id FROM events")}
    assert len({item.event_id for item in made.ear.heard if item.run == QUIET} - old) > 50
    return [item for item in made.ear.heard if item.run == QUIET and item.event_id in old]


async def _all_sent(made: Scene, folder: Path) -> History:
    await command(folder / "asked", "restore", "../copy.db", "--send")
    made.receiver = Receiver(folder / "asked", ended_at=made.receiver.ended_at)
    await made.receiver.start()
    await made.settled()
    assert await made.stop() == 0
    return made.history()


def _true_of_the_copy(history: History, before: Mapping[str, Fate]) -> History:
    """What the copy must hold is what was acknowledged before it was begun, and it may hold more. Of the first run it
    does not know how it went on; what the second one sent is not its business.
    """
    known: dict[str, Fate] = {
        key: "acknowledged" if before.get(key) == "acknowledged" else "unknown" for key in history.sent
    }
    stored = {item.event_id for item in history.stored}
    heard = [item for item in history.heard if item.run != QUIET and item.event_id in stored]
    unrecorded = Counter(item.run for item in heard)[FIRST]
    return replace(history, fates=known, heard=heard, killed=frozenset({FIRST}), concurrency=unrecorded + 16)


async def command(folder: Path, *arguments: str) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    child = await asyncio.create_subprocess_exec(
        *PROGRAM, *arguments, cwd=folder, env={**others, "PYTHONPATH": str(ROOT), **SETTINGS},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(child.communicate(), 2 * HANG_SECONDS)
    assert child.returncode == 0, said.decode()


def _open(database: Path) -> int:
    listed = "'queued', 'waiting', 'sending', 'retrying'"
    return int(_read(database, f"SELECT count(*) FROM deliveries WHERE state IN ({listed})")[0][0])


def _read(database: Path, sql: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def run(folder: Path, rounds: int, chance: random.Random) -> Report:
    reports = [_round(folder / str(number), chance) for number in range(rounds)]
    return Report(
        tried=rounds,
        survived=sum(report.survived for report in reports),
        lost=sum(report.lost for report in reports),
        duplicated=sum(report.duplicated for report in reports),
        note=next((report.note for report in reports if not report.survived), reports[-1].note),
    )


def _round(folder: Path, chance: random.Random) -> Report:
    folder.mkdir()
    history, unasked = asyncio.run(restored_elsewhere(folder, chance))
    if unasked:
        return Report(1, 0, 0, len(unasked), f"sent unasked: {unasked[0].event_id}")
    return told(1, history, f"{len(history.stored)} events in the last copy")


FAULTS = (Fault("backup, restored elsewhere", 1, 10, run),)
