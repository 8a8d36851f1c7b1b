"""Searching texts: by the index, behind its end, and along what another filter left; always the same answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.sms.words import query
from receiver.storage import events, search
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Unavailable
from receiver.storage.events import Wanted
from receiver.storage.indexer import Indexer
from receiver.storage.text_index import POSTGRES, SQLITE
from tests.storage.opening import fetch, opened
from tests.storage.test_rows import read, write

pytestmark = pytest.mark.usefixtures("engine")

TEXTS = ("Café at ten?", "no, cafe at NINE", "東京都", "stop", "cafeteria", "", "東京 京都", "Привет, кафе")


def a_row(number: int, text: str | None, **given: Any) -> tuple[Any, ...]:
    known = {
        "type": "message.received",
        "from": "+447700900123",
        "to": "60777",
        "status": None,
        "source": "src_1",
    } | given
    body = orjson.dumps({"data": {"text": text}}).decode()
    return (
        f"evt_{number:026}", known["type"], number * 100, "generic", known["source"], "rcp_1", f"msg_{number:026}",
        None, None, known["from"], known["to"], known["status"], body,
    )  # fmt: skip


async def filled(database: Any, texts: Sequence[str] = TEXTS, begin: int = 1) -> None:
    await write(database, events.insert, [a_row(begin + number, text) for number, text in enumerate(texts)])


@asynccontextmanager
async def indexing(database: Any, **given: Any) -> AsyncIterator[Indexer]:
    batch = Batch(database)
    running = asyncio.create_task(batch.run())
    try:
        yield Indexer(database, batch, gather=0.0, rest=0.0, pause=0.0, **given)
    finally:
        batch.close()
        await asyncio.gather(running, return_exceptions=True)


async def index(database: Any, steps: int = 100, **given: Any) -> None:
    async with indexing(database, **given) as indexer:
        for _ in range(steps):
            if not await indexer.step():
                return


async def found(database: Any, text: str, **given: Any) -> list[int]:
    options = {name: given.pop(name) for name in ("newest_first", "after") if name in given}
    wanted = Wanted(words=query(text), **given)
    rows = await read(database, events.page, wanted, limit=50, **{"after": None, **options})
    return [row.seq for row in rows]


SEARCHES = [
    ("cafe", [1, 2]), ("CAFÉ ten", [1]), ("caf*", [1, 2, 5]), ("cafet*", [5]), ("c* t*", [1]), ("東京", [3, 7]), ("東京都", [3]), ("都", [3, 7]),
    ("кафе", [8]), ("привет кафе", [8]), ("nothing", []), ("at", [1, 2]), ("'\" OR at*", []),
]  # fmt: skip


@pytest.mark.parametrize("indexed", [0, 3, 100], ids=["nothing indexed", "a part", "all"])
async def test_the_answer_is_the_same_however_much_is_indexed(tmp_path: Path, indexed: int):
    async with opened(tmp_path) as database:
        await filled(database)
        await index(database, steps=indexed, most=1)
        assert await read(database, search.position) == min(indexed, len(TEXTS))
        for asked, expected in SEARCHES:
            assert await found(database, asked) == expected, asked
            assert await found(database, asked, newest_first=True) == expected[::-1], asked
            assert await found(database, asked, after=2) == [seq for seq in expected if seq > 2], asked
            assert await found(database, asked, after=2, newest_first=True) == [seq for seq in expected if seq < 2]


async def test_other_filters_hold_besides(tmp_path: Path):
    async with opened(tmp_path) as database:
        rows = [
            a_row(number, "hello you", **{"from": f"+4477{number % 3}", "source": f"src_{number % 2}"})
            for number in range(1, 1201)
        ]  # fmt: skip
        await write(database, events.insert, rows)
        await write(database, events.insert, [a_row(1201, "hello", type="message.status", status="sent")])
        await index(database, steps=10)
        assert await read(database, search.position) == 1000
        cases: list[dict[str, Any]] = [
            {"from_": "+44771"}, {"from_": "+4477*", "source": "src_1"}, {"source": "src_0", "since": 90_000},
            {"types": ["message.received"], "until": 200}, {"types": ["message.status"]}, {"status": "sent"},
        ]  # fmt: skip
        for case, newest_first in product(cases, (False, True)):
            everything = await read(
                database, events.page, Wanted(**case), after=None, limit=2000, newest_first=newest_first
            )
            rows = await read(
                database, events.page, Wanted(words=query("hello"), **case), after=None, limit=2000,
                newest_first=newest_first,
            )  # fmt: skip
            expected = [row for row in everything if row.seq <= 1200 and "status" not in case]
            assert [row.seq for row in rows] == [row.seq for row in expected], case


async def test_no_look_goes_further_than_its_window_and_the_next_goes_on_there(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database, ["hello"] * 400)
        await write(database, events.insert, [a_row(401, "hello rare", **{"from": "+1"})])
        for newest_first, steps in ((False, 0), (True, 0), (False, 9), (True, 9)):
            await index(database, steps=steps)
            seen: list[int] = []
            after, looks = None, 0
            while True:
                look = await read(
                    database, events.look, Wanted(words=query("hello"), source="src_1"), after=after, limit=40,
                    newest_first=newest_first, many=1, window=60,
                )  # fmt: skip
                looks += 1
                seen += [row.seq for row in look.rows]
                after = look.upto if look.upto is not None else look.rows[-1].seq if len(look.rows) == 40 else None
                if after is None:
                    break
            assert seen == sorted(range(1, 402), reverse=newest_first)
            assert looks > 5
            wanted = Wanted(words=query("rare"), source="src_1")
            whole = await read(
                database, events.page, wanted, after=None, limit=40, newest_first=newest_first, many=1, window=60
            )
            assert [row.seq for row in whole] == [401]


async def indexed_as(database: Any, words: str) -> list[int]:
    """What the engine's index itself has of them."""
    async with database.reading() as reader:
        texts = reader.texts
        sql = f"SELECT {texts.seq} FROM texts WHERE {texts.matches} ORDER BY {texts.seq}"
        return [row[0] for row in await reader.fetch(sql, texts.asked(query(words)))]


