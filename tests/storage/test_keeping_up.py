"""A purge beside a load that never ends: in a world whose time passes only by what is done in it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from receiver.sms.timestamps import DAY
from receiver.storage.background import Background
from receiver.storage.database import Row
from receiver.storage.pace import AHEAD
from receiver.storage.purge import Look, Purge
from receiver.storage.purger import Purger
from receiver.storage.purges import Gone

COMMIT = 0.02
"""Seconds until a write is on disk, with what waited before it."""
ROW = 0.0001


class World:
    """`rate` rows a second come in and as many grow old, behind a `backlog` of old ones."""

    waiting = 5

    def __init__(self, rate: float, backlog: int) -> None:
        self.now = 0.0
        self.rate = rate
        self.backlog = backlog
        self.gone = 0
        self.steps: list[int] = []

    @property
    def came(self) -> int:
        return round(self.rate * self.now)

    @property
    def old(self) -> int:
        return self.backlog + self.came - self.gone

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["World"]:
        yield self

    async def fetch(self, sql: str, *_: Any) -> Sequence[Row]:
        if "horizon" in sql:
            return [(self.came, 0, None)]
        return [("",)] if "receipts" in sql else []

    async def write(self, change: Any) -> Any:
        self.now += COMMIT
        return await change(self)

    def monotonic(self) -> float:
        return self.now


class Old(Purge):
    what: ClassVar[str] = "events"
    every: ClassVar[int] = DAY
    goes_on: ClassVar[bool] = True

    async def look(self, reader: Any, position: str, limit: int, now: int) -> Look:
        found = min(limit, reader.old)
        return Look([(number,) for number in range(found)], "", found < limit, found, 0)

    async def remove(self, transaction: Any, rows: Sequence[Row], now: int) -> Gone:
        transaction.now += ROW * len(rows)
        transaction.gone += len(rows)
        transaction.steps.append(len(rows))
        return Gone(rows=len(rows))


class Passing(Background):
    """Waits by letting the world's time pass, and is told to stop at `until`."""

    def __init__(self, world: World, until: float) -> None:
        super().__init__(world, world.monotonic)  # type: ignore[arg-type]
        self._world, self._until = world, until

    async def wait(self, seconds: float) -> None:
        self._world.now += seconds
        if self._world.now > self._until:
            self.stopping.set()
        await asyncio.sleep(0)


async def purged(world: World, until: float) -> None:
    given: Any = world
    purger = Purger(
        database=given, batch=given, purges=[Old()], clock=lambda: 2 * DAY, monotonic=world.monotonic, pause=1e9
    )
    purger._background = Passing(world, until)
    await purger.once()


@pytest.mark.parametrize("rate", [20, 100, 500, 2_500, 5_000])
async def test_it_gets_to_the_end_of_what_is_old_however_much_comes_in(rate: float):
    world = World(rate, backlog=5_000)
    await purged(world, until=2 * world.backlog / (rate * (AHEAD - 1)))
    assert world.old <= max(world.steps)
    assert world.gone > world.backlog


@pytest.mark.parametrize("rate", [500, 2_500])
async def test_steps_are_no_larger_than_it_takes(rate: float):
    """What comes in between two steps, with what it makes up for: not all that a step may ever take."""
    world = World(rate, backlog=20_000)
    await purged(world, until=10.0)
    assert world.gone >= world.came
    assert world.gone <= 2 * AHEAD * world.came


async def test_alone_it_is_far_quicker():
    world = World(0, backlog=50_000)
    world.waiting = 0
    await purged(world, until=1e9)
    assert world.old == 0
    assert world.backlog / world.now > 2_500
