"""Forward-only migrations: `migrations/<engine>/NNNN_name.sql`, each with its record in a transaction of its own."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import LiteralString

from receiver.storage.database import CannotStart, Contended, Database, Engine, Reader, Transaction

_RECORD: LiteralString = """
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, applied_at BIGINT NOT NULL
)"""
_LOCK = ("migrations",)


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def hash(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


def published(engine: Engine = "sqlite") -> Sequence[Migration]:
    """Every migration that this version knows, in order."""
    folder = files("receiver.storage") / "migrations" / engine
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=lambda path: path.name)
    return [Migration(int(path.name[:4]), path.name[5:-4], path.read_text("utf-8")) for path in paths]


async def migrate(
    database: Database, clock: Callable[[], int], known: Sequence[Migration] | None = None
) -> Sequence[Migration]:
    """Brings the schema up to `known`, or what is published, and returns what was applied.

    Of processes that start at once one does each. Raises CannotStart for a newer database.
    """
    async with _alone(database) as transaction:
        await transaction.fetch(_RECORD)
        known = published(transaction.engine) if known is None else known
        applied = await _applied(transaction)
    _refuse_newer(applied, known)
    missing = [migration for migration in known if migration.number not in applied]
    return [migration for migration in missing if await _apply(database, migration, clock)]


@asynccontextmanager
async def _alone(database: Database, tries: int = 720) -> AsyncIterator[Transaction]:
    """A transaction beside which no other process migrates. One that does may take far longer than a lock is waited
    for, so it is asked for again.
    """
    while True:
        try:
            async with AsyncExitStack() as stack:
                transaction = await stack.enter_async_context(database.writing())
                await transaction.lock(_LOCK)
                held = stack.pop_all()
            break
        except Contended:
            tries -= 1
            if not tries:
                raise
    async with held:
        yield transaction


async def _apply(database: Database, migration: Migration, clock: Callable[[], int]) -> bool:
    """False when another process was faster."""
    async with _alone(database) as transaction:
        if migration.number in await _applied(transaction):
            return False
        await transaction.script(migration.sql)
        await transaction.fetch(
            "INSERT INTO migrations VALUES (?, ?, ?, ?)",
            migration.number, migration.name, migration.hash, clock(),
        )  # fmt: skip
    return True


_TABLE: Mapping[Engine, LiteralString] = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'migrations'",
    "postgres": "SELECT 1 WHERE to_regclass('migrations') IS NOT NULL",
}


async def pending(reader: Reader) -> Sequence[Migration]:
    """What `migrate` would apply."""
    done = await _applied(reader) if await reader.fetch(_TABLE[reader.engine]) else set()
    return [migration for migration in published(reader.engine) if migration.number not in done]


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


async def _applied(reader: Reader) -> set[int]:
    return {row[0] for row in await reader.fetch("SELECT number FROM migrations")}


def _refuse_newer(applied: set[int], known: Sequence[Migration]) -> None:
    unknown = applied - {migration.number for migration in known}
    if unknown:
        raise CannotStart(f"the database has migration {max(unknown):04d}, which this version does not know; upgrade")