async def test_an_index_that_fails_half_way_has_the_stretch_wholly_or_not_at_all(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.reading() as reader:
            stretch = await search.next_stretch(reader, 3)
        with pytest.raises(RuntimeError):
            await write_now(database, stretch, RuntimeError())
        assert await read(database, search.position) == 0
        assert await found(database, "cafe") == [1, 2]
        await index(database)
        assert await indexed_as(database, "cafe") == [1, 2]


async def test_a_stretch_that_another_process_indexed_meanwhile_is_not_indexed_twice(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.reading() as reader:
            stretch = await search.next_stretch(reader, 3)
        other = replace(stretch, rows=[(99, "cafe")])
        assert [await write_now(database, it) for it in (stretch, other)] == [True, False]
        assert await indexed_as(database, "cafe") == [1, 2]


async def write_now(database: Any, stretch: search.Stretch, trouble: Exception | None = None) -> bool:
    async with database.writing() as transaction:
        added = await search.add(transaction, stretch)
        if trouble is not None:
            raise trouble
    return added


async def test_what_is_forgotten_is_not_in_the_index_any_more(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        await index(database, steps=1, most=4)
        ids = [row[0] for row in await fetch(database, "SELECT id FROM events ORDER BY seq")]
        async with database.writing() as transaction:
            await search.forget(transaction, [ids[0], ids[7]])
        assert await indexed_as(database, "cafe") == [2]
        await index(database)
        assert await found(database, "кафе") == [8]


async def test_a_stretch_of_which_something_was_forgotten_meanwhile_is_read_anew(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.reading() as reader:
            stretch = await search.next_stretch(reader, 100)
        async with database.writing() as transaction:
            ((event_id,),) = await transaction.fetch("SELECT id FROM events WHERE seq = 1")
            await search.forget(transaction, [event_id])
            await transaction.fetch("DELETE FROM events WHERE seq = 1")
        async with database.writing() as transaction:
            assert not await search.add(transaction, stretch)
        await index(database)
        assert await indexed_as(database, "cafe") == [2]


async def test_the_loop_indexes_what_comes_and_ends_when_it_is_told(tmp_path: Path):
    async with opened(tmp_path) as database, indexing(database) as indexer:
        running = asyncio.create_task(indexer.run())
        for begin in (1, 101):
            await filled(database, begin=begin)
            indexer.wake()
            await reached(database, len(TEXTS) * (1 if begin == 1 else 2))
        indexer.stop()
        async with asyncio.timeout(10):
            await running


async def reached(database: Any, position: int) -> None:
    for _ in range(1000):
        if await read(database, search.position) >= position:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the index did not get to {position}")


class Failing:
    """A database whose first reads fail."""

    def __init__(self, database: Any, *errors: Exception) -> None:
        self._database = database
        self._errors = list(errors)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        if self._errors:
            raise self._errors.pop(0)
        async with self._database.reading() as reader:
            yield reader


async def test_a_database_that_does_not_answer_is_asked_again(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        batch = Batch(database)
        running = asyncio.create_task(batch.run())
        indexer = Indexer(Failing(database, Unavailable("busy")), batch, pause=0.0)  # type: ignore[arg-type]
        assert [await indexer.step() for _ in range(3)] == [True, True, False]
        assert await read(database, search.position) == len(TEXTS)
        broken = Indexer(Failing(database, Broken("damaged")), batch, gather=0.0)  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            await broken.run()
        batch.close()
        await running


def test_what_sqlite_is_asked_for():
    assert (
        SQLITE.asked(query("Café cafe* ca* 東京都 東"))
        == '"cafe" AND "caf" * AND "ca" * AND "東京" AND "京都" AND "東" *'
    )
    assert [SQLITE.loose(query(text)) for text in ("cafe*", "caf*", "cafe", "東")] == [True, False, False, False]
    assert SQLITE.kept(["cafe", "東京"]) == "cafe 東京"


def test_what_postgresql_is_asked_for():
    assert not POSTGRES.loose(query("cafeteria*"))
    assert POSTGRES.asked(query("Café caf* 東京都 東")) == "'cafe' & 'caf':* & '東京' & '京都' & '東':*"
    assert POSTGRES.kept(["cafe", "東京"]) == "'cafe' '東京'"


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
async def test_a_process_does_not_wait_for_another_that_indexes(tmp_path: Path):
    async with opened(tmp_path) as database:
        await write(database, events.insert, [a_row(1, "hello")])
        async with opened(tmp_path) as other, database.reading() as reader:
            stretch = await search.next_stretch(reader, 10)
            async with database.writing() as one, other.writing() as two:
                assert await search.add(one, stretch)
                assert not await asyncio.wait_for(search.add(two, stretch), 2.0)
        assert await found(database, "hello") == [1]


async def test_the_index_gives_way_while_writes_wait(tmp_path: Path):
    async with opened(tmp_path) as database:
        batch = Batch(database)
        indexer = Indexer(database, batch, rest=0.05)
        usual = indexer.between
        waiting = asyncio.ensure_future(batch.write(_nothing))
        await asyncio.sleep(0)
        assert indexer.between >= 5 * usual
        running = asyncio.create_task(batch.run())
        await waiting
        assert indexer.between == usual
        batch.close()
        await running


async def _nothing(_transaction: Any) -> None: ...
