"""The opt-out list: who does not want to hear from whom, since when and by what; changed by a call or a whole list."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal, get_args

import orjson
from pydantic import BaseModel, Field

from receiver.api.context import Context
from receiver.api.cursor import position_of, turn
from receiver.api.events import AnyEvent
from receiver.api.inputs import Address, Input, Nothing, Number, Paged, Upload, Word
from receiver.api.operation import CSV, Answer, Call, Operation, Operations
from receiver.api.problem import Problem, invalid
from receiver.api.shapes import Page, Time, time
from receiver.formats.spreadsheet import line
from receiver.sms import opt_out_csv
from receiver.sms.consent import Change, Scope, person, sender_of
from receiver.sms.opt_out_csv import Line, Mistake
from receiver.storage import events, opt_outs, sources
from receiver.storage.database import Reader
from receiver.storage.leading import Found
from receiver.storage.sources import SourceRow
from receiver.vendors.contract import Region

_LIST = "opt-outs"
_HISTORY = 100
_AT_ONCE = 250
_MISTAKES = 100
_SENDER, _GROUP = 64, 512
"""Characters of a sender, and of a group's id: what is longer could not be asked for."""
_SCOPES = get_args(Scope)
_WANTED: dict[str, bool | None] = {"true": True, "false": False, "any": None}


class ListQuery(Input):
    """All that are given must hold."""

    number: Address | None = None
    scope: Scope | None = None
    source: Word | None = Field(None, description="id of a source")
    opted_out: Literal["true", "false", "any"] = Field("true", description="`false`: who opted in again")


class OptOutQuery(ListQuery, Paged):
    """All that are given must hold. A page may have fewer rows than asked for, even none, while `next` leads on."""


class OptOut(BaseModel):
    number: str = Field(description="the person's")
    opted_out: bool = Field(description="false: opted in again")
    scope: str = Field(examples=list(_SCOPES), description="how far it reaches")
    sender: str | None = Field(description="yours that it concerns; of a `group` its id; null: all of them")
    source_id: str | None = Field(description="null: every source")
    via: str = Field(examples=["keyword", "vendor", "report", "api"], description="what said so last")
    changed_at: Time
    event_id: str = Field(description="the event that tells of it")


class OptOutPage(Page[OptOut]):
    pass


class OptOutsOfNumber(BaseModel):
    number: str
    opted_out: bool = Field(description="from anything at all")
    lines: list[OptOut] = Field(description="one for each source and scope that was ever spoken of")
    history: list[AnyEvent] = Field(description="its `contact.*` events, newest first, the last hundred at most")
    more: bool = Field(description="there is more of it: /v1/events?type=contact.*&from=…")


class OptOutBody(Input):
    """Whom a person does not want to hear from; everybody, if nothing is said."""

    source_id: Word | None = Field(None, description="only through this source")
    sender: Number | None = Field(None, max_length=_SENDER, description="only from this sender of yours")
    channel: Word | None = Field(None, max_length=32, examples=["sms"])


class LiftQuery(Input):
    """Which lines of a number are lifted: all, if nothing is said."""

    source: Word | None = Field(None, description="id of a source")
    scope: Scope | None = None
    sender: Number | None = Field(None, description="yours that it concerns, or the id of a group")


class ImportQuery(Input):
    source: Word | None = Field(None, description="id of the source that lines without one are for; else for every one")
    default_region: Region | None = Field(None, description="reads national numbers; else the source's own")


class Refused(BaseModel):
    line: int = Field(description="of the file, from 1")
    detail: str


class Imported(BaseModel):
    lines: int = Field(description="that were understood")
    changed: int = Field(description="lines of the list that are others now")
    refused: int = Field(description="lines of the file that were left out")
    errors: list[Refused] = Field(description="why, of the first hundred of those")


async def listed(context: Context, call: Call[OptOutQuery, Nothing]) -> Answer:
    query = call.query
    before = position_of(query, _LIST, "evt")
    async with context.database.reading() as reader:
        seen = await _look(reader, query, before, query.limit + 1)
    page = turn(query, _LIST, seen.rows, lambda row: row.event_id, upto=seen.upto)
    body = OptOutPage(data=[_shown(row) for row in page.rows], next=page.next, last=page.last)
    return Answer(body=body, next=page.next)


