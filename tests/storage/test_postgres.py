"""PostgreSQL itself: what its driver makes of rows, of errors and of lost connections."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from receiver.storage.columns import column_types, columns_of, numbered
from receiver.storage.database import Broken, CannotStart, Contended, StorageError, Unavailable
from receiver.storage.postgres import PostgresDatabase
from tests import engines, postgres
from tests.storage.opening import change, fetch, opened

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]

ROWS = "CREATE TABLE rows (id BIGINT PRIMARY KEY, text TEXT, share DOUBLE PRECISION, raw BYTEA)"


@asynccontextmanager
async def bare(folder: Path, **given: Any) -> AsyncIterator[PostgresDatabase]:
    async with opened(folder, schema=False, **given) as database:
        await change(database, ROWS)
        yield database


@asynccontextmanager
async def visitor(folder: Path) -> AsyncIterator[Any]:
    """Another program's connection."""
    connection = await asyncpg.connect(await engines.database_url(folder))
    try:
        yield connection
    finally:
        await connection.close()


async def attempt(database: Any, *statements: str, before_the_last: Any = None) -> None:
    """One transaction; `before_the_last` happens before the last statement, or before COMMIT where that is empty."""
    *first, last = statements
    async with database.writing() as transaction:
        for sql in first:
            await transaction.fetch(sql)
        if before_the_last is not None:
            await before_the_last()
        if last:
            await transaction.fetch(last)


INSERT = "INSERT INTO rows (id) VALUES (1)"


async def backends(other: Any) -> list[int]:
    """The processes of the server that serve us."""
    rows = await other.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in rows]


async def cut_off(other: Any) -> None:
    for pid in await backends(other):
        await other.execute("SELECT pg_terminate_backend($1, 5000)", pid)


@pytest.mark.parametrize("count", [1, 64, 3000])
async def test_many_takes_any_number_of_rows_of_any_type(tmp_path: Path, count: int):
    rows = [(n, f"text {n}" if n % 2 else None, n / 4, bytes([n % 256, 0])) for n in range(count)]
    async with bare(tmp_path) as database:
        async with database.writing() as transaction:
            made = await transaction.many("INSERT INTO rows (id, text, share, raw)", rows, "RETURNING id")
            assert sorted(made) == [(n,) for n in range(count)]
            changed = await transaction.change(
                "INSERT INTO rows (id, text)", [(n, "again") for n in range(count + 2)],
                "ON CONFLICT (id) DO UPDATE SET text = excluded.text WHERE rows.id >= ?", count - 1,
            )  # fmt: skip
            assert changed == 3
        found = await fetch(database, "SELECT id, text, share, raw FROM rows WHERE id < ? ORDER BY id", count - 1)
        assert found == rows[: count - 1]


async def test_rows_that_are_no_tables_own_are_typed_by_their_values_or_their_names(tmp_path: Path):
    async with bare(tmp_path) as database:
        async with database.writing() as transaction:
            transaction.later("INSERT INTO rows (id, text, share)", [(1, "a", 0.5), (2, "b", None)])
            transaction.later(
                "WITH v (id, raw, share) AS (", [(1, None, None), (2, None, None)],
                ") UPDATE rows SET raw = v.raw, share = v.share FROM v WHERE rows.id = v.id",
            )  # fmt: skip
            found = await transaction.many(
                "WITH wanted (key, id) AS (", [("x", 1), (None, 2)],
                ") SELECT wanted.key, rows.share, rows.raw FROM wanted JOIN rows ON rows.id = wanted.id WHERE rows.id < ?", 3,
            )  # fmt: skip
        assert sorted(found, key=lambda row: row[0] or "~") == [("x", None, None), (None, None, None)]


def test_columns_are_read_from_the_head_of_a_statement():
    assert columns_of("INSERT INTO events (id, type)") == ("events", ("id", "type"))
    assert columns_of("WITH v (id, now) AS (") == ("", ("id", "now"))
    with pytest.raises(ValueError, match="names no columns"):
        columns_of("SELECT 1")
    tables = {"a": {"x": "text", "n": "bigint"}, "b": {"n": "text", "m": "bytea"}}
    assert column_types(tables, "", ("x", "n", "m", "o"), [(None,) * 4]) == ("text", "text", "bytea", "text")
    assert column_types(tables, "b", ("n", "m"), [(1, 2)]) == ("text", "bytea")
    assert column_types(tables, "", ("a", "b"), [(None, True), (b"", 1)]) == ("bytea", "bigint")
    assert numbered("a = ? AND b = ?", 3) == "a = $3 AND b = $4"


async def test_an_error_inside_leaves_nothing_behind(tmp_path: Path):
    async with bare(tmp_path) as database:
        with pytest.raises(asyncpg.UniqueViolationError):
            await attempt(database, INSERT, INSERT)
        assert await fetch(database, "SELECT count(*) FROM rows") == [(0,)]
        await change(database, INSERT)
        assert await fetch(database, "SELECT count(*) FROM rows") == [(1,)]


