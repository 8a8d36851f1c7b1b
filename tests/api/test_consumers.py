"""/v1/consumers: who reads by itself gets everything that it wants at least once, and moves only by its own word."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.api import reading
from receiver.api.cursor import encode
from receiver.storage import events
from receiver.storage.live import Live
from tests.api.running import PUBLIC_URL, START, Api, pointers, problem, running_api
from tests.api.test_events import message, received, report

pytestmark = pytest.mark.usefixtures("engine")


async def made(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/consumers", json={"name": "billing", **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def read(api: Api, query: str = "") -> dict[str, Any]:
    answer = await api.client.get(f"/v1/consumers/billing/events{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def ack(api: Api, cursor: str) -> dict[str, Any]:
    answer = await api.client.post("/v1/consumers/billing/ack", json={"cursor": cursor})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def texts(page: dict[str, Any]) -> list[str]:
    return [event["data"].get("text") for event in page["data"]]


def hello(*numbers: int) -> list[str]:
    return [f"hello {number}" for number in numbers]


async def many(api: Api, count: int, status: str = "delivered") -> None:
    """Reports straight into the log."""
    data = {"status": status, "final": True}
    async with api.database.writing() as transaction:
        events.insert(
            transaction,
            [
                (f"evt_{status}{number}", "message.status", START, None, None, None, None, None, None, None, None, status,
                 orjson.dumps({"id": f"evt_{status}{number}", "type": "message.status", "data": data}).decode())
                for number in range(count)
            ],
        )  # fmt: skip


async def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning")
        await received(api, 5)
        first = await read(api, "?limit=2")
        assert texts(first) == hello(0, 1)
        assert await read(api, "?limit=2") == first
        assert (await ack(api, first["last"]))["behind"] == 3
        second = await read(api, "?limit=2")
        assert texts(second) == hello(2, 3)
        assert second["next"] == second["last"]
        await ack(api, second["data"][0]["id"])
        rest = await read(api)
        assert texts(rest) == hello(3, 4)
        assert rest["next"] is None
        await ack(api, rest["last"])
        assert texts(await read(api)) == []


async def test_a_page_is_the_stored_bytes_and_leads_on_by_link(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning")
        await received(api, 3)
        answer = await api.client.get("/v1/consumers/billing/events?limit=2")
        async with api.database.reading() as reader:
            bodies = [row[0] for row in await reader.fetch("SELECT body FROM events ORDER BY seq LIMIT 2")]
        assert ",".join(bodies).encode() in answer.content
        assert answer.headers["link"].startswith(f"<{PUBLIC_URL}/v1/consumers/billing/events?limit=2&after=")


async def test_one_may_read_ahead_of_what_is_acknowledged(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning")
        await received(api, 3)
        first = await read(api, "?limit=1")
        assert texts(await read(api, f"?after={first['last']}")) == hello(1, 2)
        assert texts(await read(api, f"?after={first['data'][0]['id']}")) == hello(1, 2)
        assert texts(await read(api)) == hello(0, 1, 2)


async def test_acknowledging_less_than_before_changes_nothing(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning")
        await received(api, 3)
        one, two = await read(api, "?limit=1"), await read(api, "?limit=2")
        after = await ack(api, two["last"])
        again = await ack(api, one["last"])
        assert again["cursor"] == after["cursor"]
        assert texts(await read(api)) == hello(2)


@pytest.mark.parametrize("start", ["now", "beginning", "time", "event", "future of the log"])
async def test_it_begins_and_is_put_anywhere(tmp_path: Path, start):
    async with running_api(tmp_path) as api:
        source = await received(api, 3)
        async with api.database.reading() as reader:
            rows = await reader.fetch("SELECT id, accepted_at FROM events ORDER BY seq")

        def moment(micros: int) -> str:
            return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()

        place, expected = {
            "now": ("now", []),
            "beginning": ("beginning", [0, 1, 2]),
            "time": (moment(rows[1][1]), [1, 2]),
            "event": (rows[2][0], [2]),
            "future of the log": (moment(rows[2][1] + 1), []),
        }[start]
        await made(api, start=place)
        assert texts(await read(api)) == hello(*expected)
        await ack(api, (await read(api))["last"])
        answer = await api.client.post("/v1/consumers/billing/seek", json={"to": place})
        assert answer.status_code == 200
        await api.receive(source, message(3))
        assert texts(await read(api)) == hello(*expected, 3)


async def test_a_place_that_is_none_is_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api)
        for place in ("evt_01k5z2v0c3x9q8w7e6r5t4y3u2", "tomorrow", "2999-01-01T00:00:00Z"):
            assert pointers(await api.client.post("/v1/consumers/billing/seek", json={"to": place})) == ["/to"]
            body = {"name": "other", "start": place}
            assert pointers(await api.client.post("/v1/consumers", json=body)) == ["/start"]


async def test_a_cursor_from_before_a_seek_is_void(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning")
        await received(api, 3)
        page = await read(api)
        await api.client.post("/v1/consumers/billing/seek", json={"to": "beginning"})
        late = await api.client.post("/v1/consumers/billing/ack", json={"cursor": page["last"]})
        assert problem(late) == (409, "conflict")
        assert problem(await api.client.get(f"/v1/consumers/billing/events?after={page['last']}")) == (409, "conflict")
        assert texts(await read(api)) == hello(0, 1, 2)


async def test_cursors_of_another_consumer_or_list_are_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api)
        other = await made(api, name="other")
        log = (await api.client.get("/v1/events")).json()["last"]
        for cursor in (other["cursor"], log, "nonsense", "evt_01k5z2v0c3x9q8w7e6r5t4y3u2"):
            answer = await api.client.post("/v1/consumers/billing/ack", json={"cursor": cursor})
            assert problem(answer) == (400, "bad_cursor")
            assert problem(await api.client.get(f"/v1/consumers/billing/events?after={cursor}")) == (400, "bad_cursor")


async def test_a_cursor_whose_place_is_none_is_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        item = await made(api)
        for place in ("", "x", "1:", "1:x", f"1:{'9' * 19}"):
            cursor = encode(f"consumers.{item['id']}", place)
            answer = await api.client.post("/v1/consumers/billing/ack", json={"cursor": cursor})
            assert problem(answer) == (400, "bad_cursor"), place


async def test_types_and_filter_are_those_of_a_subscription(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning", types=["message.*"], filter={"from": ["+447700900102"]})
        await received(api, 4)
        page = await read(api)
        assert texts(page) == hello(2)
        await ack(api, page["last"])
        assert texts(await read(api)) == []
        changed = await api.client.patch("/v1/consumers/billing", json={"types": ["message.received"], "filter": None})
        assert (changed.json()["types"], changed.json()["filter"]) == (["message.received"], None)
        await api.client.post("/v1/consumers/billing/seek", json={"to": "beginning"})
        assert texts(await read(api)) == hello(0, 1, 2, 3)


async def test_it_waits_for_an_event_as_long_as_it_is_told(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, types=["message.received"])
        source = await api.mapped_source()
        asking = asyncio.create_task(read(api, "?wait=20"))
        await asyncio.sleep(0.05)
        assert not asking.done()
        await api.receive(source, report(1))  # woken, but not for this
        await asyncio.sleep(0.05)
        assert not asking.done()
        await api.receive(source, message(1))
        assert texts(await asyncio.wait_for(asking, 10)) == hello(1)
        began = time.monotonic()
        await ack(api, (await read(api))["last"])
        assert texts(await read(api, "?wait=1")) == []
        assert time.monotonic() - began >= 1
        assert pointers(await api.client.get("/v1/consumers/billing/events?wait=31")) == ["/wait"]
        assert pointers(await api.client.get("/v1/consumers/billing/events?wait=x")) == ["/wait"]


async def test_nobody_waits_any_longer_when_the_receiver_stops(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api)
        asking = asyncio.create_task(read(api, "?wait=30"))
        await asyncio.sleep(0.05)
        assert not asking.done()
        api.context.live.close()
        assert texts(await asyncio.wait_for(asking, 5)) == []


async def test_only_so_many_wait_at_once_and_whoever_does_not_is_served(tmp_path: Path):
    async with running_api(tmp_path, live=Live(most=0)) as api:
        await made(api)
        assert problem(await api.client.get("/v1/consumers/billing/events?wait=1")) == (503, "unavailable")
        assert texts(await read(api)) == []


async def test_what_it_does_not_want_is_passed_over_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning", filter={"statuses": ["failed"]})
        looked_through = reading.LOOKS * reading.ROWS
        await many(api, looked_through + 50)
        await many(api, 1, "failed")
        first = await read(api)
        assert (first["data"], first["next"]) == ([], first["last"])  # it is told to ask again
        kept = (await api.client.get("/v1/consumers/billing")).json()
        assert kept["behind"] == 51
        assert kept["acknowledged_at"] is None
        (event,) = (await read(api))["data"]
        assert event["data"]["status"] == "failed"
        assert (await api.client.get("/v1/consumers/billing")).json()["behind"] == 51


async def test_they_are_listed_shown_and_removed(tmp_path: Path):
    async with running_api(tmp_path) as api:
        answer = await api.client.post("/v1/consumers", json={"name": "billing", "description": "invoices"})
        assert answer.headers["location"] == f"{PUBLIC_URL}/v1/consumers/billing"
        shown = answer.json()
        assert (shown["name"], shown["types"], shown["behind"]) == ("billing", ["*"], 0)
        await made(api, name="other")
        page = (await api.client.get("/v1/consumers?limit=1")).json()
        assert [item["name"] for item in page["data"]] == ["other"]
        page = (await api.client.get(f"/v1/consumers?after={page['next']}")).json()
        assert page["data"] == [shown] == [(await api.client.get("/v1/consumers/billing")).json()]
        assert (await api.client.delete("/v1/consumers/billing")).status_code == 204
        for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/events")):
            assert problem(await api.client.request(method, f"/v1/consumers/billing{path}")) == (404, "not_found")
        for path, body in (("ack", {"cursor": "x"}), ("seek", {"to": "now"})):
            answer = await api.client.post(f"/v1/consumers/billing/{path}", json=body)
            assert problem(answer) == (404, "not_found")
        assert problem(await api.client.patch("/v1/consumers/billing", json={})) == (404, "not_found")


async def test_a_name_is_taken_once_and_must_fit_into_a_url(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api)
        answer = await api.client.post("/v1/consumers", json={"name": "billing"})
        assert problem(answer) == (409, "conflict")
        for name in ("", ".", "-x", "Billing", "a/b", "x" * 65, "é"):
            assert pointers(await api.client.post("/v1/consumers", json={"name": name})) == ["/name"], name


async def test_there_are_only_so_many(tmp_path: Path):
    async with running_api(tmp_path) as api:
        async with api.database.writing() as transaction:
            await transaction.many(
                "INSERT INTO consumers (id, name, types, position, moved_at, created_at, updated_at)",
                [(f"con_{number}", f"c{number}", "[]", 0, 0, 0, 0) for number in range(1000)],
            )
        answer = await api.client.post("/v1/consumers", json={"name": "one-more"})
        assert problem(answer) == (409, "conflict")


async def test_reading_needs_the_scope_read_and_moving_the_scope_write(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api)
        headers = {"authorization": f"Bearer {(await api.make_key('read'))['key']}"}
        assert (await api.ask("GET", "/v1/consumers/billing/events", headers=headers)).status_code == 200
        for method, path in (
            ("POST", ""), ("PATCH", "/billing"), ("DELETE", "/billing"), ("POST", "/billing/ack"),
            ("POST", "/billing/seek"),
        ):  # fmt: skip
            answer = await api.ask(method, f"/v1/consumers{path}", headers=headers, json={})
            assert problem(answer) == (403, "forbidden_scope"), path


async def test_a_cursor_kept_over_a_restart_goes_on(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api, start="beginning")
        await received(api, 3)
        page = await read(api, "?limit=1")
        await ack(api, page["last"])
    async with running_api(tmp_path) as api:
        assert texts(await read(api)) == hello(1, 2)
        await ack(api, page["last"])
