"""Subscriptions: registered URLs with what they want, their secrets and how they are doing."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, Field

from receiver.api import deliveries
from receiver.api.context import Context
from receiver.api.cursor import position_of, turn
from receiver.api.deliveries import Attempt
from receiver.api.inputs import Nothing, Paged
from receiver.api.jobs import start_job
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem, invalid
from receiver.api.shapes import MASK, Page, Time, masked, time, time_or_none
from receiver.api.subscription_body import (
    Rotation,
    SubscriptionBody,
    SubscriptionChange,
    Url,
    check_destination,
    check_filter,
    checked_headers,
    checked_secret,
)
from receiver.delivery.handshake import NoConsent
from receiver.delivery.health import Health
from receiver.delivery.signing import format_secret
from receiver.sms.matching import Filter
from receiver.storage import conversations, jobs, subscriptions
from receiver.storage.database import Transaction
from receiver.storage.subscriptions import Backlog, Secret
from receiver.storage.subscriptions import Subscription as Row

MAX_SUBSCRIPTIONS = 10_000
MAX_SECRETS = 5
"""That sign beside each other; of more rotations in one overlap the oldest ends early."""

_LIST = "subscriptions"
_SECRET_BYTES = 32
_PLAIN = {
    "types", "filter", "format", "max_concurrency", "rate_per_second", "ordered", "retry_schedule", "handshake",
    "description",
}  # fmt: skip
_NOTHING_WAITS = Backlog(waiting=0, oldest_waiting_at=None)


class SubscriptionQuery(Paged):
    url: Url | None = Field(None, description="only those of exactly this URL")


class Subscription(BaseModel):
    id: str = Field(examples=["sub_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    url: str
    types: list[str]
    filter: Filter | None
    format: str
    secret: str = Field(examples=[MASK], description="shown when it was just made, masked ever after")
    headers: dict[str, str] = Field(description="values are masked")
    max_concurrency: int
    rate_per_second: float | None
    ordered: str | None = Field(examples=["conversation"])
    retry_schedule: list[float] | None
    handshake: bool
    allowed_per_minute: int | None = Field(description="what its URL allowed in the handshake; null for no limit")
    paused: bool
    description: str | None
    state: str = Field(examples=["active", "paused", "disabled"])
    disabled_by: str | None = Field(
        examples=["failures", "gone", "answer"],
        description="nothing but failures for too long, a 410, or an answer's `webhook-delivery: disable`",
    )
    catching_up: bool = Field(description="its `start` still goes through the log; see the job")
    waiting: int = Field(description="deliveries that it is still owed; `held` ones are not among them")
    oldest_waiting_at: Time | None
    failures: int = Field(description="in a row, since its last success")
    failing_since: Time | None
    last_error: str | None = Field(description="of the last failure in that row, as in attempts")
    last_status: int | None
    last_success_at: Time | None
    created_at: Time
    updated_at: Time
    warnings: list[str]


class SubscriptionPage(Page[Subscription]):
    pass


async def create(context: Context, call: Call[Nothing, SubscriptionBody]) -> Answer:
    row = _made(context, call.body)
    async with context.database.reading() as reader:
        job = await start_job(context, reader, row.id, call.body.start)
    if row.handshake:
        row = await _consenting(context, row, "/url")
    row = replace(row, catching_up=job is not None)

    async def change(transaction: Transaction) -> None:
        if await subscriptions.count(transaction) >= MAX_SUBSCRIPTIONS:
            raise invalid("", f"there are {MAX_SUBSCRIPTIONS} subscriptions, which is the limit")
        await subscriptions.save(transaction, row)
        if job is not None:
            await jobs.insert(transaction, job)

    def made(_: None) -> None:
        if job is not None:
            context.jobs_woken()

    await context.reconfigure(change, made)
    body = _shown(row, _NOTHING_WAITS, secret=row.secrets[0].value)
    location = f"{context.public_url}/v1/subscriptions/{row.id}"
    return Answer(status=201, body=body, headers={"location": location})


async def listed(context: Context, call: Call[SubscriptionQuery, Nothing]) -> Answer:
    query = call.query
    before = position_of(query, _LIST, "sub")
    url = query.url.replace(" ", "+") if query.url is not None else None  # no URL holds a blank
    async with context.database.reading() as reader:
        found = await subscriptions.page(reader, url=url, before=before, limit=query.limit + 1)
        page = turn(query, _LIST, found, lambda row: row.id)
        backlogs = await subscriptions.backlogs(reader, [row.id for row in page.rows])
    data = [_shown(row, backlogs.get(row.id, _NOTHING_WAITS)) for row in page.rows]
    return Answer(body=SubscriptionPage(data=data, next=page.next, last=page.last), next=page.next)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    return await _answered(context, await _existing(context, call.id))


async def patch(context: Context, call: Call[Nothing, SubscriptionChange]) -> Answer:
    asked = await _asked_again(context, call.id, call.body)

    async def change(transaction: Transaction) -> Row:
        row = await subscriptions.get(transaction, call.id)
        if row is None:
            raise Problem("not_found")
        changed = _agreed(row, _changed(context, row, call.body), call.body, asked)
        await subscriptions.save(transaction, changed)
        if row.ordered and not changed.ordered:
            await conversations.disband(transaction, row.id, changed.updated_at)
        if row.state == "disabled" != changed.state:
            changed = replace(changed, health=Health(lapsed=True))
            subscriptions.save_health(transaction, {row.id: changed.health})
        return changed

    def made(row: Row) -> None:
        if row.state == "active":
            context.wake(row.id)

    row = await context.reconfigure(change, made)
    return await _answered(context, row)


async def _asked_again(context: Context, subscription_id: str, body: SubscriptionChange) -> Row | None:
    """The subscription as its URL consented to it, None where nobody had to be asked."""
    if not {"url", "handshake"} & body.model_fields_set:
        return None
    row = await _existing(context, subscription_id)
    changed = _changed(context, row, body)
    if not _needs_consent(row, changed, body):
        return None
    return await _consenting(context, changed, "/url" if "url" in body.model_fields_set else "/handshake")


def _agreed(row: Row, changed: Row, body: SubscriptionChange, asked: Row | None) -> Row:
    """With the rate that was allowed; raises Problem when it changed so much while its URL was asked."""
    if not changed.handshake:
        return replace(changed, allowed_per_minute=None)
    if not _needs_consent(row, changed, body):
        return changed
    if asked is None or asked.url != changed.url:
        raise Problem("conflict", "The subscription was changed while its URL was asked; try again.")
    return replace(changed, allowed_per_minute=asked.allowed_per_minute)


def _needs_consent(row: Row, changed: Row, body: SubscriptionChange) -> bool:
    return changed.handshake and ("handshake" in body.model_fields_set or changed.url != row.url)


async def _consenting(context: Context, row: Row, pointer: str) -> Row:
    """Asks the URL; raises Problem when it does not want deliveries."""
    answer = await context.ask_consent(row)
    if isinstance(answer, NoConsent):
        raise invalid(pointer, f"the handshake failed ({answer.error}): {answer.detail}")
    return replace(row, allowed_per_minute=answer.per_minute)


async def remove(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    """Once more is no error; an id that never was is."""
    now = context.clock()

    async def change(transaction: Transaction) -> bool:
        removed = await subscriptions.remove(transaction, call.id, now)
        return removed or await subscriptions.known(transaction, call.id)

    if not await context.reconfigure(change):
        raise Problem("not_found")
    return Answer(status=204)


async def test(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    made = await context.ping(await _existing(context, call.id))
    return Answer(body=deliveries.attempt(made))


async def rotate_secret(context: Context, call: Call[Nothing, Rotation]) -> Answer:
    new, now = _new_secret(context), context.clock()
    until = now + call.body.overlap_seconds * 1_000_000

    async def change(transaction: Transaction) -> Row:
        row = await subscriptions.get(transaction, call.id)
        if row is None:
            raise Problem("not_found")
        rotated = replace(row, secrets=[new, *_ending(row.secrets, now, until)][:MAX_SECRETS], updated_at=now)
        await subscriptions.save(transaction, rotated)
        return rotated

    return await _answered(context, await context.reconfigure(change), secret=new.value)


def _ending(secrets: Sequence[Secret], now: int, until: int) -> Sequence[Secret]:
    """The secrets that go on signing for a while, none longer than it was granted before."""
    ends = [(item.value, min(item.expires_at or until, until)) for item in secrets]
    return [Secret(value, end) for value, end in ends if end > now]


def _new_secret(context: Context) -> Secret:
    return Secret(format_secret(context.entropy(_SECRET_BYTES)))


def _made(context: Context, body: SubscriptionBody) -> Row:
    check_destination(body.url, context.guard)
    check_filter(body.filter, context.vendors)
    now = context.clock()
    return Row(
        id=context.ids.new("sub"),
        url=body.url,
        types=body.types,
        filter=body.filter,
        format=body.format,
        secrets=[Secret(checked_secret(body.secret)) if body.secret is not None else _new_secret(context)],
        headers=checked_headers(body.headers, {}),
        max_concurrency=body.max_concurrency,
        rate_per_second=body.rate_per_second,
        ordered=body.ordered,
        retry_schedule=body.retry_schedule,
        handshake=body.handshake,
        state="paused" if body.paused else "active",
        description=body.description,
        created_at=now,
        updated_at=now,
    )


def _changed(context: Context, row: Row, body: SubscriptionChange) -> Row:
    given = body.model_fields_set
    plain = {name: getattr(body, name) for name in _PLAIN & given}
    if "url" in given:
        check_destination(body.url, context.guard)
        plain["url"] = body.url
    if "filter" in given:
        check_filter(body.filter, context.vendors)
    if "headers" in given:
        plain["headers"] = checked_headers(body.headers, row.headers)
    if "secret" in given and body.secret != MASK:
        plain["secrets"] = [Secret(body.secret)]
    if "paused" in given:
        plain |= {"state": "paused" if body.paused else "active", "disabled_by": None}
    return replace(row, **plain, updated_at=context.clock())


async def _existing(context: Context, subscription_id: str) -> Row:
    async with context.database.reading() as reader:
        row = await subscriptions.get(reader, subscription_id)
    if row is None:
        raise Problem("not_found")
    return row


async def _answered(context: Context, row: Row, secret: str = MASK) -> Answer:
    async with context.database.reading() as reader:
        backlogs = await subscriptions.backlogs(reader, [row.id])
    return Answer(body=_shown(row, backlogs.get(row.id, _NOTHING_WAITS), secret=secret))


def _shown(row: Row, backlog: Backlog, secret: str = MASK) -> Subscription:
    return Subscription(
        id=row.id,
        url=row.url,
        types=list(row.types),
        filter=row.filter,
        format=row.format,
        secret=secret,
        headers=masked(row.headers),
        max_concurrency=row.max_concurrency,
        rate_per_second=row.rate_per_second,
        ordered=row.ordered,
        retry_schedule=list(row.retry_schedule) if row.retry_schedule is not None else None,
        handshake=row.handshake,
        allowed_per_minute=row.allowed_per_minute,
        paused=row.state == "paused",
        description=row.description,
        state=row.state,
        disabled_by=row.disabled_by,
        catching_up=row.catching_up,
        waiting=backlog.waiting,
        oldest_waiting_at=time_or_none(backlog.oldest_waiting_at),
        failures=row.health.failures,
        failing_since=time_or_none(row.health.since),
        last_error=row.health.last_error,
        last_status=row.health.last_status,
        last_success_at=time_or_none(row.last_success_at),
        created_at=time(row.created_at),
        updated_at=time(row.updated_at),
        warnings=_warnings(row.url),
    )


def _warnings(url: str) -> list[str]:
    if url[:6].lower() == "https:":
        return []
    return ["The URL is http: whoever is on the way can read the messages."]


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/subscriptions", summary="Register a URL for events; 10,000 at most", scope="write",
        handler=create, body=SubscriptionBody, answers={201: Subscription},
    ),
    Operation(
        method="GET", path="/v1/subscriptions", summary="List subscriptions, newest first", scope="read",
        handler=listed, query=SubscriptionQuery, answers={200: SubscriptionPage},
    ),
    Operation(
        method="GET", path="/v1/subscriptions/{id}", summary="A subscription", scope="read", handler=get,
        answers={200: Subscription},
    ),
    Operation(
        method="PATCH", path="/v1/subscriptions/{id}", summary="Change a subscription", scope="write", handler=patch,
        body=SubscriptionChange, answers={200: Subscription}, problems=("conflict",),
    ),
    Operation(
        method="DELETE", path="/v1/subscriptions/{id}", summary="Remove a subscription; nothing more is sent to it",
        scope="write", handler=remove, answers={204: None},
    ),
    Operation(
        method="POST", path="/v1/subscriptions/{id}/test", summary="Send one test.ping now", scope="write",
        handler=test, answers={200: Attempt},
    ),
    Operation(
        method="POST", path="/v1/subscriptions/{id}/rotate-secret", summary="Give a subscription a new secret",
        scope="write", handler=rotate_secret, body=Rotation, answers={200: Subscription},
    ),
)  # fmt: skip
