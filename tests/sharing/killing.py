"""Receivers are killed one after the other, and the server crashes in between.

`python -m tests.faults --only killed` is the long form, with leases that run out by themselves.
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from tests.postgres import OwnServer
from tests.sharing.story import PROCESSES, Receiver, Story, play


async def run(folder: Path, *, kills: int, every: float, hurry: bool, chance: random.Random, vendors: int = 8) -> Story:
    """The server crashes after the first kill."""
    server = OwnServer(folder / "server")

    async def breaking(receivers: Sequence[Receiver], story: Story) -> None:
        while story.kills < kills:
            await asyncio.sleep(every)
            if story.kills == 1 and not story.crashes:
                server.stop()
                await asyncio.sleep(1.0)
                server.start()
                story.crashes += 1
                continue
            victim = chance.choice(receivers)
            await victim.kill()
            story.kills += 1
            await asyncio.sleep(0.5)
            await victim.start()
        await asyncio.sleep(every)

    try:
        return await play([server.url] * PROCESSES, breaking, lambda: server.url, hurry=hurry, vendors=vendors)
    finally:
        server.close()
