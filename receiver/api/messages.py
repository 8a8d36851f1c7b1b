"""Messages: what was received and what reports are about, each with its state; the inbox, and one with its timeline."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field

from receiver.api.context import Context
from receiver.api.cursor import is_id, place, position_of, turn
from receiver.api.events import AnyEvent, Status, Words
from receiver.api.inputs import Address, Flag, Input, Moment, Nothing, Number, Paged, Word
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.api.shapes import Page, Time, time, time_or_none
from receiver.sms.events import Media
from receiver.sms.words import query as words_of
from receiver.storage import message_list, purges, timeline
from receiver.storage.database import Reader, Transaction
from receiver.storage.message_list import Wanted

_LIST, _FOUND = "messages", "messages.q"
_AT_ONCE = 500
_STEPS, _TOLD = 100, 20


class MessageQuery(Paged):
    """All that are given must hold. A page may have fewer rows than asked for, even none, while `next` leads on."""

    direction: Literal["in", "out"] | None = Field(None, description="`in`: it reached you; `out`: it has reports")
    status: list[Status] = Field(
        [], max_length=20, description="of outbound messages, now; given several times: any of them"
    )
    unread: Flag | None = Field(None, description="of inbound messages: whether nobody marked it as read")
    from_: Address | None = Field(None, alias="from")
    to: Address | None = None
    between: list[Number] = Field(
        [], min_length=2, max_length=2, examples=[["+447700900123", "60777"]],
        description="given twice: the messages between two numbers, either way",
    )  # fmt: skip
    source: Word | None = Field(None, description="id of a source")
    vendor: Word | None = None
    batch_id: Word | None = Field(None, description="the vendor's id of a batch or campaign")
    vendor_message_id: Word | None = None
    client_reference: Word | None = None
    since: Moment | None = Field(
        None,
        description="first heard of at this time or later; with `q`: its text, as it stands, accepted then or later",
    )
    until: Moment | None = Field(
        None, description="first heard of before this time; with `q`: its text accepted before"
    )
    q: Words | None = None


class Message(BaseModel):
    id: str = Field(examples=["msg_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    direction: str = Field(examples=["in", "out"])
    vendor: str
    source_id: str
    vendor_message_id: str | None
    client_reference: str | None
    batch_id: str | None
    channel: str | None
    from_: str | None = Field(alias="from", description="the address; its event has more of it")
    to: str | None
    text: str | None = Field(description="of an inbound message")
    media: list[Media]
    status: str | None = Field(description="of an outbound message: the strongest report")
    final: bool | None = Field(description="the vendor expects no further report; null for an inbound message")
    read_at: Time | None = Field(description="when an inbound message was marked as read; null while it is unread")
    created_at: Time = Field(description="when it was first heard of")
    updated_at: Time = Field(description="when its last report came")


class MessagePage(Page[Message]):
    pass


class Told(BaseModel):
    """A delivery of an event, in short."""

    delivery_id: str
    subscription_id: str
    state: str
    attempts_made: int
    last_status: int | None = Field(description="that the last attempt was answered with")
    last_error: str | None = Field(description="of the last attempt; null when the answer was 2xx")
    updated_at: Time


class Step(BaseModel):
    event: AnyEvent
    moved: bool = Field(description="the message came to be, or its status is another one since")
    stale: bool = Field(description="a report that came when the message was already further on")
    told: list[Told] = Field(description="who was told of it; the first twenty")


class MessageWithTimeline(Message):
    timeline: list[Step] = Field(description="what was heard of it, oldest first; the first hundred events")
    more: bool = Field(description="there are more: /v1/events?message_id=… has all of them")


class ReadBody(Input):
    """Which inbound messages are read now: those named, or all that the filters leave. Empty: every one."""

    ids: list[Word] | None = Field(None, min_length=1, max_length=_AT_ONCE)
    from_: Address | None = Field(None, alias="from")
    to: Address | None = None
    source: Word | None = None
    vendor: Word | None = None
    since: Moment | None = None
    until: Moment | None = None
    q: Words | None = None


class Marked(BaseModel):
    marked: int = Field(description="messages that were unread until now")


async def listed(context: Context, call: Call[MessageQuery, Nothing]) -> Answer:
    query = call.query
    wanted = _wanted(query)
    if query.q is not None:
        return await _found(context, query, wanted, query.q)
    before = position_of(query, _LIST, "msg")
    async with context.database.reading() as reader:
        seen = await message_list.look(reader, wanted, before=before, limit=query.limit + 1)
        page = turn(query, _LIST, seen.rows, lambda row: row.id, upto=seen.upto)
        data = await shown(reader, page.rows)
    return Answer(body=MessagePage(data=data, next=page.next, last=page.last), next=page.next)


async def _found(context: Context, query: MessageQuery, wanted: Wanted, words: str) -> Answer:
    """By words: in the order of the texts, the last one first."""
    async with context.database.reading() as reader:
        after = await _text_position(reader, query)
        seen = await message_list.search(reader, wanted, words_of(words), after=after, limit=query.limit + 1)
        page = turn(query, _FOUND, seen.rows, lambda row: str(row.seq), upto=seen.upto)
        data = await shown(reader, [row.message for row in page.rows])
    return Answer(body=MessagePage(data=data, next=page.next, last=page.last), next=page.next)


async def _text_position(reader: Reader, query: Paged) -> int | None:
    if query.after is None:
        return None
    if not is_id(query.after, "msg"):
        return place(_FOUND, query.after)
    found = await message_list.text_position(reader, query.after)
    if found is None:
        raise Problem("cursor_gone" if await _purged(reader, query.after) else "bad_cursor")
    return found


async def _purged(reader: Reader, message_id: str) -> bool:
    """Whether its events are older than the newest that was purged."""
    return message_id.partition("_")[2] <= (await purges.gone(reader, "events")).id.partition("_")[2]


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        message = await message_list.get(reader, call.id)
        if message is None:
            raise Problem("not_found")
        (document,) = await shown(reader, [message])
        heard = await timeline.heard(reader, call.id, _STEPS + 1)
        told = await timeline.told(reader, [item.event_id for item in heard[:_STEPS]], _TOLD)
    steps = [_step(item, told[item.event_id]) for item in heard[:_STEPS]]
    whole = document.model_dump(mode="json", by_alias=True) | {"timeline": steps, "more": len(heard) > _STEPS}
    return Answer(body=orjson.dumps(whole))


async def read(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    async def change(transaction: Transaction) -> Message:
        message = await message_list.get(transaction, call.id)
        if message is None:
            raise Problem("not_found")
        if message.direction != "in":
            raise Problem("conflict", "Only inbound messages are read.")
        await message_list.mark_read(transaction, [call.id], context.clock())
        message = await message_list.get(transaction, call.id) or message
        return (await shown(transaction, [message]))[0]

    return Answer(body=await context.write(change))


async def read_all(context: Context, call: Call[Nothing, ReadBody]) -> Answer:
    """What comes while this goes on stays unread. Each page of them is a commit of its own."""
    body = call.body
    if body.ids is not None:
        return Answer(body=Marked(marked=await _mark(context, body.ids)))
    marked, wanted, behind = 0, _unread(body), None
    while True:
        ids, behind = await _unread_page(context, wanted, body.q, behind)
        marked += await _mark(context, ids) if ids else 0
        if behind is None:
            return Answer(body=Marked(marked=marked))


async def _unread_page(
    context: Context, wanted: Wanted, words: str | None, behind: str | None
) -> tuple[Sequence[str], str | None]:
    """Ids of unread messages, newest first, and behind what to look for more."""
    async with context.database.reading() as reader:
        if words is None:
            seen = await message_list.look(reader, wanted, before=behind, limit=_AT_ONCE)
            ids = [row.id for row in seen.rows]
            return ids, ids[-1] if len(ids) == _AT_ONCE else seen.upto
        after = None if behind is None else int(behind)
        found = await message_list.search(reader, wanted, words_of(words), after=after, limit=_AT_ONCE)
    rows = found.rows
    upto = rows[-1].seq if len(rows) == _AT_ONCE else found.upto
    return [row.message.id for row in rows], None if upto is None else str(upto)


async def _mark(context: Context, ids: Sequence[str]) -> int:
    return await context.write(lambda transaction: message_list.mark_read(transaction, ids, context.clock()))


async def delete(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    """Once more is no error; an id that never was is. Its events stay in the log."""
    now = context.clock()

    async def change(transaction: Transaction) -> bool:
        deleted = await message_list.delete(transaction, call.id, now)
        return deleted or await message_list.known(transaction, call.id)

    if not await context.write(change):
        raise Problem("not_found")
    return Answer(status=204)


async def shown(reader: Reader, rows: Sequence[message_list.Message]) -> list[Message]:
    """With the texts of those that are inbound."""
    bodies = await message_list.texts(reader, [row.id for row in rows if row.direction == "in"])
    return [_shown(row, orjson.loads(bodies[row.id])["data"] if row.id in bodies else {}) for row in rows]


def _shown(row: message_list.Message, data: Mapping[str, Any]) -> Message:
    return Message.model_validate(
        {
            "id": row.id,
            "direction": row.direction,
            "vendor": row.vendor,
            "source_id": row.source_id,
            "vendor_message_id": row.vendor_message_id,
            "client_reference": row.client_reference,
            "batch_id": row.batch_id,
            "channel": row.channel,
            "from": row.from_,
            "to": row.to,
            "text": data.get("text"),
            "media": data.get("media", []),
            "status": row.status,
            "final": row.final,
            "read_at": time_or_none(row.read_at),
            "created_at": time(row.created_at),
            "updated_at": time(row.updated_at),
        }
    )


def _step(item: timeline.Heard, told: Sequence[timeline.Told]) -> Mapping[str, Any]:
    """The event as it is stored, with what it did."""
    event = orjson.loads(item.body)
    data = event["data"]
    reported = event["type"] == "message.status"
    moved = data["previous_status"] != data["current_status"] if reported else event["type"] == "message.received"
    return {
        "event": orjson.Fragment(item.body),
        "moved": moved,
        "stale": reported and data["stale"],
        "told": [_told(one).model_dump(mode="json") for one in told],
    }


def _told(one: timeline.Told) -> Told:
    return Told(
        delivery_id=one.delivery_id,
        subscription_id=one.subscription_id,
        state=one.state,
        attempts_made=one.attempts,
        last_status=one.status,
        last_error=one.error,
        updated_at=time(one.updated_at),
    )


def _wanted(query: MessageQuery) -> Wanted:
    return Wanted(
        direction=query.direction,
        statuses=query.status,
        unread=query.unread,
        from_=query.from_,
        to=query.to,
        between=(query.between[0], query.between[1]) if query.between else None,
        source=query.source,
        vendor=query.vendor,
        batch_id=query.batch_id,
        vendor_message_id=query.vendor_message_id,
        client_reference=query.client_reference,
        since=query.since,
        until=query.until,
    )


def _unread(body: ReadBody) -> Wanted:
    return Wanted(
        unread=True,
        from_=body.from_,
        to=body.to,
        source=body.source,
        vendor=body.vendor,
        since=body.since,
        until=body.until,
    )


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/messages", summary="List messages, newest first", scope="read", handler=listed,
        query=MessageQuery, answers={200: MessagePage}, problems=("cursor_gone",),
    ),
    Operation(
        method="POST", path="/v1/messages/read", summary="Mark inbound messages as read, by id or by filters",
        scope="write", handler=read_all, body=ReadBody, answers={200: Marked},
    ),
    Operation(
        method="GET", path="/v1/messages/{id}", summary="A message with its state and timeline", scope="read",
        handler=get, answers={200: MessageWithTimeline},
    ),
    Operation(
        method="POST", path="/v1/messages/{id}/read", summary="Mark an inbound message as read", scope="write",
        handler=read, answers={200: Message}, problems=("conflict",),
    ),
    Operation(
        method="DELETE", path="/v1/messages/{id}", summary="Take a message out of the lists; its events stay",
        scope="write", handler=delete, answers={204: None},
    ),
)  # fmt: skip
