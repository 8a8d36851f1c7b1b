"""Migrations: once each, whole or not at all, never backwards, and never changed after release."""

import asyncio
from pathlib import Path

import pytest

from receiver.storage.database import CannotStart, Engine, Unavailable
from receiver.storage.migrate import Migration, migrate, pending, published, statements
from tests import engines
from tests.storage.opening import change, fetch, opened

# Of what is released not a character changes: a correction is a new file, with its own line here.
HASHES: dict[Engine, dict[str, str]] = {
    "sqlite": {
        "0001_begin": "57cc41516238661f151e40ac8c3bc2b9d63de15ef30ea0155f23cb1c705592ca",
        "0002_read": "48330d07bf4b113690f3a8250f0cca82eed5c261ddacfdad8659c5fde3f97637",
        "0003_consumers": "1b1f0d66995b9aaf49a2a00ae914c13c1a26ff35f831129334fd8100a3264fed",
        "0004_corrections": "d9077ebc1119d142252b7abf0bde97f6c2d34a112000dfc86609218b57cc447e",
        "0005_polls": "5a1e965e3097f6301ddc212813f37546a14647955c3fb55894364755372b342a",
        "0006_forgetting": "ffdbcfb1875c6fe726a26e03221f3a19cc1d56a881e99aec45f7522ea9efc7d0",
        "0007_leases": "5dfba756fc7c6620d95daccff83509372599dece41931fcfef64b6534f1f8712",
        "0008_revised": "d43a7d9c4c0732c26cd44cfbc2602e6d9027f80edd67942bed25ad82167d67f9",
        "0009_clock": "42532a2f095dc496ac8095721a80da6ec683def78d656b27e1a5097653485533",
    },
    "postgres": {
        "0001_begin": "cabf423edf05657c4dcf7894bef93ff8a9d50b471e50fc4808abdfc7ed7ef027",
        "0002_read": "4b181d5be8a836e3049effc6bc2cd1bb53f92f745b8167f1d746d9ba0c4c489b",
        "0003_consumers": "4fa9ace1019bbe71f5270ae3b0b195770715032bc60fc9890a824b969ed8762c",
        "0004_corrections": "7f8f4923d0cafb049016cf6f4e2fdd1755a9e96571c05a6465cc199381a4cbe1",
        "0005_polls": "8bd5da08810c6252d83a4900cd02d2757f70e7ce25b2cd7b751a7c7d95f3abcf",
        "0006_forgetting": "d3edb69eaa07f7eed84e09c0435e5c8404dcaa02063fcf10bd4e31b469f39fe4",
        "0007_leases": "f44fb7e0e2d8783d6f46f9b187473b2f370a41a6b5d539b724437d297ec1ad69",
        "0008_revised": "80907b40cee4e6e0588ec125a6525bee5e6dd3a8c7e5da3ee9e3d7a02f70a590",
        "0009_clock": "0f6156960eb12f2dbc990831be33f12d706a9a5a75a99e9837c0570fb7c9009c",
    },
}

ONE = Migration(1, "one", "CREATE TABLE one (id INTEGER);\nINSERT INTO one VALUES (1);\n")
TWO = Migration(2, "two", "-- more\nCREATE TABLE two (id INTEGER);\nINSERT INTO one VALUES (2);\n-- the end\n")
BAD = Migration(
    2, "bad", "CREATE TABLE two (id INTEGER);\nINSERT INTO one VALUES (2);\nINSERT INTO nowhere VALUES (1);"
)


_TABLES: dict[Engine, str] = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}


async def tables(database) -> set[str]:
    return {name for (name,) in await fetch(database, _TABLES[engines.engine()])}


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_published_files_are_what_they_were(engine: Engine):
    assert {f"{item.number:04d}_{item.name}": item.hash for item in published(engine)} == HASHES[engine]


def test_each_file_has_its_twin():
    names = [[(item.number, item.name) for item in published(engine)] for engine in HASHES]
    assert names[0] == names[1] == sorted(names[0])


@pytest.mark.usefixtures("engine")
async def test_two_that_start_at_once_apply_each_once_between_them(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        lots = await asyncio.gather(*(migrate(database, lambda: 7, [ONE, TWO]) for _ in range(4)))
        assert sorted(item.number for lot in lots for item in lot) == [1, 2]
        assert await fetch(database, "SELECT id FROM one ORDER BY id") == [(1,), (2,)]


@pytest.mark.usefixtures("engine")
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


@pytest.mark.usefixtures("engine")
async def test_one_that_fails_leaves_nothing_and_the_ones_before_it_stand(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        with pytest.raises(Exception, match="nowhere"):
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


@pytest.mark.usefixtures("engine")
async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        await migrate(database, lambda: 7, [ONE, TWO])
        with pytest.raises(CannotStart, match="0002"):
            await migrate(database, lambda: 8, [ONE])
        assert await fetch(database, "SELECT count(*) FROM migrations") == [(2,)]


@pytest.mark.usefixtures("engine")
async def test_pending_names_what_would_be_applied(tmp_path: Path):
    async with opened(tmp_path, schema=False) as database:
        async with database.reading() as reader:
            assert await pending(reader) == published(engines.engine())
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


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
async def test_one_that_starts_waits_for_as_long_as_another_migrates(tmp_path: Path):
    """Longer than any lock is waited for."""
    async with opened(tmp_path, schema=False) as one, opened(tmp_path, schema=False) as other:
        async with one.writing() as transaction:
            await transaction.lock(["migrations"])
            waiting = asyncio.create_task(migrate(other, lambda: 7, [ONE]))
            await asyncio.sleep(6.5)
            assert not waiting.done()
        assert await waiting == [ONE]
