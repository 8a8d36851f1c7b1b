"""Commands on a database that many processes share: they work on it directly, beside those that run."""

import asyncio
import json
from collections.abc import Iterator

import asyncpg
import pytest

from tests import postgres
from tests.cli.running import answered, call, done, refused


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = asyncio.run(postgres.make_database(schema=False))
    monkeypatch.setenv("RECEIVER_DATABASE_URL", postgres.url_of(name))
    yield postgres.url_of(name)
    postgres.drop_databases([name])


def told(url: str, sql: str) -> None:
    async def tell() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(sql)
        await connection.close()

    asyncio.run(tell())


def test_what_one_command_makes_another_finds(url: str):
    assert "applied 0001 begin" in done("migrate")
    assert "is up to date" in done("migrate")
    made = answered("source", "add", "generic")
    assert [row["id"] for row in answered("source", "list")["data"]] == [made["id"]]
    subscription = answered("subscription", "add", "https://subscriber.example.com/hook")
    done("subscription", "pause", subscription["id"])
    assert answered("subscription", "list")["data"][0]["state"] == "paused"


def test_check_looks_at_the_server_and_tells_no_password(url: str):
    found = call("check", "--json")
    assert found.exit_code == 1
    assert "the schema is behind" in found.stdout
    done("migrate")
    texts = [item["text"] for item in json.loads(call("check", "--json").stdout)["data"]]
    assert any("the schema is up to date; processes: 0" in text for text in texts)
    told(url, "INSERT INTO migrations VALUES (9999, 'later', '', 0)")
    assert "of a newer version" in call("check").stdout


def test_a_command_does_not_change_a_schema_that_others_may_be_using(url: str):
    assert "the schema is behind" in refused("source", "list", code=3)
    assert "the schema is behind" in refused("source", "add", "generic", code=3)


def test_a_server_that_is_not_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECEIVER_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d")
    for words in (("migrate",), ("source", "list"), ("source", "add", "generic")):
        said = refused(*words, code=3)
        assert "PostgreSQL cannot be reached" in said
        assert "hunter2" not in said
    checked = call("check")
    assert checked.exit_code == 1
    assert "cannot be reached" in checked.stdout
    assert "hunter2" not in checked.stdout


@pytest.mark.parametrize("words", [("backup", "copy.db"), ("restore", "copy.db")])
def test_copies_of_a_file_are_for_files(url: str, words: tuple[str, ...]):
    assert "pg_dump" in refused(*words)


def test_a_job_is_begun_where_a_process_runs(url: str):
    done("migrate")
    subscription = answered("subscription", "add", "https://subscriber.example.com/hook")
    assert "begins when the receiver is started" in done("subscription", "recover", subscription["id"])
