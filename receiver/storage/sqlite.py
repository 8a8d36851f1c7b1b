"""SQLite through aiosqlite: one connection writes and checkpoints, the others are read-only.

WAL with `synchronous=FULL`: a transaction is on disk when COMMIT returns (https://www.sqlite.org/pragma.html).
"""

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, LiteralString, NamedTuple, Self
from urllib.parse import quote

import aiosqlite

from receiver.storage.database import Broken, CannotStart, Row, StorageError, Unavailable, Values
from receiver.storage.ownership import APPLICATION_ID, check_file, check_log

_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT}  # fmt: skip
_FATAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}
_ROWS_A_STATEMENT = 64
_STATEMENTS_KEPT = 1024
_SCRUB_WAIT_MS = 50
"""For readers, while every write waits."""


class SqliteDatabase:
    """See `Database`. Opened by `open`, by the process that owns the lock; `open_reader` needs no lock."""

    def __init__(
        self, writer: aiosqlite.Connection | None, readers: Sequence[aiosqlite.Connection], busy_seconds: float = 1.0
    ) -> None:
        self._writer = writer
        self._busy_ms = round(busy_seconds * 1000)
        self._writing = asyncio.Lock()
        self._readers = readers
        self._damaged = False
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._free.put_nowait(reader)

    @classmethod
    async def open(cls, path: Path, *, readers: int = 2, busy_seconds: float = 1.0) -> Self:
        """Opens or makes the database. Raises CannotStart with one clear line."""
        if not check_file(path):
            _make_private(path)
        crashed = check_log(path)
        async with AsyncExitStack() as opened:  # what fails half-way leaves no thread behind
            try:
                # Beside a log that was left, readers come first: the last to close is then no writer, which would put
                # the log into a database that may be damaged.
                pool = [await _open_reader(path, opened) for _ in range(readers if crashed else 0)]
                writer = await aiosqlite.connect(
                    path, isolation_level=None, timeout=busy_seconds, cached_statements=_STATEMENTS_KEPT
                )
                opened.push_async_callback(writer.close)
                await _prepare(writer)
                _sync_names(path.parent)
                pool = pool or [await _open_reader(path, opened) for _ in range(readers)]
            except sqlite3.Error as error:
                raise CannotStart(f"{path}: cannot be opened as a database ({error})") from None
            opened.pop_all()
        return cls(writer, pool, busy_seconds)

    @classmethod
    async def open_reader(cls, path: Path) -> Self:
        """For commands that only read, beside a running owner or without one."""
        if not check_file(path):
            raise CannotStart(f"{path}: no database there")
        async with AsyncExitStack() as opened:
            try:
                reader = await _open_reader(path, opened)
            except sqlite3.Error as error:
                raise CannotStart(f"{path}: cannot be opened for reading ({error})") from None
            opened.pop_all()
        return cls(None, [reader])

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["_Connection"]:
        connection = await self._free.get()
        try:
            yield _Connection(connection, "BEGIN")
        except Broken:
            self._damaged = True
            raise
        finally:
            try:
                await _rolled_back(connection)
            finally:  # a second cancellation must not lose the connection
                self._free.put_nowait(connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["_Connection"]:
        writer = self._writer
        if writer is None:
            raise StorageError("this database was opened for reading")
        async with self._writing:
            try:
                transaction = _Connection(writer, "BEGIN IMMEDIATE")
                yield transaction
                await transaction.commit()
            except BaseException as error:
                self._damaged = self._damaged or isinstance(error, Broken)
                await _rolled_back(writer)
                raise

    async def scrub(self) -> bool:
        """Moves the log into the database and empties it; readers of an old state are in the way. What was deleted is
        overwritten there (`secure_delete`).
        """
        writer = self._writer
        if writer is None:
            raise StorageError("this database was opened for reading")
        async with self._writing:
            try:
                await writer.execute_fetchall(f"PRAGMA busy_timeout = {_SCRUB_WAIT_MS}")
                ((busy, *_),) = await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                await writer.execute_fetchall(f"PRAGMA busy_timeout = {self._busy_ms}")
            except sqlite3.Error as error:
                raise _translated(error) from error
        return not busy

    async def close(self) -> None:
        """The last to close puts the log into the database: the writer, unless something is damaged."""
        writers = [self._writer] if self._writer else []
        for connection in (*writers, *self._readers) if self._damaged else (*self._readers, *writers):
            await connection.close()


class _Connection:
    """One transaction; see `Transaction`. Its BEGIN, and what `later` leaves, go to the thread with the next call:
    each way there and back costs as much as several statements.
    """

    __slots__ = ("_connection", "_due")

    def __init__(self, connection: aiosqlite.Connection, begin: LiteralString) -> None:
        self._connection = connection
        self._due: list[_Statement] = [(begin, ())]

    async def fetch(self, sql: LiteralString, *values: Any) -> Sequence[Row]:
        return (await self._run([(sql, values)])).rows

    async def many(
        self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "", *values: Any
    ) -> Sequence[Row]:
        return (await self._run(_chunks(before, rows, after, values))).rows if rows else []

    async def change(
        self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "", *values: Any
    ) -> int:
        return (await self._run(_chunks(before, rows, after, values))).changed if rows else 0

    def later(self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "") -> None:
        self._due += _chunks(before, rows, after, ())

    async def commit(self) -> None:
        await self._run([("COMMIT", ())])

    async def _run(self, statements: Sequence["_Statement"]) -> "_Done":
        due = [*self._due, *statements]
        self._due.clear()
        return await _run(self._connection, due, answers=len(statements))


_Statement = tuple[str, Values]


class _Done(NamedTuple):
    rows: list[Row]
    changed: int


def _chunks(before: str, rows: Sequence[Values], after: str, values: Values) -> list[_Statement]:
    found: list[_Statement] = []
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        chunk = rows[start : start + _ROWS_A_STATEMENT]
        sql = _with_values(before, len(chunk[0]), len(chunk), after)
        found.append((sql, [*chain.from_iterable(chunk), *values]))
    return found


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _with_values(before: str, width: int, rows: int, after: str) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return f"{before} VALUES {','.join([row] * rows)} {after}"


async def _run(connection: aiosqlite.Connection, statements: Sequence[_Statement], answers: int) -> _Done:
    """What the last `answers` statements gave. The first that fails is the last that is tried."""
    try:
        # aiosqlite has no public call for several statements in one go
        return await connection._execute(_run_here, connection._conn, statements, answers)  # type: ignore[no-any-return, no-untyped-call]  # noqa: SLF001
    except sqlite3.Error as error:
        raise _translated(error) from error


def _run_here(connection: sqlite3.Connection, statements: Sequence[_Statement], answers: int) -> _Done:
    found: list[Row] = []
    changed = 0
    silent = len(statements) - answers
    for position, (sql, values) in enumerate(statements):
        cursor = connection.execute(sql, values)
        rows = cursor.fetchall()
        if position >= silent:
            found += rows
            changed += cursor.rowcount
    return _Done(found, changed)


def _translated(error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _PASSING:
        return Unavailable(str(error))
    if primary in _FATAL:
        return Broken(str(error))
    return error


async def _rolled_back(connection: aiosqlite.Connection) -> None:
    """Ends an open transaction even when the task is being cancelled; where none is open it does nothing.

    Whether one is open is for the connection's thread to see: a cancelled BEGIN may still lie before it.
    """
    with suppress(sqlite3.Error, ValueError):  # ValueError: the connection was closed meanwhile
        await asyncio.shield(connection.rollback())


async def _prepare(writer: aiosqlite.Connection) -> None:
    if list(await writer.execute_fetchall("PRAGMA application_id")) != [(APPLICATION_ID,)]:
        # Before there is a log: in it, the mark would be in the file itself, where it is looked for at the next
        # start, only from the first checkpoint on.
        await writer.execute_fetchall(f"PRAGMA application_id = {APPLICATION_ID}")
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -65536",
        "wal_autocheckpoint = 4000",
        "journal_size_limit = 67108864",
        "temp_store = MEMORY",
        "secure_delete = ON",  # what was erased is not to be found in the file
    ):
        await writer.execute_fetchall(f"PRAGMA {pragma}")
    if list(await writer.execute_fetchall("PRAGMA journal_mode")) != [("wal",)]:
        raise sqlite3.OperationalError("write-ahead logging is not possible there; is it a network file system?")
    for sql in ("BEGIN IMMEDIATE", f"PRAGMA application_id = {APPLICATION_ID}", "ROLLBACK"):
        await writer.execute_fetchall(sql)  # on a file that may only be read, BEGIN succeeds and a write does not


async def _open_reader(path: Path, opened: AsyncExitStack) -> aiosqlite.Connection:
    uri = f"file:{quote(os.path.abspath(path))}?mode=ro"  # noqa: ASYNC240, PTH100 — only text is joined
    reader = await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=1.0, cached_statements=256)
    opened.push_async_callback(reader.close)
    await reader.execute_fetchall("PRAGMA query_only = ON")
    await reader.execute_fetchall("SELECT count(*) FROM sqlite_master")  # the log is open to it from its first look on
    return reader


def _sync_names(folder: Path) -> None:
    """The names of the database and its log are on disk. SQLite syncs them too, and takes no notice when that fails."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise CannotStart(f"{folder}: cannot be synced ({error.strerror})") from None
    finally:
        os.close(descriptor)


def _make_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise CannotStart(f"{path}: cannot be made ({error.strerror})") from None
