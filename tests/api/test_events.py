"""/v1/events"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from receiver.api.cursor import encode
from receiver.storage import events
from receiver.storage.indexer import Indexer
from receiver.storage.leading import WINDOW
from tests.api.running import PUBLIC_URL, pointers, problem, running_api
from tests.storage.test_search import a_row

pytestmark = pytest.mark.usefixtures("engine")


def message(number: int, **fields: str) -> bytes:
    return orjson.dumps(
        {
            "vendor_message_id": f"in-{number}", "from": f"44770090010{number}", "to": "447700900456",
            "text": f"hello {number}", **fields,
        }
    )  # fmt: skip


def report(number: int) -> bytes:
    return orjson.dumps({"vendor_message_id": f"out-{number}", "client_reference": f"ref {number}", "status": "ok"})


async def received(api, count: int):
    source = await api.mapped_source()
    for number in range(count):
        assert await api.receive(source, message(number)) == 200
    return source


async def texts(api, query: str) -> list[str]:
    answer = await api.client.get(f"/v1/events{query}")
    assert answer.status_code == 200, answer.text
    return [event["data"].get("text") for event in answer.json()["data"]]


async def test_an_event_is_the_stored_bytes_in_the_list_and_by_id(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(0, text="caf\u00e9 \U0001f600 </script>"))
        async with api.database.reading() as reader:
            ((event_id, body),) = await reader.fetch("SELECT id, body FROM events")
        one = await api.client.get(f"/v1/events/{event_id}")
        assert one.content == body.encode()
        assert one.headers["content-type"] == "application/json"
        page = await api.client.get("/v1/events")
        assert body.encode() in page.content
        assert page.json()["data"] == [orjson.loads(body)]
        assert problem(await api.client.get("/v1/events/evt_never")) == (404, "not_found")


async def test_pages_follow_each_other_to_the_end_and_on_from_there(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 5)
        first = (await api.client.get("/v1/events?limit=2")).json()
        assert first["next"] == first["last"]
        second = (await api.client.get(f"/v1/events?limit=2&after={first['next']}")).json()
        third = (await api.client.get(f"/v1/events?limit=2&after={second['next']}")).json()
        found = [event["data"]["text"] for page in (first, second, third) for event in page["data"]]
        assert found == [f"hello {number}" for number in range(5)]
        assert third["next"] is None
        empty = (await api.client.get(f"/v1/events?after={third['last']}")).json()
        assert empty == {"data": [], "next": None, "last": third["last"]}
        await api.receive(source, message(5))
        (late,) = (await api.client.get(f"/v1/events?after={empty['last']}")).json()["data"]
        assert late["data"]["text"] == "hello 5"


async def test_a_page_that_is_just_full_has_no_next(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 2)
        answer = await api.client.get("/v1/events?limit=2")
        assert answer.json()["next"] is None
        assert "link" not in answer.headers


async def test_an_empty_log_gives_a_cursor_that_misses_nothing(tmp_path: Path):
    async with running_api(tmp_path) as api:
        empty = (await api.client.get("/v1/events")).json()
        assert (empty["data"], empty["next"]) == ([], None)
        await received(api, 2)
        assert await texts(api, f"?after={empty['last']}") == ["hello 0", "hello 1"]


async def test_the_link_header_leads_to_the_next_page_with_the_same_filters(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 3)
        answer = await api.client.get("/v1/events?type=message.*&limit=1&from=%2B4477*")
        link = answer.headers["link"]
        assert link.startswith(f"<{PUBLIC_URL}/v1/events?")
        assert link.endswith('>; rel="next"')
        query = urlsplit(link[1:].partition(">")[0]).query
        again = await api.client.get(f"/v1/events?{query}")
        assert [event["data"]["text"] for event in again.json()["data"]] == ["hello 1"]
        follow = urlsplit(again.headers["link"][1:].partition(">")[0]).query
        assert follow.count("after=") == 1
        assert await texts(api, f"?{follow}") == ["hello 2"]


async def test_newest_first_when_asked_for(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 3)
        first = (await api.client.get("/v1/events?order=desc&limit=2")).json()
        assert [event["data"]["text"] for event in first["data"]] == ["hello 2", "hello 1"]
        assert await texts(api, f"?order=desc&after={first['next']}") == ["hello 0"]


async def test_after_takes_an_id_in_either_order(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 3)
        event_id = (await api.client.get("/v1/events")).json()["data"][1]["id"]
        assert await texts(api, f"?after={event_id}") == ["hello 2"]
        assert await texts(api, f"?after={event_id}&order=desc") == ["hello 0"]


async def test_a_cursor_of_another_list_or_order_or_a_forged_one_is_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 2)
        await api.make_subscription()
        event = (await api.client.get("/v1/events")).json()["last"]
        receipt = (await api.client.get("/v1/receipts")).json()["last"]
        assert problem(await api.client.get(f"/v1/events?order=desc&after={event}")) == (400, "bad_cursor")
        assert problem(await api.client.get(f"/v1/events?after={receipt}")) == (400, "bad_cursor")
        assert problem(await api.client.get(f"/v1/receipts?after={event}")) == (400, "bad_cursor")
        for forged in (
            "x",
            "AQ",
            "%C3%A9",
            "..",
            "evt_01k5z2v0c3x9q8w7e6r5t4y3u2",
            "sub_01k5z2v0c3x9q8w7e6r5t4y3u2",
            event + "=",
            event[:-1],
        ):
            assert problem(await api.client.get(f"/v1/events?after={forged}")) == (400, "bad_cursor"), forged


@pytest.mark.parametrize("position", ["x", "-1", "9" * 19, "\u0663"])
async def test_a_cursor_whose_position_is_none_is_refused(tmp_path: Path, position):
    async with running_api(tmp_path) as api:
        assert problem(await api.client.get(f"/v1/events?after={encode('events.asc', position)}")) == (
            400,
            "bad_cursor",
        )
        assert problem(await api.client.get(f"/v1/sources?after={encode('sources', position)}")) == (400, "bad_cursor")


async def test_each_filter_finds_its_own(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 2)
        other = await api.make_source(vendor="thesmsworks")
        await api.receive(
            other,
            b'{"messagetype":"incoming","messageid":"9","source":"447700900777","destination":"60777","content":"theirs"}',
        )
        await api.receive(source, report(1))
        everything = (await api.client.get("/v1/events")).json()["data"]
        assert len(everything) == 4
        status = everything[3]
        assert status["type"] == "message.status"

        async def found(query: str) -> list[int]:
            data = (await api.client.get(f"/v1/events?{query}")).json()["data"]
            return [everything.index(event) for event in data]

        assert await found("type=message.received") == [0, 1, 2]
        assert await found("type=message.status&type=message.received") == [0, 1, 2, 3]
        assert await found("type=message.st*") == [3]
        assert await found("type=*") == [0, 1, 2, 3]
        assert await found("type=test.ping") == []
        assert await found("vendor=thesmsworks") == [2]
        assert await found(f"source={source['id']}") == [0, 1, 3]
        assert await found("from=%2B447700900100") == [0]
        assert await found("from=+447700900100") == [0]
        assert await found("from=%2B44770090010*") == [0, 1]
        assert await found("to=+447700900456") == [0, 1]
        assert await found(f"message_id={status['data']['message_id']}") == [3]
        assert await found("vendor_message_id=in-1") == [1]
        assert await found("client_reference=ref%201") == [3]
        assert await found("status=delivered") == [3]
        assert await found("status=failed") == []
        assert await found("vendor=generic&type=message.received&from=+447700900101") == [1]


async def test_texts_are_searched_whether_they_are_indexed_or_not(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        for number, text in enumerate(("Café at ten", "caffeine", "no cafe")):
            await api.receive(source, message(number, text=text))
        for _ in range(2):
            assert await texts(api, "?q=CAFE") == ["Café at ten", "no cafe"]
            assert await texts(api, "?q=caf*&order=desc&limit=2") == ["no cafe", "caffeine"]
            assert await texts(api, "?q=cafe&from=%2B447700900102") == ["no cafe"]
            assert await texts(api, "?q=cafe&type=message.status") == []
            await Indexer(api.database, api.context.batch).step()


async def test_a_page_that_found_less_than_asked_for_leads_on_until_nothing_is_left(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(1, text="needle"))
        async with api.database.writing() as transaction:
            events.insert(transaction, [a_row(number, "hay") for number in range(2 * WINDOW)])
        pages: list[dict[str, Any]] = []
        query = "?q=needle&order=desc"
        while len(pages) < 100:
            pages.append((await api.client.get(f"/v1/events{query}")).json())
            if pages[-1]["next"] is None:
                break
            query = f"?q=needle&order=desc&after={pages[-1]['next']}"
        assert [event["data"]["text"] for page in pages for event in page["data"]] == ["needle"]
        assert [page["data"] for page in pages[:-1]] == [[]] * (len(pages) - 1)
        assert 3 < len(pages) < 20


async def test_since_and_until_go_by_acceptance(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 3)
        async with api.database.reading() as reader:
            times = [row[0] for row in await reader.fetch("SELECT accepted_at FROM events ORDER BY seq")]
        assert times == sorted(set(times))
        moments = [(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).isoformat() for time in times]
        assert moments[1].endswith("+00:00")  # whose plus arrives as a blank
        assert await texts(api, f"?since={moments[1]}") == ["hello 1", "hello 2"]
        assert await texts(api, f"?until={moments[1]}") == ["hello 0"]
        assert await texts(api, f"?since={moments[1]}&until={moments[2].replace('+00:00', 'z')}") == ["hello 1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", "/limit"), ("limit=-1", "/limit"), ("limit=501", "/limit"), ("limit=abc", "/limit"),
        ("limit=", "/limit"), ("limit=1.0", "/limit"), ("limit=%D9%A3", "/limit"), ("limit=1&limit=2", "/limit"),
        ("limit=99999999999999999999", "/limit"), ("q=", "/q"), ("q=%20*%21", "/q"), ("q=a%00", "/q"),
        ("q=" + "x" * 513, "/q"), ("cursor=x", "/cursor"), ("After=x", "/After"),
        ("a/b~c=1", "/a~1b~0c"), ("after=", "/after"), ("type=nope", "/type/0"), ("type=message.*&type=", "/type/1"),
        ("status=nope", "/status"), ("order=newest", "/order"), ("vendor=", "/vendor"), ("vendor=%00", "/vendor"),
        ("vendor=" + "x" * 513, "/vendor"), ("since=yesterday", "/since"), ("since=2026-11-20", "/since"),
        ("since=2026-11-20T14:47:03", "/since"), ("since=2026-02-30T00:00:00Z", "/since"),
        ("until=0001-01-01T00:00:00%2B14:00", None), ("until=2026-11-20T14:47:03%2B24:00", "/until"),
        ("from_=x", "/from_"), ("&".join(["x=1"] * 101), ""),
    ],
)  # fmt: skip
async def test_a_parameter_that_cannot_be_is_refused_with_its_place(tmp_path: Path, query, expected):
    async with running_api(tmp_path) as api:
        answer = await api.client.get(f"/v1/events?{query}")
        if expected is None:
            assert answer.status_code == 200
        else:
            assert pointers(answer) == [expected]


async def test_who_was_told_of_an_event(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = [await api.make_subscription() for _ in range(3)]
        await received(api, 2)
        event_id = (await api.client.get("/v1/events")).json()["data"][1]["id"]
        page = (await api.client.get(f"/v1/events/{event_id}/deliveries?limit=2")).json()
        rest = (await api.client.get(f"/v1/events/{event_id}/deliveries?limit=2&after={page['next']}")).json()
        told = [delivery["subscription_id"] for delivery in page["data"] + rest["data"]]
        assert sorted(told) == sorted(item["id"] for item in made)
        assert {delivery["event_id"] for delivery in page["data"]} == {event_id}
        assert problem(await api.client.get("/v1/events/evt_never/deliveries")) == (404, "not_found")
