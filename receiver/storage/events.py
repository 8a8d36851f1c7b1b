"""Events: the log. Its order is `seq`, the order of acceptance; `body` is the event's JSON as it is delivered."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import LiteralString

from receiver.storage.database import Reader, Transaction, Values

MANY = 2_000
COMMON_TYPES = ("message.received", "message.status")

_COLUMNS: LiteralString = (
    "id, type, accepted_at, vendor, source_id, receipt_id, message_id, vendor_message_id, client_reference, "
    "from_address, to_address, status, body"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filters of a page; all that are given must hold.

    `types` are exact names or prefixes ending in `*`. `from_` and `to` are exact addresses or prefixes ending in
    `*`; for `contact.*` they mean the person's number and yours. `since` and `until` are of acceptance.
    """

    types: Sequence[str] = ()
    vendor: str | None = None
    source: str | None = None
    from_: str | None = None
    to: str | None = None
    message_id: str | None = None
    vendor_message_id: str | None = None
    client_reference: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    seq: int
    body: str


def insert(transaction: Transaction, rows: Sequence[Values]) -> None:
    """Rows in the order of the columns, in the order of the log."""
    transaction.later(f"INSERT INTO events ({_COLUMNS})", rows)


async def get(reader: Reader, event_id: str) -> str | None:
    """The event's JSON."""
    rows = await reader.fetch("SELECT body FROM events WHERE id = ?", event_id)
    return rows[0][0] if rows else None


async def position(reader: Reader, event_id: str) -> int | None:
    """Where in the log an event stands."""
    rows = await reader.fetch("SELECT seq FROM events WHERE id = ?", event_id)
    return rows[0][0] if rows else None


async def newest(reader: Reader) -> int:
    """The place of the newest event, or of the last one that was purged; 0 in an empty log."""
    ((last, gone),) = await reader.fetch(
        "SELECT (SELECT max(seq) FROM events), (SELECT max(gone_seq) FROM purges WHERE what = 'events')"
    )
    return max(last or 0, gone or 0)


async def newest_id(reader: Reader) -> str | None:
    """The id of any kind that was made last: deliveries and messages are given theirs after their event's."""
    rows = await reader.fetch(
        """SELECT max(id) FROM events UNION ALL SELECT max(id) FROM receipts UNION ALL SELECT max(id) FROM messages
           UNION ALL SELECT max(id) FROM deliveries UNION ALL SELECT max(id) FROM sources
           UNION ALL SELECT max(id) FROM subscriptions UNION ALL SELECT max(id) FROM keys
           UNION ALL SELECT max(id) FROM jobs UNION ALL SELECT max(gone_id) FROM purges"""
    )
    return max((row[0] for row in rows if row[0]), key=lambda made: made.partition("_")[2], default=None)


async def page(
    reader: Reader, wanted: Wanted, *, after: int | None, limit: int, newest_first: bool = False, many: int = MANY
) -> Sequence[Logged]:
    """From behind the position `after`, oldest first unless told otherwise.

    Of the filters that an index serves the one with the fewest events leads, found by counting up to `many` of each;
    where all have more the log is read along. SQLite without statistics would take one at random.
    """
    conditions = _conditions(wanted)
    leading = await _leading(reader, conditions, many)
    bounds = await _bounds(reader, wanted)
    if after is not None:
        bounds.append(_Condition("seq < ?" if newest_first else "seq > ?", (after,)))
    chosen = [*bounds, *(item if item is leading else item.aside() for item in conditions)]
    where: LiteralString = " WHERE " + " AND ".join([item.sql for item in chosen]) if chosen else ""
    order: LiteralString = " ORDER BY seq DESC LIMIT ?" if newest_first else " ORDER BY seq LIMIT ?"
    values = [value for item in chosen for value in item.values]
    rows = await reader.fetch("SELECT seq, body FROM events" + where + order, *values, limit)
    return [Logged(seq, body) for seq, body in rows]


