"""Events: the log. Its order is `seq`, the order of acceptance; `body` is the event's JSON as it is delivered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import LiteralString, NamedTuple

from receiver.sms.words import Term, holds
from receiver.storage import search
from receiver.storage.database import Reader, Transaction, Values
from receiver.storage.lateness import lateness
from receiver.storage.leading import IN_LOG, MANY, WINDOW, Condition, Lead, leading, pattern, together, unindexed

TEXT_TYPE = "message.received"
COMMON_TYPES = ("message.received", "message.status")
COMMON_STATUSES = ("accepted", "sent", "delivered")
"""What most reports say: of such a status as many rows are read along as by its index."""

_COLUMNS: LiteralString = (
    "id, type, accepted_at, vendor, source_id, receipt_id, message_id, vendor_message_id, client_reference, "
    "from_address, to_address, status, body"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filters of a page; all that are given must hold.

    `types` are exact names or prefixes ending in `*`. `from_` and `to` are exact addresses or prefixes ending in
    `*`; for `contact.*` they mean the person's number and yours. `since` and `until` are of acceptance. `words` must
    all be in the text of a message.
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
    words: Sequence[Term] = ()


@dataclass(frozen=True, slots=True)
class Logged:
    seq: int
    body: str


class Stretch(NamedTuple):
    """What was found up to the position `reached`, from where a reader goes on; `at_end` when there is no more now."""

    rows: Sequence[Logged]
    reached: int
    at_end: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: all rows that were asked for, or fewer. Behind `upto` there may be more of them, None where
    there is nothing more to look at.
    """

    rows: Sequence[Logged]
    upto: int | None = None


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


async def last_id(reader: Reader) -> str | None:
    """The greatest id of an event."""
    rows = await reader.fetch("SELECT max(id) FROM events")
    newest: str | None = rows[0][0]
    return newest


async def reports(reader: Reader, message_ids: Sequence[str]) -> Sequence[tuple[str, str]]:
    """Message and JSON of every report about some messages, at most a few hundred, in the order of the log."""
    if not message_ids:
        return []
    places: LiteralString = ", ".join(["?"] * len(message_ids))
    rows = await reader.fetch(
        "SELECT message_id, body FROM events WHERE message_id IN ("
        + places
        + ") AND type = 'message.status' ORDER BY seq",
        *message_ids,
    )
    return [(row[0], row[1]) for row in rows]


async def newest_id(reader: Reader) -> str | None:
    """The id of any kind that was made last: deliveries and messages are given theirs after their event's."""
    rows = await reader.fetch(
        """SELECT max(id) FROM events UNION ALL SELECT max(id) FROM receipts UNION ALL SELECT max(id) FROM messages
           UNION ALL SELECT max(id) FROM deliveries UNION ALL SELECT max(id) FROM sources
           UNION ALL SELECT max(id) FROM subscriptions UNION ALL SELECT max(id) FROM keys
           UNION ALL SELECT max(id) FROM jobs UNION ALL SELECT max(id) FROM consumers
           UNION ALL SELECT max(message_id) FROM long_messages UNION ALL SELECT max(gone_id) FROM purges"""
    )
    return max((row[0] for row in rows if row[0]), key=lambda made: made.partition("_")[2], default=None)


async def readable(reader: Reader) -> int:
    """Up to which position the log may be read: nothing that is still to be committed will stand before it. What was
    purged at its end counts.

    To be asked before what is read. Where many processes write, an event may be visible while one with a lower position
    is still to be committed; who went on behind it would miss that one.
    """
    ((last, gone),) = await reader.fetch(
        "SELECT (SELECT seq FROM horizon), (SELECT gone_seq FROM purges WHERE what = 'events')"
    )
    return max(int(last), gone or 0)


async def follow(
    reader: Reader, wanted: Wanted, *, after: int, limit: int, upto: int | None = None, window: int = WINDOW
) -> Stretch:
    """The next stretch of the log behind `after`, up to `upto` at most: what every reader that goes along it takes.

    It looks at `window` positions at most, so that one transaction is short however little is found.
    """
    end = await readable(reader)
    end = end if upto is None else min(end, upto)
    last = min(end, after + window)
    if last <= after:
        return Stretch((), after, at_end=True)
    many = MANY if last - after > MANY else 0  # a short stretch is read along, whatever is looked for
    seen = await look(reader, wanted, after=after, limit=limit, upto=last, many=many, window=window)
    reached = seen.rows[-1].seq if len(seen.rows) == limit else last if seen.upto is None else seen.upto
    return Stretch(seen.rows, reached, at_end=reached >= end)


async def page(
    reader: Reader, wanted: Wanted, *, after: int | None, limit: int, newest_first: bool = False, many: int = MANY,
    window: int = WINDOW,
) -> Sequence[Logged]:  # fmt: skip
    """From behind the position `after`, oldest first unless told otherwise; however long that takes."""
    found: list[Logged] = []
    while True:
        seen = await look(
            reader, wanted, after=after, limit=limit - len(found), newest_first=newest_first, many=many, window=window
        )
        found += seen.rows
        if seen.upto is None or len(found) >= limit:
            return found
        after = seen.upto


