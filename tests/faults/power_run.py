"""Vendors that call while every step to disk and every answer is noted, and the judgement of what a disk then holds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from receiver.storage.batch import Batch
from receiver.storage.migrate import migrate
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.subscriptions import Secret
from tests.delivery.dispatching import SECRET
from tests.faults.power_images import Acknowledged, Step
from tests.faults.recording_vfs import Disk
from tests.pipeline import JSON, TOKEN, OneDoor, Pipeline, _built, whole
from tests.storage.making import a_subscription, saved
from tests.storage.opening import NAME

ROOM = 3
"""Deliveries that are born leased; the others wait in store."""


@asynccontextmanager
async def on_disk(disk: Disk, folder: Path, *pragmas: str, **given: Any) -> AsyncIterator[Pipeline]:
    """The way in, whole, on that disk, with a subscription that wants all; `given` is for its batch."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 — nothing else waits
    database = await disk.open(folder / NAME, *pragmas)
    batch = Batch(database, **given)
    running: asyncio.Task[None] | None = None
    try:
        await migrate(database, lambda: 0)
        await saved(database, a_subscription(secrets=[Secret(SECRET)]))
        running = asyncio.create_task(batch.run())
        way = _built(database, batch, lambda _: ROOM, OneDoor(), {})
        way.open()
        yield way
    finally:
        batch.close()
        if running is not None:
            await asyncio.gather(running, return_exceptions=True)
        await database.close()


def a_body(number: int) -> bytes:
    return orjson.dumps({"vendor_message_id": f"m{number}", "text": f"text of {number} " + "x" * (number * 37 % 900)})


async def post(way: Pipeline, body: bytes) -> int:
    """The status that a vendor gets."""
    sent = await way.ask("POST", f"/in/generic/{TOKEN}".encode(), [whole(body)], b"", JSON)
    return int(sent[0]["status"])


async def call(
    way: Pipeline, steps: list[Step], bodies: Sequence[bytes], *, callers: int = 8, too_early: bool = False
) -> list[int]:
    """So many vendors at once; each answer of success is noted among the steps of the disk. Every status there was.

    `too_early` plants a fault: the answer is noted where it would be if nobody waited for the commit.
    """
    left = list(reversed(bodies))
    statuses: list[int] = []

    async def caller() -> None:
        while left:
            body = left.pop()
            if too_early:
                steps.append(Acknowledged(body))
            status = await post(way, body)
            statuses.append(status)
            if status == 200 and not too_early:
                steps.append(Acknowledged(body))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return statuses


@dataclass(frozen=True)
class Record:
    """The life of a receiver's database, and what vendors sent to it."""

    steps: Sequence[Step]
    sent: Sequence[bytes]


@dataclass(frozen=True)
class Verdict:
    """What was found in the files: `problem` is empty when they are sound."""

    problem: str
    lost: int


async def judged(folder: Path, kept: Sequence[bytes], sent: Sequence[bytes]) -> Verdict:
    """The files opened as at a start: sound, holding all that was acknowledged whole, and nothing that nobody sent."""
    try:
        database = await SqliteDatabase.open(folder / NAME)
    except Exception as error:  # noqa: BLE001 — whatever it is, the start failed
        return Verdict(f"does not open: {error}", len(kept))
    try:
        await migrate(database, lambda: 0)
        async with database.reading() as reader:
            check = await reader.fetch("PRAGMA integrity_check")
            receipts = [row[0] for row in await reader.fetch("SELECT body FROM receipts")]
            events = [row[0] for row in await reader.fetch(_OWED)]
    except Exception as error:  # noqa: BLE001 — the same
        return Verdict(f"cannot be read: {error}", len(kept))
    finally:
        await database.close()
    if check != [("ok",)]:
        return Verdict(f"damaged: {check[0][0]}", 0)
    lost = len({*kept} - {*receipts}) + len({_text(body) for body in kept} - {_text(body) for body in events})
    foreign = {*receipts} - {*sent}
    return Verdict("holds what nobody sent" if foreign else "", lost)


_OWED = "SELECT body FROM events JOIN deliveries ON deliveries.event_id = events.id WHERE type = 'message.received'"


def _text(body: str | bytes) -> tuple[str, str]:
    """Id and text, of a vendor's body or of an event."""
    found = orjson.loads(body)
    data = found.get("data", found)
    return data["vendor_message_id"], data["text"]
