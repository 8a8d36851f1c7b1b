"""The way in, whole, on a real database: an ASGI request through the intake, and what the log then holds."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from pathlib import Path
from typing import Any

import orjson

from receiver.fixtures import Fixture
from receiver.intake.assemble import Assembler
from receiver.intake.receive import Intake
from receiver.sms.compose import Origin
from receiver.sms.timestamps import from_text
from receiver.storage import receipts
from receiver.storage.amend import Amender
from receiver.storage.batch import Batch, Operation
from receiver.storage.catalog import Catalog, Door
from receiver.storage.database import Database
from receiver.storage.ids import Ids
from receiver.storage.migrate import migrate
from receiver.storage.owing import Outgoing
from receiver.storage.receipts import Receipt
from receiver.storage.record import Recorder
from receiver.storage.recording import Recorded, Recording
from receiver.vendors import VENDORS
from receiver.vendors.contract import Source, Vendor
from tests import engines

OUR_IDS = ("message_id", "receipt_id", "source_id")
TOKEN = "T0KEN0123456789abcdefghij"
START = 1_700_000_000_000_000
SECOND = 1_000_000
_MAPPED = (
    "vendor_message_id", "client_reference", "batch_id", "from", "to", "text", "status", "opt_out", "vendor_code",
    "sequence", "occurred_at", "sent_at", "keyword", "media_url", "part_id", "part_reference", "part_number",
    "part_total",
)  # fmt: skip


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes
    receipt: Receipt | None
    events: list[dict[str, Any]]


@dataclass
class Pipeline:
    """`post` and `send` are requests as a vendor makes them; the clock stands still until told otherwise."""

    database: Database
    batch: Batch
    intake: Intake
    doors: "OneDoor"
    catalog: Catalog
    ids: Ids
    now: int
    recorded: list[Recorded]
    assembler: Assembler
    handed: list[Outgoing]
    counts: Counter[str] = field(default_factory=Counter)
    refusals: list[tuple[str, str]] = field(default_factory=list)

    async def post(self, fixture: Fixture) -> Answered:
        """The fixture on its own source, at its own time."""
        self.now = from_text(fixture.expected.received_at)
        self.doors.open(source_of(fixture), VENDORS[fixture.vendor])
        request = fixture.request(self.now)
        path = request.url.removeprefix(fixture.expected.origin).partition("?")[0]
        return await self.send(request.method, path, request.query, request.headers, request.body)

    async def send(
        self,
        method: str,
        path: str,
        query: bytes = b"",
        headers: Any = (),
        body: bytes = b"",
        peer: str = "203.0.113.9",
    ) -> Answered:
        before = len(self.recorded)
        sent = await self.ask(method, path.encode(), [whole(body)], query, headers, peer)
        mine = self.recorded[before:]
        return Answered(
            status=sent[0]["status"],
            headers={name.decode(): value.decode() for name, value in sent[0]["headers"]},
            body=b"".join(message.get("body", b"") for message in sent[1:]),
            receipt=mine[0].receipt if mine else None,
            events=[await self.event(event_id) for recorded in mine for event_id, _ in recorded.events],
        )

    async def ask(
        self, method: str, path: bytes, messages: Iterable[Any], query: bytes = b"", headers: Any = (),
        peer: str | None = "203.0.113.9",
    ) -> list[dict[str, Any]]:  # fmt: skip
        """One exchange by ASGI's messages, some of which may be long in coming; behind the last the client is gone."""
        sent: list[dict[str, Any]] = []
        incoming = iter(messages)

        async def receive() -> Any:
            message: Any = next(incoming, {"type": "http.disconnect"})
            return await message if isawaitable(message) else message

        async def send(message: Any) -> None:
            sent.append(message)

        await self.intake(scope_of(method, path, query, headers, peer), receive, send)
        return sent

    def open(
        self, secret: str = "", *, verify: Any = None, parse: Any = None, answer: Any = None, handshake: Any = None,
        **options: Any,
    ) -> None:  # fmt: skip
        """A generic source, with our own names for the vendor's, behind the door from now on; functions of its
        adapter can be others.
        """
        given = {"verify": verify, "parse": parse, "answer": answer, "handshake": handshake}
        vendor = replace(VENDORS["generic"], **{name: function for name, function in given.items() if function})
        self.doors.open(generic_source(secret=secret, **options), vendor)

    async def tell(self, **fields: Any) -> Answered:
        """One object as JSON to the generic source."""
        return await self.send("POST", f"/in/generic/{TOKEN}", headers=JSON, body=orjson.dumps(fields))

    async def assemble(self) -> list[dict[str, Any]]:
        """Joins the long messages that are due; the events that this made."""
        ((before,),) = await self.fetch("SELECT coalesce(max(seq), 0) FROM events")
        while (await self.assembler.step()).more:
            pass
        return await self.events(before)

    async def events(self, behind: int = 0) -> list[dict[str, Any]]:
        """The log."""
        rows = await self.fetch("SELECT body FROM events WHERE seq > ? ORDER BY seq", behind)
        return [dict(orjson.loads(row[0])) for row in rows]

    async def event(self, event_id: str) -> dict[str, Any]:
        ((body,),) = await self.fetch("SELECT body FROM events WHERE id = ?", event_id)
        return dict(orjson.loads(body))

    async def fetch(self, sql: Any, *values: Any) -> Any:
        async with self.database.reading() as reader:
            return await reader.fetch(sql, *values)

    async def receipt(self, receipt_id: str) -> Receipt | None:
        async with self.database.reading() as reader:
            return await receipts.get(reader, receipt_id)


