"""Three receivers on one PostgreSQL: one is killed every few seconds, cut off from the database, or all lose the primary."""

import asyncio
import random
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from tests.faults.fault import Fault, Report
from tests.sharing import cutting, killing, promoting
from tests.sharing.cutting import Cut
from tests.sharing.story import Story

Played = Callable[[Path, int, random.Random], Coroutine[None, None, Story]]


def run(played: Played, _folder: Path, rounds: int, chance: random.Random) -> Report:
    """In a folder whose name is short, as a socket's must be, and that the server's user may enter."""
    with tempfile.TemporaryDirectory(prefix="rcv", dir="/tmp") as place:
        Path(place).chmod(0o755)
        story = asyncio.run(played(Path(place), rounds, chance))
    note = (
        f"{len(story.acknowledged)} acknowledged, {story.crashes} crashes of a server, {story.away} times 503; "
        f"all delivered {story.tail:.0f} s after the load"
    )
    return Report(rounds, rounds, 0, story.again, note)


async def killed(folder: Path, rounds: int, chance: random.Random) -> Story:
    return await killing.run(folder, kills=rounds, every=6.0, hurry=False, chance=chance)


async def cut_off(folder: Path, rounds: int, chance: random.Random) -> Story:
    cuts: tuple[Cut, Cut] = ("broken", "silent")
    return await cutting.run(folder, [cuts[number % 2] for number in range(rounds)], chance)


async def promoted(folder: Path, rounds: int, _chance: random.Random) -> Story:
    """One failover after the other, each with servers of its own; the last one's story."""
    story = Story()
    for number in range(rounds):
        place = folder / str(number)
        place.mkdir()
        story = await promoting.run(place, "silent" if number % 2 else "broken")
    return story


FAULTS = (
    Fault("one of three killed", 2, 20, partial(run, killed)),
    Fault("cut off from PostgreSQL", 1, 6, partial(run, cut_off)),
    Fault("standby promoted", 1, 2, partial(run, promoted)),
)
