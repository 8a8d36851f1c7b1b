"""Parts are dropped beside others who write, read, dump and drop, and by processes that are killed amid it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.timestamps import DAY
from receiver.storage import events
from receiver.storage.background import Background
from receiver.storage.batch import Batch
from receiver.storage.database import Broken, Unavailable
from receiver.storage.partitions import name_of
from receiver.storage.purge import purges_of
from tests.engines import AnyDatabase
from tests.sharing.running import until
from tests.storage.opening import fetch, opened
from tests.storage.parting import (
    CUTOFF,
    OLD,
    a_history,
    dropped,
    dropper,
    everything,
    in_parts,
    on_postgres,
    part_names,
    purged,
)
from tests.storage.purging import KEEP, NOW, counts, name, purging, put_delivery, put_event

pytestmark = pytest.mark.usefixtures("engine")


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
