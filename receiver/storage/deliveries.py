"""Deliveries: events owed to subscriptions, and the attempts to bring them.

waiting → sending → succeeded | retrying → sending … → dead | forbidden; held while the subscription is paused or
disabled; canceled when it is removed. `sending` means that a process holds it in memory (`leased_by`, see `processes`),
`queued` that it stands behind another one of its conversation (see `conversations`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, LiteralString

from receiver.delivery.health import DisabledBy
from receiver.storage import conversations
from receiver.storage.conversations import Pair
from receiver.storage.database import Reader, Row, Transaction, Values, locking, skipping
from receiver.storage.pages import newest_first
from receiver.storage.subscriptions import Subscription

STATES = ("queued", "waiting", "sending", "retrying", "held", "succeeded", "dead", "forbidden", "canceled")

URGENT: Final = "contact.opted_out"
"""Whoever said STOP must not wait behind a backlog."""

_OPEN: LiteralString = " AND state IN ('queued', 'waiting', 'sending', 'retrying')"
_ENDED: LiteralString = " AND state IN ('held', 'dead', 'forbidden', 'canceled')"
_INDEXED: Mapping[str, LiteralString] = {
    **dict.fromkeys(("queued", "waiting", "sending", "retrying"), _OPEN),
    **dict.fromkeys(("held", "dead", "forbidden", "canceled"), _ENDED),
}
"""What a condition on a state must say besides, to be served by the partial index of such states."""

_COLUMNS: LiteralString = (
    "id, subscription_id, event_id, state, attempts, next_at, created_at, updated_at, conversation, missed"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    id: str
    subscription_id: str
    event_id: str
    state: str
    attempts: int
    next_at: int | None
    created_at: int
    updated_at: int
    conversation: str | None
    missed: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP try. `error` is a word of interface.md, None when the answer was 2xx; `answer` its first 4 KiB."""

    number: int
    started_at: int
    duration_ms: int
    status: int | None
    error: str | None
    detail: str | None
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What an attempt did to its delivery. `next_at` is set when `state` is retrying, `after` how long after the commit
    that is (microseconds); `disable` when the subscriber wants no more; `holder` is who the delivery was leased to when
    the attempt was made.
    """

    delivery_id: str
    subscription_id: str
    state: str
    next_at: int | None
    attempt: Attempt
    after: int | None = None
    conversation: str | None = None
    disable: DisabledBy | None = None
    holder: int = 0


@dataclass(slots=True)
class Leased:
    """A delivery in the memory of the process that is to send it.

    opened_at   when it was made, or opened again (unix microseconds)
    attempts    how many were made before; `tries` of them since it was opened
    missed      events of its conversation that were given up right before it, apart by commas
    urgent      an opt-out on its first way: it waits for nothing but its turn
    holder      the number of the process
    """

    delivery_id: str
    subscription_id: str
    event_id: str
    body: bytes
    opened_at: int
    attempts: int = 0
    tries: int = 0
    conversation: str | None = None
    missed: str | None = None
    urgent: bool = False
    holder: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """When the first of a subscription's deliveries in store is to be sent, by whether it was tried before."""

    fresh: int | None = None
    retried: int | None = None


_LEASED: LiteralString = (
    "deliveries.id, deliveries.subscription_id, deliveries.event_id, deliveries.attempts, deliveries.attempts_before, "
    "coalesce(deliveries.reopened_at, deliveries.created_at), deliveries.conversation, deliveries.missed"
)


_FIRST: LiteralString = f"""(SELECT next_at FROM deliveries
    WHERE subscription_id = %s AND state = '%s'{_OPEN} AND next_at IS NOT NULL ORDER BY next_at LIMIT 1)"""

_RANK: LiteralString = f"""CASE WHEN attempts = 0 AND conversation IS NULL
    AND EXISTS (SELECT 1 FROM events WHERE events.id = event_id AND events.type = '{URGENT}') THEN 0
    ELSE created_at END"""
"""What goes back to the store unsent is due again, where it was in the row: by its age, opt-outs first of all."""


def insert(transaction: Transaction, rows: Sequence[Values], holder: int = 0) -> None:
    """Rows in the order of the columns; those that are `sending` are leased to `holder`."""
    transaction.later(f"INSERT INTO deliveries ({_COLUMNS}, leased_by)", [(*row, holder) for row in rows])


