"""Requests that were kept, read again: as a job, or, dry, to see what would come of it."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from receiver.api.context import Context
from receiver.api.inputs import Input, Moment, Nothing, Word
from receiver.api.jobs import JobAnswer, asked
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import InputError, Problem
from receiver.api.shapes import Time, time
from receiver.intake.reparse import Plan, plan
from receiver.intake.restate import Change
from receiver.sms.timestamps import to_text
from receiver.storage import jobs, receipts, sources
from receiver.storage.database import Reader, Transaction
from receiver.storage.jobs import Request
from receiver.storage.receipts import Choice, Outcome

_LOOKED_AT = 2_000
"""Receipts that a dry run looks at in one call, of which it reads at most `limit`."""


class Reparse(Input):
    """What is not given asks for nothing."""

    ids: Annotated[list[Word], Field(min_length=1, max_length=1000)] | None = Field(None, description="of receipts")
    source: Word | None = Field(None, description="id of a source")
    outcome: Outcome | None = Field(None, description="as it is now")
    since: Moment | None = Field(None, description="received at this time or later")
    until: Moment | None = Field(None, description="received before this time")
    dry_run: bool = Field(False, description="change nothing, answer 200 with what would come of it")
    limit: int = Field(50, ge=1, le=200, description="of a dry run: receipts to be read")
    after: Word | None = Field(None, description="of a dry run: `next` of the one before")

    @field_validator("until")
    @classmethod
    def _after_since(cls, until: int | None, known: ValidationInfo) -> int | None:
        since = known.data.get("since")
        if until is not None and since is not None and until <= since:
            raise ValueError("must be later than since")
        return until

    @property
    def choice(self) -> Choice:
        return Choice(ids=self.ids, source=self.source, outcome=self.outcome, since=self.since, until=self.until)


class Difference(BaseModel):
    action: str = Field(
        examples=["new", "corrected", "part", "stands"],
        description="a new event; one that supersedes the old; a part of a long message, which waits for the others; "
        "or an event that is no longer found in the request, and stays",
    )
    fields: list[str] = Field(description="of a correction: what is said differently")
    before: dict[str, Any] | None = Field(description="the event as it stands; null where there is none")
    after: dict[str, Any] | None = Field(description="type, timestamp and data of what would be; null of what stays")


class ReceiptDifference(BaseModel):
    receipt_id: str
    source_id: str
    vendor: str
    received_at: Time
    outcome: str = Field(description="as it is")
    becomes: str = Field(description="the outcome that it would have")
    error: str | None = Field(description="what of it cannot be read now either")
    skipped: str | None = Field(
        examples=["no_source", "erased"], description="why it cannot be read again: its source is gone, or its words"
    )
    differences: list[Difference]


class DryRun(BaseModel):
    read: int = Field(description="receipts that were read by this call")
    data: list[ReceiptDifference] = Field(description="those of which something would come, or which cannot be read")
    next: str | None = Field(description="to be given as `after`; null when all were read")


async def reparse(context: Context, call: Call[Nothing, Reparse]) -> Answer:
    body = call.body
    async with context.database.reading() as reader:
        await _check_known(reader, body)
        if body.dry_run:
            return Answer(body=await _dry(context, reader, body))
        first, last, count = await receipts.span(reader, body.choice)
    now = context.clock()
    job = jobs.Job(
        id=context.ids.new("job"),
        kind="reparse",
        subscription_id=None,
        request=Request(receipt=body.choice, last=last),
        position=first,
        total=count,
        created_at=now,
        updated_at=now,
    )

    async def change(transaction: Transaction) -> None:
        await jobs.insert(transaction, job)

    return await asked(context, job, change)


async def _check_known(reader: Reader, body: Reparse) -> None:
    if body.source is not None and await sources.get(reader, body.source) is None:
        raise Problem("invalid_input", errors=[InputError(pointer="/source", detail="no such one")])
    unknown = [
        InputError(pointer=f"/ids/{number}", detail="no such one")
        for number, item in enumerate(body.ids or ())
        if await receipts.head(reader, item) is None
    ]
    if unknown:
        raise Problem("invalid_input", errors=unknown[:100])


async def _dry(context: Context, reader: Reader, body: Reparse) -> DryRun:
    await context.catalog.refresh(reader)
    choice, claimed = body.choice, set[str]()
    first, last, _ = await receipts.span(reader, choice)
    rows = await receipts.behind(reader, max(first, body.after or ""), last, _LOOKED_AT)
    found, read, position = [], 0, None
    for row in rows:
        if choice.wants(row):
            if read == body.limit:
                break
            receipt = await receipts.get(reader, row.id)
            read += 1
            if receipt is not None:
                made = await plan(reader, receipt, context.catalog, context.public_url, claimed)
                found += [_shown(made)] if made.differs or made.skipped else []
        position = row.id
    ended = len(rows) < _LOOKED_AT and (not rows or position == rows[-1].id)
    return DryRun(read=read, data=found, next=None if ended else position)


def _shown(made: Plan) -> ReceiptDifference:
    receipt = made.receipt
    return ReceiptDifference(
        receipt_id=receipt.id,
        source_id=receipt.source_id,
        vendor=receipt.vendor,
        received_at=time(receipt.received_at),
        outcome=receipt.outcome,
        becomes=made.outcome,
        error=made.error,
        skipped=made.skipped,
        differences=[_difference(change) for change in made.changes],
    )


def _difference(change: Change) -> Difference:
    entry, old = change.entry, change.old
    after = None
    if entry is not None:
        data = {**entry.data, "message_id": change.message_id} if "message_id" in entry.data else entry.data
        after = {"type": entry.type, "timestamp": to_text(entry.timestamp), "data": data}
    return Difference(
        action=change.action, fields=list(change.fields), before=old.event if old is not None else None, after=after
    )  # fmt: skip


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/receipts/reparse", summary="Read requests again that were kept", scope="write",
        handler=reparse, body=Reparse, answers={200: DryRun, 202: JobAnswer},
    ),
)  # fmt: skip
