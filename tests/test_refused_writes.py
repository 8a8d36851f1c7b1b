"""A database that refuses writes for a while: vendors are told to come back, readers notice nothing, and it passes."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from receiver.storage.database import CannotStart, Transaction
from tests.delivery.dispatching import until
from tests.test_app import Running, running

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


async def test_a_start_under_a_foreign_lock_ends_with_one_clear_line(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        database = it.app.settings.database_path
    async with locked_by_a_stranger(database):
        with pytest.raises(CannotStart, match="database is locked"):
            async with running(tmp_path):
                raise AssertionError("it started")