async def take(
    transaction: Transaction, subscription_id: str, *, fresh: int, retried: int, now: int, holder: int = 0
) -> Sequence[Leased]:
    """Leases what is due, oldest due first: so many that were never tried, and so many that were."""
    rows = [
        *await _lease(transaction, subscription_id, "waiting", fresh, now, holder),
        *await _lease(transaction, subscription_id, "retrying", retried, now, holder),
    ]
    return await _with_bodies(transaction, rows, holder)


async def _lease(
    transaction: Transaction, subscription_id: str, state: str, limit: int, now: int, holder: int
) -> Sequence[Row]:
    if limit <= 0:
        return []
    rows = await transaction.fetch(
        f"""WITH due (id) AS (SELECT id FROM deliveries
                WHERE subscription_id = ? AND state = ?{_OPEN} AND next_at <= ? ORDER BY next_at, id LIMIT ?
                {skipping(transaction)})
            UPDATE deliveries SET state = 'sending', next_at = NULL, updated_at = ?, leased_by = ?
            WHERE id IN (SELECT id FROM due) RETURNING {_LEASED}""",
        subscription_id, state, now, limit, now, holder,
    )  # fmt: skip
    return sorted(rows)


async def advance(transaction: Transaction, pairs: Sequence[Pair], now: int, holder: int = 0) -> Sequence[Leased]:
    """Leases the next delivery of each conversation in which none is under way."""
    rows = await conversations.lease_next(transaction, pairs, _LEASED, now, holder)
    return await _with_bodies(transaction, rows, holder)


async def _with_bodies(transaction: Transaction, rows: Sequence[Row], holder: int) -> Sequence[Leased]:
    if not rows:
        return []
    found = await transaction.many(
        "WITH wanted (id) AS (",
        [(event_id,) for event_id in {row[2] for row in rows}],
        ") SELECT events.id, events.body, events.type FROM wanted JOIN events ON events.id = wanted.id",
    )
    events: dict[str, tuple[str, str]] = {event_id: (body, kind) for event_id, body, kind in found}
    return [_leased(row, *events[row[2]], holder) for row in rows]


def _leased(row: Row, body: str, event_type: str, holder: int) -> Leased:
    identifier, subscription_id, event_id, made, before, opened_at, conversation, missed = row
    return Leased(
        identifier, subscription_id, event_id, body.encode(), opened_at, made, made - before, conversation, missed,
        urgent=event_type == URGENT and not made and conversation is None, holder=holder,
    )  # fmt: skip


def finish(transaction: Transaction, outcomes: Sequence[Finished], now: int) -> None:
    """Records attempts and what they did. A delivery that was canceled meanwhile stays so, and of an attempt that is
    told of twice the first telling stands. Nothing is recorded of a delivery whose lease was over: it is its next
    holder's.
    """
    transaction.later(
        "WITH v (id, state, attempts, next_at, updated_at, leased_by) AS (",
        [(item.delivery_id, item.state, item.attempt.number, item.next_at, now, item.holder) for item in outcomes],
        """) UPDATE deliveries SET state = v.state, attempts = v.attempts, next_at = v.next_at,
                 updated_at = v.updated_at
             FROM v WHERE deliveries.id = v.id AND deliveries.state = 'sending'
                 AND deliveries.attempts < v.attempts AND deliveries.leased_by = v.leased_by""",
    )
    transaction.later(
        "WITH v (delivery_id, number, started_at, duration_ms, status, error, detail, answer, leased_by) AS (",
        [
            (item.delivery_id, item.attempt.number, item.attempt.started_at, item.attempt.duration_ms,
             item.attempt.status, item.attempt.error, item.attempt.detail, item.attempt.answer, item.holder)
            for item in outcomes
        ],
        """) INSERT INTO attempts (delivery_id, number, started_at, duration_ms, status, error, detail, answer)
             SELECT v.delivery_id, v.number, v.started_at, v.duration_ms, CAST(v.status AS BIGINT), v.error, v.detail,
                 v.answer
             FROM v JOIN deliveries ON deliveries.id = v.delivery_id WHERE deliveries.leased_by = v.leased_by
             ON CONFLICT (delivery_id, number) DO NOTHING""",
    )  # fmt: skip


