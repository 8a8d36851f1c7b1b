"""kill -9 at random moments under load, a new start on the same files each time, and nothing lost in the end."""

import asyncio
import random
from pathlib import Path
from typing import Any

from tests.faults.fault import Fault
from tests.faults.history import History
from tests.faults.scene import Scene, ended, run, scene

SHORT, LONG = 3, 100
AT_MOST = 100
"""Messages acknowledged in a run before it is killed."""
IN_THE_END = 60
"""So many that every subscriber does all that it may do, however early the runs before were killed."""


async def killed(folder: Path, rounds: int, chance: random.Random, *, patience: float = 30.0, **given: Any) -> History:
    """`patience`: how long nothing may move, in the end, before what is still owed counts as undelivered."""
    async with scene(folder, chance, **given) as made:
        for number in range(rounds):
            await _load_and_kill(made, chance)
            if number % 5 == 1:
                await _kill_at_the_start(made, chance)
            await made.receiver.start()
        async with made.load():
            await made.traffic.more(IN_THE_END)
        return await ended(made, patience)


async def _load_and_kill(made: Scene, chance: random.Random) -> None:
    """At a moment of its own: so many messages, and part of a commit, after the start."""
    async with made.load():
        await made.traffic.more(chance.randint(1, AT_MOST))
        await asyncio.sleep(chance.random() * 0.02)
        await made.kill()


async def _kill_at_the_start(made: Scene, chance: random.Random) -> None:
    """While it opens, looks at what an earlier one left, and perhaps sends the first of it."""
    await made.receiver.launch()
    await asyncio.sleep(chance.random())
    await made.kill()


async def writer_killed(folder: Path, rounds: int, chance: random.Random) -> History:
    """By the out-of-memory killer, say: the receiver takes it for a disk that broke, and ends with 1."""
    async with scene(folder, chance) as made:
        for _ in range(rounds):
            async with made.load():
                await made.traffic.more(chance.randint(1, AT_MOST))
                await asyncio.sleep(chance.random() * 0.02)
                assert await made.kill_writer() == 1, made.receiver.log()[-2000:]
            await made.receiver.start()
        async with made.load():
            await made.traffic.more(IN_THE_END)
        return await ended(made)


async def answered_before_commit(folder: Path, rounds: int, chance: random.Random) -> History:
    return await killed(folder, rounds, chance, module="tests.faults.planted.answers_before_commit")


async def leases_never_voided(folder: Path, rounds: int, chance: random.Random) -> History:
    return await killed(folder, rounds, chance, patience=3.0, module="tests.faults.planted.never_voids_leases")


FAULTS = (
    Fault("kill -9 under load", SHORT, LONG, run(killed)),
    Fault("kill -9 of the writer alone", SHORT, LONG, run(writer_killed)),
)
PLANTED = (
    Fault("answer before commit", 1, 5, run(answered_before_commit)),
    Fault("leases never voided", 1, 5, run(leases_never_voided)),
)
"""Those that must be found: with them the receiver breaks its promise."""
