"""/v1/sources/{id}/import: rows of a file, each a receipt"""

from pathlib import Path
from typing import Any

import pytest

from tests.api.running import Api, pointers, problem, running_api

pytestmark = pytest.mark.usefixtures("engine")

HEADER = ["Phone", "State", "Id"]


async def source_of(api: Api, **options: Any) -> dict[str, Any]:
    columns = {"to": "Phone", "status": "State", "vendor_message_id": "Id"}
    given = {"columns": columns, "statuses": {"ok": "delivered"}, "international": True, **options}
    return await api.make_source(options=given)


async def imported(api: Api, source: dict[str, Any], *rows: list[str]) -> dict[str, int]:
    answer = await api.client.post(f"/v1/sources/{source['id']}/import", json={"header": HEADER, "rows": rows})
    assert answer.status_code == 200, answer.text
    return {name: count for name, count in answer.json().items() if count}


async def test_each_row_is_a_receipt_read_by_the_sources_columns(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        await api.make_subscription()
        assert await imported(api, source, ["447700900123", "ok", "m1"], ["447700900124", "?", "m2"], ["", "", "m3"]) == {
            "stored": 2, "quarantined": 1,
        }  # fmt: skip
        events = (await api.client.get("/v1/events?type=message.status")).json()["data"]
        assert [(event["data"]["to"]["address"], event["data"]["status"]) for event in events] == [
            ("+447700900123", "delivered"), ("+447700900124", "unknown"),
        ]  # fmt: skip
        receipts = (await api.client.get("/v1/receipts")).json()["data"]
        assert {item["peer"] for item in receipts} == {"import"}
        shown = (await api.client.get(f"/v1/receipts/{receipts[2]['id']}")).json()
        assert shown["body"] == "Phone,State,Id\r\n447700900123,ok,m1\r\n"
        assert len((await api.client.get("/v1/deliveries")).json()["data"]) == 3


async def test_what_was_taken_is_not_taken_again(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        rows = [["447700900123", "ok", "m1"], ["447700900123", "ok", ""], ["447700900123", "ok", ""]]
        assert await imported(api, source, *rows) == {"stored": 2, "duplicate": 1}
        (await api.client.post(f"/v1/sources/{source['id']}/rotate-token", json={})).raise_for_status()
        assert await imported(api, source, *rows, ["447700900125", "ok", "m5"]) == {"stored": 1, "duplicate": 3}
        assert len((await api.client.get("/v1/receipts")).json()["data"]) == 3
        other = await source_of(api)
        assert await imported(api, other, rows[0]) == {"stored": 1}


async def test_a_row_is_read_again_when_columns_are_put_right(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, columns={})
        assert await imported(api, source, ["447700900123", "ok", "m1"]) == {"quarantined": 1}
        options = {"columns": {"to": "Phone", "status": "State", "vendor_message_id": "Id"}, "international": True}
        (await api.client.patch(f"/v1/sources/{source['id']}", json={"options": options})).raise_for_status()
        await api.client.post("/v1/receipts/reparse", json={"outcome": "quarantined"})
        await api.work()
        (event,) = (await api.client.get("/v1/events?type=message.status")).json()["data"]
        assert event["data"]["vendor_message_id"] == "m1"


async def test_only_a_source_that_is_there_and_read_by_names_takes_files(tmp_path: Path):
    async with running_api(tmp_path) as api:
        body = {"header": HEADER, "rows": [["1", "2", "3"]]}
        assert problem(await api.client.post("/v1/sources/src_no/import", json=body)) == (404, "not_found")
        made = await api.make_source(vendor="twilio", credentials={"auth_token": "t"})
        assert problem(await api.client.post(f"/v1/sources/{made['id']}/import", json=body)) == (409, "conflict")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"rows": [["1"]]}, "/header"),
        ({"header": [], "rows": [["1"]]}, "/header"),
        ({"header": ["", " "], "rows": [["1"]]}, "/header"),
        ({"header": ["a"], "rows": []}, "/rows"),
        ({"header": ["a"], "rows": [["1"]] * 501}, "/rows"),
        ({"header": ["a"], "rows": [["1"], ["\x00"]]}, "/rows/1/0"),
        ({"header": ["a"] * 257, "rows": [["1"]]}, "/header"),
    ],
)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, body: dict[str, Any], pointer: str):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        assert pointers(await api.client.post(f"/v1/sources/{source['id']}/import", json=body)) == [pointer]
