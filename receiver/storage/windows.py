"""Windows of the log and of deliveries: what a job looks at in one step, and how far it has to go.

`span` and `owed` may read for a while, outside of any write; the others are bounded and belong to a step's transaction.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString, NamedTuple

from receiver.storage.database import Reader, Transaction
from receiver.storage.events import readable

Pair = tuple[str, str]
"""An event's id and a subscription's."""

_EVENT: LiteralString = "events.seq, events.id, events.type, events.accepted_at, events.message_id, events.body"


class Event(NamedTuple):
    """`body` is its JSON."""

    seq: int
    id: str
    type: str
    accepted_at: int
    message_id: str | None
    body: str


class Standing(NamedTuple):
    """A delivery as a job finds it; `opened_at` is when it was made, or opened again."""

    id: str
    event_id: str
    state: str
    opened_at: int


class Span(NamedTuple):
    """The first and the last of some events; nothing is between them where `last` is before `first`."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return max(0, self.last - self.first + 1)


_STANDING: LiteralString = (
    "deliveries.id, deliveries.event_id, deliveries.state, coalesce(deliveries.reopened_at, deliveries.created_at)"
)


async def span(reader: Reader, since: int | None = None, until: int | None = None) -> Span:
    """Where in the log the events are that were accepted in that time, all of them where it is not given.

    The clock may have been set while they came, so nothing less than all of that time tells for sure.
    """
    if since is None and until is None:
        rows = await reader.fetch("SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)")
    else:
        rows = await reader.fetch(
            "SELECT min(seq), max(seq) FROM events WHERE accepted_at >= ? AND accepted_at < ?",
            since if since is not None else -(1 << 63), until if until is not None else (1 << 63) - 1,
        )  # fmt: skip
    first, last = rows[0]
    return Span(1, 0) if first is None else Span(first, last)


async def owed(reader: Reader, subscription_id: str, first: int | None = None) -> tuple[str, str, int]:
    """Behind which of a subscription's deliveries, and up to which, those are that were made for the event at `first`
    or later ones, and how many. A delivery is given its id after its event's.
    """
    behind = ""
    if first is not None:
        rows = await reader.fetch("SELECT id FROM events WHERE seq = ?", first)
        behind = "dlv_" + rows[0][0].partition("_")[2]
    ((last, count),) = await reader.fetch(
        "SELECT max(id), count(*) FROM deliveries WHERE subscription_id = ? AND id > ?", subscription_id, behind
    )
    return behind, last or behind, count


async def events_behind(transaction: Transaction, seq: int, last: int | None, limit: int) -> Sequence[Event]:
    """In the order of the log, as far as it is complete."""
    complete = await readable(transaction)
    rows = await transaction.fetch(
        f"SELECT {_EVENT} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        seq, complete if last is None else min(last, complete), limit,
    )  # fmt: skip
    return [Event(*row) for row in rows]


async def any_behind(transaction: Transaction, seq: int) -> bool:
    """Whether there is any event behind that place, be the log complete up to it or not: a process whose transaction is
    over may be about to let go of its last lock.
    """
    return bool(await transaction.fetch("SELECT 1 FROM events WHERE seq > ? LIMIT 1", seq))


async def events_of(transaction: Transaction, event_ids: Sequence[str]) -> Mapping[str, Event]:
    rows = await transaction.many(
        "WITH wanted (id) AS (",
        [(item,) for item in event_ids],
        f") SELECT {_EVENT} FROM wanted JOIN events ON events.id = wanted.id",
    )
    return {row[1]: Event(*row) for row in rows}


async def deliveries_behind(
    transaction: Transaction, subscription_id: str, behind: str, last: str, limit: int
) -> Sequence[Standing]:
    """A subscription's, in the order in which they were made."""
    rows = await transaction.fetch(
        f"SELECT {_STANDING} FROM deliveries WHERE subscription_id = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",
        subscription_id, behind, last, limit,
    )  # fmt: skip
    return [Standing(*row) for row in rows]


async def standing(transaction: Transaction, pairs: Sequence[Pair]) -> Mapping[Pair, Standing]:
    """The deliveries that are there."""
    rows = await transaction.many(
        "WITH wanted (event_id, subscription_id) AS (",
        pairs,
        f""") SELECT deliveries.subscription_id, {_STANDING} FROM wanted JOIN deliveries
              ON deliveries.event_id = wanted.event_id AND deliveries.subscription_id = wanted.subscription_id""",
    )
    return {(row[2], row[0]): Standing(*row[1:]) for row in rows}
