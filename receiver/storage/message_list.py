"""Messages as they are read: lists by any filters, newest first; what became of one; being read and being deleted.

The table has few indexes, for every accepted request would pay for them. Addresses and sources are found through those
of events, which hold every message at least once; what they do not narrow down is read along, a window at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, LiteralString

import orjson

from receiver.sms.words import Term
from receiver.storage import events
from receiver.storage.database import Reader, Row, Transaction
from receiver.storage.ids import earliest
from receiver.storage.lateness import lateness
from receiver.storage.leading import BY_ID, IN_LOG, WINDOW, Condition, Found, newest_first, pattern

FAILED: Final = ("undelivered", "rejected", "failed", "expired")
FEW = 1_000
"""Messages that are put in order; each is looked up by an event of it."""

_COLUMNS: LiteralString = (
    "id, source_id, vendor, direction, vendor_message_id, client_reference, batch_id, channel, from_address, "
    "to_address, status, final, created_at, updated_at, read_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filters of a list; all that are given must hold. `from_` and `to` are exact or prefixes ending in `*`, `between`
    two addresses either way, `since` and `until` of when the message was first heard of.
    """

    direction: str | None = None
    statuses: Sequence[str] = ()
    unread: bool | None = None
    from_: str | None = None
    to: str | None = None
    between: tuple[str, str] | None = None
    source: str | None = None
    vendor: str | None = None
    batch_id: str | None = None
    vendor_message_id: str | None = None
    client_reference: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    id: str
    source_id: str
    vendor: str
    direction: str
    vendor_message_id: str | None
    client_reference: str | None
    batch_id: str | None
    channel: str | None
    from_: str | None
    to: str | None
    status: str | None
    final: bool | None
    created_at: int
    updated_at: int
    read_at: int | None


async def get(reader: Reader, message_id: str) -> Message | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM messages WHERE id = ? AND deleted_at IS NULL", message_id)
    return _row(rows[0]) if rows else None


async def some(reader: Reader, message_ids: Sequence[str]) -> Sequence[Message]:
    """Those that are there, in no particular order."""
    if not message_ids:
        return []
    marks: LiteralString = ", ".join(["?"] * len(message_ids))
    rows = await reader.fetch(
        f"SELECT {_COLUMNS} FROM messages WHERE id IN ({marks}) AND deleted_at IS NULL", *message_ids
    )
    return [_row(row) for row in rows]


async def look(
    reader: Reader, wanted: Wanted, *, before: str | None, limit: int, many: int = FEW, window: int = WINDOW
) -> Found[Message]:
    """Newest first, from behind the id `before`, through `window` messages at most. What is inbound is what is unread
    and what is read, each with an index of its own.
    """
    if wanted.direction != "in" or wanted.unread is not None:
        return await _look(reader, wanted, before, limit, many, window)
    unread = await _look(reader, replace(wanted, unread=True), before, limit, many, window)
    read = await _look(reader, replace(wanted, unread=False), before, limit, many, window)
    upto = max((it.upto for it in (unread, read) if it.upto is not None), default=None)
    rows = sorted([*unread.rows, *read.rows], key=lambda row: row.id, reverse=True)
    seen = [row for row in rows if upto is None or row.id >= upto][:limit]
    return Found(seen, upto if len(seen) < limit else None)


async def _look(
    reader: Reader, wanted: Wanted, before: str | None, limit: int, many: int, window: int
) -> Found[Message]:  # fmt: skip
    low, high = await _bounds(reader, wanted, before)
    found = await newest_first(
        reader, "messages", _COLUMNS, "id", leads=_leads(wanted), filters=[*_filters(wanted), _KEPT],
        low=low, high=high, limit=limit, many=many, window=window,
    )  # fmt: skip
    return Found([_row(row) for row in found.rows], found.upto)


@dataclass(frozen=True, slots=True)
class Match:
    """A message whose text has the words, and where in the log that text stands."""

    seq: int
    message: Message


@dataclass(frozen=True, slots=True)
class Matches:
    rows: Sequence[Match]
    upto: int | None = None


