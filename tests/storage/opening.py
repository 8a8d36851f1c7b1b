"""A real SQLite file in a temporary folder, opened as the owner does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from receiver.storage.migrate import migrate
from receiver.storage.ownership import Ownership
from receiver.storage.sqlite import SqliteDatabase

NAME = "receiver.db"


@asynccontextmanager
async def opened(folder: Path, *, schema: bool = True, **given: Any) -> AsyncIterator[SqliteDatabase]:
    database = await SqliteDatabase.open(folder / NAME, **given)
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
