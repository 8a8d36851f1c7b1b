"""SQLite through aiosqlite: one connection writes and checkpoints, the others are read-only.

WAL with `synchronous=FULL`: a transaction is on disk when COMMIT returns (https://www.sqlite.org/pragma.html).
"""

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, LiteralString, Protocol, Self
from urllib.parse import quote

import aiosqlite

from receiver.storage import text_index, writer
from receiver.storage.apart import Apart
from receiver.storage.database import Broken, CannotStart, Engine, Row, Soon, StorageError, Unavailable, Values
from receiver.storage.migrate import statements
from receiver.storage.ownership import APPLICATION_ID, check_file, check_log
from receiver.storage.writer import Done, Statement

_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT}  # fmt: skip
_FATAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}
ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What `sqlite3` raises; the second where SQLite's complaint names something damaged that is no text any more."""
_NO_TEXT = "Could not decode to UTF-8"
_ROWS_A_STATEMENT = 64
_STATEMENTS_KEPT = 1024
_PAGES_OF_LOG = 16_000
"""Of 4 KiB, after which a commit makes a checkpoint: the more, the fewer are moved twice, and the longer it takes. With
little to do, the process that writes does it sooner: see `writer`.
"""
_SCRUB_WAIT_MS = 50
"""For readers, while every write waits."""


class Line(Protocol):
    """A connection, wherever it is. Statements of several callers would mix: one at a time has a transaction."""

    async def run(self, statements: Sequence[Statement], answers: int, asked: Sequence[int] = ()) -> Done:
        """See `writer.run`. Raises sqlite3.Error."""
        ...

    def ahead(self, statements: Sequence[Statement]) -> bool:
        """Begins with them while the caller goes on; what fails, the next `run` raises. False where nothing can be
        done meanwhile: then they are to go with the next `run`.
        """
        ...

    async def rollback(self) -> None:
        """Ends the transaction that is open, if one is."""
        ...

    async def close(self) -> None: ...


