"""The whole log, or what filters leave of it, as one file: made while it is sent, at flat memory, while rows arrive."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson
from pydantic import Field, ValidationInfo, field_validator

from receiver.api.context import Context
from receiver.api.events import EventFilters, position, wanted
from receiver.api.inputs import Input, Moment, Nothing, Word
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.streaming import in_pieces
from receiver.formats import campaign, event_table
from receiver.formats.spreadsheet import line
from receiver.formats.zipped import Zip
from receiver.storage import events
from receiver.storage.database import Reader, Unavailable
from receiver.storage.events import Logged, Wanted

NDJSON, CSV, ZIP = "application/x-ndjson", "text/csv", "application/zip"

_ROWS = 200
_AT_ONCE = 50
"""Rows that are rendered before others have their turn."""
_REST = 0.05
"""Seconds of rest after a few rows while writes wait: an export may last, an accept may not."""

Lines = AsyncGenerator[Iterable[str]]
Format = Literal["ndjson", "csv"]
Compress = Literal["zip"]

_ZIPPED = Field(None, description="`zip`: the file in a zip")


class ExportQuery(EventFilters):
    format: Format = Field("ndjson", description="`ndjson`: the stored JSON, one event a line; `csv`: a table")
    compress: Compress | None = _ZIPPED
    after: Word | None = Field(None, description="a cursor or the id of an event: only what follows it")


class CampaignQuery(Input):
    since: Moment = Field(description="messages that were first reported on at this time or later")
    until: Moment = Field(description="messages that were first reported on before this time")
    source: Word | None = Field(None, description="id of a source")
    batch_id: Word | None = Field(None, description="the vendor's id of a batch or campaign")
    compress: Compress | None = _ZIPPED

    @field_validator("until")
    @classmethod
    def _after_since(cls, until: int, known: ValidationInfo) -> int:
        if until <= known.data.get("since", until - 1):
            raise ValueError("must be later than since")
        return until


async def export(context: Context, call: Call[ExportQuery, Nothing]) -> Answer:
    query = call.query
    async with context.database.reading() as reader:
        after = 0 if query.after is None else await position(reader, query.after) or 0
    render = _ndjson if query.format == "ndjson" else _csv
    lines = _lines(context, wanted(query), after, render)
    return _file(context, lines, "events", query.format, query.compress)


async def campaign_report(context: Context, call: Call[CampaignQuery, Nothing]) -> Answer:
    query = call.query
    period = Wanted(types=["message.status"], source=query.source, since=query.since, until=query.until)
    return _file(context, _campaign(context, period, query.batch_id), "campaign", "csv", query.compress)


def _file(context: Context, lines: Lines, name: str, kind: Format, compress: Compress | None) -> Answer:
    body, media_type, ending = in_pieces(lines), {"ndjson": NDJSON, "csv": CSV}[kind], str(kind)
    if compress is not None:
        body, media_type, ending = _zipped(body, f"{name}.{kind}", context.clock()), ZIP, "zip"
    headers = {"content-disposition": f'attachment; filename="{name}.{ending}"'}
    return Answer(stream=body, media_type=media_type, headers=headers)


async def _rows(context: Context, looked_for: Wanted, after: int) -> AsyncGenerator[Sequence[Logged]]:
    """What is in the log now, a few rows at a time, each from a transaction of its own."""
    async with context.database.reading() as reader:
        upto = await events.readable(reader)
    at_end = False
    while not at_end:
        if context.live.over:
            raise Unavailable("the receiver stops")
        async with context.database.reading() as reader:
            rows, after, at_end = await events.follow(reader, looked_for, after=after, limit=_ROWS, upto=upto)
        for start in range(0, len(rows), _AT_ONCE):
            yield rows[start : start + _AT_ONCE]
            await asyncio.sleep(0)
        if context.batch.waiting:
            await asyncio.sleep(_REST)


async def _lines(
    context: Context, looked_for: Wanted, after: int, render: Callable[[Sequence[Logged]], Iterable[str]]
) -> Lines:
    yield render(())
    async for rows in _rows(context, looked_for, after):
        yield render(rows)


def _ndjson(rows: Sequence[Logged]) -> Iterable[str]:
    return [row.body + "\n" for row in rows]


def _csv(rows: Sequence[Logged]) -> Iterable[str]:
    """Of no rows, the headings."""
    if not rows:
        return [line(event_table.COLUMNS)]
    return [line(event_table.cells(orjson.loads(row.body))) for row in rows]


async def _campaign(context: Context, period: Wanted, batch_id: str | None) -> Lines:
    """A message belongs to the period of the first report about it, and is as it stands now."""
    yield [line(campaign.COLUMNS)]
    async for rows in _rows(context, period, 0):
        reports = [orjson.loads(row.body)["data"] for row in rows]
        firsts = [data["message_id"] for data in reports if data["previous_status"] is None]
        async with context.database.reading() as reader:
            histories = await _histories(reader, firsts)
        yield [
            line(campaign.cells(history))
            for history in histories
            if batch_id is None or any(data["batch_id"] == batch_id for data in history)
        ]


async def _histories(reader: Reader, message_ids: Sequence[str]) -> Sequence[Sequence[Mapping[str, Any]]]:
    """The reports about each message."""
    found: dict[str, list[Mapping[str, Any]]] = {message_id: [] for message_id in message_ids}
    for message_id, body in await events.reports(reader, list(found)):
        found[message_id].append(orjson.loads(body)["data"])
    return list(found.values())


async def _zipped(body: AsyncGenerator[bytes], name: str, now: int) -> AsyncGenerator[bytes]:
    file = Zip(name, now)
    async for piece in body:
        ready = file.write(piece)
        if ready:
            yield ready
    yield file.end()


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/events/export", summary="The log as a file, NDJSON or CSV", scope="read",
        handler=export, query=ExportQuery, answers={200: None}, streams=(NDJSON, CSV, ZIP),
        problems=("bad_cursor", "cursor_gone"),
    ),
    Operation(
        method="GET", path="/v1/campaign-report", summary="Each message of a period and where it stands, as CSV",
        scope="read", handler=campaign_report, query=CampaignQuery, answers={200: None}, streams=(CSV, ZIP),
    ),
)  # fmt: skip
