"""Files that a vendor's console exports, row by row: what was missed, or came before this receiver was there."""

import asyncio
from typing import Annotated

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from receiver.api.context import Context
from receiver.api.inputs import Input, Nothing, Text
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.intake.bring_in import row_as_request, takes_files
from receiver.vendors.sheets import MAX_COLUMNS

MAX_CELL = 32_767
"""Characters, as a cell of Excel holds (its "specifications and limits")"""
Cell = Annotated[Text, Field(max_length=MAX_CELL)]
Cells = Annotated[list[Cell], Field(max_length=MAX_COLUMNS)]


class Rows(Input):
    header: Cells = Field(min_length=1, description="the names of the columns")
    rows: list[Cells] = Field(min_length=1, max_length=500, description="cells in the order of the header")

    @field_validator("header")
    @classmethod
    def _named(cls, header: list[str], _known: ValidationInfo) -> list[str]:
        if not any(name.strip() for name in header):
            raise ValueError("must name a column")
        return header


class Imported(BaseModel):
    """How many rows had which outcome, as their receipts have it."""

    stored: int = 0
    duplicate: int = Field(0, description="taken before, by an earlier import or by a call of the vendor's")
    conflict: int = 0
    ignored: int = 0
    quarantined: int = Field(0, description="not understood, for want of `options.columns`; see the receipts")


async def bring_in(context: Context, call: Call[Nothing, Rows]) -> Answer:
    """Answered when all rows are on disk; asked again, what was taken is a duplicate."""
    async with context.database.reading() as reader:
        await context.catalog.refresh(reader)
    door = context.catalog.door_of(call.id)
    if door is None:
        raise Problem("not_found")
    if not takes_files(door):
        raise Problem("conflict", f"Files of {door.vendor.title} cannot be read: it is not read by declared names.")
    recordings = [
        row_as_request(door, call.body.header, row, context.ids.new("rcp"), context.public_url, context.clock())
        for row in call.body.rows
    ]
    recorded = await asyncio.gather(*map(context.record_once, recordings))
    counted = Imported()
    for item in recorded:
        outcome = item.receipt.outcome
        setattr(counted, outcome, getattr(counted, outcome) + 1)
    return Answer(body=counted)


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/sources/{id}/import", summary="Take in rows of a file that the vendor exported",
        scope="write", handler=bring_in, body=Rows, answers={200: Imported}, problems=("conflict",),
    ),
)  # fmt: skip
