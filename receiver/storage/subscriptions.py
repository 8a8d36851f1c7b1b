"""Subscriptions: registered URLs with what they want, their secrets and their state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, LiteralString

import orjson
from pydantic import ValidationError

from receiver.delivery.health import DisabledBy, Health
from receiver.formats import FORMATS
from receiver.sms.matching import Filter, Matcher, compile_matcher
from receiver.storage.database import CannotStart, Reader, Row, Transaction
from receiver.storage.sources import changed

SubscriptionState = Literal["active", "paused", "disabled"]

_COLUMNS: LiteralString = (
    "id, url, types, filter, format, secrets, headers, max_concurrency, rate_per_second, ordered, retry_schedule, "
    "handshake, allowed_per_minute, state, disabled_by, catching_up, health, description, created_at, updated_at, "
    "last_success_at"
)


@dataclass(frozen=True, slots=True)
class Secret:
    """`value` is `whsec_…`; an old one signs beside the new until it expires (unix microseconds)."""

    value: str
    expires_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A registered URL.

    retry_schedule       delays in seconds after each failure, None for the settings' own
    rate_per_second      attempts a second at most; None for no limit
    ordered              `conversation`: the events of one strictly in the order of the log
    allowed_per_minute   what the URL allowed when its handshake was made
    catching_up          a job is going through the log for it; the intake makes no deliveries for it meanwhile
    """

    id: str
    url: str
    types: Sequence[str]
    filter: Filter | None
    format: str
    secrets: Sequence[Secret]
    headers: Mapping[str, str] = field(default_factory=dict)
    max_concurrency: int
    rate_per_second: float | None = None
    ordered: Literal["conversation"] | None = None
    retry_schedule: Sequence[float] | None
    handshake: bool = False
    allowed_per_minute: int | None = None
    state: SubscriptionState
    disabled_by: DisabledBy | None = None
    catching_up: bool = False
    health: Health = field(default_factory=Health)
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
           WHERE subscription_id = ? AND state IN ('queued', 'waiting', 'sending', 'retrying')""",
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
                  WHERE subscription_id IN ({marks}) AND state IN ('queued', 'waiting', 'sending', 'retrying')
                  GROUP BY subscription_id) AS owed
            JOIN deliveries ON deliveries.id = owed.oldest""",
        *subscription_ids,
    )
    return {row[0]: Backlog(waiting=row[1], oldest_waiting_at=row[2]) for row in rows}


async def known(reader: Reader, subscription_id: str) -> bool:
    """Whether there is, or ever was, a subscription of that id."""
    return bool(await reader.fetch("SELECT 1 FROM subscriptions WHERE id = ?", subscription_id))


async def save(transaction: Transaction, item: Subscription) -> None:
    """Makes the subscription or replaces it, but for its health and its successes."""
    await transaction.fetch(
        """INSERT INTO subscriptions (id, url, types, filter, format, secrets, headers, max_concurrency,
               rate_per_second, ordered, retry_schedule, handshake, allowed_per_minute, state, disabled_by,
               catching_up, description, created_at, updated_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET url = excluded.url, types = excluded.types, filter = excluded.filter,
               format = excluded.format, secrets = excluded.secrets, headers = excluded.headers,
               max_concurrency = excluded.max_concurrency, rate_per_second = excluded.rate_per_second,
               ordered = excluded.ordered, retry_schedule = excluded.retry_schedule, handshake = excluded.handshake,
               allowed_per_minute = excluded.allowed_per_minute, state = excluded.state,
               disabled_by = excluded.disabled_by, catching_up = excluded.catching_up,
               description = excluded.description, updated_at = excluded.updated_at""",
        item.id, item.url, _json(list(item.types)),
        item.filter.model_dump_json(by_alias=True) if item.filter else None, item.format,
        _json([{"value": secret.value, "expires_at": secret.expires_at} for secret in item.secrets]),
        _json(dict(item.headers)), item.max_concurrency, item.rate_per_second, item.ordered,
        _json(list(item.retry_schedule)) if item.retry_schedule is not None else None, int(item.handshake),
        item.allowed_per_minute, item.state, item.disabled_by, int(item.catching_up), item.description,
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
           WHERE subscription_id = ? AND state IN ('queued', 'waiting', 'sending', 'retrying', 'held')""",
        now, subscription_id,
    )  # fmt: skip
    await changed(transaction, now)
    return True


async def disable(transaction: Transaction, subscription_id: str, because: DisabledBy, now: int) -> bool:
    """Deliveries go on being recorded, as `held`. False when it was disabled before, or removed."""
    disabled = await transaction.fetch(
        """UPDATE subscriptions SET state = 'disabled', disabled_by = ?, updated_at = ?
           WHERE id = ? AND state <> 'disabled' AND removed_at IS NULL RETURNING 1""",
        because, now, subscription_id,
    )  # fmt: skip
    await hold(transaction, subscription_id, now)
    await changed(transaction, now)
    return bool(disabled)


async def hold(transaction: Transaction, subscription_id: str, now: int) -> None:
    """What waits for a subscription that was disabled waits no longer; `recover` sends it."""
    await transaction.fetch(
        """UPDATE deliveries SET state = 'held', next_at = NULL, updated_at = ?
           WHERE subscription_id = ? AND state <> 'sending'
               AND state IN ('queued', 'waiting', 'sending', 'retrying')""",
        now, subscription_id,
    )  # fmt: skip


def save_health(transaction: Transaction, healths: Mapping[str, Health]) -> None:
    """The health of subscriptions by their ids; no change in the sense of the catalog."""
    transaction.later(
        "WITH v (id, health) AS (",
        [(item, None if health == Health() else _json(health)) for item, health in healths.items()],
        ") UPDATE subscriptions SET health = v.health FROM v WHERE subscriptions.id = v.id",
    )


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
    """Raises CannotStart for one of another version: nobody here could say what it is owed."""
    (identifier, url, types, wanted, form, secrets, headers, concurrency, rate, ordered, schedule, handshake, allowed,
     state, disabled_by, catching_up, health, description, created_at, updated_at, success_at) = row  # fmt: skip
    return Subscription(
        id=identifier,
        url=url,
        types=orjson.loads(types),
        filter=_filter(identifier, wanted) if wanted else None,
        format=_format(identifier, form),
        secrets=[Secret(**item) for item in orjson.loads(secrets)],
        headers=orjson.loads(headers),
        max_concurrency=concurrency,
        rate_per_second=rate,
        ordered=ordered,
        retry_schedule=orjson.loads(schedule) if schedule else None,
        handshake=bool(handshake),
        allowed_per_minute=allowed,
        state=state,
        disabled_by=disabled_by,
        catching_up=bool(catching_up),
        health=Health(**orjson.loads(health)) if health else Health(),
        description=description,
        created_at=created_at,
        updated_at=updated_at,
        last_success_at=success_at,
    )


def _filter(subscription_id: str, document: str) -> Filter:
    try:
        return Filter.model_validate_json(document)
    except ValidationError:
        raise _of_another_version(subscription_id, "filter") from None


def _format(subscription_id: str, name: str) -> str:
    if name not in FORMATS:
        raise _of_another_version(subscription_id, "format")
    return name


def _of_another_version(subscription_id: str, what: str) -> CannotStart:
    return CannotStart(f"subscription {subscription_id}: its {what} is of another version; use that one")
