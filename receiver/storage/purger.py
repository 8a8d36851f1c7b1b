"""The loop that purges, so that nobody notices: a small window at a time, through the batch like everybody's writes,
after those that wait, and resting for most of the time. `purge` says what goes.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from receiver.observe import log
from receiver.storage import purges
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Database, Transaction
from receiver.storage.purge import Look, Purge
from receiver.storage.purges import Gone, Progress

WINDOW = 100
"""Rows in one step."""
REST = 4.0
"""Rest after each step, as a multiple of what it took."""
_SHORTEST_REST = 0.005
_PATIENCE = 0.25
"""Seconds for which a step gives way to writes that wait: under a load that never ends it would never have its turn."""
_LOOKS_NOTED = 50
"""Looks that found nothing, until how far they came is noted."""


class Purger:
    """`run` goes on until `stop`. `pause` is between two looks for something to do (seconds)."""

    def __init__(
        self, *, database: Database, batch: Batch, purges: Sequence[Purge], clock: Callable[[], int],
        monotonic: Callable[[], float], window: int = WINDOW, pause: float = 60.0,
    ) -> None:  # fmt: skip
        self._database = database
        self._batch = batch
        self._purges = purges
        self._clock = clock
        self._monotonic = monotonic
        self._window = window
        self._pause = pause
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """After the step that is under way; the next start goes on behind it."""
        self._stopping.set()

    async def run(self) -> None:
        """Until stopped, or until the database can no longer be trusted."""
        while not self._stopping.is_set():
            try:
                await self.once()
            except Broken:
                return
            except Exception as error:  # noqa: BLE001 — what cannot be purged now must not end the process
                log("purge.waits", level="warning", exc=error)
            await self._rest(self._pause)

    async def once(self) -> None:
        """Every purge that is due, to the end of its round."""
        for purge in self._purges:
            await self._round(purge)

    async def _round(self, purge: Purge) -> None:
        async with self._database.reading() as reader:
            reached = await purges.progress(reader, purge.what)
        now = self._clock()
        due = now - reached.round_at >= purge.every
        if due and (purge.goes_on or not reached.position):
            reached = Progress("", now)
        elif not purge.goes_on and not reached.position:
            return
        removed, looks, end = 0, 0, False
        while not end and not self._stopping.is_set():
            await self._give_way()
            began = self._monotonic()
            async with self._database.reading() as reader:
                look = await purge.look(reader, reached.position, self._window, self._clock())
            looks, end = looks + 1, look.end
            reached = replace(reached, position=look.position if not end or purge.goes_on else "")
            if look.rows or looks % _LOOKS_NOTED == 0 or (end and (looks > 1 or due)):
                removed += await self._remove(purge, look, reached)
            await self._rest(max((self._monotonic() - began) * REST, _SHORTEST_REST))
        if removed:
            log("purged", what=purge.what, rows=removed)

    async def _remove(self, purge: Purge, look: Look, reached: Progress) -> int:
        async def change(transaction: Transaction) -> int:
            newest = await purge.remove(transaction, look.rows, self._clock()) if look.rows else Gone()
            await purges.note(transaction, purge.what, reached, newest)
            return newest.rows

        return await self._batch.write(change)

    async def _give_way(self) -> None:
        until = self._monotonic() + _PATIENCE
        while self._batch.waiting and self._monotonic() < until:
            await self._rest(_PATIENCE / 10)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