async def look(
    reader: Reader, wanted: Wanted, *, after: int | None, limit: int, newest_first: bool = False, many: int = MANY,
    window: int = WINDOW, upto: int | None = None,
) -> Look:  # fmt: skip
    """`page` that goes through `window` rows of the log at most, so that it takes about as long whatever is asked.

    `upto` is the last position that is looked at.
    """
    ground = await _ground(reader, wanted, after, limit, newest_first=newest_first)
    if upto is not None:
        ground = ground.between(ground.low, upto)
    if wanted.words:
        return await _search(reader, wanted, ground, window)
    conditions = _conditions(wanted)
    return await _read(reader, ground, conditions, await leading(reader, "events", conditions, many), window)


@dataclass(frozen=True, slots=True)
class _Ground:
    """The stretch of the log that is looked at, both ends within, from which end, and how many rows are wanted."""

    low: int
    high: int
    limit: int
    newest_first: bool

    def between(self, low: int, high: int) -> "_Ground":
        return _Ground(max(self.low, low), min(self.high, high), self.limit, self.newest_first)

    def as_far_as(self, end: int) -> "_Ground":
        return self.between(end, self.high) if self.newest_first else self.between(self.low, end)

    def conditions(self, seq: LiteralString) -> Sequence[Condition]:
        return [Condition(seq + " >= ?", (self.low,)), Condition(seq + " <= ?", (self.high,))]


async def _ground(reader: Reader, wanted: Wanted, after: int | None, limit: int, *, newest_first: bool) -> _Ground:
    ((first,),) = await reader.fetch("SELECT min(seq) FROM events")
    low, high = await _bounds(reader, wanted)
    ground = _Ground(low, high, limit, newest_first).between(first or 0, await readable(reader) or -1)
    if after is None:
        return ground
    return ground.between(ground.low, after - 1) if newest_first else ground.between(after + 1, ground.high)


async def _read(
    reader: Reader, ground: _Ground, conditions: Sequence[Condition], lead: Lead, window: int,
    words: Sequence[Term] = (),
) -> Look:  # fmt: skip
    """By the index of the condition that leads, or along the log; texts are looked into one by one."""
    others = [item.aside() for item in conditions if item is not lead.condition]
    chosen = [lead.condition] if lead.condition else []
    end, order = None, lead.order("seq")
    if not lead.few and (others or words):
        end = await _end(reader, "events", order, ground, chosen, window)
    size = max(ground.limit, _TEXTS) if words else ground.limit
    inside = ground if end is None else ground.as_far_as(end)
    rows = await _rows(reader, "events", order, inside, [*chosen, *others], size)
    return _sifted(rows, words, ground.limit, full=len(rows) == size, end=end)


_TEXTS = 600
"""Texts that are looked into at once, where no index did before."""


async def _search(reader: Reader, wanted: Wanted, ground: _Ground, window: int) -> Look:
    """Where few rows are left by another filter, their texts are looked into; else by the index of texts, and what it
    does not have yet directly.
    """
    if not _may_be(TEXT_TYPE, wanted.types):
        return Look([])
    conditions = [*_conditions(replace(wanted, types=())), _OF_TEXTS]
    lead = await leading(reader, "events", conditions, _TEXTS)
    if lead.few:
        return await _read(reader, ground, conditions, lead, window, wanted.words)
    position = await search.position(reader)
    indexed, tail = ground.between(0, position), ground.between(position + 1, ground.high)
    found: list[Logged] = []
    for stretch in (tail, indexed) if ground.newest_first else (indexed, tail):
        if stretch.low > stretch.high:
            continue
        rest = _Ground(stretch.low, stretch.high, ground.limit - len(found), ground.newest_first)
        if stretch is tail:
            seen = await _read(reader, rest, conditions, Lead(), min(window, _TEXTS), wanted.words)
        else:
            seen = await _by_words(reader, rest, conditions, wanted.words, window)
        found += seen.rows
        if seen.upto is not None or len(found) >= ground.limit:
            return Look(found, seen.upto)
    return Look(found)


async def _by_words(
    reader: Reader, ground: _Ground, conditions: Sequence[Condition], words: Sequence[Term], window: int
) -> Look:
    texts = reader.texts
    matches = Condition(texts.matches, (texts.asked(words),))
    others = [item.aside() for item in conditions if item is not _OF_TEXTS]
    end = await _end(reader, "texts", texts.seq, ground, [matches], window) if others else None
    inside = ground if end is None else ground.as_far_as(end)
    table: LiteralString = "texts JOIN events ON events.seq = " + texts.seq
    size = max(ground.limit, _TEXTS) if texts.loose(words) else ground.limit
    both = inside.conditions(texts.joined) if texts.joined else []
    rows = await _rows(reader, table, texts.seq, inside, [matches, *others, *both], size)
    return _sifted(rows, words, ground.limit, full=len(rows) == size, end=end)


