"""Events: the log. Its order is `seq`, the order of acceptance; `body` is the event's JSON as it is delivered."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import LiteralString

from receiver.storage.database import Reader, Transaction, Values

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


async def newest_id(reader: Reader) -> str | None:
    """The id of any kind that was made last: deliveries and messages are given theirs after their event's."""
    rows = await reader.fetch(
        """SELECT max(id) FROM events UNION ALL SELECT max(id) FROM receipts UNION ALL SELECT max(id) FROM messages
           UNION ALL SELECT max(id) FROM deliveries UNION ALL SELECT max(id) FROM sources
           UNION ALL SELECT max(id) FROM subscriptions UNION ALL SELECT max(id) FROM keys"""
    )
    return max((row[0] for row in rows if row[0]), key=lambda made: made.partition("_")[2], default=None)


async def page(
    reader: Reader, wanted: Wanted, *, after: int | None, limit: int, newest_first: bool = False
) -> Sequence[Logged]:
    """From behind the position `after`, oldest first unless told otherwise."""
    conditions, values = _conditions(wanted)
    if after is not None:
        conditions.append("seq < ?" if newest_first else "seq > ?")
        values.append(after)
    where: LiteralString = " WHERE " + " AND ".join(conditions) if conditions else ""
    order: LiteralString = " ORDER BY seq DESC LIMIT ?" if newest_first else " ORDER BY seq LIMIT ?"
    rows = await reader.fetch("SELECT seq, body FROM events" + where + order, *values, limit)
    return [Logged(seq, body) for seq, body in rows]


_EXACT: dict[str, LiteralString] = {
    "vendor": "vendor = ?",
    "source": "source_id = ?",
    "message_id": "message_id = ?",
    "vendor_message_id": "vendor_message_id = ?",
    "client_reference": "client_reference = ?",
    "status": "status = ?",
    "since": "accepted_at >= ?",
    "until": "accepted_at < ?",
}


def _conditions(wanted: Wanted) -> tuple[list[LiteralString], list[str | int]]:
    conditions: list[LiteralString] = []
    values: list[str | int] = []
    for field in fields(wanted):
        value = getattr(wanted, field.name)
        if field.name in _EXACT and value is not None:
            conditions.append(_EXACT[field.name])
            values.append(value)
    _pattern("from_address", wanted.from_, conditions, values)
    _pattern("to_address", wanted.to, conditions, values)
    _any_type(wanted.types, conditions, values)
    return conditions, values


def _pattern(
    column: LiteralString, pattern: str | None, conditions: list[LiteralString], values: list[str | int]
) -> None:
    if pattern is None:
        return
    if pattern.endswith("*"):
        low, high = _range(pattern[:-1])
        conditions.append(column + " >= ? AND " + column + " < ?")
        values.extend((low, high))
    else:
        conditions.append(column + " = ?")
        values.append(pattern)


def _any_type(types: Sequence[str], conditions: list[LiteralString], values: list[str | int]) -> None:
    if not types or "*" in types:
        return
    choices: list[LiteralString] = []
    for name in types:
        _pattern("type", name, choices, values)
    conditions.append("(" + " OR ".join(choices) + ")")
    if not any(fnmatchcase(name, pattern) for pattern in types for name in COMMON_TYPES):
        conditions.append("type NOT IN ('message.received', 'message.status')")  # what the partial index holds


def _range(prefix: str) -> tuple[str, str]:
    """A prefix as a half-open range, which an index can serve whatever the prefix holds."""
    return prefix, prefix + "\U0010ffff"
