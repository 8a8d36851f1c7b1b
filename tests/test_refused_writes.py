"""A database that refuses writes for a while: vendors are told to come back, readers notice nothing, and it passes."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from receiver.storage.database import CannotStart, Database, Reader, Transaction, Unavailable
from tests.delivery.dispatching import Gate, until
from tests.test_app import Running, finished, running

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


async def refused(it: Running, url: str, message_id: str) -> None:
    answer = await it.vendor(url, MessageSid=message_id)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.content == b""


async def seen(it: Running) -> list[str]:
    page = await it.api("GET", "/v1/events")
    return [event["data"]["vendor_message_id"] for event in page["data"]]


async def limit_pages(it: Running, pages: int) -> None:
    async def change(transaction: Transaction) -> None:
        await transaction.fetch(f"PRAGMA max_page_count = {pages}")

    await it.app.batch.write(change)


@asynccontextmanager
async def locked_by_a_stranger(database: Path) -> AsyncIterator[None]:
    """Another process, for locks of the same process would be lost when one of its descriptors is closed."""
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(database), stdin=PIPE, stdout=PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert await holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.stdin.close()
        assert await holder.wait() == 0


async def test_with_no_page_left_vendors_come_back_later_and_nothing_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        source = await it.source()
        await it.subscription()
        assert (await it.vendor(source["url"], MessageSid="SM1")).status_code == 200
        await limit_pages(it, 1)  # as low as what is used: the next page is one too many
        kept = 1
        while (await it.vendor(source["url"], MessageSid=f"SM{kept + 1}")).status_code == 200:
            kept += 1  # pages in use still had room
        await refused(it, source["url"], "SMlater")
        assert await seen(it) == [f"SM{number}" for number in range(1, kept + 1)]
        await limit_pages(it, 100_000)
        assert (await it.vendor(source["url"], MessageSid="SMlater")).status_code == 200
        assert (await seen(it))[-1] == "SMlater"
        await until(lambda: len(it.subscribers.sent) == kept + 1)


async def test_with_a_foreign_lock_vendors_come_back_later_and_nothing_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        source = await it.source()
        async with locked_by_a_stranger(it.app.settings.database_path):
            await refused(it, source["url"], "SM1")
            assert await seen(it) == []
        assert (await it.vendor(source["url"], MessageSid="SM1")).status_code == 200
        assert await seen(it) == ["SM1"]


class Full:
    """A database that is full from where it is told to be; `tries` counts the transactions that then fail."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.full = False
        self.tries = 0

    def reading(self) -> AbstractAsyncContextManager[Reader]:
        return self._database.reading()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        async with self._database.writing() as transaction:
            yield transaction
            if self.full:
                self.tries += 1
                raise Unavailable("database or disk is full")

    async def close(self) -> None:
        await self._database.close()


async def test_while_nothing_can_be_written_deliveries_pause_and_each_is_sent_once(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        database = it.app.batch._database = Full(it.app.database)
        gate = it.subscribers.behaviours["a"] = Gate()
        source = await it.source()
        await it.subscription()
        for number in range(5):
            assert (await it.vendor(source["url"], MessageSid=f"SM{number}")).status_code == 200
        await until(lambda: bool(it.subscribers.sent))
        database.full = True
        gate.opened.set()  # what was sent succeeds, and cannot be noted
        await until(lambda: database.tries > 0)
        database.tries = 0
        await asyncio.sleep(1.5)
        assert database.tries <= 60  # of five deliveries; one that spins tries some thousand times
        database.full = False
        async with asyncio.timeout(30):  # it looks again after a pause
            while len(it.subscribers.sent) < 5:  # noqa: ASYNC110 — what is waited for is a state, not an event
                await asyncio.sleep(0.01)
        await finished(it)
        assert len(it.subscribers.sent) == 5
        states = await it.fetch("SELECT state, count(*) FROM deliveries GROUP BY state")
        assert states == [("succeeded", 5)]


async def test_a_start_under_a_foreign_lock_ends_with_one_clear_line(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        database = it.app.settings.database_path
    async with locked_by_a_stranger(database):
        with pytest.raises(CannotStart, match="database is locked"):
            async with running(tmp_path):
                raise AssertionError("it started")
