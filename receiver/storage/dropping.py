"""Parts of tables that are too old as a whole go at once, where `purge` would go through their rows: PostgreSQL alone.

Nothing is remembered between two steps: each leaves what the next start finds and goes on with. What names an event
goes before it, so that nothing ever names one that is gone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from receiver.observe import log
from receiver.sms.timestamps import HOUR
from receiver.storage import purges
from receiver.storage.background import Background
from receiver.storage.database import Reader, Shared, Transaction, Unavailable
from receiver.storage.hanging import Attempts, Deliveries, Needed, Walk, Words
from receiver.storage.ids import earliest
from receiver.storage.partitions import LOCK, PARTED, Part, parts
from receiver.storage.purge import UNDER_WAY
from receiver.storage.purges import Gone
from receiver.storage.retention import Retention

_WINDOW: Final = 500
"""Rows in one step, on a connection that no write waits for."""
_TRIES: Final = 20
_PAUSE: Final = 0.25
"""Seconds between two tries to have a table for a moment."""
_AGAIN: Final = HOUR
"""After which it is looked once more at a part that something was left in."""
_AT_MOST: Final = "SELECT set_config('statement_timeout', '250ms', true)"
_TEXTS: Final = Part("texts", "texts", "", "")


class Dropper:
    """Called, it drops what may go. Raises StorageError."""

    def __init__(
        self, *, database: Shared, retention: Retention, clock: Callable[[], int], window: int = _WINDOW,
        tries: int = _TRIES,
    ) -> None:  # fmt: skip
        self._database = database
        self._keep = {"events": retention.events, "attempts": retention.events, "receipts": retention.receipts}
        self._clock = clock
        self._window = window
        self._tries = tries
        self._left: dict[str, int] = {}
        """Parts that something was left in, and when that was seen."""
        self._busy: set[str] = set()
        """Tables that could not be had this time."""
        self._swept = False

    async def __call__(self, background: Background) -> None:
        self._busy.clear()
        for part in await self._due("events"):
            await self._events(part, background)
        if not self._swept:
            await self._through(_TEXTS, Words(), background)
            self._swept = not background.stopping.is_set()
        for part in await self._due("attempts"):
            await self._drop(part, background)
            if part.name in self._left:
                await self._through(part, Attempts(), background)
        for part in await self._due("receipts"):
            await self._drop(part, background)

    async def _old(self, table: str) -> Sequence[Part]:
        """Those of which everything was made before it is to be kept from."""
        keep = self._keep[table]
        if keep is None:
            return []
        async with self._database.reading() as reader:
            found = await parts(reader, table)
        return [part for part in found if part.high <= earliest(PARTED[table], self._clock() - keep)]

    async def _due(self, table: str) -> Sequence[Part]:
        now = self._clock()
        return [part for part in await self._old(table) if now - self._left.get(part.name, -_AGAIN) >= _AGAIN]

    async def _events(self, part: Part, background: Background) -> None:
        with suppress(Needed):
            await self._through(part, Deliveries(await self._old("attempts")), background)
        if await self._drop(part, background):
            self._swept = False

    async def _through(self, part: Part, walk: Walk, background: Background) -> None:
        position = walk.start
        while not background.stopping.is_set():
            began = await background.turn()
            async with self._database.reading() as reader:
                rows = await walk.look(reader, part, position, self._window)
            if not rows:
                return
            async with self._database.aside() as transaction:
                await walk.remove(transaction, rows)
            position = rows[-1][: len(position)]
            await background.rest(began)

    async def _drop(self, part: Part, background: Background) -> bool:
        """Whoever wants the table meanwhile waits for milliseconds; a dump, which has it for long, is given way to."""
        for _ in range(self._tries):
            if background.stopping.is_set() or part.table in self._busy:
                return False
            try:
                await self._dropped(part)
            except Needed:
                self._left[part.name] = self._clock()
                return False
            except Unavailable as error:
                waits = error
                await background.wait(_PAUSE)
            else:
                self._left.pop(part.name, None)
                log("purged.part", part=part.name)
                return True
        self._busy.add(part.table)
        log("purge.part_waits", level="warning", exc=waits, part=part.name)
        return False

    async def _dropped(self, part: Part) -> None:
        async with self._database.aside() as transaction:
            await transaction.lock(LOCK)
            if part not in await parts(transaction, part.table):
                return
            await transaction.fetch(_AT_MOST)
            await self._gone_with(transaction, part)  # what nobody is to wait for is found out before
            await transaction.script(f"LOCK TABLE ONLY {part.table} IN ACCESS EXCLUSIVE MODE")
            gone = await self._gone_with(transaction, part)
            await _BESIDES[part.table](transaction, part, gone)
            await transaction.script(f"DROP TABLE {part.name}")

    async def _gone_with(self, reader: Reader, part: Part) -> Gone:
        """Raises Needed."""
        keep = self._keep[part.table]
        assert keep is not None
        return await _GONE_WITH[part.table](reader, part, self._clock() - keep)


async def _gone_with_events(reader: Reader, part: Part, before: int) -> Gone:
    """Whoever names one of them, or may begin to, is under way or has ended before the table was ours."""
    needed = await reader.fetch(
        f"""SELECT 1 WHERE {UNDER_WAY} OR EXISTS (SELECT 1 FROM deliveries WHERE event_id >= ? AND event_id < ?)
                OR EXISTS (SELECT 1 FROM {part.name} WHERE accepted_at >= ?)""",
        part.low, part.high, before,
    )  # fmt: skip
    if needed:
        raise Needed
    ((newest, seq),) = await reader.fetch(f"SELECT max(id), max(seq) FROM {part.name}")
    return Gone(newest or "", seq or 0)


async def _gone_with_attempts(reader: Reader, part: Part, _before: int) -> Gone:
    if await reader.fetch("SELECT 1 FROM deliveries WHERE id >= ? AND id < ? LIMIT 1", part.low, part.high):
        raise Needed
    return Gone()


async def _gone_with_receipts(reader: Reader, part: Part, _before: int) -> Gone:
    ((newest,),) = await reader.fetch(f"SELECT max(id) FROM {part.name}")
    return Gone(newest or "")


async def _besides_events(transaction: Transaction, part: Part, gone: Gone) -> None:
    await purges.note_gone(transaction, "events", gone)
    await transaction.fetch("DELETE FROM corrections WHERE event_id >= ? AND event_id < ?", part.low, part.high)
    await transaction.fetch(  # see `search.forget`
        "UPDATE followers SET forgotten = forgotten + 1 WHERE name = 'texts' AND position < ?", gone.seq
    )


async def _besides_attempts(_transaction: Transaction, _part: Part, _gone: Gone) -> None:
    """Nobody pages through them."""


async def _besides_receipts(transaction: Transaction, _part: Part, gone: Gone) -> None:
    await purges.note_gone(transaction, "receipts", gone)


_GONE_WITH: Final[Mapping[str, Callable[[Reader, Part, int], Awaitable[Gone]]]] = {
    "events": _gone_with_events,
    "attempts": _gone_with_attempts,
    "receipts": _gone_with_receipts,
}
_BESIDES: Final[Mapping[str, Callable[[Transaction, Part, Gone], Awaitable[None]]]] = {
    "events": _besides_events,
    "attempts": _besides_attempts,
    "receipts": _besides_receipts,
}