async def release(transaction: Transaction, delivery_ids: Sequence[str], state: str, now: int, holder: int = 0) -> None:
    """Gives leased deliveries back unsent: `waiting` to be taken again, `held` when their subscription stopped."""
    await transaction.many(
        "WITH v (id, state, next_at, updated_at) AS (",
        [(item, state, now, now) for item in delivery_ids],
        f""") UPDATE deliveries SET updated_at = v.updated_at,
                 next_at = CASE WHEN v.state <> 'waiting' THEN NULL WHEN {_RANK} < v.next_at THEN {_RANK}
                     ELSE v.next_at END,
                 state = CASE WHEN v.state = 'waiting' AND attempts > 0 THEN 'retrying' ELSE v.state END
             FROM v WHERE deliveries.id = v.id AND deliveries.state = 'sending' AND deliveries.leased_by = ?""",
        holder,
    )


async def held_by(transaction: Transaction, holder: int, before: int) -> Sequence[str]:
    """What a process was leased before that time and has not ended, by their ids."""
    rows = await transaction.fetch(
        f"SELECT id FROM deliveries WHERE state = 'sending'{_OPEN} AND leased_by = ? AND updated_at < ?", holder, before
    )
    return [row[0] for row in rows]


async def void_leases(transaction: Transaction, now: int, most: int = 2**62) -> int:
    """Whatever processes were sending that are no more waits again, `most` of it. Returns how many."""
    rows = await transaction.fetch(
        f"""WITH v (id) AS (SELECT id FROM deliveries WHERE state = 'sending'{_OPEN} AND (leased_by IS NULL OR
                leased_by NOT IN (SELECT number FROM processes WHERE alive_until >= 0)) LIMIT ?{locking(transaction)})
            UPDATE deliveries SET state = CASE WHEN attempts = 0 THEN 'waiting' ELSE 'retrying' END,
                next_at = CASE WHEN {_RANK} < ? THEN {_RANK} ELSE ? END, leased_by = NULL
            WHERE id IN (SELECT id FROM v) RETURNING 1""", most, now, now,
    )  # fmt: skip
    return len(rows)


async def shift(transaction: Transaction, micros: int, now: int) -> None:
    """The clock was set back: what is due later than `now` keeps its distance."""
    await transaction.fetch(
        """UPDATE deliveries SET next_at = CASE WHEN next_at + ? > ? THEN next_at + ? ELSE ? END,
               updated_at = CASE WHEN updated_at < ? THEN updated_at ELSE ? END
           WHERE state IN ('queued', 'waiting', 'sending', 'retrying') AND next_at > ?""",
        micros, now, micros, now, now, now, now,
    )  # fmt: skip


async def rewind(transaction: Transaction, now: int) -> None:
    """At the owner's start: where the clock was set back since, what is due later keeps its distance from then."""
    await transaction.fetch(
        """UPDATE deliveries SET updated_at = ?,
               next_at = CASE WHEN next_at > updated_at THEN ? + next_at - updated_at ELSE ? END
           WHERE state IN ('queued', 'waiting', 'sending', 'retrying') AND next_at > ? AND updated_at > ?""",
        now, now, now, now, now,
    )  # fmt: skip


async def due(reader: Reader, subscription_id: str | None = None) -> Mapping[str, Due]:
    """When the first deliveries in store are due, of every subscription that has any, or of one."""
    if subscription_id is not None:
        one = await _due(reader, subscription_id)
        return {subscription_id: one} if one != Due() else {}
    rows = await reader.fetch(
        """SELECT subscription_id, state, min(next_at) FROM deliveries
           WHERE state IN ('queued', 'waiting', 'sending', 'retrying') AND state IN ('waiting', 'retrying')
           GROUP BY subscription_id, state"""
    )
    found: dict[str, Due] = {}
    for identifier, state, moment in rows:
        before = found.get(identifier, Due())
        found[identifier] = replace(before, fresh=moment) if state == "waiting" else replace(before, retried=moment)
    return found


async def dues(transaction: Transaction, subscription_ids: Sequence[str]) -> Mapping[str, Due]:
    """`due` of some subscriptions, of those that have any."""
    rows = await transaction.many(
        "WITH w (id) AS (",
        [(item,) for item in subscription_ids],
        f") SELECT w.id, {_FIRST % ('w.id', 'waiting')}, {_FIRST % ('w.id', 'retrying')} FROM w",
    )
    return {row[0]: Due(row[1], row[2]) for row in rows if row[1] is not None or row[2] is not None}


