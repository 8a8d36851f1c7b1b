"""Databases for measurements: one source, one subscription, and as many deliveries waiting as wanted."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

from bench.requests import AUTH_TOKEN, SOURCE, TOKEN, twilio_form
from receiver.delivery.signing import format_secret
from receiver.sms.compose import Origin, compose
from receiver.storage import sources, subscriptions
from receiver.storage.catalog import Catalog
from receiver.storage.ids import Ids
from receiver.storage.migrate import migrate
from receiver.storage.receipts import Receipt
from receiver.storage.record import Recorder, Recording
from receiver.storage.sources import SourceRow
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.subscriptions import Secret, Subscription
from receiver.vendors.contract import VendorRequest
from receiver.vendors.twilio import TWILIO

ORIGIN = Origin(source_id=SOURCE.id, vendor="twilio")


def now() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteDatabase]:
    database = await SqliteDatabase.open(folder / "receiver.db")
    await migrate(database, now)
    try:
        yield database
    finally:
        await database.close()


async def prepare(folder: Path, *, url: str, state: Any, concurrency: int = 64, subscribers: int = 1) -> None:
    async with opened(folder) as database, database.writing() as transaction:
        await sources.save(
            transaction,
            SourceRow(id=SOURCE.id, vendor="twilio", name="bench", token=TOKEN, options={},
                      credentials={"auth_token": [AUTH_TOKEN]}, created_at=now(), updated_at=now()),
        )  # fmt: skip
        for number in range(subscribers):
            await subscriptions.save(
                transaction,
                Subscription(
                    id=f"sub_bench{number}", url=url, types=["*"], filter=None, format="standard",
                    secrets=[Secret(format_secret(bytes(32)))], max_concurrency=concurrency, retry_schedule=None,
                    state=state, description=None, created_at=now(), updated_at=now(),
                ),
            )  # fmt: skip


async def fill(folder: Path, count: int) -> None:
    """`count` events, none of their deliveries taken yet."""
    async with opened(folder) as database:
        ids = Ids(now, os.urandom)
        recorder = Recorder(Catalog(), ids, now, lambda _: 0)
        for start in range(0, count, 500):
            recordings = [_recording(number, ids) for number in range(start, min(start + 500, count))]
            async with database.writing() as transaction:
                await recorder.record(transaction, recordings)


def _recording(number: int, ids: Ids) -> Recording:
    body, receipt_id = twilio_form(number, "b"), ids.new("rcp")
    request = VendorRequest(
        method="POST", url="", query=b"", headers=((b"content-type", b"application/x-www-form-urlencoded"),),
        body=body, peer="127.0.0.1", received_at=now(),
    )  # fmt: skip
    receipt = Receipt(
        id=receipt_id, source_id=SOURCE.id, vendor="twilio", received_at=request.received_at, peer="127.0.0.1",
        method="POST", target=b"/in/twilio/", headers=b"content-type: application/x-www-form-urlencoded", body=body,
    )  # fmt: skip
    (item,) = TWILIO.parse(request, SOURCE)
    entry = compose(item, ORIGIN, request.received_at, receipt_id)  # type: ignore[arg-type]  # a message, as we built it
    return Recording(receipt=receipt, origin=ORIGIN, entries=[entry])


async def events(folder: Path) -> int:
    return await _count(folder, "SELECT count(*) FROM events")


async def succeeded(folder: Path) -> int:
    return await _count(folder, "SELECT count(*) FROM deliveries WHERE state = 'succeeded'")


async def _count(folder: Path, sql: LiteralString) -> int:
    database = await SqliteDatabase.open_reader(folder / "receiver.db")
    try:
        async with database.reading() as reader:
            ((number,),) = await reader.fetch(sql)
            return int(number)
    finally:
        await database.close()
