"""The SQLite driver on real files: what is on, what is private, and what becomes of each kind of trouble."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path

import pytest

from receiver.storage.database import Broken, CannotStart, StorageError, Unavailable
from receiver.storage.ownership import APPLICATION_ID
from receiver.storage.sqlite import SqliteDatabase
from tests.storage import copying
from tests.storage.opening import NAME, change, fetch, names, opened_apart
from tests.storage.opening import opened as opened_in_thread

Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]

ROWS = "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT) STRICT"


@pytest.fixture(params=[opened_in_thread, opened_apart], ids=["in a thread", "in a process"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Either way of writing."""
    way: Opened = request.param
    return way


@contextmanager
def visitor(folder: Path) -> Iterator[sqlite3.Connection]:
    """Another program at the same file."""
    with closing(sqlite3.connect(folder / NAME, isolation_level=None, timeout=0)) as connection:
        yield connection


async def test_the_writer_syncs_every_commit_of_a_write_ahead_log(opened: Opened, tmp_path: Path):
    async with opened(tmp_path) as database, database.writing() as writer:
        assert await writer.fetch("PRAGMA journal_mode") == [("wal",)]
        assert await writer.fetch("PRAGMA synchronous") == [(2,)]
        assert await writer.fetch("PRAGMA foreign_keys") == [(1,)]
        assert await writer.fetch("PRAGMA application_id") == [(APPLICATION_ID,)]