async def export(context: Context, call: Call[ListQuery, Nothing]) -> Answer:
    """Page by page, so that no read and no memory grows with the list."""
    headers = {"content-disposition": 'attachment; filename="opt-outs.csv"'}
    return Answer(stream=_exported(context, call.query), media_type=CSV, headers=headers)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    return await _of_number(context, _known_as(call.path["number"]))


async def put(context: Context, call: Call[Nothing, OptOutBody]) -> Answer:
    """Idempotent: who has opted out already does so no second time."""
    body = call.body
    number = person(call.path["number"])
    if number is None:
        raise invalid("", "the number in the path is none, or not international")
    vendor = None
    if body.source_id is not None:
        async with context.database.reading() as reader:
            source = await sources.get(reader, body.source_id)
        if source is None:
            raise invalid("/source_id", "names no source")
        vendor = source.vendor
    sender = sender_of(body.sender)
    change = Change(
        number=number, opted_out=True, scope="sender" if sender else "account", sender=sender,
        source_id=body.source_id or "", vendor=vendor, channel=body.channel,
    )  # fmt: skip
    await context.consent([change])
    return await _of_number(context, number)


async def delete(context: Context, call: Call[LiftQuery, Nothing]) -> Answer:
    """Opts a person in again. Once more is no error; a number that the list never heard of is."""
    number, query = _known_as(call.path["number"]), call.query
    async with context.database.reading() as reader:
        lines = await opt_outs.of_number(reader, number)
        changes = [await _lifted(reader, line) for line in lines if line.opted_out and _meant(line, query)]
    if not lines:
        raise Problem("not_found")
    if changes:
        await context.consent(changes)
    return Answer(status=204)


async def import_list(context: Context, call: Call[ImportQuery, Upload]) -> Answer:
    """A line that is wrong spoils no other. Each commit has some hundred of them."""
    taking = _Import(context, call.query)
    if call.query.source is not None and await taking.source(call.query.source) is None:
        raise invalid("/source", "names no source")
    for found in opt_out_csv.read(call.body.content):
        await taking.take(found)
    await taking.commit()
    answer = Imported(lines=taking.lines, changed=taking.changed, refused=taking.refused, errors=taking.errors)
    return Answer(body=answer)


@dataclass
class _Import:
    """Turns lines of a file into changes, and keeps what is wrong with the others."""

    context: Context
    query: ImportQuery
    lines: int = 0
    changed: int = 0
    refused: int = 0
    errors: list[Refused] = field(default_factory=list)
    _changes: list[Change] = field(default_factory=list)
    _sources: dict[str, SourceRow | None] = field(default_factory=dict)

    async def take(self, line: Line | Mistake) -> None:
        found = line if isinstance(line, Mistake) else await self._change(line)
        if isinstance(found, Mistake):
            self.refused += 1
            if len(self.errors) < _MISTAKES:
                self.errors.append(Refused(line=found.place, detail=found.detail))
            return
        self.lines += 1
        self._changes.append(found)
        if len(self._changes) == _AT_ONCE:
            await self.commit()

    async def commit(self) -> None:
        if self._changes:
            self.changed += await self.context.consent(self._changes)
            self._changes = []

    async def source(self, source_id: str) -> SourceRow | None:
        if source_id not in self._sources:
            async with self.context.database.reading() as reader:
                self._sources[source_id] = await sources.get(reader, source_id)
        return self._sources[source_id]

    async def _change(self, line: Line) -> Change | Mistake:
        source_id = line.source_id or self.query.source or ""
        source = await self.source(source_id) if source_id else None
        if source_id and source is None:
            return Mistake(place=line.place, detail="source_id names no source")
        region = self.query.default_region or (source.options.get("default_region") if source else None)
        number, sender = person(line.number, region), sender_of(line.sender)
        scope = line.scope or ("sender" if sender else "account")
        if number is None:
            return Mistake(place=line.place, detail="is no number, or a national one without `default_region`")
        if scope not in _SCOPES or (scope in ("sender", "group")) != (sender is not None):
            return Mistake(place=line.place, detail="scope is not one, or does not go with the sender")
        if len(line.sender or "") > (_GROUP if scope == "group" else _SENDER):
            return Mistake(place=line.place, detail="sender is too long")
        return Change(
            number=number, opted_out=line.opted_out, scope=scope, sender=line.sender if scope == "group" else sender,
            source_id=source_id, vendor=source.vendor if source else None,
        )  # fmt: skip


