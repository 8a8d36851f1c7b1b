"""No file descriptor left: connections nobody uses take them all, under load, and let go of them again."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.faults.fault import Fault
from tests.faults.history import History
from tests.faults.scene import SOON, Scene, ended, run, scene

MOST = 48
IDLE = 100
HOLD_SECONDS = 1.5
TRIES = len(SOON["retry_schedule"])


async def starved(folder: Path, rounds: int, chance: random.Random) -> History:
    """Attempts may fail for want of a socket, as often as the schedule allows."""
    async with scene(folder, chance, limits=("-n", str(MOST))) as made:
        made.silent = TRIES
        made.traffic.pause = 0.05
        for _ in range(rounds):
            async with made.load(8):
                await made.traffic.more(20)
                async with idle(made):
                    await asyncio.sleep(HOLD_SECONDS)
            await recovered(made)
        return await ended(made)


@asynccontextmanager
async def idle(made: Scene) -> AsyncIterator[None]:
    """More connections than it can have, which say nothing."""
    opened = [await asyncio.open_connection("127.0.0.1", made.receiver.port) for _ in range(IDLE)]
    try:
        yield
    finally:
        for _, writer in opened:
            writer.close()
        for _, writer in opened:
            with suppress(ConnectionError):
                await writer.wait_closed()


async def recovered(made: Scene) -> None:
    """It is there, and takes messages on new connections."""
    assert made.receiver.alive, made.receiver.log()[-2000:]
    async with made.load():
        await made.traffic.more(40)
    async with made.api() as client:
        assert (await client.get("/readyz")).status_code == 200


FAULTS = (Fault("out of descriptors", 1, 10, run(starved)),)
