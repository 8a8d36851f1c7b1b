"""Lets go of rows by the policy of `retention`: where it finds them, a window at a time, and how it deletes them.

A look is a read; only what it found is deleted, in a transaction that checks again what may have changed since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar, LiteralString, Protocol

from receiver.sms.timestamps import DAY, HOUR, MINUTE
from receiver.storage.database import Reader, Row, Transaction, Values, locking
from receiver.storage.ids import earliest
from receiver.storage.jobs import ASKED_FOR
from receiver.storage.partitions import begin_of
from receiver.storage.purges import Gone, Trace
from receiver.storage.retention import OWED, Retention

MOST_BYTES = 1024 * 1024
"""Of receipts in one step: what is deleted is overwritten."""
_GONE_THROUGH = 4
"""Identities that are looked at for each that may go in one step."""


@dataclass(frozen=True, slots=True)
class Look:
    """Rows that may go, and where the next look begins; `end` when there is no more in this round.

    seen    how many rows it went through
    late    for how long the oldest that is to go should have been gone, in microseconds; None where nobody can tell
    """

    rows: Sequence[Row]
    position: str
    end: bool
    seen: int = 0
    late: int | None = None


class Purge(Protocol):
    """`every` is how often a round begins, `keep` for how long something is kept (microseconds). One that `goes_on`
    does not begin where it began before but where it ended, until then.

    Where there are parts of a `width` to be dropped as a whole, a round begins when the next one is old enough: so
    little is left to be found row by row.
    """

    what: ClassVar[str]
    every: ClassVar[int]
    goes_on: ClassVar[bool]

    def due(self, round_at: int, now: int) -> bool:
        """Whether the next round begins, the last one having begun then."""
        return now - round_at >= self.every

    async def look(self, reader: Reader, position: str, limit: int, now: int) -> Look: ...

    async def remove(self, transaction: Transaction, rows: Sequence[Row], now: int) -> Gone: ...


IS_OWED: LiteralString = f"""EXISTS (SELECT 1 FROM deliveries
    WHERE deliveries.event_id = events.id AND deliveries.state IN {OWED})"""
UNDER_WAY: LiteralString = "EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND kind <> 'erase')"


_WITH_EVENTS: Sequence[LiteralString] = (
    """) DELETE FROM attempts WHERE delivery_id IN (
            SELECT deliveries.id FROM v JOIN deliveries ON deliveries.event_id = v.id)""",
    ") DELETE FROM deliveries WHERE event_id IN (SELECT id FROM v)",
    ") DELETE FROM corrections WHERE event_id IN (SELECT id FROM v)",
    ") DELETE FROM events WHERE id IN (SELECT id FROM v)",
)
_WITHOUT_EVENTS: LiteralString = """) DELETE FROM messages WHERE id IN (SELECT id FROM v)
    AND NOT EXISTS (SELECT 1 FROM events WHERE events.message_id = messages.id)"""
_OF_LONG_MESSAGES: Sequence[LiteralString] = (
    """) DELETE FROM message_parts WHERE message_id IN (SELECT id FROM v)
         AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = message_parts.message_id)""",
    """) DELETE FROM long_messages WHERE message_id IN (SELECT id FROM v)
         AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = long_messages.message_id)""",
)


@dataclass(frozen=True, slots=True)
class Events(Purge):
    """With their deliveries and attempts, and with messages of which they were the last. Those that are owed stay
    behind, and are looked at once more every day.
    """

    what: ClassVar[str] = "events"
    every: ClassVar[int] = DAY
    goes_on: ClassVar[bool] = True
    keep: int
    traces: Sequence[Trace] = ()
    width: int | None = None

    def due(self, round_at: int, now: int) -> bool:
        return _due(self, round_at, now)

    async def look(self, reader: Reader, position: str, limit: int, now: int) -> Look:
        rows = await reader.fetch(
            f"SELECT seq, id, accepted_at, {IS_OWED} FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            int(position or 0), limit,
        )  # fmt: skip
        old = list(takewhile(lambda row: row[2] < now - self.keep, rows))
        found, end = [row for row in old if not row[3]], len(old) < limit
        late = _late(found[0][2] + self.keep if found else None, now, end=end)
        if await reader.fetch(f"SELECT 1 WHERE {UNDER_WAY}"):
            return Look((), position, end=True, late=late)
        return Look([row[:2] for row in found], str(old[-1][0]) if old else position, end, len(old), late)

    async def remove(self, transaction: Transaction, rows: Sequence[Row], now: int) -> Gone:
        await transaction.lock(ASKED_FOR)
        await keep_standing(transaction, [row[1] for row in rows])
        able = await transaction.many(
            "WITH v (seq, id) AS (", rows,
            f""") SELECT events.seq, events.id, events.message_id FROM v JOIN events ON events.id = v.id
                  WHERE NOT {IS_OWED} AND NOT {UNDER_WAY}""",
        )  # fmt: skip
        if not able:
            return Gone()
        ids = [event_id for _, event_id, _ in able]
        for forget in self.traces:
            await forget(transaction, ids)
        for delete in _WITH_EVENTS:
            transaction.later("WITH v (id) AS (", _singly(ids), delete)
        bound = earliest("msg", now - self.keep)
        old = {message_id for _, _, message_id in able if message_id is not None and message_id < bound}
        for delete in (_WITHOUT_EVENTS, *_OF_LONG_MESSAGES):
            transaction.later("WITH v (id) AS (", _singly(sorted(old)), delete)
        return Gone(max(ids), max(seq for seq, _, _ in able), len(able))


@dataclass(frozen=True, slots=True)
class Receipts(Purge):
    what: ClassVar[str] = "receipts"
    every: ClassVar[int] = MINUTE
    goes_on: ClassVar[bool] = False
    keep: int
    width: int | None = None

    def due(self, round_at: int, now: int) -> bool:
        return _due(self, round_at, now)

    async def look(self, reader: Reader, position: str, limit: int, now: int) -> Look:
        rows = await reader.fetch(
            """SELECT id, length(target) + length(headers) + length(body), received_at FROM receipts
               WHERE id > ? AND id < ? ORDER BY id LIMIT ?""",
            position, earliest("rcp", now - self.keep), limit,
        )  # fmt: skip
        few = light(rows)
        end = len(few) == len(rows) < limit
        late = _late(few[0][2] + self.keep if few else None, now, end=end)
        return Look([row[:1] for row in few], few[-1][0] if few else position, end, len(few), late)

    async def remove(self, transaction: Transaction, rows: Sequence[Row], now: int) -> Gone:  # noqa: ARG002 — of `Purge`
        transaction.later("WITH v (id) AS (", rows, ") DELETE FROM receipts WHERE id IN (SELECT id FROM v)")
        return Gone(max(row[0] for row in rows), rows=len(rows))


@dataclass(frozen=True, slots=True)
class Messages(Purge):
    """Those of which no event is left, and that did not go with the last one."""

    what: ClassVar[str] = "messages"
    every: ClassVar[int] = DAY
    goes_on: ClassVar[bool] = False
    keep: int

    async def look(self, reader: Reader, position: str, limit: int, now: int) -> Look:
        rows = await reader.fetch(
            """SELECT m.id, EXISTS (SELECT 1 FROM events WHERE events.message_id = m.id)
               FROM (SELECT id FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?) AS m ORDER BY m.id""",
            position, earliest("msg", now - self.keep), limit,
        )  # fmt: skip
        found = [row[:1] for row in rows if not row[1]]
        return Look(found, rows[-1][0] if rows else position, len(rows) < limit, len(rows))

    async def remove(self, transaction: Transaction, rows: Sequence[Row], now: int) -> Gone:  # noqa: ARG002 — of `Purge`
        deleted = await transaction.many("WITH v (id) AS (", rows, f"{_WITHOUT_EVENTS} RETURNING id")
        for before in _OF_LONG_MESSAGES:
            transaction.later("WITH v (id) AS (", deleted, before)
        return Gone(rows=len(deleted))


@dataclass(frozen=True, slots=True)
class Identities(Purge):
    """Those whose time is over, and those of what is gone: looked for without an index, which every call would pay."""

    what: ClassVar[str] = "identities"
    every: ClassVar[int] = DAY
    goes_on: ClassVar[bool] = False
    retention: Retention

    async def look(self, reader: Reader, position: str, limit: int, now: int) -> Look:
        """Goes through more than may go in one step: most are young. None behind the last that may is looked at."""
        most = limit * _GONE_THROUGH
        rows = await reader.fetch(
            "SELECT key, subject_id, expires_at FROM identities WHERE key > ? ORDER BY key LIMIT ?", position, most
        )
        before = self.retention.identities_before(now)
        bound = "" if before is None else earliest("", before)
        able = [row for row in rows if _is_over(row, now) or row[1][row[1].find("_") :] < bound]
        few = able[:limit]
        reached, end = (few[-1][0], False) if few != able else (rows[-1][0] if rows else position, len(rows) < most)
        there = await self._there(reader, [row[1] for row in few if not _is_over(row, now)])
        return Look([row[:2] for row in few if _is_over(row, now) or row[1] not in there], reached, end, len(rows))

    async def _there(self, reader: Reader, subjects: Sequence[str]) -> set[str]:
        """Those of the events and messages that are not gone."""
        if not subjects:
            return set()
        marks: LiteralString = ", ".join(["?"] * len(subjects))
        there = await reader.fetch(
            f"SELECT id FROM events WHERE id IN ({marks}) UNION ALL SELECT id FROM messages WHERE id IN ({marks})",
            *subjects, *subjects,
        )  # fmt: skip
        return {row[0] for row in there}

    async def remove(self, transaction: Transaction, rows: Sequence[Row], now: int) -> Gone:  # noqa: ARG002 — of `Purge`
        """A key that was claimed anew since names another subject."""
        deleted = await transaction.many(
            "WITH v (key, subject_id) AS (", rows,
            """) DELETE FROM identities WHERE key IN (SELECT key FROM v)
                 AND subject_id IN (SELECT subject_id FROM v) RETURNING 1""",
        )  # fmt: skip
        return Gone(rows=len(deleted))


@dataclass(frozen=True, slots=True)
class Answers(Purge):
    """Of the API to calls under an Idempotency-Key."""

    what: ClassVar[str] = "idempotency"
    every: ClassVar[int] = HOUR
    goes_on: ClassVar[bool] = False

    async def look(self, reader: Reader, position: str, limit: int, now: int) -> Look:
        rows = await reader.fetch("SELECT key FROM idempotency WHERE expires_at <= ? LIMIT ?", now, limit)
        return Look(rows, position, len(rows) < limit, len(rows))

    async def remove(self, transaction: Transaction, rows: Sequence[Row], now: int) -> Gone:
        deleted = await transaction.many(
            "WITH v (key) AS (", rows,
            ") DELETE FROM idempotency WHERE key IN (SELECT key FROM v) AND expires_at <= ? RETURNING 1",
            now,
        )  # fmt: skip
        return Gone(rows=len(deleted))


AFTER: Mapping[str, Sequence[str]] = {"messages": ("events",), "identities": ("events", "messages")}
"""Rounds that find only what those before them left without an event, and begin when none of these is under way."""


def purges_of(
    retention: Retention, traces: Sequence[Trace] = (), widths: Mapping[str, int] | None = None
) -> Sequence[Purge]:
    """In the order in which one makes room for the next. `widths` are of parts that are dropped beside that."""
    parts = widths or {}
    found: list[Purge] = [Identities(retention), Answers()]
    if retention.receipts is not None:
        found.insert(0, Receipts(retention.receipts, parts.get("receipts")))
    if retention.events is not None:
        found[:0] = [Events(retention.events, traces, parts.get("events")), Messages(retention.events)]
    return found


class _InParts(Protocol):
    """A purge of a table that may have parts."""

    every: ClassVar[int]

    @property
    def keep(self) -> int: ...

    @property
    def width(self) -> int | None: ...


def _due(purge: _InParts, round_at: int, now: int) -> bool:
    if purge.width is None:
        return now - round_at >= purge.every
    return begin_of(now - purge.keep, purge.width) > begin_of(round_at - purge.keep, purge.width)


async def keep_standing(transaction: Transaction, event_ids: Sequence[str]) -> None:
    """No other process opens a delivery of these events again until this transaction ends."""
    if transaction.engine == "postgres":
        await transaction.many(
            "WITH v (id) AS (", _singly(event_ids),
            ") SELECT id FROM deliveries WHERE event_id IN (SELECT id FROM v)" + locking(transaction),
        )  # fmt: skip


def _late(due: int | None, now: int, *, end: bool) -> int | None:
    """See `Look`: of the oldest that was found, which was to go at `due`."""
    if due is None:
        return 0 if end else None
    return max(now - due, 0)


def _is_over(identity: Row, now: int) -> bool:
    return identity[2] is not None and identity[2] <= now


def _singly(ids: Sequence[str]) -> Sequence[Values]:
    return [(item,) for item in ids]


def light(rows: Sequence[Row]) -> Sequence[Row]:
    """As many as are not too large together, one at least."""
    total = 0
    few: list[Row] = []
    for row in rows:
        total += row[1]
        if few and total > MOST_BYTES:
            break
        few.append(row)
    return few
