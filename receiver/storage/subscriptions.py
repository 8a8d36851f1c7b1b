"""Subscriptions: registered URLs with what they want, their secrets and their state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, LiteralString

import orjson

from receiver.sms.matching import Filter, Matcher, compile_matcher
from receiver.storage.database import Reader, Row, Transaction
from receiver.storage.sources import changed

SubscriptionState = Literal["active", "paused", "disabled"]

_COLUMNS: LiteralString = (
    "id, url, types, filter, format, secrets, headers, max_concurrency, retry_schedule, state, description, "
    "created_at, updated_at, last_success_at"
)


@dataclass(frozen=True, slots=True)
class Secret:
    """`value` is `whsec_…`; an old one signs beside the new until it expires (unix microseconds)."""

    value: str
    expires_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """`retry_schedule`: delays in seconds after each failure, None for the settings' own."""

    id: str
    url: str
    types: Sequence[str]
    filter: Filter | None
    format: str
    secrets: Sequence[Secret]
    headers: Mapping[str, str] = field(default_factory=dict)
    max_concurrency: int
    retry_schedule: Sequence[float] | None
    state: SubscriptionState
    description: str | None
    created_at: int
    updated_at: int
    last_success_at: int | None = None

    @cached_property
    def matcher(self) -> Matcher:
        return compile_matcher(self.types, self.filter)

    @cached_property
    def _typed(self) -> Matcher:
        return compile_matcher(self.types, None)

    def may_want(self, event_type: str) -> bool:
        """Whether its `types` name the type; the matcher looks at the rest."""
        return self._typed(event_type, {})

    def signing_secrets(self, now: int) -> Sequence[str]:
        return [item.value for item in self.secrets if item.expires_at is None or item.expires_at > now]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    waiting: int
    oldest_waiting_at: int | None


async def active(reader: Reader) -> Sequence[Subscription]:
    """Every subscription that was not removed, whatever its state."""
    return [_row(row) for row in await reader.fetch(f"SELECT {_COLUMNS} FROM subscriptions WHERE removed_at IS NULL")]


async def page(reader: Reader, *, url: str | None, before: str | None, limit: int) -> Sequence[Subscription]:
    """Newest first, from behind `before`; only those of `url` where it is given."""
    sql: LiteralString = f"SELECT {_COLUMNS} FROM subscriptions WHERE removed_at IS NULL AND id < ?"
    values: list[str | int] = [before or "~"]
    if url is not None:
        sql += " AND url = ?"
        values.append(url)
    rows = await reader.fetch(sql + " ORDER BY id DESC LIMIT ?", *values, limit)
    return [_row(row) for row in rows]


async def get(reader: Reader, subscription_id: str) -> Subscription | None:
    rows = await reader.fetch(
        f"SELECT {_COLUMNS} FROM subscriptions WHERE id = ? AND removed_at IS NULL", subscription_id
    )
    return _row(rows[0]) if rows else None


async def count(reader: Reader) -> int:
    ((number,),) = await reader.fetch("SELECT count(*) FROM subscriptions WHERE removed_at IS NULL")
    return int(number)


async def backlog(reader: Reader, subscription_id: str) -> Backlog:
    """How many deliveries it is still owed, and since when the oldest of them waits."""
    ((waiting, oldest),) = await reader.fetch(
        """SELECT count(*), min(created_at) FROM deliveries
           WHERE subscription_id = ? AND state IN ('waiting', 'sending', 'retrying')""",
        subscription_id,
    )
    return Backlog(waiting=waiting, oldest_waiting_at=oldest)


async def backlogs(reader: Reader, subscription_ids: Sequence[str]) -> Mapping[str, Backlog]:
    """What each is still owed; those that are owed nothing are left out. Ids sort by time: the least is the oldest."""
    if not subscription_ids:
        return {}
    marks = ", ".join(["?"] * len(subscription_ids))
    rows = await reader.fetch(
        f"""SELECT owed.subscription_id, owed.waiting, deliveries.created_at
            FROM (SELECT subscription_id, count(*) AS waiting, min(id) AS oldest FROM deliveries
                  WHERE subscription_id IN ({marks}) AND state IN ('waiting', 'sending', 'retrying')
                  GROUP BY subscription_id) AS owed
            JOIN deliveries ON deliveries.id = owed.oldest""",
        *subscription_ids,
    )
    return {row[0]: Backlog(waiting=row[1], oldest_waiting_at=row[2]) for row in rows}


