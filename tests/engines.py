"""Which engine a test's databases are of: SQLite unless the test asked for others by the fixture `engine`."""

from pathlib import Path
from typing import Any

from receiver.storage.database import Engine
from receiver.storage.postgres import PostgresDatabase
from receiver.storage.sqlite import SqliteDatabase
from tests import postgres

FILE = "receiver.db"
AnyDatabase = SqliteDatabase | PostgresDatabase

_chosen: list[Engine] = ["sqlite"]
_names: dict[Path, str] = {}


def engine() -> Engine:
    return _chosen[-1]


def choose(chosen: Engine) -> None:
    _chosen.append(chosen)


def unchoose() -> None:
    """And the databases of the test are gone."""
    _chosen.pop()
    postgres.drop_databases(_names.values())
    _names.clear()


async def database_url(folder: Path, *, schema: bool = True) -> str:
    """The database that belongs to a folder, made when it is first asked for."""
    if engine() == "sqlite":
        return f"sqlite:///{folder / FILE}"
    if folder not in _names:
        _names[folder] = await postgres.make_database(schema=schema)
    return postgres.url_of(_names[folder])


async def open_database(folder: Path, *, schema: bool = True, **given: Any) -> AnyDatabase:
    url = await database_url(folder, schema=schema)
    if engine() == "sqlite":
        return await SqliteDatabase.open(folder / FILE, **given)
    return await PostgresDatabase.open(url, **given)
