"""What is older than it is to be kept goes, in small steps that nobody notices, and nothing that is still owed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar, LiteralString

import pytest

from receiver.sms.timestamps import DAY, SECOND
from receiver.storage import events, purges
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Transaction, Unavailable
from receiver.storage.ids import earliest
from receiver.storage.purge import MOST_BYTES, purges_of
from receiver.storage.retention import REPEATS, Retention
from tests.engines import AnyDatabase
from tests.storage.opening import change, fetch, opened
from tests.storage.purging import (
    JOB,
    KEEP,
    NOW,
    OLD,
    counts,
    ids,
    name,
    purged,
    purging,
    put_delivery,
    put_event,
    put_receipt,
)

pytestmark = pytest.mark.usefixtures("engine")


async def test_what_is_old_goes_with_all_that_hangs_on_it_and_what_is_young_stays(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number in range(10):
            await put_event(database, number)
        for number in range(10, 14):
            await put_event(database, number, NOW - DAY)
        await purged(database)
        assert await counts(database) == dict.fromkeys(
            ("events", "messages", "identities", "receipts", "deliveries", "attempts"), 4
        )


async def test_without_a_time_everything_is_kept(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put_event(database, 1)
        before = await counts(database)
        await purged(database, Retention())
        assert await counts(database) == before


async def test_events_and_receipts_have_times_of_their_own(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put_event(database, 1, NOW - 20 * DAY)
        await purged(database)
        assert await counts(database) == {
            "events": 1, "messages": 1, "identities": 1, "receipts": 0, "deliveries": 1, "attempts": 1,
        }  # fmt: skip
        await put_event(database, 2)
        await change(database, "DELETE FROM purges")
        await purged(database, Retention(events=30 * DAY))
        assert (await counts(database))["receipts"] == 1


@pytest.mark.parametrize("state", ["queued", "waiting", "sending", "retrying", "held"])
async def test_an_event_that_is_owed_stays_until_it_is_not(tmp_path: Path, state):
    async with opened(tmp_path) as database:
        owed = await put_event(database, 1, state=state)
        await put_event(database, 2)
        await put_delivery(database, owed, 3, "succeeded")
        await purged(database)
        found = await counts(database)
        assert (found["events"], found["messages"], found["deliveries"], found["attempts"]) == (1, 1, 2, 2)
        assert (await ids(database, "identities")) == ["i 1"]
        await change(database, "UPDATE deliveries SET state = 'dead'")
        await purged(database, clock=lambda: NOW + DAY - 1)
        assert (await counts(database))["events"] == 1  # those that stayed behind are looked at once a day
        await purged(database, clock=lambda: NOW + 2 * DAY)
        found = await counts(database)
        assert (found["events"], found["deliveries"], found["attempts"]) == (0, 0, 0)


class Between(Batch):
    """The batch of somebody else; `first` is done right before the first write."""

    def __init__(self, batch: Batch, first: Any) -> None:
        self._other, self._first = batch, first

    @property
    def waiting(self) -> int:
        return self._other.waiting

    async def write(self, change: Any, told: Any = None) -> Any:
        if self._first is not None:
            first, self._first = self._first, None
            await self._other.write(first)
        return await self._other.write(change)


async def test_what_is_asked_for_again_between_look_and_purge_stays(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number in range(3):
            await put_event(database, number)

        async def reopen(transaction: Transaction) -> None:
            await transaction.fetch("UPDATE deliveries SET state = 'waiting' WHERE subscription_id = 'sub 1'")

        await purged(database, Retention(events=DAY), batch=lambda own: Between(own, reopen))
        assert await ids(database, "identities") == ["i 1"]
        assert (await counts(database))["deliveries"] == 1


async def test_a_job_that_is_asked_for_between_look_and_purge_finds_what_was_there(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put_event(database, 1)

        async def ask(transaction: Transaction) -> None:
            await transaction.fetch(JOB, "replay")

        await purged(database, batch=lambda own: Between(own, ask))
        assert (await counts(database))["events"] == 1


async def test_while_a_job_goes_through_the_log_no_event_goes(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put_event(database, 1)
        await change(database, JOB, "replay")
        await purged(database)
        assert (await counts(database))["events"] == 1
        await change(database, "UPDATE jobs SET kind = 'erase'")  # which has nothing to send
        await purged(database)
        assert (await counts(database))["events"] == 0


async def test_an_identity_outlives_what_it_protects(tmp_path: Path):
    """By thirty days at least after that was made, for that long a vendor may send it again."""
    async with opened(tmp_path) as database:
        await put_event(database, 1, NOW - 2 * DAY)
        await purged(database, Retention(events=DAY))
        assert (await counts(database))["events"] == 0
        assert await ids(database, "identities") == ["i 1"]
        await purged(database, Retention(events=DAY), clock=lambda: NOW + REPEATS)
        assert await ids(database, "identities") == []


async def test_an_identity_whose_time_is_over_goes_and_one_that_was_claimed_anew_stays(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number in range(3):
            await put_event(database, number, NOW - DAY, expires_at=NOW - 1)
        await put_event(database, 3, NOW - DAY, expires_at=NOW + 1)

        async def claim(transaction: Transaction) -> None:
            await transaction.fetch(
                "UPDATE identities SET subject_id = 'evt_new', expires_at = ? WHERE key = 'i 1'", NOW * 2
            )

        await purged(database, Retention(), batch=lambda own: Between(own, claim))
        assert await ids(database, "identities") == ["i 1", "i 3"]


async def test_a_message_goes_after_its_last_event(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put_event(database, 1)
        await put_event(database, 3)
        await put_event(database, 2, NOW - DAY)
        await change(database, "UPDATE events SET message_id = ? WHERE accepted_at > ?", name("msg", OLD, 1), OLD)
        await purged(database)
        assert await ids(database, "messages") == [name("msg", OLD, 1), name("msg", NOW - DAY, 2)]


async def test_a_long_message_goes_with_its_parts_once_no_event_is_left(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number, at in ((1, OLD), (2, OLD), (3, NOW - DAY)):
            await put_event(database, number, at)
            message = name("msg", at, number)
            await change(
                database, "INSERT INTO long_messages VALUES (?, NULL, 2, NULL, NULL, 0)", message,
            )  # fmt: skip
            await change(database, "INSERT INTO message_parts VALUES (?, 1, 'rcp', '', NULL)", message)
        await put_event(database, 4, OLD, state="held")
        await change(
            database, "UPDATE events SET message_id = ? WHERE id = ?", name("msg", OLD, 2), name("evt", OLD, 4)
        )
        await purged(database)
        left = [name("msg", OLD, 2), name("msg", NOW - DAY, 3)]
        assert await ids(database, "long_messages") == left
        assert await ids(database, "message_parts") == left


async def test_of_all_that_there_may_be_exactly_what_is_old_and_not_owed_goes(tmp_path: Path):
    """Compared with what the rules say, said anew and of whole tables."""
    chance = Random(7)
    async with opened(tmp_path) as database:
        times = [OLD, OLD + DAY, OLD + 69 * DAY, OLD + 71 * DAY, NOW - DAY]
        for number, at in enumerate(sorted(chance.choices(times, k=80))):
            await put_event(database, number, at, state=chance.choice(["succeeded", "dead", "held", "waiting"]))
        messages = await ids(database, "messages")
        for event in chance.sample(await one(database, "SELECT id FROM events"), 40):
            few = [item for item in messages if item[4:14] <= event[4:14]]
            await change(
                database, "UPDATE events SET message_id = ? WHERE id = ?", chance.choice([None, *few]), event
            )  # fmt: skip
        owed = set(await one(database, "SELECT event_id FROM deliveries WHERE state IN ('held', 'waiting')"))
        left = {
            item
            for item in await one(database, "SELECT id FROM events")
            if item in owed or item > earliest("evt", NOW - 30 * DAY)
        }
        named = {
            message for event, message in await fetch(database, "SELECT id, message_id FROM events") if event in left
        }
        wanted = {
            "events": left,
            "messages": {item for item in messages if item in named or item > earliest("msg", NOW - 30 * DAY)},
            "receipts": {item for item in await ids(database, "receipts") if item > earliest("rcp", NOW - 10 * DAY)},
            "identities": set(await of_subjects(database, left)),
            "deliveries": set(await of_events(database, left)),
        }
        assert all(0 < len(rows) < 80 for rows in wanted.values())
        await purged(database)
        events = set(await one(database, "SELECT id FROM events"))
        assert {table: set(await ids(database, table)) for table in wanted} | {"events": events} == wanted
        assert set(await ids(database, "attempts")) == wanted["deliveries"]


async def one(database: AnyDatabase, sql: LiteralString) -> Sequence[str]:
    return [row[0] for row in await fetch(database, sql)]


async def of_subjects(database: AnyDatabase, events: set[str]) -> Sequence[str]:
    return [
        key for key, subject in await fetch(database, "SELECT key, subject_id FROM identities") if subject in events
    ]


async def of_events(database: AnyDatabase, events: set[str]) -> Sequence[str]:
    return [key for key, event in await fetch(database, "SELECT id, event_id FROM deliveries") if event in events]


async def test_requests_do_not_wait_until_all_events_are_gone(tmp_path: Path):
    class Watched(Between):
        """Stops after the second step of each."""

        written = 0

        async def write(self, change: Any, told: Any = None) -> Any:
            self.written += 1
            if self.written == 4:
                purger.stop()
            return await self._other.write(change)

    async with opened(tmp_path) as database:
        for number in range(20):
            await put_event(database, number)
        async with purging(database, batch=lambda own: Watched(own, None)) as purger:
            await purger.once()
        found = await counts(database)
        assert 0 < found["events"] < 20
        assert 0 < found["receipts"] < 20


async def test_what_may_not_go_for_now_is_told_as_late(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put_event(database, 1)
        await put_event(database, 2, state="held")
        await change(database, JOB, "replay")
        async with purging(database, Retention(events=90 * DAY, receipts=99 * DAY)) as purger:
            await purger.once()
            assert purger.behind == 10 * DAY // SECOND
            await change(database, "DELETE FROM jobs")
            await purger.once()
            assert purger.behind == 0
        assert (await counts(database))["events"] == 1


async def test_large_receipts_go_a_few_at_a_time(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number in range(3):
            await put_receipt(database, number, size=MOST_BYTES)
        (purge,) = [item for item in purges_of(KEEP) if item.what == "receipts"]
        async with database.reading() as reader:
            look = await purge.look(reader, "", 100, NOW)
        assert (len(look.rows), look.end) == (1, False)
        await purged(database)
        assert await ids(database, "receipts") == []


async def test_answers_to_calls_go_when_their_day_is_over(tmp_path: Path):
    async with opened(tmp_path) as database:
        for key, expires_at in (("a", NOW - 1), ("b", NOW), ("c", NOW + 1)):
            await change(database, "INSERT INTO idempotency VALUES (?, '', NULL, ?)", key, expires_at)
        await purged(database, Retention())
        assert await ids(database, "idempotency") == ["c"]


async def test_what_follows_from_events_hears_of_them_first(tmp_path: Path):
    heard: list[str] = []

    async def trace(transaction: Transaction, event_ids: Sequence[str]) -> None:
        heard.extend(event_ids)
        assert len(await transaction.fetch("SELECT 1 FROM events WHERE id = ?", event_ids[0])) == 1

    async with opened(tmp_path) as database:
        made = [await put_event(database, number) for number in range(5)]
        await purged(database, traces=[trace])
        assert sorted(heard) == made


async def test_a_restart_goes_on_where_the_last_step_was(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number in range(4):
            await put_event(database, number, state="held" if number < 3 else "succeeded")
        async with purging(database) as purger:
            purger.stop()
            await purger.once()  # stopped: not even a first look
        assert (await counts(database))["events"] == 4
        seen: list[str] = []
        (purge,) = [item for item in purges_of(KEEP) if item.what == "events"]
        async with database.writing() as transaction:
            await purges.note(transaction, "events", purges.Progress("3", NOW), purges.Gone())

        class Spy:
            what: ClassVar[str] = "events"
            every: ClassVar[int] = DAY
            goes_on: ClassVar[bool] = True
            due = purge.due

            async def look(self, reader: Any, position: str, limit: int, now: int) -> Any:
                seen.append(position)
                return await purge.look(reader, position, limit, now)

            remove = purge.remove

        async with purging(database) as purger:
            purger._purges = [Spy()]
            await purger.once()
        assert seen == ["3"]
        assert (await counts(database))["events"] == 3


async def test_what_is_gone_is_known_for_cursors_and_for_ids(tmp_path: Path):
    async with opened(tmp_path) as database:
        made = [await put_event(database, number) for number in range(3)]
        await purged(database)
        async with database.reading() as reader:
            assert await purges.gone(reader, "events") == purges.Gone(made[-1], 3)
            assert (await purges.gone(reader, "receipts")).id == name("rcp", OLD, 2)
            assert await events.readable(reader) == 3
            newest = await events.newest_id(reader)  # no id below it is ever made again
            assert newest is not None
            assert newest.partition("_")[2] == made[-1].partition("_")[2]
        await put_event(database, 9, NOW)
        assert await fetch(database, "SELECT seq FROM events") == [(4,)]


class Refusing(Batch):
    def __init__(self, error: Exception) -> None:
        self._error = error
        self.refused = 0

    waiting = 0

    async def write(self, change: Any, told: Any = None) -> Any:
        self.refused += 1
        raise self._error


@pytest.mark.parametrize(
    ("error", "ends"), [(Unavailable("full"), False), (ValueError("?"), False), (Broken("!"), True)]
)
async def test_trouble_is_waited_out_unless_it_is_for_good(tmp_path: Path, error, ends):
    async with opened(tmp_path) as database:
        await put_event(database, 1)
        refusing = Refusing(error)
        async with purging(database, batch=lambda _: refusing, pause=0.01) as purger:
            running = asyncio.create_task(purger.run())
            await asyncio.wait({running}, timeout=0.3)
            assert running.done() is ends
            assert (refusing.refused > 2) is not ends  # an event and a receipt at a time
            purger.stop()
            await asyncio.wait_for(running, 5)
        assert (await counts(database))["events"] == 1


async def test_a_step_gives_way_to_writes_that_wait_and_has_its_turn_in_the_end(tmp_path: Path):
    class Busy(Between):
        waiting = 7

    times = iter(range(1000))
    async with opened(tmp_path) as database:
        await put_event(database, 1)
        await purged(database, batch=lambda own: Busy(own, None), monotonic=lambda: next(times) / 20)
        assert (await counts(database))["events"] == 0
