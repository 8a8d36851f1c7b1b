"""An app that cannot start, or cannot go on: it says so, ends, and has harmed nothing."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from receiver.app import create_app
from receiver.storage import sources
from receiver.storage.batch import Operation
from receiver.storage.database import Broken, CannotStart, Transaction, Unavailable
from tests.delivery.dispatching import Clock, Subscribers, until
from tests.test_app import KEY, Running, asked, finished, it_got, running, settings


async def test_a_second_app_on_the_same_file_refuses_naming_the_holder(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        with pytest.raises(CannotStart, match=rf"in use by process {os.getpid()}$"):
            async with running(tmp_path):
                pass
        assert (await asked(it, KEY)).status_code == 200
    async with running(tmp_path):
        pass


async def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "receiver.db").write_bytes(b"a letter, not a database")
    with pytest.raises(CannotStart, match="is not a SQLite database"):
        async with running(tmp_path):
            pass
    assert (tmp_path / "receiver.db").read_bytes() == b"a letter, not a database"


async def test_a_broken_database_ends_the_app(tmp_path: Path) -> None:
    async def breaks(_transaction: Transaction) -> None:
        raise Broken("disk I/O error")

    async with running(tmp_path) as it:
        source = await it.source()
        with pytest.raises(Broken):
            await it.app.batch.write(breaks)
        await asyncio.wait_for(it.app.failed.wait(), 15.0)
        assert (await it.client.get("/readyz")).status_code == 503
        refused = await it.vendor(source["url"])
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)


async def test_a_source_whose_removal_was_rolled_back_is_still_open(tmp_path: Path) -> None:
    """A recording of the same transaction has read the change by then. Many vendors give up on a 404."""
    async with running(tmp_path) as it:
        source = await it.source()

        async def removed_in_vain(transaction: Transaction) -> None:
            await sources.remove(transaction, source["id"], it.clock())
            await it.app.catalog.refresh(transaction)
            raise Unavailable("database or disk is full")

        with pytest.raises(Unavailable):
            await it.app.batch.write(removed_in_vain)
        await until(lambda: len(it.app.catalog.sources) == 1)
        assert (await it.vendor(source["url"])).status_code == 200


async def test_a_token_whose_rotation_nobody_waited_for_opens_its_source(tmp_path: Path) -> None:
    """The API told its caller that the database does not answer; the commit came all the same."""
    begun, free = asyncio.Event(), asyncio.Event()

    async def hold(_transaction: Transaction) -> None:
        begun.set()
        await free.wait()

    async with running(tmp_path) as it:
        source = await it.source()
        holding = asyncio.create_task(it.app.batch.write(hold))
        await begun.wait()
        rotating = asyncio.create_task(it.api("POST", f"/v1/sources/{source['id']}/rotate-token"))
        await until(lambda: it.app.batch.waiting > 0)
        rotating.cancel()
        await asyncio.gather(rotating, return_exceptions=True)
        free.set()
        await holding
        await it.app.batch.write(hold)  # behind what was asked for before
        moved = (await it.api("GET", f"/v1/sources/{source['id']}"))["url"]
        assert moved != source["url"]
        await until(lambda: it.app.catalog.door(moved.rpartition("/")[2]) is not None)
        assert (await it.vendor(moved)).status_code == 200


async def test_whatever_ends_the_committing_ends_the_app(tmp_path: Path) -> None:
    """Else it would go on listening and answer 503 to everybody for ever."""

    async def fine(_transaction: Transaction, items: Sequence[None]) -> Sequence[None]:
        return items

    def bug(_results: Sequence[None]) -> None:
        raise RuntimeError("a bug in whoever is told of commits")

    async with running(tmp_path) as it:
        await it.app.batch.submit(Operation(fine, bug), None)
        await asyncio.wait_for(it.app.failed.wait(), 15.0)
        assert "database" in (await it.client.get("/readyz")).text


async def test_a_dispatcher_that_fails_ends_the_app(tmp_path: Path) -> None:
    class Stuck(Clock):
        def __call__(self) -> int:
            if self.now < 0:
                raise RuntimeError("a bug on the way out")
            return self.now

    clock = Stuck()
    async with running(tmp_path, clock) as it:
        await it.source()
        subscription = await it.subscription()
        clock.now = -1
        with pytest.raises(RuntimeError):
            it.app.dispatcher.wake(subscription["id"])
        clock.now = Clock().now
        it.app.dispatcher.wake(subscription["id"])
        clock.now = -1
        await asyncio.wait_for(it.app.failed.wait(), 15.0)
        clock.now = Clock().now


async def test_a_start_whose_database_is_busy_begins_to_send_as_soon_as_it_is_free(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path), transport=(subscribers := Subscribers(Clock())))
    async with app.lifespan(dispatch=False):
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost")
        async with client:
            it = Running(app, subscribers, Clock(), client)
            source = await it.source()
            await it.subscription()
            assert (await it.vendor(source["url"])).status_code == 200
            other = sqlite3.connect(tmp_path / "receiver.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            sending = asyncio.create_task(app._send())
            await asyncio.sleep(1.1)
            assert not sending.done()
            other.execute("ROLLBACK")
            other.close()
            await it_got(it, 1)
            await finished(it)
    await asyncio.wait_for(sending, 15.0)
