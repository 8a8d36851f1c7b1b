"""What a client may ask for has an end, in every list and every body, and the document says where."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.api import OPERATIONS
from receiver.api.cursor import encode
from receiver.api.inputs import MAX_BODY_BYTES, Paged
from receiver.api.openapi import document
from receiver.api.operation import JSON
from tests.api.running import HOOK, PUBLIC_URL, pointers, problem, running_api

LISTS = [item.path for item in OPERATIONS if issubclass(item.query, Paged) and "{" not in item.path]
SCHEMAS = document(OPERATIONS, PUBLIC_URL)["components"]["schemas"]
BODIES = sorted({item.body.__name__ for item in OPERATIONS if item.takes == JSON and item.body.model_fields})


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "-1", "501", "abc", "", "1e2", "9" * 30, "\u0663", "1 "])
async def test_no_list_takes_a_limit_that_is_none(tmp_path: Path, path, limit):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.get(path, params={"limit": limit})) == ["/limit"]


@pytest.mark.parametrize("path", LISTS)
async def test_no_list_takes_a_cursor_that_it_did_not_give(tmp_path: Path, path):
    async with running_api(tmp_path) as api:
        given = (await api.client.get(path)).json()["last"]
        assert (await api.client.get(path, params={"after": given})).status_code == 200
        for forged in (given + "A", given[:-1], "x", "%", "sub_", encode("another.list", "1"), "A" * 512):
            assert problem(await api.client.get(path, params={"after": forged})) == (400, "bad_cursor"), forged


def unbounded(schema: dict[str, Any], place: str) -> Iterator[str]:
    """Texts and lists whose length no word of the schema limits."""
    if "$ref" in schema:
        yield from unbounded(SCHEMAS[schema["$ref"].rpartition("/")[2]], place)
    for choice in schema.get("anyOf", ()):
        yield from unbounded(choice, place)
    match schema.get("type"):
        case "string" if not {"maxLength", "enum", "const", "format"} & schema.keys():
            yield place
        case "array":
            if "maxItems" not in schema:
                yield place
            yield from unbounded(schema["items"], f"{place}/0")
    for name, inner in schema.get("properties", {}).items():
        yield from unbounded(inner, f"{place}/{name}")


@pytest.mark.parametrize("name", BODIES)
def test_every_text_and_list_of_a_body_has_an_end_that_the_document_names(name):
    assert list(unbounded(SCHEMAS[name], "")) == []


async def test_a_description_of_a_megabyte_and_ten_thousand_types_are_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for path, method in (("/v1/subscriptions", "POST"), (await one(api), "PATCH")):
            big = {"url": HOOK, "description": "x" * 1_000_000}
            assert problem(await api.client.request(method, path, json=big)) == (413, "too_large")
            for body, place in (
                ({"url": HOOK, "description": "x" * (MAX_BODY_BYTES - 200)}, "/description"),
                ({"url": HOOK, "types": ["message.received"] * 10_000}, "/types"),
            ):
                assert pointers(await api.client.request(method, path, json=body)) == [place]


async def one(api: Any) -> str:
    return f"/v1/subscriptions/{(await api.make_subscription())['id']}"
