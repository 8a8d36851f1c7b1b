"""Receipts: the requests of vendors exactly as they came, for whoever looks why something is as it is."""

import re
from base64 import b64encode
from typing import Literal

from pydantic import BaseModel, Field

from receiver.api.context import Context
from receiver.api.cursor import position_of, turn
from receiver.api.inputs import Moment, Nothing, Paged, Word
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.api.shapes import MASK, Page, Time, shown, time
from receiver.storage import purges, receipts, sources
from receiver.storage.receipts import Outcome

_LIST = "receipts"
_SECRET_HEADER = re.compile(r"authori[sz]ation|cookie|signature|token|secret|password|api-?key|hmac", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    r"(?i)((?:^|&)(?:sig|sign|signature|hash|token|access_token|auth|key|api_?key|secret|password|passwd|pwd)=)[^&]+"
)


class ReceiptQuery(Paged):
    source: Word | None = Field(None, description="id of a source")
    outcome: Outcome | None = None
    since: Moment | None = Field(None, description="received at this time or later")


class ReceiptSummary(BaseModel):
    id: str = Field(examples=["rcp_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    source_id: str
    vendor: str
    received_at: Time
    outcome: str = Field(examples=["stored", "duplicate", "conflict", "ignored", "quarantined", "handshake"])
    note: str | None = Field(description="why it is in quarantine, or what it was about")
    duplicate_of: str | None
    peer: str
    method: str
    size: int = Field(description="bytes of the body")


class HeaderLine(BaseModel):
    name: str
    value: str


class Receipt(ReceiptSummary):
    target: str = Field(description="path and query")
    headers: list[HeaderLine] = Field(description="in their order")
    body: str
    body_encoding: Literal["utf-8", "base64"] = Field(description="how `body` holds the bytes that came")
    masked: bool = Field(description="whether token, credentials and signatures are masked; as it came for `admin`")


class ReceiptPage(Page[ReceiptSummary]):
    pass


async def listed(context: Context, call: Call[ReceiptQuery, Nothing]) -> Answer:
    query = call.query
    before = position_of(query, _LIST, "rcp")
    async with context.database.reading() as reader:
        if before is not None and before <= (await purges.gone(reader, "receipts")).id:
            raise Problem("cursor_gone")
        found = await receipts.page(
            reader,
            source=query.source,
            outcome=query.outcome,
            since=query.since,
            before=before,
            limit=query.limit + 1,
        )
    page = turn(query, _LIST, found, lambda row: row.id)
    data = [_summary(row, row.size) for row in page.rows]
    return Answer(body=ReceiptPage(data=data, next=page.next, last=page.last), next=page.next)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        receipt = await receipts.get(reader, call.id)
        source = await sources.get(reader, receipt.source_id) if receipt else None
    if receipt is None:
        raise Problem("not_found")
    raw = call.principal.may("admin")
    target, headers = receipt.target.decode("latin-1"), _headers(receipt.headers)
    body, is_text = shown(receipt.body)
    return Answer(
        body=Receipt(
            **_summary(receipt, len(receipt.body)).model_dump(),
            target=target if raw else _masked_target(target),
            headers=headers if raw else [_masked_header(header, source) for header in headers],
            body=body if is_text else b64encode(receipt.body).decode("ascii"),
            body_encoding="utf-8" if is_text else "base64",
            masked=not raw,
        )
    )


def _headers(lines: bytes) -> list[HeaderLine]:
    pairs = [line.partition(":") for line in lines.decode("latin-1").split("\r\n") if line]
    return [HeaderLine(name=name, value=value.strip()) for name, _, value in pairs]


def _masked_target(target: str) -> str:
    """Without the token, which is the last step of the path, and without what looks like a secret in the query."""
    path, mark, query = target.partition("?")
    steps, _, _ = path.rstrip("/").rpartition("/")
    return steps + "/" + MASK + mark + _SECRET_PARAMETER.sub(rf"\g<1>{MASK}", query)


def _masked_header(header: HeaderLine, source: sources.SourceRow | None) -> HeaderLine:
    """A source may name any header to carry its secret; of a source that is gone nobody knows which."""
    declared = None if source is None else str(source.options.get("secret_header", "")).lower()
    if declared is None or header.name.lower() == declared or _SECRET_HEADER.search(header.name):
        return HeaderLine(name=header.name, value=MASK)
    return header


def _summary(row: receipts.Summary | receipts.Receipt, size: int) -> ReceiptSummary:
    return ReceiptSummary(
        id=row.id,
        source_id=row.source_id,
        vendor=row.vendor,
        received_at=time(row.received_at),
        outcome=row.outcome,
        note=row.note,
        duplicate_of=row.duplicate_of,
        peer=row.peer,
        method=row.method,
        size=size,
    )


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/receipts", summary="List receipts, newest first", scope="read", handler=listed,
        query=ReceiptQuery, answers={200: ReceiptPage}, problems=("cursor_gone",),
    ),
    Operation(
        method="GET", path="/v1/receipts/{id}", summary="A request as it came", scope="read", handler=get,
        answers={200: Receipt},
    ),
)  # fmt: skip
