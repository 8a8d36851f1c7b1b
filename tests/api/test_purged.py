"""Cursors and ids that point into what is no longer kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.sms.timestamps import DAY
from receiver.storage import partitions
from receiver.storage.database import Transaction
from receiver.storage.dropping import Dropper
from receiver.storage.postgres import PostgresDatabase
from receiver.storage.purge import purges_of
from receiver.storage.purger import Purger
from receiver.storage.retention import Retention
from tests.api.running import START, Api, problem
from tests.api.running import running_api as running_api_anywhere
from tests.api.test_events import message, received, texts


class Time:
    """A clock that goes on by itself and can be moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        self.now += 1000
        return self.now


pytestmark = pytest.mark.usefixtures("engine")
RETENTION = Retention(events=10 * DAY, receipts=10 * DAY)


@asynccontextmanager
async def running_api(folder: Path, **given: Any) -> AsyncIterator[Api]:
    """With parts of tables, where there are any, for what is received at the start."""
    async with running_api_anywhere(folder, **given) as api:
        async with api.database.writing() as transaction:
            await partitions.prepare(transaction, START, partitions.widths(RETENTION))
        yield api


async def purged(api: Api, clock: Time) -> None:
    drop = None
    if isinstance(api.database, PostgresDatabase):
        drop = Dropper(database=api.database, retention=RETENTION, clock=clock)
    await Purger(
        database=api.database, batch=api.context.batch, purges=purges_of(RETENTION), clock=clock,
        monotonic=asyncio.get_running_loop().time, drop=drop,
    ).once()  # fmt: skip


