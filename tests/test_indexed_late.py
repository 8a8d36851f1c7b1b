"""Texts that are learnt late, by reading again or by joining parts, are indexed like those of a request."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from tests.polling.asking import Asker, asker, until

NAMES = ("vendor_message_id", "from", "to", "text", "part_reference", "part_number", "part_total")
FIELDS: dict[str, str | None] = {name: name for name in NAMES}


async def made(it: Asker, **fields: str | None) -> Any:
    options = {"fields": FIELDS | fields, "assemble_after": 2}
    return await it.api("POST", "/v1/sources", vendor="generic", options=options)


async def told(it: Asker, source: Any, **fields: Any) -> None:
    body = {"from": "+447700900123", "to": "+447700900999", **fields}
    await it.push(source, "POST", body=orjson.dumps(body))


async def all_indexed(it: Asker) -> bool:
    rows = await it.fetch("SELECT position, (SELECT max(seq) FROM events) FROM followers WHERE name = 'texts'")
    return bool(rows[0][0] == rows[0][1])


async def found(it: Asker, words: str) -> list[str]:
    return [item["text"] for item in (await it.api("GET", f"/v1/messages?q={words}"))["data"]]


async def test_a_text_that_is_read_again(tmp_path: Path) -> None:
    async with asker(tmp_path) as it:
        source = await made(it, text=None)
        await told(it, source, vendor_message_id="m1", text="hello again")
        await until(lambda: all_indexed(it))
        await asyncio.sleep(1.5)  # until the indexer has looked for more, and waits
        await it.api("PATCH", f"/v1/sources/{source['id']}", options={"fields": FIELDS})
        await it.api("POST", "/v1/receipts/reparse", source=source["id"])
        await until(lambda: _events(it, 2))
        await until(lambda: all_indexed(it))
        assert await found(it, "again") == ["hello again"]


async def test_a_text_of_parts_whose_time_is_up(tmp_path: Path) -> None:
    """The indexer, woken by the request, has long found nothing then."""
    async with asker(tmp_path) as it:
        source = await made(it)
        await told(it, source, vendor_message_id="m1", text="hello", part_reference="7", part_total=2, part_number=1)
        await until(lambda: _events(it, 1))
        await until(lambda: all_indexed(it))
        assert len(await found(it, "hello")) == 1


async def _events(it: Asker, number: int) -> bool:
    return len(await it.events()) == number
