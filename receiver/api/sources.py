"""Sources: one configured account of a vendor, with the URL that the vendor calls."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field

from receiver.api import masks, source_body
from receiver.api.asked import PollState, states
from receiver.api.context import Context
from receiver.api.cursor import position_of, turn
from receiver.api.inputs import Nothing, Paged
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem, invalid
from receiver.api.shapes import MASK, Page, Time, time, time_or_none
from receiver.api.source_body import SourceBody, SourceChange
from receiver.storage import sources
from receiver.storage.database import Transaction
from receiver.storage.sources import SourceRow
from receiver.vendors.contract import Source as ConfiguredSource
from receiver.vendors.contract import Vendor
from receiver.vendors.polling import asked

MAX_SOURCES = 10_000

_LIST = "sources"
_TOKEN_BYTES = 24


class Source(BaseModel):
    id: str = Field(examples=["src_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    vendor: str
    name: str
    url: str = Field(description="what the vendor calls; the last part is a secret")
    setup: dict[str, str] = Field(description="what to paste where at the vendor's")
    credentials: dict[str, str | list[str]] = Field(examples=[{"auth_token": MASK}], description="masked")
    options: dict[str, Any] = Field(description="with the vendor's defaults; the password of `basic` is masked")
    created_at: Time
    updated_at: Time
    last_seen_at: Time | None
    last_error: str | None = Field(description="of the last request that was refused or not understood")
    last_error_at: Time | None
    poll: PollState | None = Field(description="how asking the vendor goes; null where it was not asked so far")
    warnings: list[str]


class SourcePage(Page[Source]):
    pass


async def create(context: Context, call: Call[Nothing, SourceBody]) -> Answer:
    body, now = call.body, context.clock()
    vendor = context.vendors.get(body.vendor)
    if vendor is None:
        raise invalid("/vendor", f"must be one of {', '.join(context.vendors)}")
    credentials, options = source_body.checked(vendor, body.credentials, body.options)
    row = SourceRow(
        id=context.ids.new("src"),
        vendor=vendor.name,
        name=body.name or vendor.title,
        token=_token(context),
        credentials=credentials,
        options=options,
        created_at=now,
        updated_at=now,
    )

    async def change(transaction: Transaction) -> None:
        if await sources.count(transaction) >= MAX_SOURCES:
            raise invalid("", f"there are {MAX_SOURCES} sources, which is the limit")
        await sources.save(transaction, row)

    await context.reconfigure(change)
    location = f"{context.public_url}/v1/sources/{row.id}"
    return Answer(status=201, body=shown(context, row), headers={"location": location})


async def listed(context: Context, call: Call[Paged, Nothing]) -> Answer:
    before = position_of(call.query, _LIST, "src")
    async with context.database.reading() as reader:
        found = await sources.page(reader, before=before, limit=call.query.limit + 1)
        polls = await states(reader, found)
    page = turn(call.query, _LIST, found, lambda row: row.id)
    data = [shown(context, row, polls.get(row.id)) for row in page.rows]
    return Answer(body=SourcePage(data=data, next=page.next, last=page.last), next=page.next)


async def get(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    async with context.database.reading() as reader:
        row = await sources.get(reader, call.id)
        polls = await states(reader, [row] if row else [])
    if row is None:
        raise Problem("not_found")
    return Answer(body=shown(context, row, polls.get(row.id)))


async def patch(context: Context, call: Call[Nothing, SourceChange]) -> Answer:
    async def change(transaction: Transaction) -> _Changed:
        row = await _existing(transaction, call.id)
        changed = _changed(context, row, call.body)
        await sources.save(transaction, changed)
        return await _with_state(transaction, changed)

    return Answer(body=shown(context, *await context.reconfigure(change)))


async def remove(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    """Once more is no error; an id that never was is."""
    now = context.clock()

    async def change(transaction: Transaction) -> bool:
        return await sources.remove(transaction, call.id, now) or await sources.known(transaction, call.id)

    if not await context.reconfigure(change):
        raise Problem("not_found")
    return Answer(status=204)


async def rotate_token(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    """The old URL answers 404 from now on."""
    token, now = _token(context), context.clock()

    async def change(transaction: Transaction) -> _Changed:
        row = replace(await _existing(transaction, call.id), token=token, updated_at=now)
        await sources.save(transaction, row)
        return await _with_state(transaction, row)

    return Answer(body=shown(context, *await context.reconfigure(change)))


_Changed = tuple[SourceRow, PollState | None]


async def _with_state(transaction: Transaction, row: SourceRow) -> _Changed:
    return row, (await states(transaction, [row])).get(row.id)


async def _existing(transaction: Transaction, source_id: str) -> SourceRow:
    row = await sources.get(transaction, source_id)
    if row is None:
        raise Problem("not_found")
    return row


def _changed(context: Context, row: SourceRow, body: SourceChange) -> SourceRow:
    given = body.model_fields_set
    vendor = context.vendors.get(row.vendor)
    if vendor is None:
        raise Problem("conflict", "This version does not know the source's vendor.")
    credentials, options = source_body.checked(
        vendor,
        body.credentials if "credentials" in given else row.credentials,
        body.options if "options" in given else row.options,
        old_credentials=row.credentials,
        old_options=row.options,
    )
    name = body.name or vendor.title if "name" in given else row.name
    return replace(row, name=name, credentials=credentials, options=options, updated_at=context.clock())


def _token(context: Context) -> str:
    return urlsafe_b64encode(context.entropy(_TOKEN_BYTES)).decode("ascii")


def shown(context: Context, row: SourceRow, poll: PollState | None = None) -> Source:
    """A source as the API shows it, secrets masked; its URL is what whoever sets the vendor up needs."""
    vendor = context.vendors.get(row.vendor)
    source = row.readable(vendor) if vendor else None
    url = f"{context.public_url}/in/{row.vendor}/{row.token}"
    return Source(
        id=row.id,
        vendor=row.vendor,
        name=row.name,
        url=url,
        setup={**vendor.setup(url, source.options), **_asks(vendor, source)} if vendor and source else {},
        credentials={
            name: MASK if len(values) == 1 else [MASK] * len(values) for name, values in row.credentials.items()
        },
        options=masks.dumped(source.options, masks.hidden) if source else {},
        created_at=time(row.created_at),
        updated_at=time(row.updated_at),
        last_seen_at=time_or_none(row.last_seen_at),
        last_error=row.last_error,
        last_error_at=time_or_none(row.last_error_at),
        poll=poll,
        warnings=list(_warnings(context, vendor, source)),
    )


def _asks(vendor: Vendor, source: ConfiguredSource) -> Mapping[str, str]:
    """Of a source whose vendor is asked: where, for what, and what to do there before."""
    found = asked(vendor, source)
    if found is None:
        return {}
    poll, options = found
    wanted = f"every {options.every} s for {', '.join(options.names)}" if options.names else "for single messages"
    return {"asks": f"{options.base_url or poll.base_url} {wanted}", "to_ask": poll.help}


def _warnings(context: Context, vendor: Vendor | None, source: ConfiguredSource | None) -> Iterator[str]:
    if vendor is None:
        yield "This version does not know the vendor; requests are answered 503."
        return
    if source is None:
        yield "Has options that this version does not take; requests are answered 503 until they are changed."
        return
    if vendor.signs_url and context.public_url_is_default:
        yield f"{vendor.title} signs the URL that it calls; set RECEIVER_PUBLIC_URL, or its requests may be refused."
    if not vendor.proves(source):
        yield "Only the secret in the URL proves where a request comes from; set credentials, options.basic or allow."


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/sources", summary="Make a source; 10,000 at most", scope="write", handler=create,
        body=SourceBody, answers={201: Source},
    ),
    Operation(
        method="GET", path="/v1/sources", summary="List sources, newest first", scope="read", handler=listed,
        query=Paged, answers={200: SourcePage},
    ),
    Operation(
        method="GET", path="/v1/sources/{id}", summary="A source", scope="read", handler=get, answers={200: Source},
    ),
    Operation(
        method="PATCH", path="/v1/sources/{id}", summary="Change a source", scope="write", handler=patch,
        body=SourceChange, answers={200: Source}, problems=("conflict",),
    ),
    Operation(
        method="DELETE", path="/v1/sources/{id}", summary="Remove a source; its events stay", scope="write",
        handler=remove, answers={204: None},
    ),
    Operation(
        method="POST", path="/v1/sources/{id}/rotate-token", summary="Give a source a new URL", scope="write",
        handler=rotate_token, answers={200: Source},
    ),
)  # fmt: skip