class OneDoor:
    """Every token leads to the source that was opened last."""

    def __init__(self) -> None:
        self._door: Door | None = None
        self.shut_all = False

    def open(self, source: Source, vendor: Vendor) -> None:
        origin = Origin(
            source_id=source.id,
            vendor=vendor.name,
            default_region=source.options.default_region,
            dedup_seconds=source.options.dedup_seconds,
            reference_days=source.options.reference_days,
            assemble_after=source.options.assemble_after,
        )
        self._door = Door(TOKEN, source, vendor, origin)

    def shut(self, _token: str) -> bool:
        return self.shut_all

    def door(self, token: str) -> Door | None:
        return self._door if token == TOKEN else None


def source_of(fixture: Fixture, source_id: str = "src_fixture") -> Source:
    expected = fixture.expected
    return Source(
        id=source_id,
        vendor=fixture.vendor,
        name="fixture",
        credentials={
            name: (value,) if isinstance(value, str) else tuple(value) for name, value in expected.credentials.items()
        },
        options=VENDORS[fixture.vendor].options.model_validate(expected.options),
    )


JSON = ((b"content-type", b"application/json"),)


def generic_source(source_id: str = "src_generic", secret: str = "", **options: Any) -> Source:
    declared = {
        "fields": {name: name for name in _MAPPED},
        "statuses": {"ok": "delivered", "out": "sent", "no": "undelivered", "stop": {"status": "rejected", "reason": "opted_out"}},
        "international": True,
    }  # fmt: skip
    return Source(
        id=source_id,
        vendor="generic",
        name="ours",
        credentials={"secret": (secret,)} if secret else {},
        options=VENDORS["generic"].options.model_validate(declared | options),
    )


def whole(body: bytes) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": False}


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def scope_of(
    method: str, path: bytes, query: bytes = b"", headers: Any = (), peer: str | None = "203.0.113.9"
) -> dict[str, Any]:
    return {
        "type": "http", "method": method, "raw_path": path, "path": path.decode("latin-1"), "query_string": query,
        "headers": list(headers), "client": None if peer is None else (peer, 4321),
    }  # fmt: skip


def without_our_ids(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as fixtures expect it."""
    data = {name: value for name, value in event["data"].items() if name not in OUR_IDS}
    return {"type": event["type"], "timestamp": event["timestamp"], "supersedes": event["supersedes"], "data": data}


@asynccontextmanager
async def pipeline(
    folder: Path,
    room: Callable[[str], int] = lambda _: 1000,
    *,
    wrapped: Callable[[Any], Database] = lambda database: database,
    patience: float = 10.0,
    doors: Any = None,
    **given: Any,
) -> AsyncIterator[Pipeline]:
    """`wrapped` may stand between the batch and the database; `given` replaces parts of the intake."""
    opened = await engines.open_database(folder)
    await migrate(opened, lambda: 0)
    database = wrapped(opened)
    batch = Batch(database, patience=patience)
    running = asyncio.create_task(batch.run())
    made = _built(database, batch, room, doors, given)
    try:
        yield made
    finally:
        batch.close()
        await asyncio.gather(running, return_exceptions=True)
        await opened.close()


def _built(database: Database, batch: Batch, room: Callable[[str], int], doors: Any, given: Any) -> Pipeline:
    made: Pipeline

    def clock() -> int:
        return made.now

    def count(name: str, /, **labels: str) -> None:
        made.counts[" ".join([name, *labels.values()])] += 1

    ids = Ids(clock, bytes)
    catalog = Catalog()
    recorded: list[Recorded] = []

    def any_room(subscription_id: str, *, urgent: bool) -> int:
        return room(subscription_id)

    recorder = Recorder(catalog, ids, clock, any_room)
    operation: Operation[Recording, Recorded] = Operation(recorder.record, recorded.extend)
    intake = Intake(
        doors=doors or OneDoor(),
        record=lambda recording: batch.put(operation, recording),
        new_id=ids.new,
        clock=clock,
        count=count,
        refused=lambda source_id, reason: made.refusals.append((source_id, reason)),
        public_url="https://hooks.example.com",
        max_body_bytes=1024 * 1024,
    )
    intake = replace(intake, **given)
    handed: list[Outgoing] = []
    assembler = Assembler(
        batch=batch, amender=Amender(catalog, ids, any_room), clock=clock, hand_over=handed.extend, pause=0.01
    )
    doors = intake.doors
    made = Pipeline(database, batch, intake, doors, catalog, ids, START, recorded, assembler, handed)
    return made
