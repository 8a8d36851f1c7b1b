"""What dropping parts is tested on: a history over parts of a day, and what of it is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

import pytest

from receiver.sms.timestamps import DAY, HOUR
from receiver.storage import partitions
from receiver.storage.background import Background
from receiver.storage.batch import Batch
from receiver.storage.dropping import Dropper
from receiver.storage.partitions import begin_of, widths
from tests import engines
from tests.storage.opening import change, fetch, opened
from tests.storage.purging import KEEP, NOW, purging, put_delivery, put_event

CUTOFF = NOW - 30 * DAY
OLD = begin_of(CUTOFF, DAY) - DAY
"""The last day of which nothing is kept."""
TODAY = begin_of(CUTOFF, DAY)
"""The day that has an end of the time for which events are kept in it."""

on_postgres = pytest.mark.parametrize("engine", ["postgres"], indirect=True)


@asynccontextmanager
async def in_parts(folder: Path) -> AsyncIterator[Any]:
    """With parts of a day for all rows of these tests."""
    async with opened(folder) as database:
        for moment in (OLD - 10 * DAY, OLD - DAY, NOW - DAY):
            async with database.writing() as transaction:
                await partitions.prepare(transaction, moment, widths(KEEP))
        yield database


def dropper(database: Any, **given: Any) -> Dropper:
    made: dict[str, Any] = {"retention": KEEP, "clock": lambda: NOW, "tries": 2}
    return Dropper(database=database, **made | given)


async def dropped(database: Any, **given: Any) -> None:
    await dropper(database, **given)(Background(Batch(database), asyncio.get_running_loop().time))


async def purged(database: Any, **given: Any) -> None:
    """As a process does it, on either engine."""
    drop = dropper(database, clock=given.get("clock", lambda: NOW)) if engines.engine() == "postgres" else None
    async with purging(database, drop=drop, **given) as purger:
        await purger.once()


async def part_names(database: Any, table: str) -> list[str]:
    rows = await fetch(
        database,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(?) ORDER BY 1",
        table,
    )
    return [row[0] for row in rows]


KEYS: dict[str, LiteralString] = {
    "events": "id", "messages": "id", "identities": "key", "receipts": "id", "deliveries": "id",
    "attempts": "delivery_id", "corrections": "event_id",
}  # fmt: skip


async def everything(database: Any) -> dict[str, list[Any]]:
    """The keys of what is there, and what is known to be gone."""
    found = {
        table: [row[0] for row in await fetch(database, f"SELECT {key} FROM {table} ORDER BY 1")]
        for table, key in KEYS.items()
    }
    return found | {
        "gone": await fetch(database, "SELECT what, gone_id, gone_seq FROM purges WHERE gone_id <> '' ORDER BY what")
    }


async def a_history(database: Any) -> None:
    """Old, of the day in which the time ends, and young; done and owed; delivered later than it came; corrected."""
    await put_event(database, 24, OLD - 400 * DAY)  # in no part of its time
    for number, at in enumerate((OLD - 3 * DAY, OLD - DAY, OLD, OLD + 5 * HOUR, TODAY, CUTOFF - 1, CUTOFF, NOW - DAY)):
        event = await put_event(database, number, at)
        await change(database, "INSERT INTO corrections VALUES (?, 'rcp', NULL)", event)
        if number == 1:
            owed = await put_event(database, 20, at, state="retrying")
            await put_delivery(database, owed, 21, "succeeded", at)
        if number == 2:
            replayed = await put_event(database, 22, at)
            await put_delivery(database, replayed, 23, "succeeded", NOW - DAY)