class InThread:
    """A connection in a thread of its own, as aiosqlite has it."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection

    async def run(self, statements: Sequence[Statement], answers: int, asked: Sequence[int] = ()) -> Done:
        # aiosqlite has no public call for several statements in one go
        return await self.connection._execute(writer.run, self.connection._conn, statements, answers, asked)  # type: ignore[no-any-return, no-untyped-call]  # noqa: SLF001

    def ahead(self, statements: Sequence[Statement]) -> bool:  # noqa: ARG002 — as of every line
        return False

    async def rollback(self) -> None:
        with suppress(ValueError):  # it was closed meanwhile
            await self.connection.rollback()

    async def close(self) -> None:
        await self.connection.close()


class SqliteDatabase:
    """See `Database`. Opened by `open`, by the process that owns the lock; `open_reader` needs no lock."""

    def __init__(self, writer: Line | None, readers: Sequence[Line], busy_seconds: float = 1.0) -> None:
        self._writer = writer
        self._busy_ms = round(busy_seconds * 1000)
        self._writing = asyncio.Lock()
        self._readers = readers
        self._damaged = False
        self._free: asyncio.LifoQueue[Line] = asyncio.LifoQueue()
        for reader in readers:
            self._free.put_nowait(reader)

    @classmethod
    async def open(cls, path: Path, *, readers: int = 2, busy_seconds: float = 1.0, apart: int | None = None) -> Self:
        """Opens or makes the database. Raises CannotStart with one clear line.

        `apart`: the writer gets a process of its own, which holds this descriptor of the lock beside us.
        """
        if not check_file(path):
            _make_private(path)
        crashed = check_log(path)
        async with AsyncExitStack() as opened:  # what fails half-way leaves no thread behind
            try:
                # Beside a log that was left, readers come first: the last to close is then no writer, which would put
                # the log into a database that may be damaged.
                pool = [await _open_reader(path, opened) for _ in range(readers if crashed else 0)]
                writing = await _open_writer(path, busy_seconds, apart)
                opened.push_async_callback(writing.close)
                await _prepare(writing)
                _sync_names(path.parent)
                pool = pool or [await _open_reader(path, opened) for _ in range(readers)]
            except ERRORS as error:
                raise CannotStart(f"{path}: cannot be opened as a database ({_said(error)})") from None
            opened.pop_all()
        return cls(writing, pool, busy_seconds)

    @classmethod
    async def open_reader(cls, path: Path) -> Self:
        """For commands that only read, beside a running owner or without one."""
        if not check_file(path):
            raise CannotStart(f"{path}: no database there")
        async with AsyncExitStack() as opened:
            try:
                reader = await _open_reader(path, opened)
            except ERRORS as error:
                raise CannotStart(f"{path}: cannot be opened for reading ({_said(error)})") from None
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
                await _ask(writer, f"PRAGMA busy_timeout = {_SCRUB_WAIT_MS}")
                ((busy, *_),) = await _ask(writer, "PRAGMA wal_checkpoint(TRUNCATE)")
                await _ask(writer, f"PRAGMA busy_timeout = {self._busy_ms}")
            except ERRORS as error:
                raise _translated(error) from error
        return not busy

    async def close(self) -> None:
        """The last to close puts the log into the database: the writer, unless something is damaged."""
        writers = [self._writer] if self._writer else []
        for connection in (*writers, *self._readers) if self._damaged else (*self._readers, *writers):
            await connection.close()

    def abandon(self) -> None:
        """The writer is not waited for any more. One in a thread nobody can stop: it ends with the process."""
        if isinstance(self._writer, Apart):
            self._writer.kill()


class _Connection:
    """One transaction; see `Transaction`. Its BEGIN, and what `later` leaves, go to the thread with the next call:
    each way there and back costs as much as several statements.
    """

    __slots__ = ("_asked", "_begun", "_connection", "_due")
    texts = text_index.SQLITE

    engine: Engine = "sqlite"

    def __init__(self, connection: Line, begin: LiteralString) -> None:
        self._connection = connection
        self._due: list[Statement] = [(begin, ())]
        self._asked: dict[int, Soon] = {}
        self._begun = False

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

    def soon(self, sql: LiteralString, *values: Any) -> Soon:
        asked = self._asked[len(self._due)] = Soon()
        self._due.append((sql, values))
        return asked

    def later(self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "") -> None:
        self._due += _chunks(before, rows, after, ())
        if self._begun and not self._asked and self._connection.ahead(self._due):
            self._due = []

    async def lock(self, names: Iterable[str]) -> None:
        """There is one writer."""

    async def script(self, sql: str) -> None:
        await self._run([(statement, ()) for statement in statements(sql)])

    async def commit(self) -> None:
        await self._run([("COMMIT", ())])

    async def _run(self, statements: Sequence[Statement]) -> Done:
        due, asked = [*self._due, *statements], self._asked
        self._due, self._asked = [], {}
        try:
            done = await self._connection.run(due, len(statements), tuple(asked))
        except ERRORS as error:
            raise _translated(error) from error
        self._begun = True
        for soon, rows in zip(asked.values(), done.before, strict=True):
            soon.rows = rows
        return done


def _chunks(before: str, rows: Sequence[Values], after: str, values: Values) -> list[Statement]:
    found: list[Statement] = []
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        chunk = rows[start : start + _ROWS_A_STATEMENT]
        sql = _with_values(before, len(chunk[0]), len(chunk), after)
        found.append((sql, [*chain.from_iterable(chunk), *values]))
    return found


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _with_values(before: str, width: int, rows: int, after: str) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return f"{before} VALUES {','.join([row] * rows)} {after}"


def _said(error: Exception) -> str:
    return "damaged: its schema is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _translated(error: Exception) -> Exception:
    if isinstance(error, UnicodeDecodeError) or str(error).startswith(_NO_TEXT):  # what follows is the text itself
        return Broken("the database is damaged: a text is not UTF-8")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _PASSING:
        return Unavailable(str(error))
    if primary in _FATAL:
        return Broken(str(error))
    return error


async def _rolled_back(connection: Line) -> None:
    """Ends an open transaction even when the task is being cancelled; where none is open it does nothing.

    Whether one is open is for the connection's thread to see: a cancelled BEGIN may still lie before it.
    """
    with suppress(sqlite3.Error, Broken):
        await asyncio.shield(connection.rollback())


async def _ask(connection: Line, sql: str) -> Sequence[Row]:
    return (await connection.run([(sql, ())], 1)).rows


async def _open_writer(path: Path, busy_seconds: float, apart: int | None) -> Line:
    if apart is not None:
        return await Apart.open(path, busy_seconds, _STATEMENTS_KEPT, apart)
    return InThread(
        await aiosqlite.connect(path, isolation_level=None, timeout=busy_seconds, cached_statements=_STATEMENTS_KEPT)
    )


async def _prepare(writing: Line) -> None:
    if await _ask(writing, "PRAGMA application_id") != [(APPLICATION_ID,)]:
        # Before there is a log: in it, the mark would be in the file itself, where it is looked for at the next
        # start, only from the first checkpoint on.
        await _ask(writing, f"PRAGMA application_id = {APPLICATION_ID}")
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -65536",
        f"wal_autocheckpoint = {_PAGES_OF_LOG}",
        "journal_size_limit = 67108864",
        "temp_store = MEMORY",
        "secure_delete = ON",  # what was erased is not to be found in the file
    ):
        await _ask(writing, f"PRAGMA {pragma}")
    if await _ask(writing, "PRAGMA journal_mode") != [("wal",)]:
        raise sqlite3.OperationalError("write-ahead logging is not possible there; is it a network file system?")
    for sql in ("BEGIN IMMEDIATE", f"PRAGMA application_id = {APPLICATION_ID}", "ROLLBACK"):
        await _ask(writing, sql)  # on a file that may only be read, BEGIN succeeds and a write does not


async def _open_reader(path: Path, opened: AsyncExitStack) -> InThread:
    uri = f"file:{quote(os.path.abspath(path))}?mode=ro"  # noqa: ASYNC240, PTH100 — only text is joined
    connection = await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=1.0, cached_statements=256)
    reader = InThread(connection)
    opened.push_async_callback(reader.close)
    await _ask(reader, "PRAGMA query_only = ON")
    await _ask(reader, "SELECT count(*) FROM sqlite_master")  # the log is open to it from its first look on
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
