"""Everything of a SQLite database is moved to PostgreSQL: the same rows, the same order, nothing sent again."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receiver.cli import receiver
from receiver.storage import move as moving
from receiver.storage.migrate import migrate
from receiver.storage.move import Moved, NotMoved, move
from receiver.storage.partitions import AHEAD
from receiver.storage.sqlite import SqliteDatabase
from tests import engines, postgres
from tests.pipeline import pipeline
from tests.storage.making import a_source, a_subscription, saved
from tests.storage.opening import change, fetch, opened

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]
TEXTS = ["hello", "U+0000 \x00", "emoji 👩‍👩‍👧‍👦", "' OR 1=1 --", ""]


async def lived(folder: Path, count: int = 40) -> None:
    """A SQLite database in which something happened."""
    engines.choose("sqlite")
    try:
        async with pipeline(folder) as way:
            way.open()
            await saved(
                way.database, a_subscription(rate_per_second=0.5), a_subscription("sub_2", ["message.*"]), a_source()
            )
            for number in range(count):
                way.now += 60_000_000
                words = {"from": "447700900123", "to": "447700900456", "text": TEXTS[number % len(TEXTS)]}
                await way.tell(vendor_message_id=f"m{number}", **words)
                await way.tell(vendor_message_id=f"o{number}", to="447700900123", status="ok", sequence="1")
            await way.tell(vendor_message_id="stop", **{"from": "447700900123", "to": "447700900456", "text": "STOP"})
            await way.batch.write(_sent)
    finally:
        engines._chosen.pop()


async def _sent(transaction: Any) -> None:
    await transaction.fetch(
        "UPDATE deliveries SET state = 'succeeded' WHERE state = 'sending' AND subscription_id = 'sub_1'"
    )
    await transaction.fetch(
        """INSERT INTO attempts (delivery_id, number, started_at, duration_ms, status, answer)
           SELECT id, 1, 5, 7, 200, ? FROM deliveries WHERE subscription_id = 'sub_1'""",
        b"\x00\xff",
    )


async def moved(folder: Path, progress: Any = lambda *_: None) -> Sequence[Moved]:
    source = await SqliteDatabase.open(folder / engines.FILE)
    try:
        async with opened(folder / "target") as target:
            return await move(source, target, 1_800_000_000_000_000, progress)
    finally:
        await source.close()


async def test_everything_is_there_and_the_log_goes_on_behind_it(tmp_path: Path):
    await lived(tmp_path)
    heard: list[tuple[str, int, int]] = []
    tables = {item.table: item.rows for item in await moved(tmp_path, lambda *given: heard.append(given))}
    assert tables["events"] == 82
    assert tables["attempts"] == 82
    assert tables["deliveries"] == 82 + 81
    assert ("events", 82, 82) in heard
    async with opened(tmp_path / "target") as target:
        states = await fetch(target, "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state")
        assert states == [("succeeded", 82), ("waiting", 81)]  # what nobody held any more waits
        await change(target, "INSERT INTO events (id, type, accepted_at, body) VALUES ('evt_z', 'x', 1, '{}')")
        assert await fetch(target, "SELECT seq FROM events WHERE id = 'evt_z'") == [(83,)]
        assert await fetch(target, "SELECT 1 FROM pg_class WHERE relname = 'moves'") == []
        parts = await fetch(target, "SELECT count(DISTINCT tableoid) FROM events WHERE id <> 'evt_z'")
        assert parts == [(1,)]


async def test_an_event_is_in_the_part_of_its_week_though_its_request_is_purged(tmp_path: Path):
    await lived(tmp_path, 1)
    source = await SqliteDatabase.open(tmp_path / engines.FILE)
    try:
        await change(source, "DELETE FROM receipts")
    finally:
        await source.close()
    await moved(tmp_path)
    async with opened(tmp_path / "target") as target:
        found = await fetch(
            target, "SELECT tableoid::regclass::text FROM events UNION SELECT tableoid::regclass::text FROM attempts"
        )
        assert sorted(name for (name,) in found) == ["attempts_20231113", "events_20231113"]
        parts = await fetch(target, "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'events_2%'")
        assert parts == [(2 * (AHEAD + 1),)]  # none of the years in between


async def test_positions_go_on_behind_what_was_purged_at_the_end_of_the_log(tmp_path: Path):
    await lived(tmp_path, 1)
    source = await SqliteDatabase.open(tmp_path / engines.FILE)
    try:
        await change(source, "INSERT INTO purges SELECT 'events', '', 0, max(id), max(seq) FROM events")
        await change(source, "DELETE FROM events")
    finally:
        await source.close()
    await moved(tmp_path)
    async with opened(tmp_path / "target") as target:
        assert await change(
            target, "INSERT INTO events (id, type, accepted_at, body) VALUES ('evt_z', 'x', 1, '{}') RETURNING seq"
        ) == [(5,)]


async def test_one_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    await lived(tmp_path)
    monkeypatch.setattr(moving, "STRETCH", 7)

    class CutOff(Exception):
        pass

    def cut_off(table: str, done: int, _total: int) -> None:
        if table == "deliveries" and done > 30:
            raise CutOff

    with pytest.raises(CutOff):
        await moved(tmp_path, cut_off)
    heard: list[tuple[str, int, int]] = []
    tables = {item.table: item.rows for item in await moved(tmp_path, lambda *given: heard.append(given))}
    assert tables["deliveries"] == 163
    assert next(done for table, done, _ in heard if table == "deliveries") == 42
    assert not [done for table, done, _ in heard if table == "events"]


async def test_a_target_that_holds_something_is_left_alone(tmp_path: Path):
    await lived(tmp_path, 1)
    async with opened(tmp_path / "target") as target:
        await saved(target, a_source())
    with pytest.raises(Exception, match="not empty: it has sources"):
        await moved(tmp_path)


async def test_rows_that_are_not_the_same_are_found(tmp_path: Path):
    await lived(tmp_path, 3)

    async def spoil() -> None:
        async with opened(tmp_path / "target") as target:
            await change(target, "UPDATE events SET body = body || ' ' WHERE seq = 2")

    def meddle(table: str, _done: int, _total: int) -> None:
        if table == "attempts":  # the move goes on only when it is done
            other = threading.Thread(target=asyncio.run, args=(spoil(),))
            other.start()
            other.join()

    with pytest.raises(NotMoved, match="events: "):
        await moved(tmp_path, meddle)


async def test_a_table_that_nobody_said_how_to_move_is_named(tmp_path: Path):
    await lived(tmp_path, 1)
    source = await SqliteDatabase.open(tmp_path / engines.FILE)
    try:
        await change(source, "CREATE TABLE later (id TEXT)")
    finally:
        await source.close()
    with pytest.raises(NotMoved, match="how to move later"):
        await moved(tmp_path)


def test_the_command_tells_what_is_the_same(tmp_path: Path):
    asyncio.run(lived(tmp_path, 2))
    name = asyncio.run(postgres.make_database(schema=False))
    url = postgres.url_of(name)
    try:
        done = CliRunner().invoke(receiver, ["migrate", "--from", f"sqlite:///{tmp_path / engines.FILE}", "--to", url])
        assert done.exit_code == 0, done.output
        assert "Both have the same rows" in done.output
        assert "events" in done.output
        said = [line for line in done.stderr.splitlines() if line.startswith(("events", "receipts"))]
        assert said == [
            "receipts: 5 of 5", "events: 6 of 6", "receipts, checked: 5 of 10", "receipts, checked: 10 of 10",
            "events, checked: 6 of 12", "events, checked: 12 of 12",
        ]  # fmt: skip
    finally:
        postgres.drop_databases([name])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "sqlite:///x.db"), "go together"),
        (("--from", "sqlite:///no-such.db", "--to", "postgresql://h/d"), "no database there"),
        (("--from", "postgresql://h/d", "--to", "sqlite:///x.db"), "moves from sqlite"),
        (("--from", "mysql://h/d", "--to", "postgresql://h/d"), "must be sqlite"),
    ],
)
def test_what_cannot_be_moved_is_told(words: tuple[str, ...], said: str):
    done = CliRunner().invoke(receiver, ["migrate", *words])
    assert done.exit_code != 0
    assert said in done.output


async def test_both_schemas_have_the_same_tables_and_columns(tmp_path: Path):
    async with opened(tmp_path / "target") as target:
        source = await SqliteDatabase.open(tmp_path / engines.FILE)
        try:
            await migrate(source, lambda: 0)
            ours, theirs = await moving._columns(source), await moving._columns(target)
            assert {table: ours[table] for table in moving.TABLES} == {table: theirs[table] for table in moving.TABLES}
        finally:
            await source.close()
