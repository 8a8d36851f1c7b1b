"""Consumers: subscribers that cannot be called. Each reads the log behind a cursor that is kept here, and says what it
has dealt with; what it has not acknowledged it gets again.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Annotated

import orjson
from pydantic import BaseModel, BeforeValidator, Field

from receiver.api.context import Context
from receiver.api.cursor import decode, encode, is_id, position_of, turn
from receiver.api.events import EventPage
from receiver.api.inputs import Input, Nothing, Paged, Word, integer
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem, invalid
from receiver.api.reading import Found, read_along
from receiver.api.shapes import Page, Time, time, time_or_none
from receiver.api.subscription_body import Description, Start, Types
from receiver.sms.matching import Filter, compile_matcher
from receiver.storage import consumers, events, purges, windows
from receiver.storage.consumers import Consumer as Row
from receiver.storage.database import Reader, Transaction, Unavailable
from receiver.storage.leading import WINDOW

MOST = 1_000
LONGEST_WAIT = 30

_LIST = "consumers"
_SEPARATOR = ":"
_DIGITS = 18

Name = Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$", examples=["billing"])]

_TYPES = "exact names, or prefixes with `*`; `*` is every type but test.ping"
_PLACE = "`now`; or `beginning`, a time of acceptance, or the id of an event: from there on, that very event included"


class ConsumerBody(Input):
    name: Name = Field(description="lower-case letters, digits, `.`, `_`, `-`; its place in the URL")
    types: Types = Field(["*"], description=_TYPES)
    filter: Filter | None = None
    start: Start = Field("now", description=_PLACE)
    description: Description | None = None


class ConsumerChange(Input):
    """What is given replaces what was. It holds for what is read from then on."""

    # default factories keep a default out of the schema; only what was given is read
    types: Types = Field(default_factory=list, description=_TYPES)
    filter: Filter | None = None
    description: Description | None = None


class Acknowledgement(Input):
    cursor: Word = Field(
        description="`last` of a page of this consumer, or the id of an event: all up to there is done"
    )


class Place(Input):
    to: Start = Field(description=_PLACE)


class ConsumerQuery(Paged):
    after: Word | None = Field(
        None, description="`last` of a page of this consumer, or the id of an event, to read ahead of the kept cursor"
    )
    wait: Annotated[int, BeforeValidator(integer)] = Field(
        0, ge=0, le=LONGEST_WAIT, description="seconds to wait for an event when there is none"
    )


class Consumer(BaseModel):
    id: str = Field(examples=["con_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    name: str
    types: list[str]
    filter: Filter | None
    description: str | None
    cursor: str = Field(description="what is read next stands behind it")
    behind: int = Field(description="events of any kind in the log behind that, at most")
    gap: bool = Field(
        description="some of them, of any kind, were purged before it acknowledged them; it goes on with what is there"
    )
    acknowledged_at: Time | None
    created_at: Time
    updated_at: Time


class ConsumerPage(Page[Consumer]):
    pass


async def create(context: Context, call: Call[Nothing, ConsumerBody]) -> Answer:
    body, now = call.body, context.clock()
    async with context.database.reading() as reader:
        position = await _place(context, reader, body.start, "/start")
    row = Row(
        id=context.ids.new("con"), name=body.name, types=body.types, filter=body.filter, position=position,
        description=body.description, moved_at=now, created_at=now, updated_at=now,
    )  # fmt: skip

    async def change(transaction: Transaction) -> None:
        if await consumers.count(transaction) >= MOST:
            raise Problem("conflict", f"There are {MOST} consumers already; remove those that are not needed.")
        if not await consumers.insert(transaction, row):
            raise Problem("conflict", "There is a consumer of that name.")

    await context.write(change)
    location = f"{context.public_url}/v1/consumers/{row.name}"
    return replace(await _answered(context, row.name), status=201, headers={"location": location})


async def listed(context: Context, call: Call[Paged, Nothing]) -> Answer:
    before = position_of(call.query, _LIST, "con")
    async with context.database.reading() as reader:
        found = await consumers.page(reader, before=before, limit=call.query.limit + 1)
        head, gone = await events.readable(reader), (await purges.gone(reader, "events")).seq
    page = turn(call.query, _LIST, found, lambda row: row.id)
    shown = [_shown(row, head, gone) for row in page.rows]
    return Answer(body=ConsumerPage(data=shown, next=page.next, last=page.last), next=page.next)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    return await _answered(context, call.path["name"])


async def change(context: Context, call: Call[Nothing, ConsumerChange]) -> Answer:
    name, now = call.path["name"], context.clock()
    given = {field: getattr(call.body, field) for field in call.body.model_fields_set}

    async def apply(transaction: Transaction) -> None:
        row = await _existing(transaction, name)
        await consumers.change(transaction, replace(row, **given, updated_at=now))

    await context.write(apply)
    return await _answered(context, name)


async def remove(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    if not await context.write(lambda transaction: consumers.remove(transaction, call.path["name"])):
        raise Problem("not_found")
    return Answer(status=204)


async def read(context: Context, call: Call[ConsumerQuery, Nothing]) -> Answer:
    query = call.query
    async with context.database.reading() as reader:
        row = await _existing(reader, call.path["name"])
        after = row.position if query.after is None else await _ahead(reader, row, query.after)
    found = await read_along(
        context, compile_matcher(row.types, row.filter), row.types, after, rows=query.limit, seconds=query.wait
    )
    if query.after is None and not found.rows:
        await _pass_over(context, row, found)
    last = _cursor(row, found.reached)
    answer = b'{"data":[%b],"next":%b,"last":%b}'
    data = ",".join([item.body for item in found.rows]).encode()
    following = None if found.at_end else last
    return Answer(body=answer % (data, orjson.dumps(following), orjson.dumps(last)), next=following)


async def acknowledge(context: Context, call: Call[Nothing, Acknowledgement]) -> Answer:
    name, now = call.path["name"], context.clock()

    async def apply(transaction: Transaction) -> None:
        row = await _existing(transaction, name)
        position = min(await _position(transaction, row, call.body.cursor), await events.readable(transaction))
        await consumers.acknowledge(transaction, row, position, now)

    await context.write(apply)
    return await _answered(context, name)


async def seek(context: Context, call: Call[Nothing, Place]) -> Answer:
    name, now = call.path["name"], context.clock()

    async def apply(transaction: Transaction) -> None:
        row = await _existing(transaction, name)
        await consumers.move(transaction, row, await _place(context, transaction, call.body.to, "/to"), now)

    await context.write(apply)
    return await _answered(context, name)


async def _answered(context: Context, name: str) -> Answer:
    async with context.database.reading() as reader:
        row = await _existing(reader, name)
        gone = await purges.gone(reader, "events")
        return Answer(body=_shown(row, await events.readable(reader), gone.seq))


async def _existing(reader: Reader, name: str) -> Row:
    row = await consumers.get(reader, name)
    if row is None:
        raise Problem("not_found")
    return row


async def _place(context: Context, reader: Reader, place: str | int, pointer: str) -> int:
    """The position behind which reading begins; raises Problem."""
    if place == "now":
        return await events.readable(reader)
    if place == "beginning":
        oldest = await windows.span(reader)
        return oldest.first - 1 if oldest.size else await events.readable(reader)
    if isinstance(place, int):
        if place > context.clock():
            raise invalid(pointer, "lies in the future; `now` is what comes from now on")
        since = await windows.span(reader, place)
        return since.first - 1 if since.size else await events.readable(reader)
    found = await events.position(reader, place)
    if found is None:
        raise invalid(pointer, "there is no such event")
    return found - 1


async def _position(reader: Reader, row: Row, cursor: str) -> int:
    """Of a cursor that this consumer was given since it was last put somewhere, or of an event; raises Problem."""
    if is_id(cursor, "evt"):
        found = await events.position(reader, cursor)
        if found is None:
            gone = await purges.gone(reader, "events")
            raise Problem("cursor_gone" if cursor <= gone.id else "bad_cursor")
        return found
    moved_at, _, place = decode(f"{_LIST}.{row.id}", cursor).partition(_SEPARATOR)
    if not (place.isascii() and place.isdigit() and len(place) <= _DIGITS):
        raise Problem("bad_cursor")
    if moved_at != str(row.moved_at):
        raise Problem("conflict", "The consumer was moved since this cursor was given; read on without it.")
    return int(place)


async def _ahead(reader: Reader, row: Row, cursor: str) -> int:
    """The same to read from, where all that follows is still there."""
    found = await _position(reader, row, cursor)
    if found < (await purges.gone(reader, "events")).seq:
        raise Problem("cursor_gone")
    return found


async def _pass_over(context: Context, row: Row, found: Found) -> None:
    """Where nothing that it wants came for long, the next call need not look through all of that again."""
    if found.reached - row.position < WINDOW:
        return
    with suppress(Unavailable):  # it would only save time
        await context.write(lambda transaction: consumers.pass_over(transaction, row, found.reached))


def _cursor(row: Row, position: int) -> str:
    return encode(f"{_LIST}.{row.id}", f"{row.moved_at}{_SEPARATOR}{position}")


def _shown(row: Row, head: int, gone: int) -> Consumer:
    return Consumer(
        id=row.id,
        name=row.name,
        types=list(row.types),
        filter=row.filter,
        description=row.description,
        cursor=_cursor(row, row.position),
        behind=max(0, head - row.position),
        gap=row.position < gone,
        acknowledged_at=time_or_none(row.acknowledged_at),
        created_at=time(row.created_at),
        updated_at=time(row.updated_at),
    )


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/consumers", summary="Make a consumer, which reads by itself; 1,000 at most",
        scope="write", handler=create, body=ConsumerBody, answers={201: Consumer}, problems=("conflict",),
    ),
    Operation(
        method="GET", path="/v1/consumers", summary="List consumers, newest first", scope="read", handler=listed,
        query=Paged, answers={200: ConsumerPage},
    ),
    Operation(
        method="GET", path="/v1/consumers/{name}", summary="A consumer and where it stands", scope="read", handler=get,
        answers={200: Consumer},
    ),
    Operation(
        method="PATCH", path="/v1/consumers/{name}", summary="Change what a consumer wants", scope="write",
        handler=change, body=ConsumerChange, answers={200: Consumer},
    ),
    Operation(
        method="DELETE", path="/v1/consumers/{name}", summary="Remove a consumer", scope="write", handler=remove,
        answers={204: None},
    ),
    Operation(
        method="GET", path="/v1/consumers/{name}/events", summary="What a consumer has not acknowledged yet",
        scope="read", handler=read, query=ConsumerQuery, answers={200: EventPage}, problems=("conflict", "cursor_gone"),
    ),
    Operation(
        method="POST", path="/v1/consumers/{name}/ack", summary="Say up to where a consumer is done", scope="write",
        handler=acknowledge, body=Acknowledgement, answers={200: Consumer},
        problems=("bad_cursor", "conflict", "cursor_gone"),
    ),
    Operation(
        method="POST", path="/v1/consumers/{name}/seek", summary="Put a consumer anywhere in the log", scope="write",
        handler=seek, body=Place, answers={200: Consumer},
    ),
)  # fmt: skip
