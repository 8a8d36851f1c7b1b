"""What the purge is tested on: events, receipts and deliveries of any age, and a purger that goes through them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

from receiver.sms.timestamps import DAY
from receiver.storage.batch import Batch
from receiver.storage.ids import earliest
from receiver.storage.purge import purges_of
from receiver.storage.purger import Purger
from receiver.storage.retention import Retention
from tests.engines import AnyDatabase
from tests.storage.opening import change, fetch

NOW = 1_795_000_000_000_000
OLD = NOW - 100 * DAY
KEEP = Retention(events=30 * DAY, receipts=10 * DAY)
JOB: LiteralString = "INSERT INTO jobs VALUES ('job_1', ?, NULL, 'running', '{}', '', 0, 0, 0, NULL, 0, 0)"


def name(kind: str, moment: int, number: int) -> str:
    return f"{earliest(kind, moment)}{number:016d}"


async def put_event(database: AnyDatabase, number: int, at: int = OLD, **given: Any) -> str:
    """An event with its message, its identity, its receipt, and one delivery with an attempt."""
    event, message, receipt = (name(kind, at, number) for kind in ("evt", "msg", "rcp"))
    await change(
        database,
        """INSERT INTO events (id, type, accepted_at, message_id, receipt_id, body)
           VALUES (?, 'message.received', ?, ?, ?, '{}')""",
        event, at, message, receipt,
    )  # fmt: skip
    await change(
        database,
        """INSERT INTO messages (id, source_id, vendor, direction, conversation, created_at, updated_at)
           VALUES (?, 'src', 'generic', 'in', 'c', ?, ?) ON CONFLICT (id) DO NOTHING""",
        message, at, at,
    )  # fmt: skip
    await change(
        database, "INSERT INTO identities VALUES (?, ?, ?, NULL, ?)",
        f"i {number}", event, receipt, given.get("expires_at"),
    )  # fmt: skip
    await put_receipt(database, number, at)
    await put_delivery(database, event, number, given.get("state", "succeeded"), at)
    return event


async def put_receipt(database: AnyDatabase, number: int, at: int = OLD, size: int = 4) -> None:
    await change(
        database,
        """INSERT INTO receipts (id, source_id, vendor, received_at, outcome, peer, method, target, headers, body)
           VALUES (?, 'src', 'generic', ?, 'stored', '', 'POST', ?, ?, ?)""",
        name("rcp", at, number), at, b"/", b"", bytes(size),
    )  # fmt: skip


async def put_delivery(database: AnyDatabase, event: str, number: int, state: str, at: int = OLD) -> None:
    delivery = name("dlv", at, number)
    await change(
        database,
        """INSERT INTO deliveries (id, subscription_id, event_id, state, attempts, created_at, updated_at)
           VALUES (?, ?, ?, ?, 1, ?, ?)""",
        delivery, f"sub {number}", event, state, at, at,
    )  # fmt: skip
    await change(database, "INSERT INTO attempts VALUES (?, 1, 0, 0, 200, NULL, NULL, ?)", delivery, b"ok")


@asynccontextmanager
async def purging(
    database: AnyDatabase, retention: Retention = KEEP, *, batch: Any = None, **given: Any
) -> AsyncIterator[Purger]:
    own = Batch(database)
    committing = asyncio.create_task(own.run())
    made: dict[str, Any] = {"clock": lambda: NOW, "monotonic": asyncio.get_running_loop().time, "window": 3}
    traces = given.pop("traces", ())
    try:
        yield Purger(
            database=database, batch=batch(own) if batch else own, purges=purges_of(retention, traces),
            **made | given,
        )  # fmt: skip
    finally:
        own.close()
        await committing


async def purged(database: AnyDatabase, retention: Retention = KEEP, **given: Any) -> None:
    async with purging(database, retention, **given) as purger:
        await purger.once()


async def ids(database: AnyDatabase, table: str) -> Sequence[str]:
    return [row[0] for row in await fetch(database, f"SELECT * FROM {table} ORDER BY 1")]


async def counts(database: AnyDatabase) -> dict[str, int]:
    tables = ("events", "messages", "identities", "receipts", "deliveries", "attempts")
    return {table: len(await ids(database, table)) for table in tables}
