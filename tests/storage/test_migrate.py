"""Migrations: once each, whole or not at all, never backwards, and never changed after release."""

import sqlite3
from pathlib import Path

import pytest

from receiver.storage.database import CannotStart, Unavailable
from receiver.storage.migrate import Migration, migrate, pending, published, statements
from tests.storage.opening import change, fetch, opened

# Of what is released not a character changes: a correction is a new file, with its own line here.
HASHES = {
    "0001_begin": "57cc41516238661f151e40ac8c3bc2b9d63de15ef30ea0155f23cb1c705592ca",
    "0002_read": "48330d07bf4b113690f3a8250f0cca82eed5c261ddacfdad8659c5fde3f97637",
    "0003_consumers": "1b1f0d66995b9aaf49a2a00ae914c13c1a26ff35f831129334fd8100a3264fed",
    "0004_corrections": "d9077ebc1119d142252b7abf0bde97f6c2d34a112000dfc86609218b57cc447e",
    "0005_polls": "5a1e965e3097f6301ddc212813f37546a14647955c3fb55894364755372b342a",
    "0006_forgetting": "ffdbcfb1875c6fe726a26e03221f3a19cc1d56a881e99aec45f7522ea9efc7d0",
}

ONE = Migration(1, "one", "CREATE TABLE one (id INTEGER) STRICT;\nINSERT INTO one VALUES (1);\n")
TWO = Migration(2, "two", "-- more\nCREATE TABLE two (id INTEGER) STRICT;\nINSERT INTO one VALUES (2);\n-- the end\n")
BAD = Migration(
    2, "bad", "CREATE TABLE two (id INTEGER);\nINSERT INTO one VALUES (2);\nINSERT INTO nowhere VALUES (1);"
)


async def tables(database) -> set[str]:
    return {name for (name,) in await fetch(database, "SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_published_files_are_what_they_were():
    assert {f"{item.number:04d}_{item.name}": item.hash for item in published()} == HASHES
    assert [item.number for item in published()] == [int(name[:4]) for name in sorted(HASHES)]


async def test_each_is_applied_once_and_recorded(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        assert await migrate(database, lambda: 7, [ONE]) == [ONE]
        assert await migrate(database, lambda: 8, [ONE, TWO]) == [TWO]
        assert await migrate(database, lambda: 9, [ONE, TWO]) == []
        assert await fetch(database, "SELECT * FROM migrations ORDER BY number") == [
            (1, "one", ONE.hash, 7),
            (2, "two", TWO.hash, 8),
        ]
        assert await fetch(database, "SELECT id FROM one ORDER BY id") == [(1,), (2,)]


async def test_one_that_fails_leaves_nothing_and_the_ones_before_it_stand(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            await migrate(database, lambda: 7, [ONE, BAD])
        assert await tables(database) == {"migrations", "one"}
        assert await fetch(database, "SELECT number FROM migrations") == [(1,)]
        assert await fetch(database, "SELECT id FROM one") == [(1,)]
        assert await migrate(database, lambda: 8, [ONE, TWO]) == [TWO]


async def test_a_disk_that_is_full_in_the_middle_leaves_the_old_version_to_start_with(tmp_path: Path):
    large = Migration(2, "large", "CREATE TABLE two (text TEXT);\nINSERT INTO two VALUES (zeroblob(1000000));\n")
    async with opened(tmp_path, schema=False) as database:
        await migrate(database, lambda: 7, [ONE])
        ((pages,),) = await change(database, "PRAGMA page_count")
        await change(database, f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(Unavailable):
            await migrate(database, lambda: 8, [ONE, large])
        assert await tables(database) == {"migrations", "one"}
        assert await migrate(database, lambda: 8, [ONE]) == []


async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await migrate(database, lambda: 7, [ONE, TWO])
        with pytest.raises(CannotStart, match="0002"):
            await migrate(database, lambda: 8, [ONE])
        assert await fetch(database, "SELECT count(*) FROM migrations") == [(2,)]


async def test_pending_names_what_would_be_applied(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        async with database.reading() as reader:
            assert await pending(reader) == published()
        await migrate(database, lambda: 0)
        async with database.reading() as reader:
            assert await pending(reader) == []


def test_a_script_is_cut_where_statements_end_and_nothing_of_it_is_lost():
    script = """
-- a comment; with a semicolon
CREATE TABLE a (text TEXT DEFAULT ';');
CREATE TRIGGER t AFTER INSERT ON a BEGIN
    INSERT INTO a VALUES ('x;');
    DELETE FROM a;
END;
INSERT INTO a VALUES (3)
"""
    pieces = list(statements(script))
    assert "".join(pieces).strip() == script.strip()
    assert [piece.strip().splitlines()[-1] for piece in pieces] == [
        "CREATE TABLE a (text TEXT DEFAULT ';');",
        "END;",
        "INSERT INTO a VALUES (3)",
    ]
