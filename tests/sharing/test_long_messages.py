"""Long messages whose parts come to several receivers on one PostgreSQL."""

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.sharing.running import Group, Process, group

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]


async def tell(it: Group, process: Process, message: int, number: int, total: int) -> int:
    return await process.tell(
        it.path, vendor_message_id=f"m{message}-{number}", text="abc"[number - 1], part_reference=f"ref{message}",
        part_number=number, part_total=total, **{"from": "447700900123", "to": "447700900999"},
    )  # fmt: skip


async def told(it: Group) -> list[tuple[str, object]]:
    bodies = await it.look("SELECT body FROM events ORDER BY seq")
    data = [orjson.loads(body)["data"] for (body,) in bodies]
    return [(item["text"], item["part"] and item["part"]["missing"]) for item in data]


async def test_parts_that_reach_both_at_once_are_one_message(tmp_path: Path):
    async with group(tmp_path) as it:
        await it.source()
        await it.processes[0].subscribe()
        calls = [
            tell(it, it.processes[(message + number) % 2], message, number, 3)
            for message in range(20)
            for number in (2, 3, 1)
        ]
        assert set(await asyncio.gather(*calls)) == {200}
        await it.until_states(succeeded=20)
        assert await told(it) == [("abc", None)] * 20


async def test_what_a_process_put_by_is_told_of_when_it_is_gone(tmp_path: Path):
    async with group(tmp_path) as it:
        await it.source(assemble_after=1)
        await it.processes[0].subscribe()
        assert await tell(it, it.processes[0], 1, 1, 2) == 200
        await it.processes.pop(0).stack.aclose()
        it.processes[0].app.sharing.heed()
        await it.until_states(succeeded=1)
        assert await told(it) == [("a", [2])]