async def _end(
    reader: Reader, table: LiteralString, seq: LiteralString, ground: _Ground, chosen: Sequence[Condition], window: int
) -> int | None:
    """Where the window ends; None where all the ground lies in it. An index leads to rows all over the table, so it
    goes through half as many of them.
    """
    if not chosen:
        end = ground.high - window if ground.newest_first else ground.low + window
        return end if ground.low <= end <= ground.high else None
    where, values = together([*chosen, *ground.conditions(seq)])
    order: LiteralString = " DESC" if ground.newest_first else ""
    rows = await reader.fetch(
        "SELECT " + seq + " FROM " + table + where + " ORDER BY " + seq + order + " LIMIT 1 OFFSET ?",
        *values, window // 2 - 1,
    )  # fmt: skip
    return rows[0][0] if rows else None


async def _rows(
    reader: Reader,
    table: LiteralString,
    seq: LiteralString,
    ground: _Ground,
    conditions: Sequence[Condition],
    size: int,
) -> Sequence[Logged]:
    where, values = together([*conditions, *ground.conditions(seq)])
    order: LiteralString = " DESC LIMIT ?" if ground.newest_first else " LIMIT ?"
    sql: LiteralString = "SELECT events.seq, body FROM " + table + where + " ORDER BY " + seq + order
    return [Logged(number, body) for number, body in await reader.fetch(sql, *values, size)]


def _sifted(rows: Sequence[Logged], words: Sequence[Term], limit: int, *, full: bool, end: int | None) -> Look:
    """Of the rows those whose text has the words. Where there were as many as were asked for, there may be more."""
    kept = [row for row in rows if holds(words, search.text_of(row.body))] if words else rows
    if len(kept) >= limit:
        return Look(kept[:limit])
    return Look(kept, rows[-1].seq if full else end)


_UNIQUE = ("message_id", "vendor_message_id", "client_reference")

_OF_TEXTS = Condition("type = 'message.received'", ())


def _conditions(wanted: Wanted) -> list[Condition]:
    """Those that usually narrow down more come first."""
    found: list[Condition] = []
    for column in _UNIQUE:
        value = getattr(wanted, column)
        if value is not None:
            found.append(Condition(column + " = ?", (value,), column, rare=True, in_order=True))
    if wanted.status is not None:
        rare = wanted.status not in COMMON_STATUSES
        found.append(Condition("status = ?", (wanted.status,), "status", in_order=rare, walked="status" + IN_LOG))
    for column, asked in (("from_address", wanted.from_), ("to_address", wanted.to)):
        if asked is not None:
            found.append(pattern(column, asked))
    if wanted.source is not None:
        found.append(
            Condition("source_id = ?", (wanted.source,), "source_id", in_order=True, walked="source_id" + IN_LOG)
        )
    if wanted.vendor is not None:
        found.append(Condition(OF_VENDOR, (wanted.vendor,), "source_id"))
        found.append(Condition("vendor = ?", (wanted.vendor,)))
    found += _any_type(wanted.types)
    for sql, moment in (("accepted_at >= ?", wanted.since), ("accepted_at < ?", wanted.until)):
        if moment is not None:
            found.append(Condition("+" + sql, (moment,)))
    return found


OF_VENDOR: LiteralString = "source_id IN (SELECT id FROM sources WHERE vendor = ?)"


async def _bounds(reader: Reader, wanted: Wanted) -> tuple[int, int]:
    """Times as positions, wider by what these may differ. What bounds the ground is an event of outside that time, by
    more than that; of those within, any may be the first.
    """
    low, high = 0, _NOWHERE
    late = await lateness(reader) if wanted.since is not None or wanted.until is not None else 0
    if wanted.since is not None:
        rows = await reader.fetch(
            "SELECT seq FROM events WHERE accepted_at < ? ORDER BY accepted_at DESC LIMIT 1", wanted.since - late
        )
        low = rows[0][0] + 1 if rows else 0
    if wanted.until is not None:
        rows = await reader.fetch(
            "SELECT seq FROM events WHERE accepted_at >= ? ORDER BY accepted_at LIMIT 1", wanted.until + late
        )
        high = rows[0][0] - 1 if rows else _NOWHERE
    return low, high


_NOWHERE = 2**62


def _any_type(types: Sequence[str]) -> list[Condition]:
    """Messages are most of the log; of the other types there is an index."""
    if not types or "*" in types:
        return []
    choices = [pattern("type", name) for name in types]
    sql: LiteralString = "(" + " OR ".join([item.sql for item in choices]) + ")"
    values = [value for item in choices for value in item.values]
    if any(_may_be(name, types) for name in COMMON_TYPES):
        return [Condition(sql.replace("type", unindexed("type")), values)]
    one = len(types) == 1 and not types[0].endswith("*")
    rare: LiteralString = sql + " AND type NOT IN ('message.received', 'message.status')"
    return [Condition(rare, values, "type", in_order=one, walked="type" + IN_LOG)]


def _may_be(name: str, types: Sequence[str]) -> bool:
    """Whether the types that are asked for have that one among them."""
    return not types or any(fnmatchcase(name, asked) for asked in types)