async def page(api: Api, query: str = "") -> Any:
    answer = await api.client.get(f"/v1/events{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def filled(api: Api, clock: Time) -> None:
    """Three events that were purged, and two that are there."""
    source = await received(api, 3)
    clock.now += 20 * DAY
    for number in (3, 4):
        await api.receive(source, message(number))


async def test_a_cursor_of_a_purged_position_is_410(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        empty = (await page(api))["last"]
        await filled(api, clock)
        first, second = await page(api, "?limit=1"), await page(api, "?limit=3")
        back = await page(api, "?order=desc&limit=3")
        receipt = (await api.client.get("/v1/receipts?limit=3")).json()["last"]
        assert await texts(api, f"?after={first['last']}&limit=1") == ["hello 1"]
        await purged(api, clock)
        gone = (410, "cursor_gone")
        assert problem(await api.client.get(f"/v1/events?after={first['last']}")) == gone
        assert problem(await api.client.get(f"/v1/events?after={first['data'][0]['id']}")) == gone
        assert problem(await api.client.get(f"/v1/events?after={empty}")) == gone
        assert problem(await api.client.get(f"/v1/events?order=desc&after={back['last']}")) == gone
        assert problem(await api.client.get(f"/v1/receipts?after={receipt}")) == gone
        assert problem(await api.client.get(f"/v1/events/{first['data'][0]['id']}")) == (404, "not_found")
        # nothing is missing behind the last one that went
        assert await texts(api, f"?after={second['last']}") == ["hello 3", "hello 4"]
        assert await texts(api, "") == ["hello 3", "hello 4"]
        assert await texts(api, "?order=desc&limit=2") == ["hello 4", "hello 3"]


async def test_an_event_that_never_was_is_no_purged_one(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        await filled(api, clock)
        await purged(api, clock)
        assert problem(await api.client.get("/v1/events?after=evt_zzzzzzzzzzzzzzzzzzzzzzzzzz")) == (400, "bad_cursor")


async def test_a_cursor_that_the_log_does_not_reach_is_gone_and_passes_over_nothing(tmp_path: Path):
    """The receiver's database was put back to what it was some events before."""
    for name in ("before", "restored"):
        (tmp_path / name).mkdir()
    async with running_api(tmp_path / "before") as api:
        await received(api, 3)
        last = (await page(api))["last"]
    async with running_api(tmp_path / "restored") as api:
        source = await received(api, 1)
        for path in ("", "/export", "/stream"):
            assert problem(await api.client.get(f"/v1/events{path}?after={last}")) == (410, "cursor_gone")
        for number in (1, 2):
            await api.receive(source, message(number))
        assert await page(api, f"?after={last}") == {"data": [], "next": None, "last": last}


async def test_who_looks_for_something_rare_is_never_left_behind(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        source = await received(api, 2)
        rare = await page(api, "?status=read")
        assert rare["data"] == []
        clock.now += 20 * DAY
        await purged(api, clock)
        assert (await page(api, f"?status=read&after={rare['last']}"))["data"] == []
        begun = await page(api, "?status=read")  # and who begins in an empty log begins behind what went
        await api.receive(source, message(7))
        assert await texts(api, f"?after={begun['last']}") == ["hello 7"]


async def test_pages_of_receipts_end_where_the_purge_was(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        await filled(api, clock)
        await purged(api, clock)
        first = (await api.client.get("/v1/receipts?limit=1")).json()
        second = (await api.client.get(f"/v1/receipts?limit=1&after={first['next']}")).json()
        assert (len(second["data"]), second["next"]) == (1, None)
        assert (await api.client.get(f"/v1/receipts?after={second['last']}")).json()["data"] == []


async def kept_between(api: Api, clock: Time) -> None:
    """Five events: the first two are still owed, the third was purged, the others are young."""
    await api.make_subscription(paused=True)
    await filled(api, clock)

    async def change(transaction: Transaction) -> None:
        await transaction.fetch(
            "DELETE FROM deliveries WHERE event_id IN (SELECT id FROM events WHERE seq NOT IN (1, 2))"
        )

    await api.context.batch.write(change)
    await purged(api, clock)


async def test_what_is_kept_because_it_is_owed_can_be_paged_through(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        await kept_between(api, clock)
        for order, expected in (("asc", [0, 1, 3, 4]), ("desc", [4, 3, 1, 0])):
            found, after = [], ""
            for _ in expected:
                one = await page(api, f"?limit=1&order={order}{after}")
                found += [event["data"]["text"] for event in one["data"]]
                after = f"&after={one['last']}"
            assert found == [f"hello {number}" for number in expected]
        known = (await page(api, "?limit=1"))["last"]
        clock.now += 20 * DAY
        await purged(api, clock)
        assert problem(await api.client.get(f"/v1/events?after={known}")) == (410, "cursor_gone")


async def test_the_stream_and_the_export_do_not_go_on_behind_what_is_gone(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        await filled(api, clock)
        first = await page(api, "?limit=1")
        await purged(api, clock)
        for cursor in (first["last"], first["data"][0]["id"]):
            answer = await api.client.get("/v1/events/stream", headers={"last-event-id": cursor})
            assert problem(answer) == (410, "cursor_gone")
            assert problem(await api.client.get(f"/v1/events/export?after={cursor}")) == (410, "cursor_gone")
        whole = (await api.client.get("/v1/events/export")).text.splitlines()
        assert [orjson.loads(line)["data"]["text"] for line in whole] == ["hello 3", "hello 4"]


async def consumer(api: Api, path: str = "", **body: Any) -> Any:
    """POST with a body, GET without one."""
    answer = await api.client.request("POST" if body else "GET", f"/v1/consumers{path}", json=body or None)
    assert answer.is_success, answer.text
    return answer.json()


async def test_a_consumer_that_came_too_late_goes_on_and_says_so(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        early = await consumer(api, name="early", start="beginning")
        await filled(api, clock)
        ahead = await consumer(api, "/early/events?limit=1")
        await purged(api, clock)
        late = await consumer(api, name="late", start="beginning")
        assert (early["gap"], late["gap"], (await consumer(api, "/early"))["gap"]) == (False, False, True)
        gone = await api.client.get(f"/v1/consumers/early/events?after={ahead['last']}")
        assert problem(gone) == (410, "cursor_gone")
        for name in ("early", "late"):
            left = await consumer(api, f"/{name}/events")
            assert [event["data"]["text"] for event in left["data"]] == ["hello 3", "hello 4"]
        named = await api.client.post("/v1/consumers/early/ack", json={"cursor": ahead["data"][0]["id"]})
        assert problem(named) == (410, "cursor_gone")
        assert not (await consumer(api, "/early/ack", cursor=left["data"][-1]["id"]))["gap"]


async def test_messages_end_where_the_purge_was(tmp_path: Path):
    clock = Time()
    async with running_api(tmp_path, clock=clock) as api:
        await filled(api, clock)
        (old,) = (await api.client.get("/v1/messages?q=hello+1")).json()["data"]
        await purged(api, clock)
        for query in ("", "&q=hello"):
            first = (await api.client.get(f"/v1/messages?limit=1{query}")).json()
            second = (await api.client.get(f"/v1/messages?limit=5{query}&after={first['next']}")).json()
            assert ([item["text"] for item in second["data"]], second["next"]) == (["hello 3"], None)
            assert (await api.client.get(f"/v1/messages?after={second['last']}{query}")).json()["data"] == []
        assert problem(await api.client.get(f"/v1/messages?q=hello&after={old['id']}")) == (410, "cursor_gone")
        never = "msg_zzzzzzzzzzzzzzzzzzzzzzzzzz"
        assert problem(await api.client.get(f"/v1/messages?q=hello&after={never}")) == (400, "bad_cursor")
        assert (await api.client.get(f"/v1/messages/{old['id']}")).status_code == 404
