"""A writer in a process of its own: what becomes of it when either side ends, is told to end, or says too much."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from receiver.storage.apart import Apart
from receiver.storage.database import Broken, CannotStart, Unavailable
from receiver.storage.ownership import is_owned
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.writer import _DUE, _LIGHT
from tests.storage.opening import NAME, change, fetch, opened_apart

ROWS = "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT) STRICT"
ROOT = Path(__file__).parent.parent.parent

# Its owner commits one row, leaves another in an open transaction, and says so; then it waits to be killed.
OWNER = """
import asyncio, sys
from pathlib import Path
from tests.storage.opening import change, opened_apart

async def main():
    async with opened_apart(Path(sys.argv[1]), schema=False) as database:
        await change(database, "CREATE TABLE rows (id INTEGER)")
        await change(database, "INSERT INTO rows VALUES (1)")
        async with database.writing() as transaction:
            await transaction.fetch("INSERT INTO rows VALUES (2)")
            print(database._writer.process.pid, flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


def apart(database: SqliteDatabase) -> Apart:
    assert isinstance(database._writer, Apart)
    return database._writer


async def test_values_of_every_kind_come_through_unchanged(tmp_path: Path):
    kinds = [None, 0, -(2**63), 2**63 - 1, 1.5, "", "naïve \U0001f600 \u0000", b"", bytes(range(256)), "x" * 300_000]
    async with opened_apart(tmp_path, schema=False) as database, database.writing() as transaction:
        assert [(await transaction.fetch("SELECT ?", value))[0][0] for value in kinds] == kinds


@pytest.mark.parametrize("value", ["\ud800", 2**63, object()], ids=["a lone surrogate", "too large", "no value"])
async def test_a_value_that_cannot_be_bound_fails_its_caller_alone(tmp_path: Path, value: object):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)
        with pytest.raises(ValueError, match=r"Unicode|large|unmarshal"):
            await change(database, "INSERT INTO rows (text) VALUES (?)", value)
        await change(database, "INSERT INTO rows VALUES (1, 'next')")
        assert await fetch(database, "SELECT * FROM rows") == [(1, "next")]


async def test_whoever_no_longer_waits_takes_nobody_elses_answer(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)
        slow = asyncio.create_task(
            change(database, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) "
                             "INSERT INTO rows SELECT i, 'slow' FROM n")
        )  # fmt: skip
        await asyncio.sleep(0.01)
        slow.cancel()
        assert await change(database, "SELECT 'mine'") == [("mine",)]
        assert await fetch(database, "SELECT count(*) FROM rows") == [(0,)]


async def test_rows_that_nobody_waits_for_are_written_while_their_owner_goes_on(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)
        async with database.writing() as transaction:
            await transaction.fetch("SELECT 1")
            transaction.later("INSERT INTO rows", [(1, "a"), (2, "b")])
            transaction.later("INSERT INTO rows", [(3, "c")])
            assert transaction._due == []  # on their way
            assert await transaction.fetch("SELECT count(*) FROM rows") == [(3,)]
            transaction.later("INSERT INTO rows", [(4, "d")])
        assert await fetch(database, "SELECT id FROM rows ORDER BY id") == [(1,), (2,), (3,), (4,)]


@pytest.mark.parametrize("then", ["a statement", "the commit"])
async def test_what_failed_ahead_is_raised_by_the_next_call_and_nothing_of_its_transaction_stays(
    tmp_path: Path, then: str
):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)

        async def spoiled() -> None:
            async with database.writing() as transaction:
                await transaction.fetch("INSERT INTO rows VALUES (1, 'a')")
                transaction.later("INSERT INTO rows", [(1, "the same id")])
                transaction.later("INSERT INTO rows", [(2, "b")])
                if then == "a statement":
                    await transaction.fetch("INSERT INTO rows VALUES (3, 'c')")

        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            await spoiled()
        assert await fetch(database, "SELECT count(*) FROM rows") == [(0,)]
        await change(database, "INSERT INTO rows VALUES (4, 'd')")
        assert await fetch(database, "SELECT id FROM rows") == [(4,)]


async def test_an_owner_that_gives_up_after_sending_rows_ahead_leaves_none(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)

        async def given_up() -> None:
            async with database.writing() as transaction:
                await transaction.fetch("SELECT 1")
                transaction.later("INSERT INTO rows", [(1, "a")])
                raise LookupError

        with pytest.raises(LookupError):
            await given_up()
        await change(database, "INSERT INTO rows VALUES (2, 'b')")
        assert await fetch(database, "SELECT id FROM rows") == [(2,)]


