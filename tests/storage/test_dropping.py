"""Parts that are too old go as a whole, and what is left is what the purge of rows would have left."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from receiver.sms.timestamps import DAY, HOUR, MINUTE
from receiver.storage import events, partitions, purges
from receiver.storage.background import Background
from receiver.storage.batch import Batch
from receiver.storage.ids import earliest
from receiver.storage.partitions import WEEK, begin_of, name_of, widths
from receiver.storage.purge import purges_of
from receiver.storage.retention import Retention
from tests.storage.opening import change, fetch, opened
from tests.storage.parting import (
    CUTOFF,
    OLD,
    TODAY,
    a_history,
    dropped,
    dropper,
    everything,
    in_parts,
    on_postgres,
    part_names,
    purged,
)
from tests.storage.purging import JOB, KEEP, NOW, counts, name, put_event

pytestmark = pytest.mark.usefixtures("engine")


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
