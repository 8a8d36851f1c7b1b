"""Work that nobody is to notice: it gives way to writes that wait, and rests for most of the time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from receiver.storage.batch import Batch

REST = 4.0
"""Rest after a step, as a multiple of what it took."""
_SHORTEST_REST = 0.005
_PATIENCE = 0.25
"""Seconds for which a step gives way: under a load that never ends it would never have its turn."""


class Background:
    """The manners of one loop; `stopping` ends every wait."""

    def __init__(self, batch: Batch, monotonic: Callable[[], float]) -> None:
        self._batch = batch
        self._monotonic = monotonic
        self.stopping = asyncio.Event()

    async def turn(self, *, patient: bool = True) -> float:
        """When it is this loop's turn; the moment of it is for `rest`. Who is not patient gives no way."""
        until = self._monotonic() + (_PATIENCE if patient else 0.0)
        while self._batch.waiting and self._monotonic() < until and not self.stopping.is_set():
            await self.wait(_PATIENCE / 10)
        return self._monotonic()

    async def rest(self, began: float) -> None:
        await self.wait(max((self._monotonic() - began) * REST, _SHORTEST_REST))

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