async def search(
    reader: Reader, wanted: Wanted, words: Sequence[Term], *, after: int | None, limit: int, window: int = WINDOW
) -> Matches:
    """Messages by the words of their text, the one whose text came last first, from behind the position `after`."""
    if wanted.direction == "out" or wanted.statuses or wanted.batch_id is not None:
        return Matches([])  # reports have no text, and what has one no status
    seen = await events.look(
        reader, _of_events(wanted, words), after=after, limit=limit, newest_first=True, window=window
    )  # fmt: skip
    found = dict(_subjects(seen.rows))
    known = {message.id: message for message in await some(reader, list(dict.fromkeys(found.values())))}
    newest = await _newest_texts(reader, list(known))
    rows = [
        Match(seq, known[message_id])
        for seq, message_id in found.items()
        if newest.get(message_id) == seq and _fits(wanted, known[message_id])
    ]
    full = len(seen.rows) == limit and len(rows) < limit
    return Matches(rows, seen.rows[-1].seq if full else seen.upto)


async def texts(reader: Reader, message_ids: Sequence[str]) -> dict[str, str]:
    """The JSON of the event that tells of each inbound message, the last one where it was corrected."""
    if not message_ids:
        return {}
    marks: LiteralString = ", ".join(["?"] * len(message_ids))
    rows = await reader.fetch(
        f"SELECT message_id, body FROM events WHERE message_id IN ({marks}) AND type = 'message.received' ORDER BY seq",
        *message_ids,
    )
    return dict(rows)


async def text_position(reader: Reader, message_id: str) -> int | None:
    """Where in the log the text of a message stands; None where it has none."""
    return (await _newest_texts(reader, [message_id])).get(message_id)


async def mark_read(transaction: Transaction, message_ids: Sequence[str], now: int) -> int:
    """Inbound messages that were unread; returns how many."""
    rows = await transaction.many(
        "WITH v (id, now) AS (",
        [(item, now) for item in message_ids],
        """) UPDATE messages SET read_at = v.now FROM v
             WHERE messages.id = v.id AND direction = 'in' AND read_at IS NULL AND deleted_at IS NULL
             RETURNING messages.id""",
    )
    return len(rows)


async def delete(transaction: Transaction, message_id: str, now: int) -> bool:
    """Takes a message out of all lists; its row stays for the reports to come, its events stay in the log."""
    rows = await transaction.fetch(
        "UPDATE messages SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL RETURNING 1", now, message_id
    )
    return bool(rows)


async def known(reader: Reader, message_id: str) -> bool:
    """Whether there is such a message, deleted or not."""
    return bool(await reader.fetch("SELECT 1 FROM messages WHERE id = ?", message_id))


async def counts(reader: Reader, batch_id: str, source: str | None) -> dict[str, int]:
    """How many messages of a batch are in each state."""
    sql: LiteralString = "SELECT status, count(*) FROM messages WHERE batch_id = ? AND deleted_at IS NULL"
    values = [batch_id]
    if source is not None:
        sql += " AND source_id = ?"
        values.append(source)
    return dict(await reader.fetch(sql + " GROUP BY status ORDER BY status", *values))


_KEPT = Condition("deleted_at IS NULL", ())
_UNREAD = Condition("direction = 'in' AND read_at IS NULL", (), "read_at", in_order=True, walked=BY_ID)
_READ = Condition("read_at IS NOT NULL", (), "read_at", in_order=True, walked=BY_ID)
_FAILURES = Condition(
    "status IN ('undelivered', 'rejected', 'failed', 'expired')", (), "status", in_order=True, walked=BY_ID
)  # fmt: skip


def _filters(wanted: Wanted) -> list[Condition]:
    exactly: Sequence[tuple[Condition, str | int | None]] = (
        (Condition("direction = ?", (), "direction"), wanted.direction),
        (Condition("source_id = ?", ()), wanted.source),
        (Condition("vendor = ?", ()), wanted.vendor),
        (Condition("batch_id = ?", (), "batch_id"), wanted.batch_id),
        (Condition("vendor_message_id = ?", ()), wanted.vendor_message_id),
        (Condition("client_reference = ?", ()), wanted.client_reference),
        (Condition("created_at >= ?", ()), wanted.since),
        (Condition("created_at < ?", ()), wanted.until),
    )
    found = [replace(condition, values=(value,)) for condition, value in exactly if value is not None]
    for column, asked in (("from_address", wanted.from_), ("to_address", wanted.to)):
        if asked is not None:
            found.append(pattern(column, asked))
    if wanted.statuses:
        marks: LiteralString = ", ".join(["?"] * len(wanted.statuses))
        found.append(Condition("status IN (" + marks + ")", wanted.statuses, "status"))
    if wanted.unread is not None:
        found.append(_UNREAD if wanted.unread else _READ)
    if wanted.between is not None:
        one, other = wanted.between
        either: LiteralString = "((from_address = ? AND to_address = ?) OR (from_address = ? AND to_address = ?))"
        found.append(Condition(either, (one, other, other, one)))
    return found