async def test_rows_for_a_writer_that_is_gone_break_the_database(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)

        async def forsaken() -> None:
            async with database.writing() as transaction:
                await transaction.fetch("SELECT 1")
                database.abandon()
                await apart(database)._gone.wait()
                transaction.later("INSERT INTO rows", [(1, "a")])

        with pytest.raises(Broken, match="has ended"):
            await forsaken()


async def test_what_is_committed_leaves_the_log_soon_while_there_is_little_to_do(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)
        before = (tmp_path / NAME).stat().st_size
        for _ in range(2 * _DUE):
            await change(database, "INSERT INTO rows (text) VALUES (?)", "x" * 500)
        assert (tmp_path / NAME).stat().st_size >= before + _DUE * 500
        assert (tmp_path / f"{NAME}-wal").stat().st_size < 2 * _DUE * 2 * 4096  # and begins anew


async def test_under_load_the_log_is_left_alone(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)
        before = (tmp_path / NAME).stat().st_size
        for _ in range(2 * _DUE // _LIGHT):
            async with database.writing() as transaction:
                await transaction.many("INSERT INTO rows (text)", [("x" * 500,)] * _LIGHT)
        assert (tmp_path / NAME).stat().st_size == before
        assert await fetch(database, "SELECT count(*) FROM rows") == [(2 * _DUE,)]


async def test_a_writer_that_dies_breaks_the_database_for_all_who_wait_and_come(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)
        process = apart(database).process
        process.send_signal(signal.SIGSTOP)
        waiting = asyncio.create_task(change(database, "INSERT INTO rows VALUES (1, 'x')"))
        await asyncio.sleep(0.05)
        database.abandon()
        with pytest.raises(Broken, match="has ended"):
            await waiting
        with pytest.raises(Broken, match="has ended"):
            await change(database, "INSERT INTO rows VALUES (2, 'x')")
        assert await fetch(database, "SELECT count(*) FROM rows") == [(0,)]
    assert process.returncode == -signal.SIGKILL


async def test_what_ends_the_owner_politely_does_not_end_the_writer_first(tmp_path: Path):
    """A terminal and a supervisor tell the whole group to end, and what is accepted is still to be committed."""
    async with opened_apart(tmp_path, schema=False) as database:
        await change(database, ROWS)
        for number in (signal.SIGINT, signal.SIGTERM):
            apart(database).process.send_signal(number)
        await change(database, "INSERT INTO rows VALUES (1, 'x')")
        assert await fetch(database, "SELECT count(*) FROM rows") == [(1,)]
    assert apart(database).process.returncode == 0


def test_an_owner_that_is_killed_takes_its_writer_and_what_was_not_committed_with_it(tmp_path: Path):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        writer = int(owner.stdout.readline())
        owner.kill()
        owner.wait()
    deadline = time.monotonic() + 20
    while is_owned(tmp_path / NAME):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while _runs(writer):  # it lets go of the lock a moment before it is gone
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (tmp_path / f"{NAME}-wal").stat().st_size  # nobody has put it into the database
    with closing(sqlite3.connect(tmp_path / NAME)) as database:
        assert database.execute("SELECT id FROM rows").fetchall() == [(1,)]


def _runs(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def test_the_lock_is_held_as_long_as_either_of_them_lives(tmp_path: Path):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        writer = int(owner.stdout.readline())
        subprocess.run(["kill", "-STOP", str(writer)], check=True)
        owner.kill()
        owner.wait()
    try:
        assert is_owned(tmp_path / NAME)
    finally:
        subprocess.run(["kill", "-KILL", str(writer)], check=True)


async def test_a_database_that_cannot_be_opened_is_told_in_one_line(tmp_path: Path):
    (tmp_path / NAME).touch()
    (tmp_path / f"{NAME}-journal").mkdir()
    with pytest.raises(CannotStart, match="cannot be"):
        async with opened_apart(tmp_path):
            pass


async def test_a_lock_of_another_is_waited_for_and_then_told(tmp_path: Path):
    async with opened_apart(tmp_path, schema=False, busy_seconds=0.1) as database:
        await change(database, ROWS)
        with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as visitor:
            visitor.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked"):
                await change(database, "INSERT INTO rows VALUES (1, 'x')")
            visitor.execute("ROLLBACK")
        await change(database, "INSERT INTO rows VALUES (1, 'x')")