async def test_what_was_deleted_stands_neither_in_the_file_nor_after_a_scrub_in_the_log(opened: Opened, tmp_path: Path):
    """Of rows of all sizes in random order, so that pages are split, joined and freed."""
    chosen = random.Random(7)
    async with opened(tmp_path, schema=False) as database:
        await change(database, "CREATE TABLE rows (id INTEGER PRIMARY KEY, number TEXT, text TEXT) STRICT")
        await change(database, "CREATE INDEX rows_by_number ON rows (number)")
        await change(database, "CREATE TABLE keys (key TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
        for start in range(0, 3000, 100):
            async with database.writing() as writer:
                for number in range(start, start + 100):
                    name = "+447700900123" if chosen.random() < 0.05 else f"+4477{chosen.randrange(10**8):08}"
                    text = f"words of {name} " * (1 if chosen.random() < 0.9 else 500)
                    await writer.fetch("INSERT INTO rows VALUES (?, ?, ?)", number, name, text)
                    await writer.fetch("INSERT INTO keys VALUES (?)", f"{chosen.random()} {name} {number}")
        await change(database, "UPDATE rows SET number = NULL, text = '' WHERE number = '+447700900123'")
        await change(database, "DELETE FROM keys WHERE key LIKE '%+447700900123%'")
        found = {path.name: path.read_bytes().count(b"447700900123") for path in list_of(tmp_path)}
        assert found["receiver.db-wal"] > 0
        assert await database.scrub()
        assert {path.name: path.read_bytes().count(b"447700900123") for path in list_of(tmp_path)} == dict.fromkeys(
            found, 0
        )
        assert (tmp_path / "receiver.db-wal").stat().st_size == 0
        await change(database, "INSERT INTO rows VALUES (-1, 'x', 'x')")  # and all goes on


def list_of(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_scrub_does_not_wait_for_a_reader_of_an_old_state(opened: Opened, tmp_path: Path):
    async with opened(tmp_path) as database:
        async with database.reading() as reader:
            await reader.fetch("SELECT 1 FROM events")
            await change(database, "INSERT INTO secrets VALUES ('x', x'00')")
            assert not await database.scrub()
            assert await fetch(database, "SELECT name FROM secrets") == [("x",)]
        assert await database.scrub()
        async with database.writing() as writer:
            assert await writer.fetch("PRAGMA busy_timeout") == [(1000,)]


async def test_only_the_owner_scrubs_and_trouble_is_told_as_ever(opened: Opened, tmp_path: Path):
    async with opened(tmp_path) as database:
        reader = await SqliteDatabase.open_reader(tmp_path / NAME)
        with pytest.raises(StorageError, match="for reading"):
            await reader.scrub()
        await reader.close()
        with visitor(tmp_path) as other:
            other.execute("BEGIN IMMEDIATE")
            assert not await database.scrub()
        assert await database.scrub()


async def test_readers_cannot_write(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database, database.reading() as reader:
        assert await reader.fetch("PRAGMA query_only") == [(1,)]
        with pytest.raises(Unavailable):
            await reader.fetch(ROWS)
        await reader.fetch("PRAGMA query_only = OFF")
        with pytest.raises(Unavailable, match="readonly"):
            await reader.fetch(ROWS)


async def test_a_reader_sees_one_moment_and_what_is_committed(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        async with database.reading() as reader:
            assert await reader.fetch("SELECT count(*) FROM rows") == [(0,)]
            await change(database, "INSERT INTO rows VALUES (1, 'x')")
            assert await reader.fetch("SELECT count(*) FROM rows") == [(0,)]
        assert await fetch(database, "SELECT count(*) FROM rows") == [(1,)]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 1_000])
async def test_many_takes_any_number_of_rows_and_returns_all(opened: Opened, tmp_path: Path, count: int):
    rows = [(number, f"text {number}") for number in range(count)]
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        async with database.writing() as writer:
            back = await writer.many("INSERT INTO rows (id, text)", rows, "RETURNING id, text")
            wanted = await writer.many(
                "WITH wanted (id) AS (", [(number,) for number, _ in rows],
                ") SELECT text FROM wanted JOIN rows ON rows.id = wanted.id WHERE rows.id >= ?", 10,
            )  # fmt: skip
        assert sorted(back) == rows
        assert sorted(wanted) == sorted((text,) for number, text in rows if number >= 10)
        assert await fetch(database, "SELECT id, text FROM rows ORDER BY id") == rows


async def written_then_raised(database: SqliteDatabase) -> None:
    async with database.writing() as writer:
        await writer.fetch("INSERT INTO rows VALUES (1, 'x')")
        raise RuntimeError


async def test_an_error_inside_leaves_nothing_behind(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        with pytest.raises(RuntimeError):
            await written_then_raised(database)
        with pytest.raises(sqlite3.IntegrityError):
            async with database.writing() as writer:
                await writer.many("INSERT INTO rows", [(1, "x"), (1, "y")])
        assert await change(database, "INSERT INTO rows VALUES (1, 'z') RETURNING text") == [("z",)]


async def test_a_full_disk_is_for_now_and_over_once_there_is_room(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        await change(database, "INSERT INTO rows VALUES (1, 'kept')")
        ((pages,),) = await change(database, "PRAGMA page_count")
        await change(database, f"PRAGMA max_page_count = {pages}")
        for _ in range(2):
            with pytest.raises(Unavailable, match="full"):
                await change(database, "INSERT INTO rows VALUES (2, ?)", "x" * 100_000)
        assert await fetch(database, "SELECT text FROM rows") == [("kept",)]
        await change(database, "PRAGMA max_page_count = 100000")
        await change(database, "INSERT INTO rows VALUES (2, ?)", "x" * 100_000)
        assert await fetch(database, "SELECT length(text) FROM rows") == [(4,), (100_000,)]


@pytest.mark.parametrize("kind", ["EXCLUSIVE", "IMMEDIATE"])
async def test_another_programs_transaction_is_for_now_and_does_not_stop_readers(
    opened: Opened, tmp_path: Path, kind: str
):
    async with opened(tmp_path, schema=False, busy_seconds=0.1) as database:
        await change(database, ROWS)
        with visitor(tmp_path) as other:
            other.execute(f"BEGIN {kind}")
            started = asyncio.get_running_loop().time()
            with pytest.raises(Unavailable, match="locked"):
                await change(database, "INSERT INTO rows VALUES (1, 'x')")
            assert 0.05 < asyncio.get_running_loop().time() - started < 2
            assert await fetch(database, "SELECT count(*) FROM rows") == [(0,)]
            other.execute("ROLLBACK")
            await change(database, "INSERT INTO rows VALUES (1, 'x')")
        assert await fetch(database, "SELECT count(*) FROM rows") == [(1,)]


async def test_a_file_destroyed_under_us_is_for_good(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        await change(database, "INSERT INTO rows VALUES (1, 'x')")
        await change(database, "PRAGMA user_version = 1")
    path = tmp_path / NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    async with opened(tmp_path, schema=False) as database:
        with pytest.raises(Broken):
            await fetch(database, "SELECT * FROM rows")
        with pytest.raises(Broken):
            await change(database, "INSERT INTO rows VALUES (2, 'y')")


async def test_a_text_that_is_none_is_for_good_and_is_not_told(opened: Opened, tmp_path: Path):
    """We write none: it is damage, which may stand in the middle of a person's message."""
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        await change(database, "INSERT INTO rows VALUES (1, CAST(x'736563726574ba' AS TEXT))")
        with pytest.raises(Broken, match="not UTF-8") as told:
            await fetch(database, "SELECT * FROM rows")
        assert "secret" not in str(told.value)


async def test_a_schema_that_is_no_text_is_told_in_one_line(opened: Opened, tmp_path: Path):
    async with opened(tmp_path):
        pass
    copying.spoil_schema(tmp_path / NAME)
    with pytest.raises(CannotStart, match=r"receiver\.db: cannot be opened .*damaged"):
        async with opened(tmp_path):
            pass
    for opening in (SqliteDatabase.open, SqliteDatabase.open_reader):
        with pytest.raises(CannotStart, match=r"receiver\.db: cannot be opened .*damaged"):
            await opening(tmp_path / NAME)


async def test_every_file_is_the_owners_alone(tmp_path: Path):
    async with opened_apart(tmp_path):
        modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in names(tmp_path)}
    assert modes == dict.fromkeys((NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}.lock"), 0o600)


@pytest.mark.parametrize("cut_at", ["BEGIN", "SELECT", "ROLLBACK"])
async def test_a_cancelled_reader_leaves_no_transaction_open(opened: Opened, tmp_path: Path, cut_at: str):
    """With one reader: the next to read would stumble over an open transaction."""
    steps = {"BEGIN": 0, "SELECT": 1, "ROLLBACK": 3}[cut_at]

    async def read(database: SqliteDatabase) -> None:
        async with database.reading() as reader:
            await reader.fetch("SELECT 1")
            await reader.fetch("SELECT count(*) FROM sqlite_master AS a, sqlite_master AS b")

    async with opened(tmp_path, readers=1) as database:
        for turns in range(12):
            task = asyncio.create_task(read(database))
            for _ in range(1 + steps + turns):
                await asyncio.sleep(0.0001 * (turns % 4))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await asyncio.wait_for(fetch(database, "SELECT 1"), 5) == [(1,)]


async def test_a_writer_cancelled_before_its_first_statement_leaves_no_transaction_open(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        for _ in range(10):
            task = asyncio.create_task(change(database, "INSERT INTO rows VALUES (1, 'x')"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await change(database, "INSERT INTO rows VALUES (2, 'y')")
        assert await fetch(database, "SELECT id FROM rows") == [(2,)]


async def test_writers_take_turns(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        await asyncio.gather(*(change(database, "INSERT INTO rows VALUES (?, 'x')", number) for number in range(20)))
        assert await fetch(database, "SELECT count(*) FROM rows") == [(20,)]


async def test_close_leaves_no_thread_and_no_log(tmp_path: Path):
    before = set(threading.enumerate())
    async with opened_in_thread(tmp_path, readers=3):
        threads = set(threading.enumerate()) - before
        assert len(threads) == 4
    for thread in threads:
        thread.join(5)  # one that was told to end ends a moment later
    assert not any(thread.is_alive() for thread in threads)
    assert names(tmp_path) == [NAME]


async def refused(folder: Path) -> str:
    """The one line of a database that cannot be opened; whatever is there stays as it is."""
    path = folder / NAME
    before = path.read_bytes() if path.is_file() else None
    threads = set(threading.enumerate())
    lines = set()
    for opening in (SqliteDatabase.open, SqliteDatabase.open_reader):
        with pytest.raises(CannotStart) as caught:
            await opening(path)
        lines.add(str(caught.value))
    assert set(threading.enumerate()) <= threads
    assert (path.read_bytes() if path.is_file() else None) == before
    assert all(len(line.splitlines()) == 1 and str(path) in line for line in lines)
    return min(lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a text of somebody's\n" * 20, "not a SQLite database"),
        (b"SQLite format 3\x00", "not a SQLite database"),
        (b"SQLite format 3\x00" + b"\x00" * 4080, "another application"),
        (b"SQLite format 3\x00" + b"\xff" * 4080, "another application"),
    ],
)
async def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path, content: bytes, words: str):
    (tmp_path / NAME).write_bytes(content)
    assert words in await refused(tmp_path)


async def test_another_applications_database_is_left_alone(tmp_path: Path):
    with visitor(tmp_path) as other:
        other.execute("CREATE TABLE precious (id INTEGER)")
    assert "another application" in await refused(tmp_path)


async def test_a_database_of_ours_with_a_ruined_header_is_left_alone(opened: Opened, tmp_path: Path):
    async with opened(tmp_path):
        pass
    path = tmp_path / NAME
    content = bytearray(path.read_bytes())
    content[16:24] = b"\xff" * 8  # page size, versions, reserved space
    path.write_bytes(content)
    before, threads = path.read_bytes(), set(threading.enumerate())
    with pytest.raises(CannotStart, match="cannot be opened as a database"):
        await SqliteDatabase.open(path)
    assert path.read_bytes() == before
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive()


async def test_a_directory_in_the_way_is_named(tmp_path: Path):
    (tmp_path / NAME).mkdir()
    assert "directory" in await refused(tmp_path)


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / NAME).symlink_to(NAME)  # to itself: not even root can open it
    assert "cannot be read" in await refused(tmp_path)


async def test_a_file_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / NAME).symlink_to(tmp_path / "nowhere" / NAME)
    with pytest.raises(CannotStart, match="cannot be made"):
        await SqliteDatabase.open(tmp_path / NAME)


async def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(CannotStart, match="no such directory"):
        await SqliteDatabase.open(tmp_path / "nowhere" / NAME)


async def test_a_reader_does_not_make_a_database(tmp_path: Path):
    with pytest.raises(CannotStart, match="no database"):
        await SqliteDatabase.open_reader(tmp_path / NAME)
    assert names(tmp_path) == []


async def test_an_empty_file_becomes_a_database(opened: Opened, tmp_path: Path):
    (tmp_path / NAME).touch(mode=0o600)
    async with opened(tmp_path) as database:
        assert await fetch(database, "SELECT count(*) FROM events") == [(0,)]


async def test_a_reader_beside_the_owner_sees_what_is_committed_and_cannot_write(opened: Opened, tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await change(database, ROWS)
        await change(database, "INSERT INTO rows VALUES (1, 'x')")
        beside = await SqliteDatabase.open_reader(tmp_path / NAME)
        try:
            assert await fetch(beside, "SELECT text FROM rows") == [("x",)]
            with pytest.raises(StorageError):
                await change(beside, "INSERT INTO rows VALUES (2, 'y')")
        finally:
            await beside.close()
