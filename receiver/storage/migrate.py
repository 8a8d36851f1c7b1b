"""Forward-only migrations: `migrations/<engine>/NNNN_name.sql`, each with its record in a transaction of its own."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import LiteralString

from receiver.storage.database import CannotStart, Database, Reader

_RECORD: LiteralString = """
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, applied_at INTEGER NOT NULL
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def hash(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


def published() -> Sequence[Migration]:
    """Every migration that this version knows, in order."""
    folder = files("receiver.storage") / "migrations" / "sqlite"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=lambda path: path.name)
    return [Migration(int(path.name[:4]), path.name[5:-4], path.read_text("utf-8")) for path in paths]


async def migrate(
    database: Database, clock: Callable[[], int], known: Sequence[Migration] | None = None
) -> Sequence[Migration]:
    """Brings the schema up to `known`, or what is published, and returns what was applied.

    Raises CannotStart for a newer database.
    """
    async with database.writing() as transaction:
        await transaction.fetch(_RECORD)
    applied = await _applied(database)
    known = published() if known is None else known
    _refuse_newer(applied, known)
    missing = [migration for migration in known if migration.number not in applied]
    for migration in missing:
        async with database.writing() as transaction:
            for statement in statements(migration.sql):
                await transaction.fetch(statement)
            await transaction.fetch(
                "INSERT INTO migrations VALUES (?, ?, ?, ?)",
                migration.number, migration.name, migration.hash, clock(),
            )  # fmt: skip
    return missing


async def pending(reader: Reader) -> Sequence[Migration]:
    """What `migrate` would apply."""
    tables = await reader.fetch("SELECT 1 FROM sqlite_master WHERE name = 'migrations'")
    done = {row[0] for row in await reader.fetch("SELECT number FROM migrations")} if tables else set()
    return [migration for migration in published() if migration.number not in done]


def statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit in between."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():  # one without its semicolon, or a closing comment, which does nothing
        yield statement


async def _applied(database: Database) -> set[int]:
    async with database.reading() as reader:
        return {row[0] for row in await reader.fetch("SELECT number FROM migrations")}


def _refuse_newer(applied: set[int], known: Sequence[Migration]) -> None:
    unknown = applied - {migration.number for migration in known}
    if unknown:
        raise CannotStart(f"the database has migration {max(unknown):04d}, which this version does not know; upgrade")