_UNIQUE = ("message_id", "vendor_message_id", "client_reference")
_LATE = 15_000_000
"""By how much an event may have been committed after the time of its acceptance (microseconds)."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """`column` is set where an index may serve it; `rare` where that is so without counting."""

    sql: LiteralString
    values: Sequence[str | int]
    column: LiteralString = ""
    rare: bool = False

    def aside(self) -> "_Condition":
        """The same, not to be looked up in an index (https://www.sqlite.org/optoverview.html#uplus)."""
        if not self.column:
            return self
        return _Condition(self.sql.replace(self.column, "+" + self.column), self.values)


def _conditions(wanted: Wanted) -> list[_Condition]:
    found: list[_Condition] = []
    for column in _UNIQUE:
        value = getattr(wanted, column)
        if value is not None:
            found.append(_Condition(column + " = ?", (value,), column, rare=True))
    for column, pattern in (("from_address", wanted.from_), ("to_address", wanted.to)):
        if pattern is not None:
            found.append(_pattern(column, pattern))
    if wanted.source is not None:
        found.append(_Condition("source_id = ?", (wanted.source,), "source_id"))
    if wanted.vendor is not None:
        found.append(_Condition(_OF_VENDOR, (wanted.vendor,), "source_id"))
        found.append(_Condition("vendor = ?", (wanted.vendor,)))
    if wanted.status is not None:
        found.append(_Condition("status = ?", (wanted.status,), "status"))
    found += _any_type(wanted.types)
    for sql, moment in (("accepted_at >= ?", wanted.since), ("accepted_at < ?", wanted.until)):
        if moment is not None:
            found.append(_Condition("+" + sql, (moment,)))
    return found


_OF_VENDOR: LiteralString = "source_id IN (SELECT id FROM sources WHERE vendor = ?)"


async def _leading(reader: Reader, conditions: Sequence[_Condition], many: int) -> _Condition | None:
    best, fewest = None, many
    for item in conditions:
        if item.rare:
            return item
        if item.column:
            ((number,),) = await reader.fetch(
                "SELECT count(*) FROM (SELECT 1 FROM events WHERE " + item.sql + " LIMIT ?)", *item.values, many
            )
            if number < fewest:
                best, fewest = item, number
    return best


async def _bounds(reader: Reader, wanted: Wanted) -> list[_Condition]:
    """Times as positions, a little wider: acceptance and the order of the log differ by what a commit may wait."""
    found: list[_Condition] = []
    if wanted.since is not None:
        rows = await reader.fetch(
            "SELECT seq FROM events WHERE accepted_at >= ? ORDER BY accepted_at LIMIT 1", wanted.since - _LATE
        )
        found.append(_Condition("seq >= ?", (rows[0][0] if rows else _NOWHERE,)))
    if wanted.until is not None:
        rows = await reader.fetch(
            "SELECT seq FROM events WHERE accepted_at < ? ORDER BY accepted_at DESC LIMIT 1", wanted.until + _LATE
        )
        found.append(_Condition("seq <= ?", (rows[0][0] if rows else -1,)))
    return found


_NOWHERE = 2**62


def _pattern(column: LiteralString, pattern: str) -> _Condition:
    """Exactly, or by a prefix as a half-open range, which an index can serve whatever the prefix holds."""
    if pattern.endswith("*"):
        low = pattern[:-1]
        return _Condition(column + " >= ? AND " + column + " < ?", (low, low + "\U0010ffff"), column)
    return _Condition(column + " = ?", (pattern,), column)


def _any_type(types: Sequence[str]) -> list[_Condition]:
    """Messages are most of the log; of the other types there is an index."""
    if not types or "*" in types:
        return []
    choices = [_pattern("type", name) for name in types]
    sql: LiteralString = "(" + " OR ".join([item.sql for item in choices]) + ")"
    values = [value for item in choices for value in item.values]
    if any(fnmatchcase(name, pattern) for pattern in types for name in COMMON_TYPES):
        return [_Condition(sql.replace("type", "+type"), values)]
    return [_Condition(sql + " AND type NOT IN ('message.received', 'message.status')", values, "type")]
