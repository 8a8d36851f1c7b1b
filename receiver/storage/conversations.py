"""The order of deliveries within a conversation, for subscriptions that asked for it.

Of each conversation one delivery at most is under way: waiting, sending or retrying. The others are `queued`, and the
one with the least event id follows when it has ended, for better or worse. Event ids grow in the order of the log.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString

from receiver.storage.database import Row, Transaction

Pair = tuple[str, str]
"""A subscription's id and a conversation's key."""

_MISSED_MOST = 10

_THE_PAIR: LiteralString = "d.subscription_id = w.subscription_id AND d.conversation = w.conversation"


async def busy(transaction: Transaction, pairs: Sequence[Pair]) -> set[Pair]:
    """The conversations in which a delivery is still to be made; a new one has to stand behind it.

    Here and where the next one is chosen conversations are locked: of two processes the second sees what the first did.
    """
    await transaction.lock(map(" ".join, pairs))
    rows = await transaction.many(
        "WITH w (subscription_id, conversation) AS (",
        pairs,
        f""") SELECT w.subscription_id, w.conversation FROM w WHERE EXISTS (SELECT 1 FROM deliveries AS d
              WHERE {_THE_PAIR} AND d.state IN ('queued', 'waiting', 'sending', 'retrying'))""",
    )
    return {(row[0], row[1]) for row in rows}


async def missed(transaction: Transaction, pairs: Sequence[Pair]) -> Mapping[Pair, str]:
    """Events given up since the last one that arrived, oldest first, apart by commas, the last ten at most.

    Only conversations that miss any are named.
    """
    return {pair: _named(events) for pair, events in (await _given_up(transaction, pairs)).items()}


async def _given_up(transaction: Transaction, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[str]]:
    rows = await transaction.many(
        "WITH w (subscription_id, conversation) AS (",
        pairs,
        f""") SELECT w.subscription_id, w.conversation, d.event_id FROM w JOIN deliveries AS d
              ON {_THE_PAIR} AND d.state IN ('dead', 'forbidden')
              WHERE d.event_id > coalesce((SELECT max(s.event_id) FROM deliveries AS s
                  WHERE s.subscription_id = w.subscription_id AND s.conversation = w.conversation
                      AND s.state = 'succeeded'), '')""",
    )
    found: dict[Pair, list[str]] = {}
    for subscription_id, conversation, event_id in sorted(rows):
        found.setdefault((subscription_id, conversation), []).append(event_id)
    return found


def _named(events: Sequence[str]) -> str:
    return ",".join(events[-_MISSED_MOST:])


async def lease_next(
    transaction: Transaction, pairs: Sequence[Pair], columns: LiteralString, now: int, holder: int
) -> Sequence[Row]:
    """The next delivery of each conversation in which none is under way is leased to `holder`; their `columns`."""
    chosen = await _chosen(transaction, pairs)
    if not chosen:
        return []
    return sorted(
        await transaction.many(
            "WITH v (subscription_id, conversation, chosen, missed, now) AS (",
            [(*item, now) for item in chosen],
            f""") UPDATE deliveries SET state = 'sending', next_at = NULL, updated_at = v.now, missed = v.missed,
                      leased_by = ?
                  FROM v WHERE deliveries.event_id = v.chosen AND deliveries.subscription_id = v.subscription_id
                  RETURNING {columns}""",
            holder,
        )
    )


async def appoint(transaction: Transaction, pairs: Sequence[Pair], now: int) -> None:
    """The next delivery of each conversation in which none is under way is due now."""
    chosen = await _chosen(transaction, pairs)
    if chosen:
        await transaction.many(
            "WITH v (subscription_id, conversation, chosen, missed, now) AS (",
            [(*item, now) for item in chosen],
            """) UPDATE deliveries AS d SET state = CASE WHEN d.attempts = 0 THEN 'waiting' ELSE 'retrying' END,
                     next_at = v.now, updated_at = v.now, missed = v.missed
                 FROM v WHERE d.event_id = v.chosen AND d.subscription_id = v.subscription_id""",
        )


async def disband(transaction: Transaction, subscription_id: str, now: int) -> None:
    """The subscription no longer wants order: what stood behind another is due now."""
    await transaction.fetch(
        """UPDATE deliveries SET state = CASE WHEN attempts = 0 THEN 'waiting' ELSE 'retrying' END, next_at = ?,
               conversation = NULL, updated_at = ?
           WHERE subscription_id = ? AND state = 'queued'""",
        now, now, subscription_id,
    )  # fmt: skip


async def _chosen(transaction: Transaction, pairs: Sequence[Pair]) -> Sequence[tuple[str, str, str, str | None]]:
    """(subscription, conversation, event that is next, what was missed before it)."""
    if not pairs:
        return []
    await transaction.lock(map(" ".join, pairs))
    rows = await transaction.many(
        "WITH w (subscription_id, conversation) AS (",
        pairs,
        f"""), n AS (SELECT w.subscription_id, w.conversation, (SELECT min(d.event_id) FROM deliveries AS d
                  WHERE {_THE_PAIR} AND d.state = 'queued') AS chosen FROM w)
              SELECT w.subscription_id, w.conversation, w.chosen
              FROM n AS w WHERE w.chosen IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deliveries AS d
                  WHERE {_THE_PAIR} AND d.state IN ('waiting', 'sending', 'retrying'))""",
    )
    if not rows:
        return []
    given_up = await _given_up(transaction, [(row[0], row[1]) for row in rows])
    return [
        (subscription_id, key, chosen, _named(_before(chosen, given_up.get((subscription_id, key), ()))) or None)
        for subscription_id, key, chosen in rows
    ]


def _before(chosen: str, events: Sequence[str]) -> Sequence[str]:
    """One that was opened again may be older than others that were given up."""
    return [event_id for event_id in events if event_id < chosen]