async def _exported(context: Context, query: ListQuery) -> AsyncGenerator[bytes]:
    yield line(opt_out_csv.COLUMNS).encode()
    before: str | None = None
    while True:
        async with context.database.reading() as reader:
            seen = await _look(reader, query, before, 500)
        if seen.rows:
            yield "".join([line(_cells(row)) for row in seen.rows]).encode()
        before = seen.rows[-1].event_id if len(seen.rows) == 500 else seen.upto
        if before is None:
            return


async def _look(reader: Reader, query: ListQuery, before: str | None, limit: int) -> Found[opt_outs.OptOut]:
    return await opt_outs.look(
        reader, number=query.number, scope=query.scope, source=query.source, opted_out=_WANTED[query.opted_out],
        before=before, limit=limit,
    )  # fmt: skip


async def _of_number(context: Context, number: str) -> Answer:
    wanted = events.Wanted(types=("contact.*",), from_=number)
    async with context.database.reading() as reader:
        lines = await opt_outs.of_number(reader, number)
        seen = await events.look(reader, wanted, after=None, limit=_HISTORY + 1, newest_first=True)
    if not lines and not seen.rows:
        raise Problem("not_found")
    document = {
        "number": number,
        "opted_out": any(line.opted_out for line in lines),
        "lines": [_shown(line).model_dump(mode="json") for line in lines],
        "history": [orjson.Fragment(row.body) for row in seen.rows[:_HISTORY]],
        "more": len(seen.rows) > _HISTORY or seen.upto is not None,
    }
    return Answer(body=orjson.dumps(document))


def _known_as(number: str) -> str:
    """As the list has it: an address, or what a vendor wrote that is none."""
    return person(number) or number.strip()


async def _lifted(reader: Reader, line: opt_outs.OptOut) -> Change:
    source = await sources.get(reader, line.source_id) if line.source_id else None
    return Change(
        number=line.number, opted_out=False, scope=line.scope, sender=line.sender or None,
        source_id=line.source_id, vendor=source.vendor if source else None,
    )  # fmt: skip


def _meant(line: opt_outs.OptOut, query: LiftQuery) -> bool:
    asked = ((query.source, line.source_id), (query.scope, line.scope), (query.sender, line.sender))
    return all(wanted is None or wanted == found for wanted, found in asked)


def _shown(row: opt_outs.OptOut) -> OptOut:
    return OptOut(
        number=row.number,
        opted_out=row.opted_out,
        scope=row.scope,
        sender=row.sender or None,
        source_id=row.source_id or None,
        via=row.via,
        changed_at=time(row.changed_at),
        event_id=row.event_id,
    )


def _cells(row: opt_outs.OptOut) -> list[object]:
    """In the order of the heading."""
    changed_at = time(row.changed_at)
    return [row.number, row.opted_out, row.scope, row.sender, row.source_id, row.via, changed_at, row.event_id]


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/opt-outs", summary="The opt-out list, what changed last first", scope="read",
        handler=listed, query=OptOutQuery, answers={200: OptOutPage},
    ),
    Operation(
        method="GET", path="/v1/opt-outs/export", summary="The opt-out list as CSV", scope="read", handler=export,
        query=ListQuery, answers={200: None}, streams=(CSV,),
    ),
    Operation(
        method="POST", path="/v1/opt-outs/import", summary="Take over an opt-out list from CSV", scope="write",
        handler=import_list, query=ImportQuery, body=Upload, takes=CSV, answers={200: Imported},
    ),
    Operation(
        method="GET", path="/v1/opt-outs/{number}", summary="What a person opted out of, with its history",
        scope="read", handler=get, answers={200: OptOutsOfNumber},
    ),
    Operation(
        method="PUT", path="/v1/opt-outs/{number}", summary="Opt a person out", scope="write", handler=put,
        body=OptOutBody, answers={200: OptOutsOfNumber},
    ),
    Operation(
        method="DELETE", path="/v1/opt-outs/{number}", summary="Opt a person in again", scope="write", handler=delete,
        query=LiftQuery, answers={204: None},
    ),
)  # fmt: skip