def _leads(wanted: Wanted) -> list[Condition]:
    """What an index serves, of this table or through the events of the messages."""
    found: list[Condition] = []
    if wanted.batch_id is not None:
        found.append(
            Condition("batch_id = ?", (wanted.batch_id,), "batch_id", in_order=True, walked="batch_id, " + BY_ID)
        )
    if wanted.statuses and set(wanted.statuses) <= set(FAILED):
        found.append(_FAILURES)
    for column, asked in (("from_address", wanted.from_), ("to_address", wanted.to)):
        if asked is not None:
            found.append(_through_events(pattern(column, asked)))
    if wanted.between is not None:
        either: LiteralString = "from_address = ? OR to_address = ?"
        found += [_through_events(Condition(either, (number, number))) for number in wanted.between]
    through: Sequence[tuple[LiteralString, str | None, LiteralString]] = (
        ("vendor_message_id = ?", wanted.vendor_message_id, "vendor_message_id"),
        ("client_reference = ?", wanted.client_reference, "client_reference" + IN_LOG),
        ("source_id = ?", wanted.source, "source_id" + IN_LOG),
        (events.OF_VENDOR, wanted.vendor, ""),
    )
    found += [
        _through_events(Condition(sql, (value,), walked=walked)) for sql, value, walked in through if value is not None
    ]
    if wanted.unread is not None:
        found.append(_UNREAD if wanted.unread else _READ)
    return found


def _through_events(condition: Condition) -> Condition:
    """The messages of events: only as a lead where those are few, for the ids are put in order."""
    inner: LiteralString = "events WHERE " + condition.sql
    return Condition(
        "id IN (SELECT message_id FROM " + inner + ")", condition.values, "id", counted=inner, walked=condition.walked
    )


async def _bounds(reader: Reader, wanted: Wanted, before: str | None) -> tuple[str, str]:
    """Ids between which everything lies; an id is never made before its time, and later only by a clock set back."""
    low = earliest("msg", wanted.since) if wanted.since is not None else ""
    high = earliest("msg", wanted.until + await lateness(reader)) if wanted.until is not None else "~"
    return low, min(high, before or "~")


def _of_events(wanted: Wanted, words: Sequence[Term]) -> events.Wanted:
    return events.Wanted(
        types=(events.TEXT_TYPE,), words=words, from_=wanted.from_, to=wanted.to, source=wanted.source,
        vendor=wanted.vendor, since=wanted.since, until=wanted.until, vendor_message_id=wanted.vendor_message_id,
        client_reference=wanted.client_reference,
    )  # fmt: skip


def _subjects(rows: Sequence[events.Logged]) -> Sequence[tuple[int, str]]:
    return [(row.seq, orjson.loads(row.body)["data"]["message_id"]) for row in rows]


async def _newest_texts(reader: Reader, message_ids: Sequence[str]) -> dict[str, int]:
    """Where in the log the text that counts stands: the last one of a message that was corrected."""
    if not message_ids:
        return {}
    marks: LiteralString = ", ".join(["?"] * len(message_ids))
    rows = await reader.fetch(
        f"SELECT message_id, max(seq) FROM events WHERE message_id IN ({marks}) AND type = 'message.received' "
        "GROUP BY message_id",
        *message_ids,
    )
    return dict(rows)


def _fits(wanted: Wanted, message: Message) -> bool:
    """What the events do not tell."""
    if wanted.between is not None and {message.from_, message.to} != set(wanted.between):
        return False
    return wanted.unread is None or wanted.unread == (message.read_at is None)


def _row(row: Row) -> Message:
    (identifier, source_id, vendor, direction, vendor_message_id, client_reference, batch_id, channel, sender, receiver,
     status, final, created_at, updated_at, read_at) = row  # fmt: skip
    return Message(
        id=identifier,
        source_id=source_id,
        vendor=vendor,
        direction=direction,
        vendor_message_id=vendor_message_id,
        client_reference=client_reference,
        batch_id=batch_id,
        channel=channel,
        from_=sender,
        to=receiver,
        status=status,
        final=None if final is None else bool(final),
        created_at=created_at,
        updated_at=updated_at,
        read_at=read_at,
    )
