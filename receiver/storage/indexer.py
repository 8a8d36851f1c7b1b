"""Keeps the index of texts up with the log: behind the intake, in stretches that share the commits of others."""

import asyncio
from contextlib import suppress

from receiver.observe import log
from receiver.storage import search
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Database, Transaction, Unavailable
from receiver.storage.search import Stretch

MOST = 100
"""Events in a stretch: a few milliseconds of work at a time."""
_GIVING_WAY = 8
"""Rest while writes wait, as a multiple of the usual one: what is not indexed yet is found too, only slower."""


class Indexer:
    """`run` owns the loop, `wake` tells it that something was committed.

    gather   seconds that it lets news gather: every stretch makes the index a little less compact
    rest     seconds between two stretches of a long way, which are the intake's
    pause    seconds to wait when the database does not answer
    """

    def __init__(
        self, database: Database, batch: Batch, *, most: int = MOST, gather: float = 1.0, rest: float = 0.01,
        pause: float = 5.0,
    ) -> None:  # fmt: skip
        self._database = database
        self._batch = batch
        self._most = most
        self._gather = gather
        self._rest = rest
        self._pause = pause
        self._woken = asyncio.Event()
        self._woken.set()
        self._stopping = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """After the stretch that is under way; the next start goes on behind it."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> None:
        """Until stopped, or until the database can no longer be trusted."""
        try:
            while not self._stopping.is_set():
                await self._woken.wait()
                self._woken.clear()
                await self._wait(self._gather)
                while not self._stopping.is_set() and await self.step():
                    await self._wait(self.between)
        except Broken:
            return

    @property
    def between(self) -> float:
        """Seconds until the next stretch."""
        return self._rest * _GIVING_WAY if self._batch.waiting else self._rest

    async def step(self) -> bool:
        """Indexes the next stretch; False when there is nothing more. Raises Broken."""
        try:
            async with self._database.reading() as reader:
                stretch = await search.next_stretch(reader, self._most)
            if stretch.end == stretch.begin:
                return False
            return await self._batch.write(lambda transaction: _added(transaction, stretch))
        except Unavailable as error:
            if self._stopping.is_set():
                return False
            log("index.waits", level="warning", exc=error)
            await self._wait(self._pause)
            return True

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


async def _added(transaction: Transaction, stretch: Stretch) -> bool:
    await search.add(transaction, stretch)
    return True
