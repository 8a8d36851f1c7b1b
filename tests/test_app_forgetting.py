"""The whole receiver keeps for as long as it is told, and forgets whom it is asked to."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.delivery.dispatching import Clock, Gate
from tests.test_app import Running, finished, it_got, running

DAY = 86_400
INDEXED = "followers WHERE name = 'texts' AND position = "
FOUND = "SELECT rowid FROM texts WHERE texts MATCH 'see' ORDER BY rowid"


async def until_counted(it: Running, table: str, number: int) -> None:
    for _ in range(1000):
        ((found,),) = await it.fetch(f"SELECT count(*) FROM {table}")
        if found == number:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{found} {table} never became {number}")


async def test_what_is_old_is_purged_at_the_next_start_and_a_repeat_of_it_is_one_still(tmp_path: Path) -> None:
    clock = Clock()
    kept: dict[str, Any] = {"retention_events": 2 * DAY, "retention_receipts": DAY}
    async with running(tmp_path, clock, **kept) as it:
        source = await it.source()
        await it.vendor(source["url"], MessageSid="SM1")
        await until_counted(it, INDEXED + "1", 1)
        assert await it.fetch(FOUND) == [(1,)]
        clock.advance(5 * DAY)
        await it.vendor(source["url"], MessageSid="SM2")
        assert await it.fetch("SELECT count(*) FROM events") == [(2,)]
    async with running(tmp_path, clock, **kept) as it:
        for table in ("events", "receipts", "messages"):
            await until_counted(it, table, 1)
        await until_counted(it, INDEXED + "2", 1)
        assert await it.fetch(FOUND) == [(2,)]
        await it.vendor(source["url"], MessageSid="SM1")
        assert await it.fetch("SELECT count(*) FROM events") == [(1,)]
        assert await it.fetch("SELECT outcome FROM receipts ORDER BY id") == [("stored",), ("duplicate",)]


async def test_what_a_paused_subscription_is_owed_is_there_when_it_comes_back(tmp_path: Path) -> None:
    clock = Clock()
    kept: dict[str, Any] = {"retention_events": DAY, "retention_receipts": DAY}
    async with running(tmp_path, clock, **kept) as it:
        source, subscription = await it.source(), await it.subscription(paused=True)
        await it.vendor(source["url"])
    clock.advance(100 * DAY)
    async with running(tmp_path, clock, **kept) as it:
        await until_counted(it, "receipts", 0)
        await it.api("PATCH", f"/v1/subscriptions/{subscription['id']}", paused=False)
        await it.api("POST", f"/v1/subscriptions/{subscription['id']}/recover")
        await it_got(it, 1)
        assert json.loads(it.subscribers.sent[0].body)["data"]["text"] == "Yes, see you at 3pm"


async def test_an_erasure_reaches_what_is_about_to_be_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        gate = it.subscribers.behaviours["a"] = Gate()
        source = await it.source()
        await it.subscription(max_concurrency=1)
        for number in range(3):
            await it.vendor(source["url"], MessageSid=f"SM{number}")
        await it_got(it, 1)
        await it.api("DELETE", "/v1/subjects/12125550123")
        for _ in range(1000):
            ((state,),) = await it.fetch("SELECT state FROM jobs")
            if state == "done":
                break
            await asyncio.sleep(0.005)
        gate.opened.set()
        await finished(it)
        sent = [json.loads(sent.body)["data"] for sent in it.subscribers.sent]
        assert [data["text"] for data in sent] == ["Yes, see you at 3pm", None, None]
        assert [data["flags"] for data in sent] == [[], ["erased"], ["erased"]]
        assert in_files(tmp_path, b"2125550123") == []


def in_files(folder: Path, word: bytes) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file() and word in path.read_bytes()]
