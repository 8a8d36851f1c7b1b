"""/v1/messages and /v1/batches: the inbox, messages with their timeline, and what a batch came to."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.storage.indexer import Indexer
from tests.api.running import an_attempt, pointers, problem, running_api
from tests.api.test_events import message

pytestmark = pytest.mark.usefixtures("engine")

FIELDS = ("vendor_message_id", "client_reference", "batch_id", "from", "to", "text", "status", "sequence")
STATUSES = {"ok": "delivered", "out": "sent", "no": "undelivered"}


async def a_source(api: Any) -> Any:
    options = {"fields": {name: name for name in FIELDS}, "statuses": STATUSES, "international": True}
    return await api.make_source(options=options)


def report(number: int, status: str, **fields: str) -> bytes:
    given = {
        "vendor_message_id": f"out-{number}",
        "from": "447700900456",
        "to": f"44770090010{number}",
        "status": status,
    }
    return orjson.dumps({**given, **fields})


async def filled(api: Any) -> Any:
    """Three inbound messages, then three outbound ones: delivered, sent, undelivered."""
    source = await a_source(api)
    for number in range(3):
        assert await api.receive(source, message(number)) == 200
    for number, status in ((0, "out"), (0, "ok"), (1, "out"), (2, "no")):
        assert await api.receive(source, report(number, status, batch_id="spring sale")) == 200
    return source


async def page(api: Any, query: str) -> Any:
    answer = await api.client.get(f"/v1/messages{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def told(api: Any, query: str) -> list[str]:
    """Texts of what is inbound, states of what is outbound."""
    return [item["text"] or item["status"] for item in (await page(api, query))["data"]]


async def test_each_filter_finds_its_own_newest_first(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await filled(api)
        everything = ["undelivered", "sent", "delivered", "hello 2", "hello 1", "hello 0"]
        for query, expected in (
            ("", everything),
            ("?direction=in", everything[3:]),
            ("?direction=out", everything[:3]),
            ("?unread=true", everything[3:]),
            ("?unread=false", []),
            ("?status=sent&status=undelivered", ["undelivered", "sent"]),
            ("?from=%2B447700900101", ["hello 1"]),
            ("?from=+44770090010*&direction=in", everything[3:]),
            ("?to=+447700900100", ["delivered"]),
            ("?between=+447700900101&between=%2B447700900456", ["sent", "hello 1"]),
            (f"?source={source['id']}", everything),
            ("?vendor=twilio", []),
            ("?batch_id=spring+sale", everything[:3]),
            ("?vendor_message_id=out-1", ["sent"]),
            ("?vendor_message_id=in-1&q=hello", ["hello 1"]),
            ("?client_reference=nobody's", []),
            ("?q=HELLO", everything[3:]),
            ("?q=2&from=%2B4477*", ["hello 2"]),
        ):
            assert await told(api, query) == expected, query


async def test_a_message_of_a_list_says_what_is_known_of_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await filled(api)
        found = {item["text"] or item["status"]: item for item in (await page(api, ""))["data"]}
        inbound, outbound = found["hello 1"], found["delivered"]
        assert inbound | {"id": "", "created_at": "", "updated_at": ""} == {
            "id": "", "direction": "in", "vendor": "generic", "source_id": source["id"], "vendor_message_id": "in-1",
            "client_reference": None, "batch_id": None, "channel": "sms", "from": "+447700900101",
            "to": "+447700900456", "text": "hello 1", "media": [], "status": None, "final": None, "read_at": None,
            "created_at": "", "updated_at": "",
        }  # fmt: skip
        assert (outbound["status"], outbound["final"], outbound["batch_id"]) == ("delivered", True, "spring sale")
        assert outbound["updated_at"] > outbound["created_at"]


@pytest.mark.parametrize("query", ["", "?q=hello"])
async def test_pages_follow_each_other_while_messages_arrive(tmp_path: Path, query: str):
    async with running_api(tmp_path) as api:
        source = await a_source(api)
        for number in range(5):
            await api.receive(source, message(number))
        separator = "&" if query else "?"
        first = await page(api, f"{query}{separator}limit=2")
        await api.receive(source, message(7))
        second = await page(api, f"{query}{separator}limit=2&after={first['next']}")
        third = await page(api, f"{query}{separator}limit=2&after={second['data'][-1]['id']}")
        seen = [item["text"] for found in (first, second, third) for item in found["data"]]
        assert seen == ["hello 4", "hello 3", "hello 2", "hello 1", "hello 0"]
        assert third["next"] is None
        forged = await api.client.get(f"/v1/messages{query}{separator}after=msg_{'z' * 26}")
        assert problem(forged) == (400, "bad_cursor") if query else forged.status_code == 200
        other = (await api.client.get("/v1/events")).json()["last"]
        assert problem(await api.client.get(f"/v1/messages{query}{separator}after={other}")) == (400, "bad_cursor")


async def test_a_search_finds_the_same_indexed_or_not(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await filled(api)
        before = await page(api, "?q=hello&unread=true")
        await Indexer(api.database, api.context.batch).step()
        assert await page(api, "?q=hello&unread=true") == before
        assert len(before["data"]) == 3


async def test_a_timeline_tells_what_each_report_did_and_who_was_told(tmp_path: Path):
    async with running_api(tmp_path) as api:
        subscription = await api.make_subscription()
        source = await a_source(api)
        for status, sequence in (("out", "1"), ("ok", "3"), ("out", "2")):
            await api.receive(source, report(1, status, sequence=sequence))
        await api.attempted(api.recorded[0], "dead", an_attempt(status=500, error="status"))
        (item,) = (await page(api, ""))["data"]
        one = (await api.client.get(f"/v1/messages/{item['id']}")).json()
        assert {name: one[name] for name in item} == item
        assert [(step["event"]["data"]["status"], step["moved"], step["stale"]) for step in one["timeline"]] == [
            ("sent", True, False), ("delivered", True, False), ("sent", False, True),
        ]  # fmt: skip
        logged = (await api.client.get(f"/v1/events?message_id={item['id']}")).json()["data"]
        assert [step["event"] for step in one["timeline"]] == logged
        assert one["more"] is False
        (first,), (second,), (_,) = [step["told"] for step in one["timeline"]]
        assert first["subscription_id"] == subscription["id"]
        assert (first["state"], first["attempts_made"], first["last_status"], first["last_error"]) == (
            "dead", 1, 500, "status",
        )  # fmt: skip
        assert (second["state"], second["attempts_made"], second["last_status"]) == ("sending", 0, None)


async def test_what_followed_from_a_message_is_in_its_timeline(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await a_source(api)
        await api.receive(source, message(1, text="STOP"))
        (item,) = (await page(api, ""))["data"]
        one = (await api.client.get(f"/v1/messages/{item['id']}")).json()
        assert [(step["event"]["type"], step["moved"]) for step in one["timeline"]] == [
            ("message.received", True), ("contact.opted_out", False),
        ]  # fmt: skip


async def test_a_long_timeline_says_that_there_is_more(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await a_source(api)
        for number in range(102):
            await api.receive(source, report(1, "out", sequence=str(number)))
        (item,) = (await page(api, ""))["data"]
        one = (await api.client.get(f"/v1/messages/{item['id']}")).json()
        assert (len(one["timeline"]), one["more"]) == (100, True)


async def test_a_message_is_read_once_and_for_good(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await filled(api)
        outbound, *_, oldest = (await page(api, ""))["data"]
        read = (await api.client.post(f"/v1/messages/{oldest['id']}/read")).json()
        assert read["read_at"] is not None
        assert (await api.client.post(f"/v1/messages/{oldest['id']}/read")).json() == read
        assert await told(api, "?unread=true") == ["hello 2", "hello 1"]
        assert await told(api, "?unread=false") == ["hello 0"]
        assert problem(await api.client.post(f"/v1/messages/{outbound['id']}/read")) == (409, "conflict")
        assert problem(await api.client.post("/v1/messages/msg_never/read")) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({}, []),
        ({"from": "+447700900101"}, ["hello 2", "hello 0"]),
        ({"q": "hello 2"}, ["hello 1", "hello 0"]),
        ({"to": "+4477*", "vendor": "twilio"}, ["hello 2", "hello 1", "hello 0"]),
    ],
)
async def test_messages_are_read_by_filter(tmp_path: Path, body: dict[str, str], left: list[str]):
    async with running_api(tmp_path) as api:
        await filled(api)
        assert (await api.client.post("/v1/messages/read", json=body)).json() == {"marked": 3 - len(left)}
        assert await told(api, "?unread=true") == left


async def test_messages_are_read_by_id_and_others_than_unread_ones_do_not_count(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await filled(api)
        ids = [item["id"] for item in (await page(api, ""))["data"]]
        assert (await api.client.post("/v1/messages/read", json={"ids": [*ids[:4], "msg_x"]})).json() == {"marked": 1}
        assert await told(api, "?unread=true") == ["hello 1", "hello 0"]


@pytest.mark.parametrize("body", [{}, {"q": "hello"}])
async def test_more_than_one_commit_takes_are_all_read(tmp_path: Path, body: dict[str, str]):
    async with running_api(tmp_path) as api:
        source = await a_source(api)
        for start in range(0, 1100, 100):
            items = [orjson.loads(message(number, text="hello")) for number in range(start, start + 100)]
            assert await api.receive(source, orjson.dumps(items)) == 200
        assert (await api.client.post("/v1/messages/read", json=body)).json() == {"marked": 1100}
        assert await told(api, "?unread=true") == []


async def test_a_deleted_message_is_gone_from_the_lists_and_its_events_are_not(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await filled(api)
        (item,) = [item for item in (await page(api, ""))["data"] if item["text"] == "hello 1"]
        for _ in range(2):
            assert (await api.client.delete(f"/v1/messages/{item['id']}")).status_code == 204
        assert problem(await api.client.get(f"/v1/messages/{item['id']}")) == (404, "not_found")
        assert problem(await api.client.delete("/v1/messages/msg_never")) == (404, "not_found")
        for query in ("?direction=in", "?q=hello"):
            assert await told(api, query) == ["hello 2", "hello 0"]
        assert len((await api.client.get(f"/v1/events?message_id={item['id']}")).json()["data"]) == 1


async def test_a_batch_is_counted_by_state_and_listed(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source, other = await filled(api), await a_source(api)
        await api.receive(other, report(9, "ok", batch_id="spring sale"))
        batch = (await api.client.get("/v1/batches/spring%20sale?limit=3")).json()
        assert (batch["id"], batch["counts"]) == (
            "spring sale", {"total": 4, "by_status": {"delivered": 2, "sent": 1, "undelivered": 1}},
        )  # fmt: skip
        assert [item["status"] for item in batch["data"]] == ["delivered", "undelivered", "sent"]
        rest = (await api.client.get(f"/v1/batches/spring%20sale?limit=3&after={batch['next']}")).json()
        assert ([item["status"] for item in rest["data"]], rest["next"]) == (["delivered"], None)
        own = (await api.client.get(f"/v1/batches/spring%20sale?source={source['id']}")).json()
        assert own["counts"] == {"total": 3, "by_status": {"delivered": 1, "sent": 1, "undelivered": 1}}
        await api.receive(other, report(10, "ok", batch_id="summer/sale"))
        await api.receive(other, report(11, "ok", batch_id="one\nof two lines"))
        for name in ("summer%2Fsale", "summer/sale", "one%0Aof%20two%20lines"):
            assert (await api.client.get(f"/v1/batches/{name}?limit=1")).json()["counts"]["total"] == 1
        assert problem(await api.client.get("/v1/batches/winter")) == (404, "not_found")
        assert problem(await api.client.get("/v1/batches/spring%20sale?source=src_never")) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("direction=both", "/direction"), ("unread=yes", "/unread"), ("unread=", "/unread"), ("status=nope", "/status/0"),
        ("between=+1", "/between"), ("between=1&between=2&between=3", "/between"), ("q=!", "/q"), ("since=x", "/since"),
        ("limit=0", "/limit"), ("type=message.received", "/type"),
    ],
)  # fmt: skip
async def test_a_parameter_that_cannot_be_is_refused_with_its_place(tmp_path: Path, query: str, expected: str):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.get(f"/v1/messages?{query}")) == [expected]


async def test_a_body_that_cannot_be_is_refused_with_its_place(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for body, expected in (({"ids": []}, "/ids"), ({"unread": True}, "/unread"), ({"q": "?"}, "/q")):
            assert pointers(await api.client.post("/v1/messages/read", json=body)) == [expected]
