"""What `make bench` takes for granted of the schema."""

from pathlib import Path

from bench.backlog import opened
from bench.multiply import SHARED, tables
from receiver.storage.migrate import migrate
from receiver.storage.sqlite import SqliteDatabase


async def test_what_a_fresh_database_holds_is_not_multiplied(tmp_path: Path):
    database = await SqliteDatabase.open(tmp_path / "receiver.db")
    await migrate(database, lambda: 0)
    await database.close()
    with opened(tmp_path) as connection:
        held = {name for name in tables(connection) if connection.execute(f"SELECT 1 FROM {name}").fetchone()}
    assert held <= set(SHARED)