async def known(reader: Reader, subscription_id: str) -> bool:
    """Whether there is, or ever was, a subscription of that id."""
    return bool(await reader.fetch("SELECT 1 FROM subscriptions WHERE id = ?", subscription_id))


async def save(transaction: Transaction, item: Subscription) -> None:
    """Makes the subscription or replaces it."""
    await transaction.fetch(
        """INSERT INTO subscriptions (id, url, types, filter, format, secrets, headers, max_concurrency,
               retry_schedule, state, description, created_at, updated_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET url = excluded.url, types = excluded.types, filter = excluded.filter,
               format = excluded.format, secrets = excluded.secrets, headers = excluded.headers,
               max_concurrency = excluded.max_concurrency, retry_schedule = excluded.retry_schedule,
               state = excluded.state, description = excluded.description, updated_at = excluded.updated_at""",
        item.id, item.url, _json(list(item.types)),
        item.filter.model_dump_json(by_alias=True) if item.filter else None, item.format,
        _json([{"value": secret.value, "expires_at": secret.expires_at} for secret in item.secrets]),
        _json(dict(item.headers)), item.max_concurrency,
        _json(list(item.retry_schedule)) if item.retry_schedule is not None else None, item.state, item.description,
        item.created_at, item.updated_at,
    )  # fmt: skip
    await changed(transaction, item.updated_at)


async def remove(transaction: Transaction, subscription_id: str, now: int) -> bool:
    """Nothing more is sent to it; what it was still owed is `canceled`. False when there is no such one."""
    rows = await transaction.fetch(
        "UPDATE subscriptions SET removed_at = ?, secrets = '[]', headers = '{}' "
        "WHERE id = ? AND removed_at IS NULL RETURNING id",
        now, subscription_id,
    )  # fmt: skip
    if not rows:
        return False
    await transaction.fetch(
        """UPDATE deliveries SET state = 'canceled', next_at = NULL, updated_at = ?
           WHERE subscription_id = ? AND state IN ('waiting', 'sending', 'retrying', 'held')""",
        now, subscription_id,
    )  # fmt: skip
    await changed(transaction, now)
    return True


async def disable(transaction: Transaction, subscription_id: str, now: int) -> None:
    """Deliveries go on being recorded, as `held`."""
    await transaction.fetch(
        "UPDATE subscriptions SET state = 'disabled', updated_at = ? WHERE id = ? AND state <> 'disabled'",
        now, subscription_id,
    )  # fmt: skip
    await transaction.fetch(
        """UPDATE deliveries SET state = 'held', next_at = NULL, updated_at = ?
           WHERE subscription_id = ? AND state IN ('waiting', 'retrying')""",
        now, subscription_id,
    )  # fmt: skip
    await changed(transaction, now)


def succeeded(transaction: Transaction, moments: Mapping[str, int]) -> None:
    """Notes when each subscription last took a delivery."""
    transaction.later(
        "WITH v (id, moment) AS (",
        list(moments.items()),
        ") UPDATE subscriptions SET last_success_at = v.moment FROM v WHERE subscriptions.id = v.id",
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _row(row: Row) -> Subscription:
    (identifier, url, types, wanted, form, secrets, headers, concurrency, schedule, state, description, created_at,
     updated_at, success_at) = row  # fmt: skip
    return Subscription(
        id=identifier,
        url=url,
        types=orjson.loads(types),
        filter=Filter.model_validate_json(wanted) if wanted else None,
        format=form,
        secrets=[Secret(**item) for item in orjson.loads(secrets)],
        headers=orjson.loads(headers),
        max_concurrency=concurrency,
        retry_schedule=orjson.loads(schedule) if schedule else None,
        state=state,
        description=description,
        created_at=created_at,
        updated_at=updated_at,
        last_success_at=success_at,
    )
