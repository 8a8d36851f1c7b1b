"""Sources whose vendor is asked: how that goes, and what to ask for beside what is asked for anyway."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from receiver.api.context import Context
from receiver.api.inputs import Input, Nothing, Text
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.api.shapes import Time, time, time_or_none
from receiver.storage import lookups, polls, sources
from receiver.storage.database import Reader, Transaction
from receiver.storage.lookups import LookupRow
from receiver.storage.polls import PollRow
from receiver.storage.sources import SourceRow
from receiver.vendors.contract import Position
from receiver.vendors.polling import asked

MOST_AT_ONCE = 100


class FeedState(BaseModel):
    """One list that the vendor is asked for; `lookup` stands for the states of single messages."""

    feed: str = Field(examples=["messages_get", "lookup"])
    position: Position = Field(description="how far it was read")
    asked_at: Time
    answered_at: Time | None = Field(description="when the vendor last answered what it was asked")
    next_at: Time
    failures: int = Field(description="in a row")
    error: str | None = Field(description="of the last of them")


class PollState(BaseModel):
    feeds: list[FeedState] = Field(description="those that were asked for so far")
    waiting: int = Field(description="outbound messages whose final report is waited for")


class AskBody(Input):
    vendor_message_ids: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=256)]], Field(min_length=1, max_length=MOST_AT_ONCE)
    ] = Field(description="what the vendor's send call returned")


class AskAnswer(BaseModel):
    waiting: int = Field(description="outbound messages whose final report is waited for")


async def states(reader: Reader, rows: Sequence[SourceRow]) -> Mapping[str, PollState]:
    """Of the sources that were ever asked, or wait for final reports."""
    ids = [row.id for row in rows]
    feeds, counts = await polls.of_sources(reader, ids), await lookups.waiting(reader, ids)
    return {
        source_id: PollState(feeds=[_feed(row) for row in feeds.get(source_id, ())], waiting=counts.get(source_id, 0))
        for source_id in {*feeds, *counts}
    }


def _feed(row: PollRow) -> FeedState:
    return FeedState(
        feed=row.feed,
        position=row.position,
        asked_at=time(row.asked_at),
        answered_at=time_or_none(row.answered_at),
        next_at=time(row.next_at),
        failures=row.failures,
        error=row.error,
    )


async def ask(context: Context, call: Call[Nothing, AskBody]) -> Answer:
    """Each until its report is final, twelve times at most; one that is asked for already stays as it is."""
    now, wanted = context.clock(), dict.fromkeys(call.body.vendor_message_ids)

    async def change(transaction: Transaction) -> int:
        row = await sources.get(transaction, call.id)
        if row is None:
            raise Problem("not_found")
        _check_lookup(context, row)
        lookups.add(transaction, [_wanted(row.id, name, now) for name in wanted])
        return (await lookups.waiting(transaction, [row.id])).get(row.id, 0)

    waiting = await context.write(change, lambda _: context.ask_woken(call.id))
    return Answer(status=202, body=AskAnswer(waiting=waiting))


def _check_lookup(context: Context, row: SourceRow) -> None:
    vendor = context.vendors.get(row.vendor)
    source = row.readable(vendor) if vendor else None
    found = asked(vendor, source) if vendor and source else None
    if found is None or found[0].lookup is None:
        raise Problem("conflict", "This source's vendor is not asked for single messages: see its options.poll.")


def _wanted(source_id: str, name: str, now: int) -> LookupRow:
    return LookupRow(
        source_id=source_id, name=name, vendor_message_id=name, message_id=None, since=now, ask_at=now, close_at=None
    )


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/sources/{id}/ask", summary="Ask the vendor for messages until their reports are final",
        scope="write", handler=ask, body=AskBody, answers={202: AskAnswer}, problems=("conflict",),
    ),
)  # fmt: skip
