"""A real database that belongs to a temporary folder, opened as its owner does: a SQLite file unless told otherwise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from receiver.storage.migrate import migrate
from receiver.storage.ownership import Ownership
from receiver.storage.sqlite import SqliteDatabase
from tests import engines

NAME = engines.FILE


@asynccontextmanager
async def opened(folder: Path, *, schema: bool = True, **given: Any) -> AsyncIterator[Any]:
    database = await engines.open_database(folder, schema=schema, **given)
    try:
        if schema:
            await migrate(database, lambda: 0)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_apart(folder: Path, **given: Any) -> AsyncIterator[SqliteDatabase]:
    """With a process of its own that writes, as `serve` has it."""
    with Ownership(folder / NAME) as lock:
        async with opened(folder, apart=lock.descriptor, **given) as database:
            yield database


async def fetch(database: Any, sql: Any, *values: Any) -> list[Any]:
    async with database.reading() as reader:
        return [*await reader.fetch(sql, *values)]


async def change(database: Any, sql: Any, *values: Any) -> list[Any]:
    async with database.writing() as transaction:
        return [*await transaction.fetch(sql, *values)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
