"""The parts of long messages until they are joined, and afterwards which request brought which part.

Recorded with their receipts, in as many statements for one part as for thousands; joined by `receiver.intake.assemble`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from receiver.sms.compose import Entry, Held
from receiver.sms.joining import LATE_SECONDS, Gathered, Part, fate
from receiver.sms.timestamps import SECOND
from receiver.storage.database import Reader, Row, Transaction, Values, locking, skipping

AT_ONCE = 0
"""Due before anything that waits for a time."""


class Holding(NamedTuple):
    """A new part and the receipt that brought it."""

    receipt_id: str
    entry: Entry
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class LongMessage:
    """One whose parts are to be joined; `event_id` is the last event that told of it."""

    message_id: str
    event_id: str | None
    total: int
    parts: Sequence[Part]
    receipt_ids: Sequence[str]

    @property
    def complete(self) -> bool:
        return len(self.parts) == self.total


class Told(NamedTuple):
    """The last event that tells of a long message, and the requests that its parts came in, by their numbers."""

    event_id: str
    receipts: Sequence[tuple[int, str]]


@dataclass(slots=True)
class _Long:
    message_id: str
    gathered: Gathered
    due_at: int | None
    new: bool = False
    receipt_ids: dict[int, str] = field(default_factory=dict)


async def hold(
    transaction: Transaction, holdings: Sequence[Holding], new_id: Callable[[str], str], now: int
) -> Mapping[int, str]:
    """Keeps parts until theirs are all there; returns, by their place in `holdings`, whose repeat those are that were
    not kept.
    """
    known = await _open(transaction, sorted({item.held.group for item in holdings}), now)
    left: list[_Long] = []
    touched: dict[str, _Long] = {}
    rows: list[Values] = []
    repeats: dict[int, str] = {}
    for place, (receipt_id, entry, held) in enumerate(holdings):
        long, content = known.get(held.group), entry.content or entry.identity
        what = fate(long.gathered if long else None, held.number, content)
        if long is not None and what == "repeats":
            repeats[place] = long.receipt_ids[held.number]
            continue
        if long is None or what == "begins":
            left += [long] if long is not None else []
            long = _Long(new_id("msg"), Gathered(total=held.total), now + held.seconds * SECOND, new=True)
            known[held.group] = long
        elif long.gathered.told:
            long.due_at = now + held.seconds * SECOND
        long.gathered.contents[held.number] = content
        long.receipt_ids[held.number] = receipt_id
        if long.gathered.complete:
            long.due_at = AT_ONCE
        touched[held.group] = long
        rows.append((long.message_id, held.number, receipt_id, content, _dumped(entry, held)))
    _leave(transaction, left)
    _save(transaction, {key: long for key, long in known.items() if touched.get(key) is long}, left, now)
    transaction.later("INSERT INTO message_parts (message_id, number, receipt_id, content, part)", rows)
    return repeats


async def due(transaction: Transaction, now: int, limit: int) -> Sequence[LongMessage]:
    """Those whose time has come, with what is there of each."""
    rows = await transaction.fetch(
        """SELECT message_id, event_id, total FROM long_messages WHERE due_at <= ?
           ORDER BY due_at, message_id LIMIT ?"""
        + skipping(transaction),
        now, limit,
    )  # fmt: skip
    return await _with_parts(transaction, rows)


async def next_due(reader: Reader) -> int | None:
    ((moment,),) = await reader.fetch("SELECT min(due_at) FROM long_messages WHERE due_at IS NOT NULL")
    return None if moment is None else int(moment)


async def of_receipt(reader: Reader, receipt_id: str) -> Sequence[str]:
    """The long messages that a request brought parts of."""
    rows = await reader.fetch("SELECT DISTINCT message_id FROM message_parts WHERE receipt_id = ?", receipt_id)
    return sorted(row[0] for row in rows)


async def keep_still(transaction: Transaction, receipt_id: str) -> None:
    """Of the long messages that a request brought parts of, no other transaction tells, nor puts further parts to them,
    until this one ends.
    """
    ours = locking(transaction)
    if ours:
        await transaction.fetch(
            """SELECT 1 FROM long_messages
               WHERE message_id IN (SELECT message_id FROM message_parts WHERE receipt_id = ?) ORDER BY message_id"""
            + ours,
            receipt_id,
        )


async def told_of(reader: Reader, message_id: str) -> Told | None:
    """A long message that an event tells of, None of one that still waits."""
    rows = await reader.fetch(
        "SELECT event_id FROM long_messages WHERE message_id = ? AND event_id IS NOT NULL AND due_at IS NULL",
        message_id,
    )
    if not rows:
        return None
    found = await reader.fetch(
        "SELECT number, receipt_id FROM message_parts WHERE message_id = ? ORDER BY number", message_id
    )
    return Told(rows[0][0], [(number, receipt_id) for number, receipt_id in found])


def told(transaction: Transaction, messages: Mapping[str, str], whole: Sequence[str]) -> None:
    """Notes the event that tells of each message. What those say that are `whole` stands in their events alone."""
    transaction.later(
        "WITH v (message_id, event_id) AS (",
        list(messages.items()),
        """) UPDATE long_messages SET event_id = v.event_id, due_at = NULL FROM v
             WHERE long_messages.message_id = v.message_id""",
    )
    _emptied(transaction, whole)
    _emptied_if_left(transaction, list(messages))


def drop(transaction: Transaction, message_ids: Sequence[str]) -> None:
    """Those of which nothing is there any more to tell."""
    transaction.later(
        "WITH v (message_id) AS (",
        [(item,) for item in message_ids],
        """) UPDATE long_messages SET key = NULL, due_at = NULL FROM v
             WHERE long_messages.message_id = v.message_id""",
    )


async def postpone_first(transaction: Transaction, now: int, until: int) -> None:
    """The first that is due cannot be joined; it must not stand before the others."""
    await transaction.fetch(
        """UPDATE long_messages SET due_at = ? WHERE message_id =
               (SELECT message_id FROM long_messages WHERE due_at <= ? ORDER BY due_at, message_id LIMIT 1)""",
        until, now,
    )  # fmt: skip


async def close_old(transaction: Transaction, now: int, limit: int) -> int:
    """Messages that take no more parts: nothing but which request brought which part is kept of them."""
    rows = await transaction.fetch(
        """SELECT message_id FROM long_messages
           WHERE key IS NOT NULL AND began_at <= ? AND due_at IS NULL LIMIT ?"""
        + skipping(transaction),
        now - LATE_SECONDS * SECOND, limit,
    )  # fmt: skip
    ids = [row[0] for row in rows]
    _leave_ids(transaction, ids)
    return len(ids)


async def _open(transaction: Transaction, keys: Sequence[str], now: int) -> dict[str, _Long]:
    """Those that still take parts; what is too old is left. Two parts of one message that come to two processes are put
    by one after the other, so that the second knows of the first; and neither amid its being told of.
    """
    await transaction.lock(f"long message {key}" for key in keys)
    rows = await transaction.many(
        "WITH wanted (key) AS (",
        [(key,) for key in keys],
        """) SELECT l.key, l.message_id, l.total, l.event_id, l.due_at, l.began_at FROM wanted
             JOIN long_messages AS l ON l.key = wanted.key"""
        + locking(transaction),
    )
    found = {
        key: (_Long(message_id, Gathered(total=total, told=event_id is not None), due_at), began_at)
        for key, message_id, total, event_id, due_at, began_at in rows
    }
    old = [long for long, began_at in found.values() if began_at <= now - LATE_SECONDS * SECOND]
    _leave(transaction, old)
    known = {key: long for key, (long, _) in found.items() if long not in old}
    by_id = {long.message_id: long for long in known.values()}
    parts = await transaction.many(
        "WITH wanted (message_id) AS (",
        [(item,) for item in by_id],
        """) SELECT p.message_id, p.number, p.content, p.receipt_id FROM wanted
             JOIN message_parts AS p ON p.message_id = wanted.message_id""",
    )
    for message_id, number, content, receipt_id in parts:
        by_id[message_id].gathered.contents[number] = content
        by_id[message_id].receipt_ids[number] = receipt_id
    return known


def _leave(transaction: Transaction, left: Sequence[_Long]) -> None:
    """They take no more parts; what nobody was told of yet is due at once."""
    _leave_ids(transaction, [long.message_id for long in left if not long.new])


def _leave_ids(transaction: Transaction, message_ids: Sequence[str]) -> None:
    transaction.later(
        "WITH v (message_id, due_at) AS (",
        [(item, AT_ONCE) for item in message_ids],
        """) UPDATE long_messages SET key = NULL, due_at = CASE WHEN long_messages.due_at IS NULL THEN NULL
                 ELSE v.due_at END
             FROM v WHERE long_messages.message_id = v.message_id""",
    )
    _emptied_if_left(transaction, message_ids)


def _save(transaction: Transaction, current: Mapping[str, _Long], left: Sequence[_Long], now: int) -> None:
    """`left` holds also what began and was left again in the same batch."""
    begun: list[Values] = [(long.message_id, None, long.gathered.total, AT_ONCE, now) for long in left if long.new]
    begun += [
        (long.message_id, key, long.gathered.total, long.due_at, now) for key, long in current.items() if long.new
    ]
    transaction.later("INSERT INTO long_messages (message_id, key, total, due_at, began_at)", begun)
    transaction.later(
        "WITH v (message_id, due_at) AS (",
        [(long.message_id, long.due_at) for long in current.values() if not long.new],
        ") UPDATE long_messages SET due_at = v.due_at FROM v WHERE long_messages.message_id = v.message_id",
    )


def _emptied(transaction: Transaction, message_ids: Sequence[str]) -> None:
    transaction.later(
        "WITH v (message_id) AS (",
        [(item,) for item in message_ids],
        ") UPDATE message_parts SET part = NULL FROM v WHERE message_parts.message_id = v.message_id",
    )


def _emptied_if_left(transaction: Transaction, message_ids: Sequence[str]) -> None:
    """Those that take no more parts and have nothing left to tell."""
    transaction.later(
        "WITH v (message_id) AS (",
        [(item,) for item in message_ids],
        """) UPDATE message_parts SET part = NULL FROM v WHERE message_parts.message_id = v.message_id
             AND EXISTS (SELECT 1 FROM long_messages AS l WHERE l.message_id = v.message_id
                 AND l.key IS NULL AND l.due_at IS NULL)""",
    )


async def _with_parts(transaction: Transaction, rows: Sequence[Row]) -> Sequence[LongMessage]:
    found: dict[str, list[tuple[int, str, str | None]]] = {row[0]: [] for row in rows}
    for message_id, number, receipt_id, part in await transaction.many(
        "WITH wanted (message_id) AS (",
        [(item,) for item in found],
        """) SELECT p.message_id, p.number, p.receipt_id, p.part FROM wanted
             JOIN message_parts AS p ON p.message_id = wanted.message_id""",
    ):
        found[message_id].append((number, receipt_id, part))
    return [
        LongMessage(
            message_id=message_id,
            event_id=event_id,
            total=total,
            parts=[_loaded(part) for _, _, part in sorted(found[message_id]) if part is not None],
            receipt_ids=[receipt_id for _, receipt_id, _ in sorted(found[message_id])],
        )
        for message_id, event_id, total in rows
    ]


def _dumped(entry: Entry, held: Held) -> str:
    document = {
        "number": held.number,
        "timestamp": entry.timestamp,
        "data": entry.data,
        "scope": held.scope,
        "scope_id": held.scope_id,
    }
    return orjson.dumps(document).decode()


def _loaded(text: str) -> Part:
    return Part(**orjson.loads(text))
