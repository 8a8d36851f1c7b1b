"""A machine's clock that steps an hour on and an hour back, under load."""

import random
import signal
from pathlib import Path

from tests.faults.fault import Fault
from tests.faults.history import History
from tests.faults.scene import ended, run, scene

MODULE = "tests.faults.planted.stepping_clock"
ON, BACK = signal.SIGUSR1, signal.SIGUSR2
STEPS = (ON, BACK, BACK, ON)


async def stepped(folder: Path, rounds: int, chance: random.Random) -> History:
    """Each way and back again; messages are taken, tried again and delivered all the while."""
    async with scene(folder, chance, module=MODULE) as made:
        for _ in range(rounds):
            async with made.load():
                for step in STEPS:
                    await made.traffic.more(chance.randint(10, 40))
                    made.receiver.signal(step)
                await made.traffic.more(20)
        return await ended(made)


FAULTS = (Fault("clock steps ±1 h", 1, 10, run(stepped)),)
