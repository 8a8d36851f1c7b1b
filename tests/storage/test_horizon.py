"""Up to where the log is complete: who goes on behind the last position that he saw never misses an event."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from receiver.storage import events, windows
from receiver.storage.events import Wanted
from tests.storage.opening import opened

on_postgres = pytest.mark.parametrize("engine", ["postgres"], indirect=True)
pytestmark = pytest.mark.usefixtures("engine")


def row(name: str) -> tuple[Any, ...]:
    return (f"evt_{name}", "message.status", 1, *[None] * 9, "{}")


async def seen(database: Any) -> tuple[int, list[str]]:
    async with database.reading() as reader:
        complete = await events.readable(reader)
        rows = await reader.fetch("SELECT id FROM events WHERE seq <= ? ORDER BY seq", complete)
        return complete, [found[0] for found in rows]


class GaveUp(Exception):
    pass


async def give_up() -> None:
    raise GaveUp


async def write(database: Any, *names: str, then: Callable[[], Awaitable[None]] | None = None) -> None:
    async with database.writing() as transaction:
        events.insert(transaction, [row(name) for name in names])
        await transaction.fetch("SELECT 1")
        if then is not None:
            await then()


async def test_with_one_writer_it_is_the_end_of_the_log(tmp_path: Path):
    async with opened(tmp_path) as database:
        assert await seen(database) == (0, [])
        await write(database, "a", "b")
        assert await seen(database) == (2, ["evt_a", "evt_b"])


@on_postgres
async def test_what_is_behind_a_position_that_is_still_to_be_committed_is_not_read_yet(tmp_path: Path):
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        await write(other, "a")
        async with one.writing() as transaction:
            events.insert(transaction, [row("b")])
            assert [item.id for item in await windows.events_behind(transaction, 0, None, 9)] == ["evt_a", "evt_b"]
            await write(other, "c")
            assert await seen(other) == (1, ["evt_a"])
        assert await seen(other) == (3, ["evt_a", "evt_b", "evt_c"])


@on_postgres
async def test_a_position_that_was_rolled_back_holds_nobody_up(tmp_path: Path):
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        with pytest.raises(GaveUp):
            await write(one, "a", then=give_up)
        await write(other, "b")
        assert (await seen(other))[1] == ["evt_b"]


@on_postgres
async def test_no_reader_misses_an_event_of_writers_that_hold_their_commits(tmp_path: Path):
    """Four processes' writers with commits held by chance, rolled back now and then, and a reader that goes on behind
    the last position. Without the horizon it misses some of them in every run.
    """
    chance = random.Random(7)
    committed: set[str] = set()

    async def hold() -> None:
        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.02)))
        if chance.random() < 0.1:
            await give_up()

    async def writer(database: Any, number: int) -> None:
        for turn in range(120):
            names = [f"{number}_{turn}_{n}" for n in range(chance.choice((1, 3, 40)))]
            with suppress(GaveUp):
                await write(database, *names, then=hold)
                committed.update(f"evt_{name}" for name in names)

    async def follow(database: Any, working: Any) -> list[str]:
        position, found = 0, []
        last_look = False
        while not last_look:
            last_look = working.done()
            async with database.reading() as reader:
                complete = await events.readable(reader)
                rows = await reader.fetch(
                    "SELECT seq, id FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 50", position, complete
                )
            found += [name for _, name in rows]
            position = rows[-1][0] if rows else position
            last_look = last_look and not rows
        return found

    async with (
        opened(tmp_path) as one, opened(tmp_path) as two, opened(tmp_path) as three, opened(tmp_path) as four,
        opened(tmp_path) as five,
    ):  # fmt: skip
        working = asyncio.gather(*(writer(database, n) for n, database in enumerate((one, two, three, four))))
        found = await follow(five, working)
        await working
    assert len(found) == len(set(found))
    assert set(found) == committed


async def test_pages_of_the_log_can_be_kept_within_it(tmp_path: Path):
    async with opened(tmp_path) as database:
        await write(database, *"abc")
        async with database.reading() as reader:
            found = await events.page(reader, Wanted(), after=1, limit=1)
            assert [item.seq for item in found if item.seq <= await events.readable(reader)] == [2]
