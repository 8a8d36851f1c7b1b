"""What an operator or a machine does to a process that is well: SIGTERM, SIGSTOP and CONT, a second one beside it."""

import asyncio
import random
import signal
from pathlib import Path

from tests.faults.fault import Fault
from tests.faults.history import History
from tests.faults.processes import END_SECONDS, closed, spawn
from tests.faults.scene import ended, run, scene


async def terminated(folder: Path, rounds: int, chance: random.Random) -> History:
    """SIGTERM under load: exit code 0 in time, and since nothing was killed, nothing is delivered twice."""
    async with scene(folder, chance) as made:
        for _ in range(rounds):
            async with made.load():
                await made.traffic.more(chance.randint(1, 100))
                code = await made.stop()
            assert code == 0, made.receiver.log()[-2000:]
            await made.receiver.start()
        return await ended(made)


async def halted(folder: Path, rounds: int, chance: random.Random, *, seconds: float = 2.0) -> History:
    """SIGSTOP in the middle of it all, and CONT: it goes on where it was. What was under way may have run out of time
    meanwhile, once a halt.
    """
    async with scene(folder, chance) as made:
        made.silent = rounds
        for _ in range(rounds):
            async with made.load():
                await made.traffic.more(chance.randint(20, 60))
                made.receiver.signal(signal.SIGSTOP)
                await asyncio.sleep(seconds)
                made.receiver.signal(signal.SIGCONT)
                await made.traffic.more(40)
        return await ended(made)


async def halted_for_a_minute(folder: Path, rounds: int, chance: random.Random) -> History:
    return await halted(folder, rounds, chance, seconds=60.0)


async def doubled(folder: Path, rounds: int, chance: random.Random) -> History:
    """A second process on the same file, under load: it refuses, and the first does not notice."""
    async with scene(folder, chance) as made:
        made.traffic.pause = 0.1  # a second start takes a while
        for _ in range(rounds):
            async with made.load():
                await made.traffic.more(20)
                assert await _second(folder) == 3, made.receiver.log()[-2000:]
                assert f"in use by process {made.receiver.child.pid}\n" in made.receiver.log()
                await made.traffic.more(20)
        return await ended(made)


async def _second(folder: Path) -> int | None:
    """How a second process on the same file ends; None when it does not."""
    child = await spawn(folder, "receiver")
    try:
        return await asyncio.wait_for(child.wait(), END_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
        return None
    finally:
        closed(child)


FAULTS = (
    Fault("SIGTERM under load", 1, 20, run(terminated)),
    Fault("SIGSTOP for 2 s", 1, 5, run(halted)),
    Fault("SIGSTOP for 60 s", 0, 1, run(halted_for_a_minute)),
    Fault("a second process", 1, 10, run(doubled)),
)
