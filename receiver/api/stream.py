"""The log as it grows: Server-Sent Events, which go on from any of their ids without a gap.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncGenerator

import orjson
from pydantic import Field

from receiver.api.auth import Principal, still_valid
from receiver.api.context import Context
from receiver.api.cursor import encode
from receiver.api.events import FORWARD, EventFilters, position, wanted
from receiver.api.inputs import Nothing, Word
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.reading import along
from receiver.api.streaming import pieces
from receiver.storage import events
from receiver.storage.database import Reader
from receiver.storage.events import Wanted

MEDIA_TYPE = "text/event-stream"
LAST_EVENT_ID = "last-event-id"

_OPENING = "retry: 1000\n"
_BEAT = b": still here\n"
_NO_LONGER = b": the key is no longer valid\n\n"
_GOODBYE = b": the receiver stops; go on from the last id\n\n"


class StreamQuery(EventFilters):
    after: Word | None = Field(
        None, description="a cursor or the id of an event: what follows it. Left out: what comes from now on"
    )


async def stream(context: Context, call: Call[StreamQuery, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        after = await _begins(reader, call.headers.get(LAST_EVENT_ID) or call.query.after)
    lines = _lines(context, call.principal, wanted(call.query), after)
    return Answer(stream=lines, media_type=MEDIA_TYPE, headers={"x-accel-buffering": "no"})


async def _begins(reader: Reader, after: str | None) -> int:
    if after is None:
        return await events.readable(reader)
    return await position(reader, after) or 0


async def _lines(context: Context, principal: Principal, looked_for: Wanted, after: int) -> AsyncGenerator[bytes]:
    """At first, and in silence where the log went on, the id alone: whoever is cut off then begins from there."""
    live, clock = context.live, asyncio.get_running_loop().time
    with live.place():
        yield f"{_OPENING}{_id(after)}\n".encode()
        said, spoke, checked = after, clock(), clock()
        async for stretch in along(context, looked_for, after):
            for piece in pieces(_event(row.body) for row in stretch.rows):
                yield piece
                spoke = clock()
            if stretch.rows:
                said = stretch.rows[-1].seq
            if clock() - checked >= live.heartbeat:
                checked = clock()
                if not await still_valid(context, principal):
                    yield _NO_LONGER
                    return
            if clock() - spoke >= live.heartbeat:
                yield _BEAT + (_id(stretch.reached).encode() if stretch.reached > said else b"") + b"\n"
                said, spoke = stretch.reached, clock()
        yield _GOODBYE


def _id(seq: int) -> str:
    return f"id: {encode(FORWARD, str(seq))}\n"


def _event(body: str) -> str:
    """The stored JSON, which has no line breaks, on one line."""
    event = orjson.loads(body)
    return f"id: {event['id']}\nevent: {event['type']}\ndata: {body}\n\n"


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/events/stream", summary="The event log as it grows (Server-Sent Events)", scope="read",
        handler=stream, query=StreamQuery, answers={200: None}, streams=(MEDIA_TYPE,),
        problems=("bad_cursor", "cursor_gone"),
        headers={LAST_EVENT_ID: "the last id that was seen; goes before `after`"},
    ),
)  # fmt: skip
