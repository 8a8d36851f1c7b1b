"""A disk under SQLite that notes every write, sync, cut and removal, and can fail or fill up when it is told to.

The product's own driver runs on it, statements and settings unchanged: only its library is apsw's, because the one of
Python has no way to put a disk of ours below it.
"""

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from receiver.storage.sqlite import InThread, SqliteDatabase, _prepare
from tests.faults.power_images import Made, NamesSynced, NotSynced, Removed, Resized, Step, Synced, Written

_NUMBERS = itertools.count(1)
_NAMED_BY_SYNC = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
"""Files whose first sync takes their folder with it: SQLite does so itself (`unixSync`), where apsw cannot see it."""


class Disk(apsw.VFS):
    """`steps` is what happened, in order. `at_sync` and `at_write` may raise an `apsw.Error` instead of letting it be,
    or wait.
    """

    def __init__(self) -> None:
        self.name = f"disk{next(_NUMBERS)}"
        self.steps: list[Step] = []
        self.at_sync: Callable[[str], None] = lambda _path: None
        self.at_write: Callable[[str, int], None] = lambda _path, _end: None
        self._files: dict[str, int] = {}
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 — as apsw calls it
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:  # a temporary file, which nobody ever sees again
            return apsw.VFSFile("", None, flags)
        if path not in self._files:
            self._files[path] = next(_NUMBERS)
            self.steps.append(Made(path, self._files[path]))
        return _File(self, path, self._files[path], flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 — as apsw calls it
        super().xDelete(filename, syncdir)
        self._files.pop(filename, None)
        self.steps.append(Removed(filename))
        if syncdir:
            self.steps.append(NamesSynced())

    async def open(self, path: Path, *pragmas: str) -> SqliteDatabase:
        """The database as the product opens it, with `pragmas` behind its own."""
        path.touch(mode=0o600)  # noqa: ASYNC240 — nothing else waits
        writer = _Connection(apsw.Connection(str(path), vfs=self.name))
        line = InThread(writer)  # type: ignore[arg-type]  # all that the driver asks of a connection
        await _prepare(line)
        for pragma in pragmas:
            await writer.execute_fetchall(f"PRAGMA {pragma}")
        await writer.keep_checkpoint_errors_in()
        reader = _Connection(apsw.Connection(str(path), vfs=self.name, flags=apsw.SQLITE_OPEN_READONLY))
        return SqliteDatabase(line, [InThread(reader)])  # type: ignore[arg-type]  # likewise


class _File(apsw.VFSFile):
    """Nothing is really synced: what matters is what the record says, and a real sync would only take its time."""

    def __init__(self, disk: Disk, path: str, number: int, flags: list[int]) -> None:
        super().__init__("", path, flags)
        self._disk = disk
        self._path = path
        self._number = number
        self._names_its_folder = bool(flags[0] & _NAMED_BY_SYNC and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 — as apsw calls it
        self._disk.at_write(self._path, offset + len(data))
        super().xWrite(data, offset)
        self._disk.steps.append(Written(self._number, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 — as apsw calls it
        super().xTruncate(newsize)
        self._disk.steps.append(Resized(self._number, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 — as apsw calls it
        try:
            self._disk.at_sync(self._path)
        except apsw.Error:
            self._disk.steps.append(NotSynced(self._number))
            raise
        self._disk.steps.append(Synced(self._number))
        if self._names_its_folder:
            self._names_its_folder = False
            self._disk.steps.append(NamesSynced())


class _Connection:
    """What `SqliteDatabase` uses of an `aiosqlite.Connection`, in a thread of its own as there."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._conn = _Plain(connection)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")

    async def _execute(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *arguments))

    async def execute_fetchall(self, sql: str) -> list[Any]:
        return list((await self._execute(self._conn.execute, sql, ())).fetchall())

    async def keep_checkpoint_errors_in(self) -> None:
        """As SQLite does: a checkpoint that fails behind a COMMIT does not undo it. apsw would raise its error there."""
        ((pages,),) = await self.execute_fetchall("PRAGMA wal_autocheckpoint")
        await self._execute(self._conn.checkpoint_from, pages)

    async def rollback(self) -> None:
        await self._execute(self._conn.rollback)

    async def close(self) -> None:
        await self._execute(self._conn.close)
        self._thread.shutdown()


class _Plain:
    """What the driver uses of a `sqlite3.Connection`; errors are those of `sqlite3`, with their codes."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def execute(self, sql: str, values: Sequence[Any]) -> "_Cursor":
        with self._turn:
            before = self._connection.total_changes()
            try:
                rows = self._connection.execute(sql, tuple(values)).fetchall()
            except apsw.Error as error:
                raise _as_sqlite3(error) from error
            return _Cursor(rows, self._connection.total_changes() - before)

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self.execute("ROLLBACK", ())

    def checkpoint_from(self, threshold: int) -> None:
        def committed(connection: apsw.Connection, _name: str, pages: int) -> int:
            if pages >= threshold:
                with suppress(apsw.Error):
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            return apsw.SQLITE_OK

        self._connection.set_wal_hook(committed)

    def close(self) -> None:
        with suppress(apsw.Error):  # of its last checkpoint: the log stays
            self._connection.close()


class _Cursor:
    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def fetchall(self) -> list[Any]:
        return self._rows


def failure(code: int) -> Exception:
    """What a disk raises for an extended result code of SQLite's."""
    return apsw.exception_for(code)


def _as_sqlite3(error: apsw.Error) -> sqlite3.Error:
    kind = sqlite3.IntegrityError if isinstance(error, apsw.ConstraintError) else sqlite3.OperationalError
    made = kind(str(error))
    made.sqlite_errorcode = getattr(error, "extendedresult", 0)
    made.sqlite_errorname = apsw.mapping_extended_result_codes.get(made.sqlite_errorcode, "SQLITE_ERROR")  # type: ignore[assignment]
    return made