async def _due(reader: Reader, subscription_id: str) -> Due:
    """Two looks at the start of the index, however long the backlog is."""
    ((fresh, retried),) = await reader.fetch(
        f"SELECT {_FIRST % ('?', 'waiting')}, {_FIRST % ('?', 'retrying')}", subscription_id, subscription_id
    )
    return Due(fresh, retried)


async def reopen(transaction: Transaction, delivery_ids: Sequence[str], now: int) -> int:
    """Makes deliveries due at once with the whole schedule before them, whatever became of them before; not those
    that are being sent, stand behind another, or were canceled. Returns how many.
    """
    rows = await transaction.many(
        "WITH v (id, now) AS (",
        [(item, now) for item in delivery_ids],
        """) UPDATE deliveries SET next_at = CASE WHEN conversation IS NULL THEN v.now END,
                 state = CASE WHEN conversation IS NOT NULL THEN 'queued'
                     WHEN attempts = 0 THEN 'waiting' ELSE 'retrying' END,
                 attempts_before = attempts, reopened_at = v.now, updated_at = v.now
             FROM v WHERE deliveries.id = v.id AND state NOT IN ('queued', 'sending', 'canceled')
             RETURNING deliveries.subscription_id, deliveries.conversation""",
    )
    await conversations.appoint(transaction, _pairs(rows), now)
    return len(rows)


async def owe(
    transaction: Transaction, subscription: Subscription, items: Sequence[tuple[str, str, str | None]], now: int
) -> int:
    """Deliveries of events that a subscription is to get besides those that the intake made: (id, event, its
    conversation). An event that it is owed already, or was sent, is passed over. Returns how many were made.
    """
    active, ordered = subscription.state == "active", subscription.ordered is not None
    rows = []
    for delivery_id, event_id, conversation in items:
        key = conversation if ordered else None
        state = "held" if not active else "waiting" if key is None else "queued"
        next_at = now if state == "waiting" else None
        rows.append((delivery_id, subscription.id, event_id, state, 0, next_at, now, now, key, None))
    made = await transaction.many(
        f"INSERT INTO deliveries ({_COLUMNS})",
        rows,
        "ON CONFLICT (event_id, subscription_id) DO NOTHING RETURNING subscription_id, conversation",
    )
    if active:
        await conversations.appoint(transaction, _pairs(made), now)
    return len(made)


def _pairs(rows: Sequence[Row]) -> Sequence[Pair]:
    return sorted({(row[0], row[1]) for row in rows if row[1] is not None})


async def get(reader: Reader, delivery_id: str) -> Delivery | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM deliveries WHERE id = ?", delivery_id)
    return _row(rows[0]) if rows else None


async def attempts(reader: Reader, delivery_id: str) -> Sequence[Attempt]:
    """Oldest first."""
    rows = await reader.fetch(
        """SELECT number, started_at, duration_ms, status, error, detail, answer FROM attempts
           WHERE delivery_id = ? ORDER BY number""",
        delivery_id,
    )
    return [
        Attempt(number=number, started_at=started_at, duration_ms=duration_ms, status=status, error=error,
                detail=detail, answer=answer)
        for number, started_at, duration_ms, status, error, detail, answer in rows
    ]  # fmt: skip


async def page(
    reader: Reader,
    *,
    subscription: str | None = None,
    event: str | None = None,
    state: str | None = None,
    before: str | None = None,
    limit: int,
) -> Sequence[Delivery]:
    """Newest first, from behind `before`."""
    of_state: LiteralString = "state = ?" + _INDEXED.get(state or "", "")
    rows = await newest_first(
        reader, f"SELECT {_COLUMNS} FROM deliveries",
        {"subscription_id = ?": subscription, "event_id = ?": event, of_state: state},
        before=before, limit=limit,
    )  # fmt: skip
    return [_row(row) for row in rows]


def _row(row: Row) -> Delivery:
    identifier, subscription_id, event_id, state, made, next_at, created_at, updated_at, conversation, missed = row
    return Delivery(
        id=identifier,
        subscription_id=subscription_id,
        event_id=event_id,
        state=state,
        attempts=made,
        next_at=next_at,
        created_at=created_at,
        updated_at=updated_at,
        conversation=conversation,
        missed=missed,
    )
