"""Going along the log: stretch by stretch, nothing left out, and no transaction longer than its window."""

from pathlib import Path
from typing import Any

import pytest

from receiver.storage import events
from receiver.storage.events import Logged, Stretch, Wanted
from receiver.storage.leading import MANY
from tests.storage.making import MOMENT
from tests.storage.opening import change, opened

ANY = Wanted()


async def logged(database: Any, count: int, **columns: Any) -> None:
    """Events of which every seventh is of another status."""
    async with database.writing() as transaction:
        events.insert(
            transaction,
            [
                (
                    f"evt_{number:05d}", "message.status", MOMENT + number, "generic", "src_1", None, None, None, None,
                    None, f"+4477009{number:05d}", "failed" if number % 7 == 0 else "delivered", f'"{number}"',
                )
                for number in range(count)
            ],
        )  # fmt: skip


async def following(database: Any, wanted: Wanted = ANY, **given: Any) -> Stretch:
    async with database.reading() as reader:
        return await events.follow(reader, wanted, **{"after": 0, "limit": 100, **given})


async def along(database: Any, wanted: Wanted, **given: Any) -> tuple[list[str], int]:
    """Every body to the end, and in how many stretches."""
    found, stretch, steps = [], Stretch((), 0, at_end=False), 0
    while not stretch.at_end:
        stretch = await following(database, wanted, after=stretch.reached, **given)
        found += [row.body for row in stretch.rows]
        steps += 1
    return found, steps


async def test_an_empty_log_is_at_its_end(tmp_path: Path):
    async with opened(tmp_path) as database:
        assert await following(database) == Stretch((), 0, at_end=True)
        assert await following(database, after=7) == Stretch((), 7, at_end=True)


async def test_a_full_stretch_goes_on_behind_its_last_row(tmp_path: Path):
    async with opened(tmp_path) as database:
        await logged(database, 5)
        stretch = await following(database, limit=2)
        assert stretch == Stretch([Logged(1, '"0"'), Logged(2, '"1"')], 2, at_end=False)
        assert await following(database, after=4, limit=1) == Stretch([Logged(5, '"4"')], 5, at_end=True)


async def test_what_is_not_wanted_is_passed_over_for_good(tmp_path: Path):
    async with opened(tmp_path) as database:
        await logged(database, 6)
        assert await following(database, Wanted(status="failed"), after=1) == Stretch([], 6, at_end=True)


async def test_a_stretch_looks_at_no_more_than_its_window(tmp_path: Path):
    async with opened(tmp_path) as database:
        await logged(database, 30)
        assert await following(database, Wanted(status="read"), window=10) == Stretch([], 10, at_end=False)


async def test_it_ends_where_it_was_told_to(tmp_path: Path):
    async with opened(tmp_path) as database:
        await logged(database, 30)
        assert await following(database, after=10, upto=12) == Stretch(
            [Logged(11, '"10"'), Logged(12, '"11"')], 12, at_end=True
        )


@pytest.mark.parametrize("window", [9, 100, 5000])
@pytest.mark.parametrize(
    "wanted", [ANY, Wanted(status="failed"), Wanted(to="+4477009002*"), Wanted(status="failed", source="src_1")]
)
async def test_stretches_together_are_the_page_of_them_all(tmp_path: Path, wanted: Wanted, window: int):
    async with opened(tmp_path) as database:
        await logged(database, 700)
        await change(database, "DELETE FROM events WHERE seq BETWEEN 20 AND 60")  # the log may have gaps
        async with database.reading() as reader:
            whole = [row.body for row in await events.page(reader, wanted, after=None, limit=1000)]
        assert len(whole) > 50
        found, steps = await along(database, wanted, window=window, limit=60)
        assert found == whole
        assert steps >= 700 // window


async def test_a_rare_thing_in_a_long_stretch_is_found_by_its_index(tmp_path: Path):
    async with opened(tmp_path) as database:
        await logged(database, MANY + 500)
        await change(database, "UPDATE events SET status = 'read' WHERE seq = 2100")
        asked: list[str] = []
        async with database.reading() as reader:

            class Noting:
                texts = reader.texts

                async def fetch(self, sql: Any, *values: Any) -> Any:
                    asked.append(sql)
                    return await reader.fetch(sql, *values)

            stretch = await events.follow(Noting(), Wanted(status="read"), after=0, limit=10)
            assert [row.seq for row in stretch.rows] == [2100]
            marks = asked[-1].count("?")
            plan = await reader.fetch(f"EXPLAIN QUERY PLAN {asked[-1]}", *["read", 0, 10**6, 10][:marks])
        assert "events_by_status" in str(plan)
