"""Jobs: deliveries recovered and events replayed, however many, as long work that is watched and can be canceled.

Erasures, asked for in `subjects`, and requests that are read again, in `reparse`, are jobs too.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from receiver.api.context import Context
from receiver.api.cursor import position_of, turn
from receiver.api.inputs import Input, Moment, Nothing, Paged, Word
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import InputError, Problem, invalid
from receiver.api.shapes import Page, Time, time
from receiver.api.subscription_body import Types
from receiver.sms.matching import Filter
from receiver.storage import events, jobs, subscriptions, windows
from receiver.storage.database import Reader, Transaction
from receiver.storage.jobs import Request, Wish
from receiver.storage.subscriptions import Subscription

_LIST = "jobs"

State = Literal["running", "done", "canceled", "failed"]
SubscriptionIds = Annotated[list[Word], Field(min_length=1, max_length=1000)]

WISHES = get_args(Wish)
_NAMED = "only these; each must be active, and gets what matches it. Left out: every active subscription that matches"


class Job(BaseModel):
    id: str = Field(examples=["job_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    kind: str = Field(examples=["recover", "replay", "start", "reparse", "erase"])
    state: str = Field(examples=["running", "done", "canceled", "failed"])
    done: int = Field(description="rows that were looked at: events, deliveries, receipts, or anything")
    total: int = Field(description="rows to look at, as far as it was known when the job was asked for")
    released: int = Field(
        description="deliveries made or opened again; of a reparse the events made, of an erasure the rows changed"
    )
    error: str | None = Field(description="why it was canceled or failed, where that was not asked for")
    subscription_id: str | None = Field(description="null when it is for several")
    created_at: Time
    updated_at: Time


class JobAnswer(BaseModel):
    job: Job


class JobPage(Page[Job]):
    pass


class JobQuery(Paged):
    subscription_id: Word | None = None
    state: State | None = None


class _Period(Input):
    since: Moment | None = Field(None, description="of events accepted at this time or later")
    until: Moment | None = Field(None, description="of events accepted before this time")
    types: Types | None = Field(None, description="of these types alone")
    filter: Filter | None = Field(None, description="of events that are about this alone")

    @field_validator("until")
    @classmethod
    def _after_since(cls, until: int | None, known: ValidationInfo) -> int | None:
        since = known.data.get("since")
        if until is not None and since is not None and until <= since:
            raise ValueError("must be later than since")
        return until


class Recovery(_Period):
    states: list[Wish] = Field(
        ["failed", "held"],
        min_length=1,
        max_length=len(WISHES),
        description="`failed` (given up: dead, forbidden), `held`, `missing` (events that match and are not owed to it "
        "yet), `all` (every event that matches, also what it took before)",
    )


class Replay(Input):
    subscription_ids: SubscriptionIds | None = Field(None, description=_NAMED)


class RangeReplay(_Period):
    subscription_ids: SubscriptionIds | None = Field(None, description=_NAMED)


async def listed(context: Context, call: Call[JobQuery, Nothing]) -> Answer:
    query = call.query
    before = position_of(query, _LIST, "job")
    async with context.database.reading() as reader:
        found = await jobs.page(
            reader, subscription=query.subscription_id, state=query.state, before=before, limit=query.limit + 1
        )
    page = turn(query, _LIST, found, lambda row: row.id)
    return Answer(body=JobPage(data=[_shown(row) for row in page.rows], next=page.next, last=page.last), next=page.next)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        row = await jobs.get(reader, call.id)
    if row is None:
        raise Problem("not_found")
    return Answer(body=_shown(row))


async def cancel(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    """Once more is no error; what was released before goes on."""
    now = context.clock()

    async def change(transaction: Transaction) -> jobs.Job:
        row = await jobs.get(transaction, call.id)
        if row is None:
            raise Problem("not_found")
        if row.state not in ("running", "canceled"):
            raise Problem("conflict", f"The job is {row.state}.")
        if row.kind == "erase":
            raise Problem("conflict", "An erasure is carried out to its end.")
        if await jobs.finish(transaction, row, "canceled", now):
            return replace(row, state="canceled", updated_at=now)
        return row

    return Answer(body=_shown(await context.reconfigure(change)))


async def recover(context: Context, call: Call[Nothing, Recovery]) -> Answer:
    body = call.body
    request = Request(
        wishes=list(dict.fromkeys(body.states)),
        types=body.types,
        filter=body.filter,
        since=body.since,
        until=body.until,
    )
    async with context.database.reading() as reader:
        planned = await _planned(context, reader, call.id, request)

    async def change(transaction: Transaction) -> None:
        _check_able(await subscriptions.get(transaction, call.id), in_log=request.through_log)
        await jobs.insert(transaction, planned)

    return await asked(context, planned, change)


async def replay_one(context: Context, call: Call[Nothing, Replay]) -> Answer:
    async with context.database.reading() as reader:
        seq = await events.position(reader, call.id)
    if seq is None:
        raise Problem("not_found")
    request = Request(wishes=["all"], last=seq, subscription_ids=call.body.subscription_ids)
    return await _replayed(context, request, windows.Span(seq, seq))


async def replay(context: Context, call: Call[Nothing, RangeReplay]) -> Answer:
    body = call.body
    async with context.database.reading() as reader:
        span = await windows.span(reader, body.since, body.until)
    request = Request(
        wishes=["all"],
        types=body.types,
        filter=body.filter,
        since=body.since,
        until=body.until,
        last=span.last,
        subscription_ids=body.subscription_ids,
    )
    return await _replayed(context, request, span)


async def start_job(context: Context, reader: Reader, subscription_id: str, start: str | int) -> jobs.Job | None:
    """The job that leads a new subscription through the log, None when it begins now; raises Problem."""
    if start == "now":
        return None
    whole, first = await windows.span(reader), None
    if isinstance(start, int):
        if start > context.clock():
            raise invalid("/start", "lies in the future; leave it out to begin now")
        since = await windows.span(reader, start)
        first = since.first if since.size else whole.last + 1
    elif start == "beginning":
        first = whole.first
    else:
        first = await events.position(reader, start)
        if first is None:
            raise invalid("/start", "there is no such event")
    return _job(context, "start", subscription_id, Request(wishes=["missing"]), first - 1, whole.last - first + 1)


async def _planned(context: Context, reader: Reader, subscription_id: str, request: Request) -> jobs.Job:
    span = await windows.span(reader, request.since, request.until)
    if request.through_log or not span.size:
        return _job(context, "recover", subscription_id, replace(request, last=span.last), span.first - 1, span.size)
    first = None if request.since is None else span.first
    behind, last, count = await windows.owed(reader, subscription_id, first)
    return _job(context, "recover", subscription_id, replace(request, last=last), behind, count)


def _check_able(subscription: Subscription | None, *, in_log: bool) -> None:
    if subscription is None:
        raise Problem("not_found")
    if subscription.state != "active":
        raise Problem("conflict", f"The subscription is {subscription.state}; set its `paused` to false first.")
    if in_log and subscription.catching_up:
        raise Problem("conflict", "The subscription is being led through the log by its `start`; wait or cancel that.")


async def _replayed(context: Context, request: Request, span: windows.Span) -> Answer:
    named = request.subscription_ids or ()
    only = named[0] if len(named) == 1 else None
    planned = _job(context, "replay", only, request, span.first - 1, span.size)

    async def change(transaction: Transaction) -> None:
        found = {item: await subscriptions.get(transaction, item) for item in dict.fromkeys(named)}
        unknown = [number for number, item in enumerate(named) if found[item] is None]
        if unknown:
            errors = [InputError(pointer=f"/subscription_ids/{number}", detail="no such one") for number in unknown]
            raise Problem("invalid_input", errors=errors)
        for subscription in found.values():
            _check_able(subscription, in_log=True)
        await jobs.insert(transaction, planned)

    return await asked(context, planned, change)


async def asked(context: Context, job: jobs.Job, change: Callable[[Transaction], Awaitable[None]]) -> Answer:
    await context.write(change, lambda _: context.jobs_woken())
    location = f"{context.public_url}/v1/jobs/{job.id}"
    return Answer(status=202, body=JobAnswer(job=_shown(job)), headers={"location": location})


def _job(
    context: Context, kind: jobs.Kind, subscription_id: str | None, request: Request, position: object, total: int
) -> jobs.Job:
    now = context.clock()
    return jobs.Job(
        id=context.ids.new("job"),
        kind=kind,
        subscription_id=subscription_id,
        request=request,
        position=str(position),
        total=max(0, total),
        created_at=now,
        updated_at=now,
    )


def _shown(row: jobs.Job) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        state=row.state,
        done=row.done,
        total=row.total,
        released=row.released,
        error=row.error,
        subscription_id=row.subscription_id,
        created_at=time(row.created_at),
        updated_at=time(row.updated_at),
    )


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/subscriptions/{id}/recover", summary="Send again what a subscription did not take",
        scope="write", handler=recover, body=Recovery, answers={202: JobAnswer}, problems=("conflict",),
    ),
    Operation(
        method="POST", path="/v1/events/replay", summary="Send the events of a time again", scope="write",
        handler=replay, body=RangeReplay, answers={202: JobAnswer}, problems=("conflict",),
    ),
    Operation(
        method="POST", path="/v1/events/{id}/replay", summary="Send an event again to all that it matches",
        scope="write", handler=replay_one, body=Replay, answers={202: JobAnswer}, problems=("conflict",),
    ),
    Operation(
        method="GET", path="/v1/jobs", summary="List jobs, newest first", scope="read", handler=listed,
        query=JobQuery, answers={200: JobPage},
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}", summary="How far a job is", scope="read", handler=get, answers={200: Job},
    ),
    Operation(
        method="POST", path="/v1/jobs/{id}/cancel", summary="Stop a job; what it released goes on", scope="write",
        handler=cancel, answers={200: Job}, problems=("conflict",),
    ),
)  # fmt: skip
