"""The loop that purges, so that nobody notices: a step of each kind at a time, through the batch like everybody's
writes. `purge` says what goes, `pace` how much of it and when.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from receiver.observe import log
from receiver.storage import pace, purges
from receiver.storage.arrivals import Arrivals
from receiver.storage.background import Background
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Database, Reader, Transaction
from receiver.storage.overdue import Overdue
from receiver.storage.pace import Pace
from receiver.storage.purge import AFTER, Look, Purge
from receiver.storage.purges import Gone, Progress

_LOOKS_NOTED = 50
"""Looks that found nothing, until how far they came is noted."""
_QUIET = 1.0
"""Seconds without any write of others, after which a purge makes use of it."""


@dataclass(slots=True)
class Round:
    """One way through the rows of a purge; `removed` is how many went, `end` that it is over."""

    purge: Purge
    reached: Progress
    pace: Pace
    removed: int = 0
    looks: int = 0
    end: bool = False


Drop = Callable[[Background], Awaitable[None]]
"""Goes with the manners of the loop that calls it."""


class Purger:
    """`run` goes on until `stop`. `pause` is between two looks for something to do (seconds), `window` how many rows
    the first step takes. What goes as a whole goes first, by `drop`.
    """

    def __init__(
        self, *, database: Database, batch: Batch, purges: Sequence[Purge], clock: Callable[[], int],
        monotonic: Callable[[], float], drop: Drop | None = None, window: int = pace.FEWEST, pause: float = 60.0,
    ) -> None:  # fmt: skip
        self._database = database
        self._batch = batch
        self._purges = purges
        self._drop = drop
        self._clock = clock
        self._monotonic = monotonic
        self._window = window
        self._pause = pause
        self._background = Background(batch, monotonic)
        self._arrivals = Arrivals()
        self._overdue = Overdue(monotonic)
        self._busy_at = monotonic()

    @property
    def behind(self) -> int:
        """For how many seconds the oldest that is still to go should have been gone."""
        return self._overdue.seconds

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
        """Every purge that is due, to the end of its round. They take turns, so that none stands still for as long as
        another has much to do; what becomes due meanwhile joins in.
        """
        await self._drop_parts()
        rounds: list[Round] = []
        waiting = await self._due(rounds)
        asked = self._monotonic()
        while (waiting or rounds) and not self._background.stopping.is_set():
            rounds += _begun(rounds, waiting)
            await self._turn(rounds)
            rounds = [one for one in rounds if not self._is_over(one)]
            if self._monotonic() - asked >= self._pause:
                waiting += await self._due([*rounds, *waiting])
                asked = self._monotonic()

    async def _drop_parts(self) -> None:
        if self._drop is None:
            return
        try:
            await self._drop(self._background)
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001 — what cannot go as a whole goes row by row
            log("purge.parts_wait", level="warning", exc=error)

    async def _due(self, known: Sequence[Round]) -> list[Round]:
        """Rounds that are to begin, or to go on after a restart."""
        there = {one.purge.what for one in known}
        async with self._database.reading() as reader:
            found = [await self._next(reader, purge) for purge in self._purges if purge.what not in there]
        return [one for one in found if one is not None]

    async def _next(self, reader: Reader, purge: Purge) -> Round | None:
        reached, now = await purges.progress(reader, purge.what), self._clock()
        due = purge.due(reached.round_at, now)
        if due and (purge.goes_on or not reached.position):
            reached = Progress("", now)
        elif not purge.goes_on and not reached.position:
            return None
        return Round(purge, reached, Pace(self._window))

    async def _turn(self, rounds: Sequence[Round]) -> None:
        """A step of each: what they change shares a commit."""
        began = await self._background.turn(patient=not any(one.pace.hurries for one in rounds))
        async with self._database.reading() as reader:
            came = await self._arrivals.since(reader)
            looks = [await self._look(reader, one) for one in rounds]
        quiet = self._is_quiet(came)
        for one in rounds:
            one.pace = one.pace.came(came)
        steps = (self._step(one, look, quiet=quiet) for one, look in zip(rounds, looks, strict=True))
        for failed in await asyncio.gather(*steps, return_exceptions=True):
            if failed is not None:
                raise failed
        going_on = [one for one in rounds if not one.end]
        if not going_on:
            return
        hurries = any(one.pace.hurries for one in going_on)
        await self._background.wait(pace.rest(self._monotonic() - began, hurries=hurries, quiet=quiet))

    async def _look(self, reader: Reader, one: Round) -> Look:
        return await one.purge.look(reader, one.reached.position, one.pace.limit, self._clock())

    def _is_quiet(self, came: int) -> bool:
        now = self._monotonic()
        if came or self._batch.waiting:
            self._busy_at = now
        return now - self._busy_at >= _QUIET

    async def _step(self, one: Round, look: Look, *, quiet: bool) -> None:
        one.looks, one.end = one.looks + 1, look.end
        one.reached = replace(one.reached, position=look.position if not look.end or one.purge.goes_on else "")
        one.pace = one.pace.went(look.seen)
        if look.rows or one.looks % _LOOKS_NOTED == 0 or (look.end and one.looks > 1):
            removed, seconds = await self._batch.write(self._removal(one, look))
            one.removed += removed
            one.pace = one.pace.took(len(look.rows), seconds, quiet=quiet)
        if look.late is not None:
            self._overdue.note(one.purge.what, 0 if look.end and look.rows else look.late)

    def _removal(self, one: Round, look: Look) -> Callable[[Transaction], Awaitable[tuple[int, float]]]:
        """How many rows went, and for how many seconds the writer did nothing else."""

        async def change(transaction: Transaction) -> tuple[int, float]:
            began = self._monotonic()
            newest = await one.purge.remove(transaction, look.rows, self._clock()) if look.rows else Gone()
            await purges.note(transaction, one.purge.what, one.reached, newest)
            return newest.rows, self._monotonic() - began

        return change

    def _is_over(self, one: Round) -> bool:
        over = one.end or self._background.stopping.is_set()
        if over and one.removed:
            log("purged", what=one.purge.what, rows=one.removed)
        return over


def _begun(rounds: Sequence[Round], waiting: list[Round]) -> Sequence[Round]:
    """Takes those out of `waiting` that find what they look for already."""
    under_way = {one.purge.what for one in (*rounds, *waiting)}
    found = [one for one in waiting if under_way.isdisjoint(AFTER.get(one.purge.what, ()))]
    waiting[:] = [one for one in waiting if one not in found]
    return found