async def test_what_was_rolled_back_behind_our_back_is_not_told_as_done(tmp_path: Path):
    async def careless(database: Any) -> None:
        async with database.writing() as transaction:
            await transaction.fetch(INSERT)
            with pytest.raises(asyncpg.UniqueViolationError):
                await transaction.fetch(INSERT)

    async with bare(tmp_path) as database:
        with pytest.raises(StorageError, match="rolled back"):
            await careless(database)
        assert await fetch(database, "SELECT count(*) FROM rows") == [(0,)]


async def test_readers_cannot_write(tmp_path: Path):
    async with bare(tmp_path) as database:
        async with database.reading() as reader:
            with pytest.raises(Unavailable, match="25006"):
                await reader.fetch("INSERT INTO rows (id) VALUES (1)")
        assert await fetch(database, "SELECT count(*) FROM rows") == [(0,)]


async def test_of_two_in_a_circle_one_is_told_that_it_may_try_again(tmp_path: Path):
    async with bare(tmp_path) as one, opened(tmp_path, schema=False) as other:
        await change(one, "INSERT INTO rows (id) VALUES (1), (2)")
        both = asyncio.Barrier(2)

        async def lock(database: Any, first: int, second: int) -> None:
            async with database.writing() as transaction:
                await transaction.fetch("UPDATE rows SET text = 'x' WHERE id = ?", first)
                await both.wait()
                await transaction.fetch("UPDATE rows SET text = 'x' WHERE id = ?", second)

        done = await asyncio.gather(lock(one, 1, 2), lock(other, 2, 1), return_exceptions=True)
        assert {type(item) for item in done} == {Contended, type(None)}


async def test_a_name_is_locked_until_the_transaction_ends(tmp_path: Path):
    order: list[str] = []
    async with bare(tmp_path) as one, opened(tmp_path, schema=False) as other:

        async def second() -> None:
            async with other.writing() as transaction:
                await transaction.lock(["b", "a"])
                order.append("second")

        async with one.writing() as transaction:
            await transaction.lock(["a", "c"])
            waiting = asyncio.create_task(second())
            await asyncio.sleep(0.2)
            order.append("first")
        await waiting
    assert order == ["first", "second"]


async def test_more_names_than_a_server_has_locks_for_are_locked_as_well(tmp_path: Path):
    order: list[str] = []
    async with bare(tmp_path) as one, opened(tmp_path, schema=False) as other:

        async def second() -> None:
            async with other.writing() as transaction:
                await transaction.lock(["name 7"])
                order.append("second")

        async with one.writing() as transaction:
            await transaction.lock(f"name {n}" for n in range(40_000))
            waiting = asyncio.create_task(second())
            await asyncio.sleep(0.2)
            order.append("first")
        await waiting
    assert order == ["first", "second"]


async def test_the_time_is_told_though_all_readers_are_busy(tmp_path: Path):
    async with bare(tmp_path, readers=1) as database, database.reading():
        assert await asyncio.wait_for(database.time(), 5) > 1_700_000_000_000_000


async def test_who_hears_nothing_because_the_connection_is_gone_without_a_word_finds_out(tmp_path: Path):
    heard: list[str] = []
    async with bare(tmp_path) as database, visitor(tmp_path) as other:
        listening = asyncio.create_task(database.listen(heard.append))
        await _until(lambda: heard == [""])
        gone = database._listener._connection
        database._listener._connection = Silent(gone)
        with pytest.raises(Unavailable):
            await database.time()
        await _until(lambda: heard == ["", ""])
        await other.execute("SELECT pg_notify('receiver', 'catalog')")
        await _until(lambda: heard == ["", "", "catalog"])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


