"""Batches: what became of the messages that a vendor sent as one batch or campaign."""

from pydantic import BaseModel, Field

from receiver.api import messages
from receiver.api.context import Context
from receiver.api.cursor import position_of, turn
from receiver.api.inputs import Nothing, Paged, Word
from receiver.api.messages import Message
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.api.shapes import Page
from receiver.storage import message_list
from receiver.storage.message_list import Wanted

_LIST = "batches"


class BatchQuery(Paged):
    source: Word | None = Field(
        None, description="id of a source; vendors give such ids for themselves, so another may have the same"
    )


class Counts(BaseModel):
    """By their present state."""

    total: int
    by_status: dict[str, int] = Field(examples=[{"delivered": 4990, "undelivered": 10}])


class Batch(Page[Message]):
    """The messages of a batch that reports were about, newest first, with the counts of all."""

    id: str
    counts: Counts


async def get(context: Context, call: Call[BatchQuery, Nothing]) -> Answer:
    query = call.query
    before = position_of(query, _LIST, "msg")
    wanted = Wanted(batch_id=call.id, source=query.source)
    async with context.database.reading() as reader:
        counts = await message_list.counts(reader, call.id, query.source)
        if not counts:
            raise Problem("not_found")
        seen = await message_list.look(reader, wanted, before=before, limit=query.limit + 1)
        page = turn(query, _LIST, seen.rows, lambda row: row.id, upto=seen.upto)
        data = await messages.shown(reader, page.rows)
    body = Batch(
        id=call.id,
        counts=Counts(total=sum(counts.values()), by_status=counts),
        data=data,
        next=page.next,
        last=page.last,
    )
    return Answer(body=body, next=page.next)


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/batches/{id}", summary="A vendor's batch or campaign: counts and messages",
        scope="read", handler=get, query=BatchQuery, answers={200: Batch},
    ),
)  # fmt: skip
