"""The event log: the very JSON that was stored, page by page in the order of acceptance, or one by id."""

from dataclasses import replace
from typing import Annotated, Literal

import orjson
from pydantic import AfterValidator, Field, RootModel

from receiver.api import deliveries
from receiver.api.context import Context
from receiver.api.cursor import Turned, decode, encode, is_id, number, turn
from receiver.api.deliveries import DeliveryPage
from receiver.api.inputs import Address, Input, Moment, Nothing, Paged, Text, Word
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.api.shapes import Page
from receiver.sms.events import STATUSES, TYPES, Event
from receiver.sms.matching import valid_type_pattern
from receiver.sms.words import query as words_of
from receiver.storage import events, purges
from receiver.storage.database import Reader

FORWARD = "events.asc"
"""The kind of a cursor that goes on towards newer events."""
_KNOWN = ":"


def type_pattern(pattern: str) -> str:
    """A type of the contract, or a prefix of one with `*`; raises ValueError."""
    if not valid_type_pattern(pattern):
        raise ValueError("names no event type; exact names, or a prefix with `*` at its end")
    return pattern


def _status(word: str) -> str:
    if word not in STATUSES:
        raise ValueError(f"must be one of {', '.join(STATUSES)}")
    return word


def _words(text: str) -> str:
    if not words_of(text):
        raise ValueError("has no word to look for")
    return text


Words = Annotated[
    Text,
    AfterValidator(_words),
    Field(
        max_length=512,
        examples=["invoice", "caf*"],
        description="words that must all be in the text of a message, in any order; case and diacritics do not count; "
        "`*` behind one makes it the beginning of a word",
    ),
]
TypePattern = Annotated[Word, AfterValidator(type_pattern), Field(examples=["message.*", *TYPES])]
Status = Annotated[str, AfterValidator(_status), Field(json_schema_extra={"enum": list(STATUSES)})]


class EventFilters(Input):
    """All that are given must hold."""

    type: list[TypePattern] = Field([], max_length=100, description="given several times: any of them")
    vendor: Word | None = None
    source: Word | None = Field(None, description="id of a source")
    from_: Address | None = Field(None, alias="from")
    to: Address | None = None
    message_id: Word | None = None
    vendor_message_id: Word | None = None
    client_reference: Word | None = None
    status: Status | None = None
    since: Moment | None = Field(None, description="accepted at this time or later")
    until: Moment | None = Field(None, description="accepted before this time")
    q: Words | None = None


class EventQuery(EventFilters, Paged):
    """All that are given must hold. A page may have fewer rows than asked for, even none, while `next` leads on."""

    order: Literal["asc", "desc"] = Field("asc", description="`asc` is oldest first, by acceptance")


class AnyEvent(RootModel[Event]):
    """An event of the contract. Types and fields are added over time; pass over what you do not know."""


class EventPage(Page[AnyEvent]):
    pass


async def listed(context: Context, call: Call[EventQuery, Nothing]) -> Answer:
    query = call.query
    kind = f"events.{query.order}"
    async with context.database.reading() as reader:
        after = None if query.after is None else await position(reader, query.after, kind)
        seen = await events.look(
            reader, wanted(query), after=after, limit=query.limit + 1, newest_first=query.order == "desc"
        )
        gone = (await purges.gone(reader, "events")).seq
        at_end = query.order == "asc" and not seen.rows and seen.upto is None
        end = await events.readable(reader) if at_end else None
    page = turn(query, kind, seen.rows, lambda row: _mark(row.seq, gone), upto=seen.upto and _mark(seen.upto, gone))
    if end is not None:  # who looks for something rare keeps up with the log, and with what is purged of it
        page = replace(page, last=encode(kind, str(max(end, after or 0))))
    return Answer(body=_joined(page), next=page.next)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        body = await events.get(reader, call.id)
    if body is None:
        raise Problem("not_found")
    return Answer(body=body.encode())


async def owed(context: Context, call: Call[Paged, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        position = await events.position(reader, call.id)
    if position is None:
        raise Problem("not_found")
    return deliveries.answer_page(await deliveries.find(context, call.query, event=call.id))


async def position(reader: Reader, after: str, kind: str = FORWARD) -> int | None:
    """Where in the log a cursor or an event is, None for the very start; raises Problem, also where something that
    follows is no longer kept, or the log ends before it: it is a copy of an earlier day, and what it takes next would
    be passed over. Of gaps that were there when the cursor was given, its owner knows.
    """
    gone, known = await purges.gone(reader, "events"), 0
    if is_id(after, "evt"):
        found = await events.position(reader, after)
        if found is None:
            raise Problem("cursor_gone" if after <= gone.id else "bad_cursor")
    else:
        seq, _, gaps = decode(kind, after).partition(_KNOWN)
        found, known = number(seq), number(gaps) or 0
        if (found or 0) > await events.readable(reader):
            raise Problem("cursor_gone")
    forward = kind == FORWARD
    if not forward and found is None:
        return None
    if (found or 0) < gone.seq + (
        not forward
    ) and known < gone.seq:  # oldest first, what follows the last that went is all there
        raise Problem("cursor_gone")
    return found


def _mark(seq: int, gone: int) -> str:
    """Below the newest that was purged stands what was still owed, to be paged through with the gaps as they are."""
    return str(seq) if seq > gone else f"{seq}{_KNOWN}{gone}"


def wanted(query: EventFilters) -> events.Wanted:
    return events.Wanted(
        types=query.type,
        vendor=query.vendor,
        source=query.source,
        from_=query.from_,
        to=query.to,
        message_id=query.message_id,
        vendor_message_id=query.vendor_message_id,
        client_reference=query.client_reference,
        status=query.status,
        since=query.since,
        until=query.until,
        words=words_of(query.q or ""),
    )


def _joined(page: Turned[events.Logged]) -> bytes:
    """The stored bytes as they are, between the brackets of a page."""
    data = ",".join([row.body for row in page.rows])
    return b'{"data":[%b],"next":%b,"last":%b}' % (data.encode(), orjson.dumps(page.next), orjson.dumps(page.last))


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/events", summary="The event log", scope="read", handler=listed, query=EventQuery,
        answers={200: EventPage}, problems=("cursor_gone",),
    ),
    Operation(
        method="GET", path="/v1/events/{id}", summary="One event", scope="read", handler=get, answers={200: AnyEvent},
    ),
    Operation(
        method="GET", path="/v1/events/{id}/deliveries", summary="Who was told of an event", scope="read",
        handler=owed, query=Paged, answers={200: DeliveryPage},
    ),
)  # fmt: skip
