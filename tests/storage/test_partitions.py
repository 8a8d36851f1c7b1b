"""The parts of the tables that only grow: made ahead, a row in its week's, and found by an id in that part alone."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from receiver.storage import events, partitions
from receiver.storage.ids import earliest
from receiver.storage.partitions import WEEK, name_of
from tests import engines
from tests.storage.opening import fetch, opened

NOW = 1_795_000_000_000_000
pytestmark = pytest.mark.usefixtures("engine")
on_postgres = pytest.mark.parametrize("engine", ["postgres"], indirect=True)


async def prepare(database: Any, now: int = NOW) -> list[str]:
    async with database.writing() as transaction:
        return [*await partitions.prepare(transaction, now)]


def row(moment: int) -> tuple[Any, ...]:
    return (earliest("evt", moment) + "x" * 16, "message.status", moment, *[None] * 9, "{}")


async def write(database: Any, *moments: int) -> None:
    async with database.writing() as transaction:
        events.insert(transaction, [row(moment) for moment in moments])


async def test_this_week_and_the_next_ones_are_made_once(tmp_path: Path):
    async with opened(tmp_path) as database:
        made = await prepare(database)
        if engines.engine() == "sqlite":
            assert made == []
            return
        assert len(made) == len(partitions.PARTED) * (partitions.AHEAD + 1)
        assert made[0] == "receipts_20261116"  # the Monday before 2026-11-18
        assert await prepare(database) == []
        assert await prepare(database, NOW + WEEK) == [
            name_of(table, 1_797_811_200_000_000) for table in partitions.PARTED
        ]


@on_postgres
async def test_processes_that_start_at_once_make_each_once(tmp_path: Path):
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        lots = await asyncio.gather(prepare(one), prepare(other))
        assert sorted(map(len, lots)) == [0, len(partitions.PARTED) * (partitions.AHEAD + 1)]


@on_postgres
async def test_a_dump_that_is_being_made_is_not_waited_for(tmp_path: Path):
    async with opened(tmp_path) as database, opened(tmp_path) as other:
        async with other.writing() as dump:
            await dump.fetch("LOCK TABLE events IN ACCESS SHARE MODE")
            await partitions.look_ahead(database, NOW, {})
            await write(database, NOW)
            assert await prepared(database) == 3  # the parts for everything else
        await partitions.look_ahead(database, NOW + 2 * WEEK, {})
        assert await prepared(database) == 3 + len(partitions.PARTED) * (partitions.AHEAD + 1)


async def prepared(database: Any) -> int:
    ((number,),) = await fetch(database, "SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'")
    return int(number)


@on_postgres
async def test_a_row_is_in_its_weeks_part_and_an_id_is_looked_up_there_alone(tmp_path: Path):
    async with opened(tmp_path) as database:
        await prepare(database)
        await write(database, NOW, NOW + WEEK, NOW - WEEK)
        found = await fetch(database, "SELECT tableoid::regclass::text, seq FROM events ORDER BY seq")
        assert [name for name, _ in found] == ["events_20261116", "events_20261123", "events_other"]
        plan = await fetch(database, f"EXPLAIN SELECT body FROM events WHERE id = '{row(NOW)[0]}'")
        assert "events_20261116_pkey" in "".join(line for (line,) in plan)
        assert "events_20261123" not in "".join(line for (line,) in plan)


@on_postgres
async def test_a_week_whose_rows_came_before_its_part_stays_where_it_is(tmp_path: Path):
    async with opened(tmp_path) as database:
        await write(database, NOW + WEEK)
        made = await prepare(database)
        assert "events_20261116" in made
        assert "events_20261123" in made  # told as wanted, and passed over
        names = {name for (name,) in await fetch(database, "SELECT relname::text FROM pg_class WHERE relispartition")}
        assert "events_20261116" in names
        assert "events_20261123" not in names
