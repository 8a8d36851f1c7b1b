"""Deliveries: what is owed to subscriptions, every attempt to bring it, and another try on request."""

from typing import Literal

from pydantic import BaseModel, Field

from receiver.api.context import Context
from receiver.api.cursor import Turned, position_of, turn
from receiver.api.inputs import Nothing, Paged, Word
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.api.shapes import Page, Time, shown, time, time_or_none
from receiver.storage import deliveries, subscriptions
from receiver.storage.database import Transaction

State = Literal["queued", "waiting", "sending", "retrying", "held", "succeeded", "dead", "forbidden", "canceled"]

_LIST = "deliveries"


class DeliveryQuery(Paged):
    subscription_id: Word | None = None
    event_id: Word | None = None
    state: State | None = None


class Delivery(BaseModel):
    id: str = Field(examples=["dlv_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    subscription_id: str
    event_id: str
    state: str = Field(examples=list(deliveries.STATES))
    attempts_made: int
    next_at: Time | None = Field(description="when it is tried next")
    missed: list[str] = Field(
        description="events of its conversation that were given up right before it, the last ten at most"
    )
    created_at: Time
    updated_at: Time


class Attempt(BaseModel):
    """One HTTP try."""

    number: int
    started_at: Time
    duration_ms: int
    status: int | None = Field(description="of the subscriber's answer; null when there was none")
    error: str | None = Field(
        examples=["timeout", "dns", "connect", "tls", "protocol", "forbidden", "status"],
        description="null when the answer was 2xx",
    )
    detail: str | None = Field(description="the error in a few words; for `forbidden` the setting that would allow it")
    answer: str = Field(description="the first 4 KiB of the answer's body; bytes that are not UTF-8 are U+FFFD")


class DeliveryWithAttempts(Delivery):
    attempts: list[Attempt] = Field(description="oldest first")


class DeliveryPage(Page[Delivery]):
    pass


async def listed(context: Context, call: Call[DeliveryQuery, Nothing]) -> Answer:
    query = call.query
    page = await find(context, query, subscription=query.subscription_id, event=query.event_id, state=query.state)
    return answer_page(page)


async def find(
    context: Context,
    query: Paged,
    *,
    subscription: str | None = None,
    event: str | None = None,
    state: State | None = None,
) -> Turned[deliveries.Delivery]:
    before = position_of(query, _LIST, "dlv")
    async with context.database.reading() as reader:
        found = await deliveries.page(
            reader, subscription=subscription, event=event, state=state, before=before, limit=query.limit + 1
        )
    return turn(query, _LIST, found, lambda row: row.id)


def answer_page(page: Turned[deliveries.Delivery]) -> Answer:
    data = [_shown(row) for row in page.rows]
    return Answer(body=DeliveryPage(data=data, next=page.next, last=page.last), next=page.next)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        row = await deliveries.get(reader, call.id)
        if row is None:
            raise Problem("not_found")
        made = await deliveries.attempts(reader, call.id)
    attempts = [attempt(item) for item in made]
    return Answer(body=DeliveryWithAttempts(**_shown(row).model_dump(), attempts=attempts))


async def retry(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    """Due at once with the whole schedule before it, whatever became of it, unless nothing would come of that."""
    now = context.clock()

    async def change(transaction: Transaction) -> deliveries.Delivery:
        row = await deliveries.get(transaction, call.id)
        if row is None:
            raise Problem("not_found")
        subscription = await subscriptions.get(transaction, row.subscription_id)
        if subscription is None:
            raise Problem("conflict", "The subscription was removed.")
        if subscription.state != "active":
            raise Problem("conflict", f"The subscription is {subscription.state}; set its `paused` to false first.")
        if row.state == "sending":
            raise Problem("conflict", "The delivery is being sent at this moment.")
        if row.state == "queued":
            raise Problem("conflict", "The delivery stands behind another one of its conversation.")
        await deliveries.reopen(transaction, [call.id], now)
        return await deliveries.get(transaction, call.id) or row

    row = await context.write(change, lambda row: context.wake(row.subscription_id))
    return Answer(body=_shown(row))


def attempt(item: deliveries.Attempt) -> Attempt:
    return Attempt(
        number=item.number,
        started_at=time(item.started_at),
        duration_ms=item.duration_ms,
        status=item.status,
        error=item.error,
        detail=item.detail or None,
        answer=shown(item.answer)[0],
    )


def _shown(row: deliveries.Delivery) -> Delivery:
    return Delivery(
        id=row.id,
        subscription_id=row.subscription_id,
        event_id=row.event_id,
        state=row.state,
        attempts_made=row.attempts,
        next_at=time_or_none(row.next_at),
        missed=row.missed.split(",") if row.missed else [],
        created_at=time(row.created_at),
        updated_at=time(row.updated_at),
    )


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/deliveries", summary="List deliveries, newest first", scope="read", handler=listed,
        query=DeliveryQuery, answers={200: DeliveryPage},
    ),
    Operation(
        method="GET", path="/v1/deliveries/{id}", summary="A delivery and its attempts", scope="read", handler=get,
        answers={200: DeliveryWithAttempts},
    ),
    Operation(
        method="POST", path="/v1/deliveries/{id}/retry", summary="Try a delivery again now", scope="write",
        handler=retry, answers={200: Delivery}, problems=("conflict",),
    ),
)  # fmt: skip
