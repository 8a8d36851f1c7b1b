"""/v1/receipts"""

from base64 import b64decode
from pathlib import Path

import pytest

from tests.api.running import pointers, problem, running_api
from tests.api.test_events import message, received

pytestmark = pytest.mark.usefixtures("engine")


def pairs(shown) -> list[tuple[str, str]]:
    return [(header["name"], header["value"]) for header in shown["headers"]]


async def as_reader(api, path: str):
    key = (await api.make_key("read"))["key"]
    return await api.ask("GET", path, headers={"authorization": f"Bearer {key}"})


async def test_receipts_are_listed_newest_first_and_filtered(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 2)
        await api.receive(source, message(0))
        other = await api.mapped_source()
        await api.receive(other, b"{broken")
        everything = (await api.client.get("/v1/receipts")).json()["data"]
        assert [item["outcome"] for item in everything] == ["quarantined", "duplicate", "stored", "stored"]
        assert everything[0]["note"]
        assert everything[1]["duplicate_of"] == everything[3]["id"]
        assert (everything[3]["size"], everything[3]["method"]) == (len(message(0)), "POST")

        async def found(query: str) -> list[int]:
            return [everything.index(item) for item in (await api.client.get(f"/v1/receipts?{query}")).json()["data"]]

        assert await found(f"source={other['id']}") == [0]
        assert await found("outcome=stored") == [2, 3]
        assert await found(f"since={everything[1]['received_at']}") == [0, 1]
        page = (await api.client.get("/v1/receipts?limit=3")).json()
        assert await found(f"after={page['next']}") == [3]
        assert pointers(await api.client.get("/v1/receipts?outcome=lost")) == ["/outcome"]


HEADERS = [
    (b"authorization", b"Basic aHVudGVyMg=="), (b"x-twilio-signature", b"hunter2="), (b"x-api-key", b"hunter2"),
    (b"cookie", b"hunter2"), (b"x-odd", b"hunter2"), (b"user-agent", b"vendor/1: x"), (b"accept", b"a"), (b"accept", b"b"),
]  # fmt: skip


async def test_a_request_is_shown_as_it_came_to_an_admin(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source(credentials={"secret": "hunter2"}, options={"secret_header": "x-odd"})
        assert await api.receive(source, message(0), HEADERS, b"sig=hunter2&a=%20b") == 200
        receipt_id = api.recorded[0].receipt.id
        shown = (await api.client.get(f"/v1/receipts/{receipt_id}")).json()
        token = source["url"].rpartition("/")[2]
        assert shown["target"] == f"/in/generic/{token}?sig=hunter2&a=%20b"
        assert pairs(shown) == [("content-type", "application/json"), *((k.decode(), v.decode()) for k, v in HEADERS)]
        assert (shown["body"], shown["body_encoding"]) == (message(0).decode(), "utf-8")
        assert shown["masked"] is False
        assert shown["outcome"] == "stored"


async def test_token_and_credentials_are_masked_for_others(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source(credentials={"secret": "hunter2"}, options={"secret_header": "x-odd"})
        await api.receive(source, message(0, text="hello"), HEADERS, b"sig=hunter2&keyword=STOP&token=hunter2")
        answer = await as_reader(api, f"/v1/receipts/{api.recorded[0].receipt.id}")
        shown = answer.json()
        assert "hunter2" not in answer.text
        assert "aHVudGVyMg" not in answer.text
        assert source["url"].rpartition("/")[2] not in answer.text
        assert shown["target"] == "/in/generic/***?sig=***&keyword=STOP&token=***"
        assert [name for name, value in pairs(shown) if value != "***"] == [
            "content-type",
            "user-agent",
            "accept",
            "accept",
        ]
        assert ("user-agent", "vendor/1: x") in pairs(shown)
        assert shown["masked"] is True
        assert shown["body"] == message(0, text="hello").decode()


async def test_of_a_source_that_is_gone_every_header_is_masked(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source(credentials={"secret": "hunter2"}, options={"secret_header": "x-odd"})
        await api.receive(source, message(0), HEADERS)
        await api.client.delete(f"/v1/sources/{source['id']}")
        shown = (await as_reader(api, f"/v1/receipts/{api.recorded[0].receipt.id}")).json()
        assert {value for _, value in pairs(shown)} == {"***"}
        assert shown["target"] == "/in/generic/***"


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"caf\xe9"])
async def test_a_body_that_is_no_text_comes_as_base64(tmp_path: Path, body):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, body)
        shown = (await api.client.get(f"/v1/receipts/{api.recorded[0].receipt.id}")).json()
        assert shown["body_encoding"] == "base64"
        assert b64decode(shown["body"]) == body
        assert shown["size"] == len(body)


async def test_an_unknown_receipt_is_not_found(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert problem(await api.client.get("/v1/receipts/rcp_never")) == (404, "not_found")
