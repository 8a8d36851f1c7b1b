"""Parts that are too old go as a whole, and what is left is what the purge of rows would have left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, LiteralString

import pytest

from receiver.sms.timestamps import DAY, HOUR, MINUTE
from receiver.storage import events, partitions, purges
from receiver.storage.background import Background
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Unavailable
from receiver.storage.dropping import Dropper
from receiver.storage.ids import earliest
from receiver.storage.partitions import WEEK, begin_of, name_of, widths
from receiver.storage.purge import purges_of
from receiver.storage.retention import Retention
from tests import engines
from tests.engines import AnyDatabase
from tests.sharing.running import until
from tests.storage.opening import change, fetch, opened
from tests.storage.test_purge import JOB, KEEP, NOW, counts, name, purging, put_delivery, put_event

CUTOFF = NOW - 30 * DAY
OLD = begin_of(CUTOFF, DAY) - DAY
"""The last day of which nothing is kept."""
TODAY = begin_of(CUTOFF, DAY)
"""The day that has an end of the time for which events are kept in it."""

on_postgres = pytest.mark.parametrize("engine", ["postgres"], indirect=True)
pytestmark = pytest.mark.usefixtures("engine")


@asynccontextmanager
async def in_parts(folder: Path) -> AsyncIterator[Any]:
    """With parts of a day for all rows of these tests."""
    async with opened(folder) as database:
        for moment in (OLD - 10 * DAY, OLD - DAY, NOW - DAY):
            async with database.writing() as transaction:
                await partitions.prepare(transaction, moment, widths(KEEP))
        yield database


def dropper(database: Any, **given: Any) -> Dropper:
    made: dict[str, Any] = {"retention": KEEP, "clock": lambda: NOW, "tries": 2}
    return Dropper(database=database, **made | given)


async def dropped(database: Any, **given: Any) -> None:
    await dropper(database, **given)(Background(Batch(database), asyncio.get_running_loop().time))


async def purged(database: Any, **given: Any) -> None:
    """As a process does it, on either engine."""
    drop = dropper(database, clock=given.get("clock", lambda: NOW)) if engines.engine() == "postgres" else None
    async with purging(database, drop=drop, **given) as purger:
        await purger.once()


async def part_names(database: Any, table: str) -> list[str]:
    rows = await fetch(
        database,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(?) ORDER BY 1",
        table,
    )
    return [row[0] for row in rows]


KEYS: dict[str, LiteralString] = {
    "events": "id", "messages": "id", "identities": "key", "receipts": "id", "deliveries": "id",
    "attempts": "delivery_id", "corrections": "event_id",
}  # fmt: skip


async def everything(database: Any) -> dict[str, list[Any]]:
    """The keys of what is there, and what is known to be gone."""
    found = {
        table: [row[0] for row in await fetch(database, f"SELECT {key} FROM {table} ORDER BY 1")]
        for table, key in KEYS.items()
    }
    return found | {
        "gone": await fetch(database, "SELECT what, gone_id, gone_seq FROM purges WHERE gone_id <> '' ORDER BY what")
    }


async def a_history(database: Any) -> None:
    """Old, of the day in which the time ends, and young; done and owed; delivered later than it came; corrected."""
    await put_event(database, 24, OLD - 400 * DAY)  # in no part of its time
    for number, at in enumerate((OLD - 3 * DAY, OLD - DAY, OLD, OLD + 5 * HOUR, TODAY, CUTOFF - 1, CUTOFF, NOW - DAY)):
        event = await put_event(database, number, at)
        await change(database, "INSERT INTO corrections VALUES (?, 'rcp', NULL)", event)
        if number == 1:
            owed = await put_event(database, 20, at, state="retrying")
            await put_delivery(database, owed, 21, "succeeded", at)
        if number == 2:
            replayed = await put_event(database, 22, at)
            await put_delivery(database, replayed, 23, "succeeded", NOW - DAY)


async def test_what_is_left_is_the_same_on_either_engine(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        await a_history(database)
        await purged(database)
        left = [name("evt", OLD - DAY, 20), name("evt", CUTOFF, 6), name("evt", NOW - DAY, 7)]
        found = await everything(database)
        assert found == {
            "events": left,
            "messages": [item.replace("evt", "msg") for item in left],
            "identities": ["i 20", "i 6", "i 7"],
            "receipts": [name("rcp", NOW - DAY, 7)],
            "deliveries": [name("dlv", OLD - DAY, 20), name("dlv", OLD - DAY, 21), *(
                item.replace("evt", "dlv") for item in left[1:]
            )],
            "attempts": [name("dlv", OLD - DAY, 20), name("dlv", OLD - DAY, 21), *(
                item.replace("evt", "dlv") for item in left[1:]
            )],
            "corrections": left[1:],
            "gone": [("events", name("evt", CUTOFF - 1, 5), 9), ("receipts", name("rcp", CUTOFF, 6), 0)],
        }  # fmt: skip


@on_postgres
async def test_a_part_that_is_old_as_a_whole_is_no_part_any_more(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        await a_history(database)
        before = await part_names(database, "events")
        await purged(database)
        gone = {*before} - {*await part_names(database, "events")}
        assert name_of("events", OLD) in gone
        assert name_of("events", OLD - 3 * DAY) in gone
        assert name_of("events", OLD - DAY) not in gone  # something of it is owed
        assert name_of("events", TODAY) not in gone
        assert name_of("attempts", OLD) not in await part_names(database, "attempts")
        assert name_of("attempts", OLD - DAY) in await part_names(database, "attempts")
        assert name_of("receipts", NOW - 12 * DAY) not in await part_names(database, "receipts")
        assert name_of("receipts", NOW - DAY) in await part_names(database, "receipts")
        assert "events_other" in await part_names(database, "events")


@on_postgres
async def test_no_row_of_a_part_is_deleted(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        for number in range(20):
            await put_event(database, number, OLD)
        await change(
            database,
            "CREATE RULE kept AS ON DELETE TO " + name_of("events", OLD) + " DO INSTEAD SELECT 1 / 0",
        )
        await purged(database)
        assert set((await counts(database)).values()) == {0}
        async with database.reading() as reader:  # and who reads along hears of it
            assert await purges.gone(reader, "events") == purges.Gone(name("evt", OLD, 19), 20)
            assert await purges.gone(reader, "receipts") == purges.Gone(name("rcp", OLD, 19))
            assert await events.readable(reader) == 20


@on_postgres
async def test_a_part_goes_once_the_last_of_it_is_no_longer_owed(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        await put_event(database, 1, OLD, state="held")
        await put_event(database, 2, OLD)
        now = [NOW]
        drop = dropper(database, clock=lambda: now[0])
        background = Background(Batch(database), asyncio.get_running_loop().time)
        await drop(background)
        assert await counts(database) | {"receipts": 0} == {
            "events": 2, "messages": 2, "identities": 2, "receipts": 0, "deliveries": 1, "attempts": 1,
        }  # fmt: skip
        await change(database, "UPDATE deliveries SET state = 'dead'")
        await drop(background)
        assert (await counts(database))["events"] == 2  # it was looked at a moment ago
        now[0] += HOUR
        await drop(background)
        assert (await counts(database))["events"] == 0
        assert name_of("events", OLD) not in await part_names(database, "events")
        assert name_of("attempts", OLD) not in await part_names(database, "attempts")


@on_postgres
async def test_without_a_time_no_part_goes(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        await put_event(database, 1, OLD)
        before = await everything(database)
        await dropped(database, retention=Retention())
        assert await everything(database) == before
        await dropped(database, retention=Retention(receipts=10 * DAY))
        assert (await counts(database))["events"] == 1
        assert (await counts(database))["receipts"] == 0


@on_postgres
async def test_while_a_job_goes_through_the_log_no_part_of_it_goes(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        await put_event(database, 1, OLD)
        await change(database, JOB, "replay")
        await dropped(database)
        assert (await counts(database))["events"] == 1
        assert (await counts(database))["deliveries"] == 1
        await change(database, "DELETE FROM deliveries")  # nothing names it, but the job may begin to
        await dropped(database)
        assert (await counts(database))["events"] == 1
        await change(database, "UPDATE jobs SET kind = 'erase'")
        await dropped(database)
        assert (await counts(database))["events"] == 0


@on_postgres
async def test_an_event_that_was_accepted_later_than_its_id_says_keeps_its_part(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        event = await put_event(database, 1, OLD)
        await change(database, "UPDATE events SET accepted_at = ? WHERE id = ?", CUTOFF, event)
        await dropped(database)
        assert await fetch(database, "SELECT id FROM events") == [(event,)]


@on_postgres
async def test_words_leave_the_index_behind_their_events(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        for number, at in enumerate((OLD, OLD, NOW - DAY, OLD - DAY)):
            await put_event(database, number, at, state="held" if number == 3 else "succeeded")
        async with database.writing() as transaction:
            transaction.later(transaction.texts.insert, [(seq, "'word'") for seq in range(1, 5)])
        await dropped(database)
        assert await fetch(database, "SELECT seq FROM texts ORDER BY seq") == [(3,), (4,)]
        ((forgotten,),) = await fetch(database, "SELECT forgotten FROM followers")
        assert forgotten > 0  # what an indexer has read of it is void
        await change(database, "UPDATE followers SET position = 9, forgotten = 0")
        await put_event(database, 5, OLD - 3 * DAY)
        await dropped(database)
        assert await fetch(database, "SELECT forgotten FROM followers") == [(0,)]


class Dying(Exception):
    """As a process that is killed: what is not committed is gone, and nothing else is done."""


class Mortal:
    """A database whose process dies in its n-th transaction of those that drop: before COMMIT, or right behind it."""

    def __init__(self, database: AnyDatabase, steps: int, *, committed: bool) -> None:
        self._database = database
        self._steps = steps
        self._committed = committed
        self.reading = database.reading

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Any]:
        self._steps -= 1
        async with self._database.aside() as transaction:  # type: ignore[union-attr]
            yield transaction
            await transaction.flush()
            if self._steps == 0 and not self._committed:
                raise Dying
        if self._steps == 0:
            raise Dying


@on_postgres
@pytest.mark.parametrize("committed", [False, True], ids=["before a commit", "behind a commit"])
async def test_a_process_that_is_killed_between_any_two_steps_is_followed_by_one_that_goes_on(
    tmp_path: Path, committed
):
    async with in_parts(tmp_path) as database:
        await a_history(database)
        deaths = 0
        for steps in range(1, 60):
            try:
                await dropped(Mortal(database, steps, committed=committed), window=2)
            except Dying:
                deaths += 1
            assert await named_in_vain(database) == []
        assert deaths >= 8
        await dropped(database)
        await purged(database)
        assert [row[0] for row in await fetch(database, "SELECT id FROM events ORDER BY id")] == [
            name("evt", OLD - DAY, 20), name("evt", CUTOFF, 6), name("evt", NOW - DAY, 7),
        ]  # fmt: skip
        assert await counts(database) == {
            "events": 3, "messages": 3, "identities": 3, "receipts": 1, "deliveries": 4, "attempts": 4,
        }  # fmt: skip


async def named_in_vain(database: Any) -> list[Any]:
    """What names an event that is gone."""
    return await fetch(
        database,
        """SELECT event_id FROM deliveries WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = event_id)
           UNION ALL SELECT event_id FROM corrections WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = event_id)""",
    )


@on_postgres
async def test_two_processes_at_once_drop_each_part_once(tmp_path: Path):
    async with in_parts(tmp_path) as one, opened(tmp_path) as other:
        for number in range(30):
            await put_event(one, number, OLD - number % 5 * DAY)
        await asyncio.gather(dropped(one, window=4, tries=50), dropped(other, window=4, tries=50))
        assert set((await counts(one)).values()) == {0, 30}  # messages and identities have no parts
        assert await named_in_vain(one) == []


@on_postgres
async def test_who_writes_and_who_reads_go_on(tmp_path: Path):
    async with in_parts(tmp_path) as database, opened(tmp_path) as other:
        for number in range(20):
            await put_event(database, number, OLD - number % 8 * DAY)
        ended = asyncio.Event()
        written, seen = [0], [0]

        async def write() -> None:
            while not ended.is_set():
                written[0] += 1
                row = (name("evt", NOW, written[0]), "message.status", NOW, *[None] * 9, "{}")
                async with other.writing() as transaction:
                    events.insert(transaction, [row])

        async def read() -> None:
            while not ended.is_set():
                await fetch(other, "SELECT count(*) FROM events JOIN deliveries ON event_id = events.id")
                await fetch(other, "SELECT body FROM events WHERE id = ?", name("evt", OLD, 0))
                seen[0] += 1

        working = [asyncio.create_task(work()) for work in (write, read)]
        await dropped(database, window=2, tries=200)
        before = written[0], seen[0]
        await until(lambda: written[0] > before[0] and seen[0] > before[1])
        ended.set()
        await asyncio.gather(*working)
        assert await fetch(database, "SELECT count(*) FROM events") == [(written[0],)]
        assert name_of("events", OLD) not in await part_names(database, "events")


@on_postgres
async def test_a_dump_is_not_waited_for_and_the_rows_go_all_the_same(tmp_path: Path, caplog):
    async with in_parts(tmp_path) as database, opened(tmp_path) as other:
        await put_event(database, 1, OLD)
        async with other.writing() as dump:
            await dump.fetch("LOCK TABLE events, receipts, attempts IN ACCESS SHARE MODE")
            await purged(database)
            assert await counts(database) == {
                "events": 0, "messages": 0, "identities": 0, "receipts": 0, "deliveries": 0, "attempts": 1,
            }  # fmt: skip
            assert name_of("events", OLD) in await part_names(database, "events")
        assert "purge.part_waits" in caplog.text
        await dropped(database)
        assert name_of("events", OLD) not in await part_names(database, "events")
        assert (await counts(database))["attempts"] == 0


@on_postgres
async def test_a_delivery_that_is_opened_again_meanwhile_keeps_its_event(tmp_path: Path):
    async with in_parts(tmp_path) as database, opened(tmp_path) as other:
        event = await put_event(database, 1, OLD, state="dead")
        await put_delivery(database, event, 2, "succeeded", OLD)
        async with other.writing() as transaction:
            await transaction.fetch("UPDATE deliveries SET state = 'waiting' WHERE subscription_id = 'sub 1'")
            dropping = asyncio.create_task(dropped(database))
            with pytest.raises(Unavailable):
                await dropping
        await dropped(database)
        found = await counts(database)
        assert (found["events"], found["deliveries"], found["attempts"]) == (1, 2, 2)


@on_postgres
async def test_a_row_wise_purge_sees_what_another_process_opens_at_that_moment(tmp_path: Path):
    async with opened(tmp_path) as database, opened(tmp_path) as other:
        event = await put_event(database, 1, OLD, state="dead")
        async with other.writing() as transaction:
            await transaction.fetch("UPDATE deliveries SET state = 'waiting'")
            removing = asyncio.create_task(remove(database, (1, event)))
            await asyncio.sleep(0.2)
        await removing
        assert (await counts(database))["deliveries"] == 1
        assert (await counts(database))["events"] == 1


@on_postgres
async def test_a_row_wise_purge_waits_for_a_job_that_is_just_asked_for(tmp_path: Path):
    from receiver.storage import jobs

    async with opened(tmp_path) as database, opened(tmp_path) as other:
        event = await put_event(database, 1, OLD)
        job = jobs.Job(
            id="job_1", kind="replay", subscription_id=None, request=jobs.Request(), position="", total=0,
            created_at=0, updated_at=0,
        )  # fmt: skip
        async with other.writing() as transaction:
            await jobs.insert(transaction, job)
            removing = asyncio.create_task(remove(database, (1, event)))
            await asyncio.sleep(0.2)
        await removing
        assert (await counts(database))["events"] == 1


async def remove(database: Any, row: tuple[int, str]) -> None:
    (purge,) = [item for item in purges_of(KEEP) if item.what == "events"]
    async with database.writing() as transaction:
        await purge.remove(transaction, [row], NOW)


@on_postgres
async def test_what_cannot_be_dropped_goes_row_by_row_unless_the_database_is_broken(tmp_path: Path):
    async with opened(tmp_path) as database:

        async def refused(_background: Background) -> None:
            raise PermissionError("must be owner of table")

        async def broken(_background: Background) -> None:
            raise Broken("!")

        await put_event(database, 1, OLD)
        async with purging(database, drop=broken) as purger:
            with pytest.raises(Broken):
                await purger.once()
        async with purging(database, drop=refused) as purger:
            await purger.once()
        assert (await counts(database))["events"] == 0


@on_postgres
async def test_who_is_told_to_stop_drops_nothing(tmp_path: Path):
    async with in_parts(tmp_path) as database:
        await put_event(database, 1, OLD)
        before = await everything(database)
        background = Background(Batch(database), asyncio.get_running_loop().time)
        background.stopping.set()
        await dropper(database)(background)
        assert await everything(database) == before


def test_parts_are_so_long_that_little_is_kept_longer_than_it_is_to_be():
    assert widths(Retention()) == {}
    assert widths(Retention(events=6 * DAY)) == {}
    assert widths(Retention(events=30 * DAY)) == {"events": DAY, "attempts": DAY}
    assert widths(Retention(events=100 * DAY, receipts=7 * DAY)) == {"receipts": DAY, "events": WEEK, "attempts": WEEK}


def test_a_round_begins_when_a_part_has_become_old():
    end = begin_of(NOW, DAY) + DAY
    in_parts = {purge.what: purge for purge in purges_of(KEEP, (), widths(KEEP))}
    for what in ("events", "receipts"):
        assert not in_parts[what].due(end - DAY, end - 1)
        assert in_parts[what].due(end - 1, end)
        assert in_parts[what].due(0, NOW)
    (often,) = [item for item in purges_of(KEEP) if item.what == "receipts"]
    assert often.due(NOW - MINUTE, NOW)


@on_postgres
async def test_parts_of_another_length_begin_where_those_that_are_there_end(tmp_path: Path):
    async with opened(tmp_path) as database:

        async def made(now: int, lengths: dict[str, int]) -> None:
            async with database.writing() as transaction:
                await partitions.prepare(transaction, now, lengths)

        await made(NOW, {"events": WEEK})
        await made(NOW + 4 * WEEK, {"events": DAY})
        await made(NOW + 6 * WEEK + DAY, {"events": WEEK})
        async with database.reading() as reader:
            found = await partitions.parts(reader, "events")
        monday = begin_of(NOW, WEEK)
        weeks = [name_of("events", monday + number * WEEK) for number in range(5)]
        assert [part.name for part in found][:5] == weeks
        days = [part for part in found[5:] if part.low < earliest("evt", monday + 6 * WEEK)]
        assert [part.name for part in days] == [
            name_of("events", monday + 5 * WEEK + day * DAY) for day in range(len(days))
        ]
        assert all(one.high <= other.low for one, other in pairwise(found))


@on_postgres
async def test_what_is_gone_at_once_does_not_disturb_a_round(tmp_path: Path):
    async with opened(tmp_path) as database:
        async with database.writing() as transaction:
            await purges.note(transaction, "events", purges.Progress("7", 5), purges.Gone("evt_5", 9))
            await purges.note_gone(transaction, "events", purges.Gone("evt_7", 3))
        assert await fetch(database, "SELECT position, round_at, gone_id, gone_seq FROM purges") == [
            ("7", 5, "evt_7", 9)
        ]
