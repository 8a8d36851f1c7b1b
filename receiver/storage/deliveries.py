"""Deliveries: events owed to subscriptions, and the attempts to bring them.

waiting → sending → succeeded | retrying → sending … → dead | forbidden; held while the subscription is paused or
disabled; canceled when it is removed. `sending` means that the owner holds it in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from receiver.storage.database import Reader, Row, Transaction, Values

STATES = ("waiting", "sending", "retrying", "held", "succeeded", "dead", "forbidden", "canceled")

_OPEN: LiteralString = " AND state IN ('waiting', 'sending', 'retrying')"
_ENDED: LiteralString = " AND state IN ('held', 'dead', 'forbidden', 'canceled')"
_INDEXED: Mapping[str, LiteralString] = {
    **dict.fromkeys(("waiting", "sending", "retrying"), _OPEN),
    **dict.fromkeys(("held", "dead", "forbidden", "canceled"), _ENDED),
}
"""What a condition on a state must say besides, to be served by the partial index of such states."""

_COLUMNS: LiteralString = "id, subscription_id, event_id, state, attempts, next_at, created_at, updated_at"


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
    """What an attempt did to its delivery. `next_at` is set when `state` is retrying."""

    delivery_id: str
    subscription_id: str
    state: str
    next_at: int | None
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery leased to its lane. `attempts` is how many were made before."""

    delivery_id: str
    event_id: str
    attempts: int
    body: bytes


def insert(transaction: Transaction, rows: Sequence[Values]) -> None:
    """Rows in the order of the columns."""
    transaction.later(f"INSERT INTO deliveries ({_COLUMNS})", rows)


async def take(transaction: Transaction, subscription_id: str, limit: int, now: int) -> Sequence[Taken]:
    """Leases what is due, oldest due first."""
    rows = await transaction.fetch(
        """UPDATE deliveries SET state = 'sending', next_at = NULL, updated_at = ? WHERE id IN (
               SELECT id FROM deliveries
               WHERE subscription_id = ? AND state IN ('waiting', 'sending', 'retrying') AND next_at <= ?
               ORDER BY next_at, id LIMIT ?)
           RETURNING id, event_id, attempts""",
        now, subscription_id, now, limit,
    )  # fmt: skip
    if not rows:
        return []
    bodies: dict[str, str] = dict(
        await transaction.many(
            "WITH wanted (id) AS (",
            [(event_id,) for event_id in {row[1] for row in rows}],
            ") SELECT events.id, events.body FROM wanted JOIN events ON events.id = wanted.id",
        )
    )
    return [Taken(row[0], row[1], row[2], bodies[row[1]].encode()) for row in sorted(rows)]


def finish(transaction: Transaction, outcomes: Sequence[Finished], now: int) -> None:
    """Records attempts and what they did. A delivery that was canceled meanwhile stays so."""
    transaction.later(
        "WITH v (id, state, attempts, next_at, updated_at) AS (",
        [(item.delivery_id, item.state, item.attempt.number, item.next_at, now) for item in outcomes],
        """) UPDATE deliveries SET state = v.state, attempts = v.attempts, next_at = v.next_at,
                 updated_at = v.updated_at
             FROM v WHERE deliveries.id = v.id AND deliveries.state = 'sending'""",
    )
    transaction.later(
        "INSERT INTO attempts (delivery_id, number, started_at, duration_ms, status, error, detail, answer)",
        [
            (item.delivery_id, item.attempt.number, item.attempt.started_at, item.attempt.duration_ms,
             item.attempt.status, item.attempt.error, item.attempt.detail, item.attempt.answer)
            for item in outcomes
        ],
        "ON CONFLICT (delivery_id, number) DO NOTHING",
    )  # fmt: skip


async def release(transaction: Transaction, delivery_ids: Sequence[str], state: str, now: int) -> None:
    """Gives leased deliveries back unsent: `waiting` to be taken again, `held` when their subscription stopped."""
    await transaction.many(
        "WITH v (id, state, next_at, updated_at) AS (",
        [(item, state, now if state == "waiting" else None, now) for item in delivery_ids],
        """) UPDATE deliveries SET state = v.state, next_at = v.next_at, updated_at = v.updated_at
             FROM v WHERE deliveries.id = v.id AND deliveries.state = 'sending'""",
    )


async def void_leases(transaction: Transaction, now: int) -> int:
    """At the owner's start: whatever an earlier process was sending waits again. Returns how many."""
    rows = await transaction.fetch(
        """UPDATE deliveries SET state = CASE WHEN attempts = 0 THEN 'waiting' ELSE 'retrying' END, next_at = ?
           WHERE state = 'sending' RETURNING 1""",
        now,
    )
    return len(rows)


async def due(reader: Reader) -> Mapping[str, int]:
    """For each subscription with deliveries in store, when the first of them is due."""
    rows = await reader.fetch(
        """SELECT subscription_id, min(next_at) FROM deliveries
           WHERE state IN ('waiting', 'sending', 'retrying') AND next_at IS NOT NULL GROUP BY subscription_id"""
    )
    return {row[0]: row[1] for row in rows}


async def next_due(reader: Reader, subscription_id: str) -> int | None:
    """When the first delivery of that subscription that waits in store is to be sent."""
    ((due_at,),) = await reader.fetch(
        """SELECT min(next_at) FROM deliveries
           WHERE subscription_id = ? AND state IN ('waiting', 'sending', 'retrying') AND next_at IS NOT NULL""",
        subscription_id,
    )
    return None if due_at is None else int(due_at)


async def retry(transaction: Transaction, delivery_id: str, now: int) -> Delivery | None:
    """Makes a delivery due at once, whatever its state, unless it is being sent; None when there is none."""
    await transaction.fetch(
        """UPDATE deliveries SET state = CASE WHEN attempts = 0 THEN 'waiting' ELSE 'retrying' END, next_at = ?,
               updated_at = ?
           WHERE id = ? AND state NOT IN ('sending', 'canceled')""",
        now, now, delivery_id,
    )  # fmt: skip
    return await get(transaction, delivery_id)


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
    sql: LiteralString = f"SELECT {_COLUMNS} FROM deliveries WHERE id < ?"
    values: list[str | int] = [before or "~"]
    if subscription is not None:
        sql += " AND subscription_id = ?"
        values.append(subscription)
    if event is not None:
        sql += " AND event_id = ?"
        values.append(event)
    if state is not None:
        sql += " AND state = ?" + _INDEXED.get(state, "")
        values.append(state)
    rows = await reader.fetch(sql + " ORDER BY id DESC LIMIT ?", *values, limit)
    return [_row(row) for row in rows]


def _row(row: Row) -> Delivery:
    identifier, subscription_id, event_id, state, made, next_at, created_at, updated_at = row
    return Delivery(
        id=identifier,
        subscription_id=subscription_id,
        event_id=event_id,
        state=state,
        attempts=made,
        next_at=next_at,
        created_at=created_at,
        updated_at=updated_at,
    )
