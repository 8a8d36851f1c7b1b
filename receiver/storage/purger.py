"""The loop that purges, so that nobody notices: a small window at a time, through the batch like everybody's writes,
after those that wait, and resting for most of the time. `purge` says what goes.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from receiver.observe import log
from receiver.storage import purges
from receiver.storage.background import Background
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Database, Transaction
from receiver.storage.purge import Look, Purge
from receiver.storage.purges import Gone, Progress

WINDOW = 25
"""Rows in one step: with a hundred, writes beside it waited half as long again."""
_LOOKS_NOTED = 50
"""Looks that found nothing, until how far they came is noted."""


Drop = Callable[[Background], Awaitable[None]]
"""Goes with the manners of the loop that calls it."""


class Purger:
    """`run` goes on until `stop`. `pause` is between two looks for something to do (seconds). What goes as a whole goes
    first, by `drop`.
    """

    def __init__(
        self, *, database: Database, batch: Batch, purges: Sequence[Purge], clock: Callable[[], int],
        monotonic: Callable[[], float], drop: Drop | None = None, window: int = WINDOW, pause: float = 60.0,
    ) -> None:  # fmt: skip
        self._database = database
        self._batch = batch
        self._purges = purges
        self._drop = drop
        self._clock = clock
        self._window = window
        self._pause = pause
        self._background = Background(batch, monotonic)

    def stop(self) -> None:
        """After the step that is under way; the next start goes on behind it."""
        self._background.stopping.set()

    async def run(self) -> None:
        """Until stopped, or until the database can no longer be trusted."""
        while not self._background.stopping.is_set():
            try:
                await self.once()
            except Broken:
                return
            except Exception as error:  # noqa: BLE001 — what cannot be purged now must not end the process
                log("purge.waits", level="warning", exc=error)
            await self._background.wait(self._pause)

    async def once(self) -> None:
        """Every purge that is due, to the end of its round."""
        await self._drop_parts()
        for purge in self._purges:
            await self._round(purge)

    async def _drop_parts(self) -> None:
        if self._drop is None:
            return
        try:
            await self._drop(self._background)
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001 — what cannot go as a whole goes row by row
            log("purge.parts_wait", level="warning", exc=error)

    async def _round(self, purge: Purge) -> None:
        async with self._database.reading() as reader:
            reached = await purges.progress(reader, purge.what)
        now = self._clock()
        due = purge.due(reached.round_at, now)
        if due and (purge.goes_on or not reached.position):
            reached = Progress("", now)
        elif not purge.goes_on and not reached.position:
            return
        removed, looks, end = 0, 0, False
        while not end and not self._background.stopping.is_set():
            began = await self._background.turn()
            async with self._database.reading() as reader:
                look = await purge.look(reader, reached.position, self._window, self._clock())
            looks, end = looks + 1, look.end
            reached = replace(reached, position=look.position if not end or purge.goes_on else "")
            if look.rows or looks % _LOOKS_NOTED == 0 or (end and looks > 1):
                removed += await self._remove(purge, look, reached)
            await self._background.rest(began)
        if removed:
            log("purged", what=purge.what, rows=removed)

    async def _remove(self, purge: Purge, look: Look, reached: Progress) -> int:
        async def change(transaction: Transaction) -> int:
            newest = await purge.remove(transaction, look.rows, self._clock()) if look.rows else Gone()
            await purges.note(transaction, purge.what, reached, newest)
            return newest.rows

        return await self._batch.write(change)
