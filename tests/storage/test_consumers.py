"""Consumers: what goes in comes out, and where they stand moves only as it may."""

from pathlib import Path
from typing import Any

from receiver.sms.matching import Filter
from receiver.storage import consumers
from receiver.storage.consumers import Consumer
from tests.storage.making import MOMENT
from tests.storage.opening import opened
from tests.storage.test_rows import read, write


def a_consumer(name: str = "billing", **given: Any) -> Consumer:
    made: dict[str, Any] = {
        "id": f"con_{name}", "types": ["message.*"], "filter": None, "description": None, "position": 10,
        "moved_at": MOMENT, "created_at": MOMENT, "updated_at": MOMENT,
    }  # fmt: skip
    return Consumer(name=name, **made | given)


async def position(database: Any) -> tuple[int, int | None]:
    found = await read(database, consumers.get, "billing")
    return found.position, found.acknowledged_at


async def test_a_consumer_comes_back_as_it_was_made(tmp_path: Path):
    async with opened(tmp_path) as database:
        full = a_consumer(
            filter=Filter.model_validate({"from": ["+44*"], "final_only": True}), description="words", acknowledged_at=7
        )
        assert await write(database, consumers.insert, full)
        assert await read(database, consumers.get, "billing") == full
        assert await read(database, consumers.get, "other") is None


async def test_a_name_is_taken_once(tmp_path: Path):
    async with opened(tmp_path) as database:
        assert await write(database, consumers.insert, a_consumer())
        assert not await write(database, consumers.insert, a_consumer(id="con_2", position=99))
        assert await position(database) == (10, None)


async def test_they_are_listed_newest_first_and_counted(tmp_path: Path):
    async with opened(tmp_path) as database:
        for name in ("a", "b", "c"):
            await write(database, consumers.insert, a_consumer(name))
        assert [row.name for row in await read(database, consumers.page, before=None, limit=2)] == ["c", "b"]
        assert [row.name for row in await read(database, consumers.page, before="con_b", limit=2)] == ["a"]
        assert await read(database, consumers.count) == 3
        assert await write(database, consumers.remove, "b")
        assert not await write(database, consumers.remove, "b")
        assert await read(database, consumers.count) == 2


async def test_acknowledging_goes_forward_only(tmp_path: Path):
    async with opened(tmp_path) as database:
        item = a_consumer()
        await write(database, consumers.insert, item)
        await write(database, consumers.acknowledge, item, 12, MOMENT + 1)
        assert await position(database) == (12, MOMENT + 1)
        await write(database, consumers.acknowledge, item, 11, MOMENT + 2)
        assert await position(database) == (12, MOMENT + 2)


async def test_after_a_move_nothing_from_before_moves_it(tmp_path: Path):
    async with opened(tmp_path) as database:
        before = a_consumer()
        await write(database, consumers.insert, before)
        await write(database, consumers.move, before, 3, MOMENT)  # the clock may stand still
        moved = await read(database, consumers.get, "billing")
        assert (moved.position, moved.moved_at) == (3, MOMENT + 1)
        await write(database, consumers.acknowledge, before, 12, MOMENT + 2)
        await write(database, consumers.pass_over, before, 12)
        assert await position(database) == (3, None)
        await write(database, consumers.pass_over, moved, 5)
        await write(database, consumers.pass_over, moved, 4)
        assert await position(database) == (5, None)


async def test_a_change_leaves_where_it_stands(tmp_path: Path):
    async with opened(tmp_path) as database:
        item = a_consumer()
        await write(database, consumers.insert, item)
        await write(database, consumers.acknowledge, item, 12, MOMENT)
        await write(database, consumers.change, a_consumer(types=["*"], description="new", position=1, updated_at=9))
        changed = await read(database, consumers.get, "billing")
        assert (changed.types, changed.description, changed.updated_at) == (["*"], "new", 9)
        assert await position(database) == (12, MOMENT)