class Silent:
    """A connection on which nothing comes any more."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def fetchval(self, *_: Any) -> Any:
        raise TimeoutError


async def test_lost_connections_are_for_now_and_made_anew(tmp_path: Path):
    async with bare(tmp_path, readers=1) as database, visitor(tmp_path) as other:
        assert await fetch(database, "SELECT 1") == [(1,)]
        with pytest.raises(Unavailable):
            await attempt(database, INSERT, "SELECT 1", before_the_last=lambda: cut_off(other))
        await change(database, "INSERT INTO rows (id) VALUES (2)")
        assert await fetch(database, "SELECT id FROM rows") == [(2,)]
        assert database.doubts == 0
        reading = asyncio.create_task(fetch(database, "SELECT pg_sleep(20)"))
        await asyncio.sleep(0.3)
        await cut_off(other)
        with pytest.raises(Unavailable):
            await reading
        assert await fetch(database, "SELECT id FROM rows") == [(2,)]


async def test_a_connection_lost_at_commit_leaves_a_doubt(tmp_path: Path):
    async with bare(tmp_path) as database, visitor(tmp_path) as other:
        with pytest.raises(Unavailable, match="nobody knows"):
            await attempt(database, INSERT, "", before_the_last=lambda: cut_off(other))
        assert database.doubts == 1
        await change(database, INSERT)


async def test_a_server_that_is_gone_is_asked_again_only_after_a_pause(tmp_path: Path):
    async with bare(tmp_path) as database, visitor(tmp_path) as other:
        for link in (database._writer, *database._readers):
            link._urls = ["postgresql://nobody@127.0.0.1:1/nothing"]
        await cut_off(other)
        with pytest.raises(Unavailable):
            await change(database, "SELECT 1")
        with pytest.raises(Unavailable, match="Connect"):
            await change(database, "SELECT 1")
        with pytest.raises(Unavailable, match="does not answer"):
            await change(database, "SELECT 1")
        assert 0 < database._writer.pause < 1


async def test_a_cancelled_reader_leaves_its_connection_usable(tmp_path: Path):
    async with bare(tmp_path, readers=1) as database:
        for turn in range(6):
            task = asyncio.create_task(fetch(database, "SELECT pg_sleep(5)"))
            await asyncio.sleep(0.01 * turn)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await asyncio.wait_for(fetch(database, "SELECT 1"), 5) == [(1,)]


async def test_a_cancelled_writer_leaves_nothing_behind(tmp_path: Path):
    async with bare(tmp_path) as database:

        async def write() -> None:
            async with database.writing() as transaction:
                await transaction.fetch("INSERT INTO rows (id) VALUES (1)")
                await transaction.fetch("SELECT pg_sleep(3)")  # less than a lock is waited for

        task = asyncio.create_task(write())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await change(database, "INSERT INTO rows (id) VALUES (1)")
        assert await fetch(database, "SELECT id FROM rows") == [(1,)]


async def test_a_word_to_all_is_heard_also_after_the_connection_was_lost(tmp_path: Path):
    heard: list[str] = []
    async with bare(tmp_path) as database, visitor(tmp_path) as other:
        listening = asyncio.create_task(database.listen(heard.append))
        await _until(lambda: heard == [""])
        await other.execute("SELECT pg_notify('receiver', 'catalog')")
        await _until(lambda: heard == ["", "catalog"])
        await cut_off(other)
        await _until(lambda: heard[2:] == [""])
        await other.execute("SELECT pg_notify('receiver', 'jobs')")
        await _until(lambda: heard[3:] == ["jobs"])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _until(true: Any) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 — what is waited for happens in the server
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://nobody:hunter2@127.0.0.1:1/nothing", "cannot be reached"),
        ("postgresql://nobody:hunter2@127.0.0.1:notaport/nothing", "cannot be reached"),
    ],
)
async def test_a_server_that_is_not_there_is_named_without_the_password(url: str, words: str):
    with pytest.raises(CannotStart, match=words) as caught:
        await PostgresDatabase.open(url)
    assert "hunter2" not in str(caught.value)


async def test_a_database_that_does_not_exist_or_is_of_another_encoding_is_refused(tmp_path: Path):
    await engines.database_url(tmp_path)
    with pytest.raises(CannotStart, match="InvalidCatalogName"):
        await PostgresDatabase.open(postgres.url_of("no_such_database"))
    async with visitor(tmp_path) as other:
        await other.execute("DROP DATABASE IF EXISTS receiver_test_latin")
        await other.execute("CREATE DATABASE receiver_test_latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        try:
            with pytest.raises(CannotStart, match="LATIN1"):
                await PostgresDatabase.open(postgres.url_of("receiver_test_latin"))
        finally:
            await other.execute("DROP DATABASE receiver_test_latin")


@pytest.mark.parametrize("text", ["secret \x00", "secret \ud800"])
async def test_a_value_that_no_column_holds_is_not_quoted(tmp_path: Path, text: str):
    async with bare(tmp_path) as database:
        with pytest.raises(ValueError, match=r"2202|2200|DataError") as caught:
            await change(database, "INSERT INTO rows (id, text) VALUES (1, ?)", text)
        assert "secret" not in "".join(traceback.format_exception(caught.value))
        await change(database, "INSERT INTO rows (id, text) VALUES (1, ?)", "fine")


async def test_damage_is_for_good(tmp_path: Path):
    async with bare(tmp_path) as database:
        with pytest.raises(Broken, match="XX001"):
            await change(database, "DO $$ BEGIN RAISE EXCEPTION 'page' USING ERRCODE = 'XX001'; END $$")
        with pytest.raises(Unavailable, match="53100"):
            await change(database, "DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$")


async def test_a_name_is_held_by_one_process_and_free_again_when_that_is_gone(tmp_path: Path):
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        async with one.holding("a") as ours, other.holding("a") as theirs, other.holding("b") as free:
            assert (ours, theirs, free) == (True, False, True)
        async with other.holding("a") as theirs:
            assert theirs
        holding = other.holding("a")
        assert await holding.__aenter__()
        other._names.drop()  # as if it had died
        for _ in range(500):
            async with one.holding("a") as ours:
                pass
            if ours:
                break
            await asyncio.sleep(0.01)
        assert ours
        await holding.__aexit__(None, None, None)
        async with other.holding("a") as theirs:
            assert theirs
