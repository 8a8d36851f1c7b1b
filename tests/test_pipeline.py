"""The way in as a whole: nothing is answered before it is on disk, and nothing that is on disk is lost or told twice."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from receiver.fixtures import load_all
from tests.pipeline import JSON, TOKEN, pipeline, scope_of, whole
from tests.storage.hooked import Hooked
from tests.storage.making import a_subscription, saved

PATH = f"/in/generic/{TOKEN}".encode()
BODY = b'{"vendor_message_id": "m1", "text": "hello"}'


def hooked(hooks: list[Hooked]) -> Any:
    def wrap(database: Any) -> Hooked:
        hooks.append(Hooked(database))
        return hooks[-1]

    return wrap


async def test_no_answer_is_given_and_nothing_handed_over_while_the_commit_is_held(tmp_path: Path):
    hooks: list[Hooked] = []
    sent: list[Any] = []
    async with pipeline(tmp_path, wrapped=hooked(hooks)) as way:
        way.open()

        async def receive() -> Any:
            return whole(BODY)

        async def send(message: Any) -> None:
            sent.append((message["type"], await way.fetch("SELECT count(*) FROM receipts")))

        hooks[0].may_commit.clear()
        asking = asyncio.create_task(way.intake(scope_of("POST", PATH, headers=JSON), receive, send))
        await asyncio.wait_for(hooks[0].at_commit.wait(), 5)
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert sent == []
        assert way.recorded == []
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]
        hooks[0].may_commit.set()
        await asking
        assert sent == [("http.response.start", [(1,)]), ("http.response.body", [(1,)])]


async def test_a_client_that_leaves_after_the_commit_has_its_message_kept_and_its_retry_is_a_duplicate(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()

        async def receive() -> Any:
            return whole(BODY)

        async def send(_: Any) -> None:
            """As a server does when nobody listens any more: nothing."""

        await way.intake(scope_of("POST", PATH, headers=JSON), receive, send)
        again = await way.send("POST", PATH.decode(), headers=JSON, body=BODY)
        assert again.status == 200
        assert await way.fetch("SELECT outcome FROM receipts ORDER BY id") == [("stored",), ("duplicate",)]
        assert await way.fetch("SELECT count(*) FROM events") == [(1,)]


async def test_a_request_cancelled_while_it_is_committed_takes_nothing_with_it(tmp_path: Path):
    hooks: list[Hooked] = []
    async with pipeline(tmp_path, wrapped=hooked(hooks)) as way:
        way.open()
        hooks[0].may_commit.clear()
        bodies = [BODY, BODY.replace(b"m1", b"m2")]
        asking = [asyncio.create_task(way.ask("POST", PATH, [whole(body)], headers=JSON)) for body in bodies]
        await asyncio.wait_for(hooks[0].at_commit.wait(), 5)
        asking[0].cancel()
        await asyncio.sleep(0)
        hooks[0].may_commit.set()
        assert (await asking[1])[0]["status"] == 200
        assert await way.fetch("SELECT count(*) FROM events") == [(2,)]


async def test_many_requests_at_once_share_few_commits_and_all_are_kept_in_order(tmp_path: Path):
    hooks: list[Hooked] = []
    async with pipeline(tmp_path, wrapped=hooked(hooks)) as way:
        way.open()
        await saved(way.database, a_subscription())
        before = hooks[0].commits
        bodies = [orjson.dumps({"vendor_message_id": f"m{number}", "text": "x"}) for number in range(300)]
        sent = await asyncio.gather(*(way.ask("POST", PATH, [whole(body)], headers=JSON) for body in bodies))
        assert {messages[0]["status"] for messages in sent} == {200}
        assert hooks[0].commits - before <= 3
        rows = await way.fetch("SELECT vendor_message_id FROM events ORDER BY seq")
        assert [name for (name,) in rows] == [f"m{number}" for number in range(300)]
        assert await way.fetch("SELECT count(*), count(DISTINCT event_id) FROM deliveries") == [(300, 300)]
        assert await way.fetch("SELECT id FROM events ORDER BY seq") == await way.fetch(
            "SELECT id FROM events ORDER BY id"
        )


async def test_every_fixture_a_second_time_is_a_duplicate_with_the_same_answer_and_no_event(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        for fixture in load_all():
            if fixture.expected.outcome not in ("stored", "quarantined") or fixture.expected.after is not None:
                continue
            first = await way.post(fixture)
            count = await way.fetch("SELECT count(*) FROM events")
            again = await way.post(fixture)
            assert again.receipt is not None
            assert again.receipt.outcome == "duplicate", fixture.name
            assert (again.status, again.body) == (first.status, first.body), fixture.name
            assert await way.fetch("SELECT count(*) FROM events") == count, fixture.name
        assert await way.fetch("SELECT id FROM events ORDER BY seq") == await way.fetch(
            "SELECT id FROM events ORDER BY id"
        )
