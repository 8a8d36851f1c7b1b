"""A full disk and a slow one: vendors come back later, readers notice nothing, nothing acknowledged is lost."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

from receiver.storage.batch import Batch, Operation
from receiver.storage.database import Transaction, Unavailable
from receiver.storage.migrate import Migration, migrate
from tests.faults import disk
from tests.faults.disk import MESSAGES, Room, filled, well
from tests.faults.power_images import image, lay_out
from tests.faults.power_run import a_body, call, on_disk
from tests.faults.recording_vfs import Disk, failure
from tests.storage.hooked import Hooked
from tests.storage.opening import NAME, fetch, opened

SHORT = disk.FAULTS[0].short
ONE = Migration(1, "one", "CREATE TABLE one (id INTEGER) STRICT;\nINSERT INTO one VALUES (1);\n")
TWO = Migration(2, "two", "CREATE TABLE two (text TEXT) STRICT;\nINSERT INTO two VALUES (hex(zeroblob(20000)));\n")


def chance() -> random.Random:
    return random.Random(random.getrandbits(32))


def test_whenever_the_disk_is_full_vendors_come_back_later_and_nothing_is_lost(tmp_path: Path) -> None:
    report = disk.run(tmp_path, SHORT, chance())
    assert (report.survived, report.lost) == (SHORT, 0)


async def test_on_a_full_disk_readers_see_all_that_was_promised_and_writes_go_on_once_there_is_room(
    tmp_path: Path,
) -> None:
    found = await filled(tmp_path / "now", 0)
    assert (found.during, found.seen) == ([503] * MESSAGES, MESSAGES)
    assert found.after == [200] * MESSAGES
    in_the_middle = await filled(tmp_path / "soon", 100)
    assert {*in_the_middle.during} == {200, 503}
    assert well(found)
    assert well(in_the_middle)


async def test_an_error_of_the_disk_that_is_not_its_fullness_is_not_waited_out(tmp_path: Path) -> None:
    """So the recovery above is that of a disk that was only full."""
    made = Disk()
    async with on_disk(made, tmp_path) as way:
        assert await call(way, made.steps, [a_body(0)]) == [200]

        def at_write(_path: str, _end: int) -> None:
            raise failure(apsw.SQLITE_IOERR_WRITE)

        made.at_write = at_write
        assert await call(way, made.steps, [a_body(1)]) == [503]
        made.at_write = Room().at_write
        assert await call(way, made.steps, [a_body(2)]) == [503]


@pytest.mark.parametrize("writes", range(0, 40, 3))
async def test_a_migration_that_finds_the_disk_full_is_rolled_back_and_the_old_version_starts(
    tmp_path: Path, writes: int
) -> None:
    made, room = Disk(), Room()
    made.at_write = room.at_write
    database = await made.open(tmp_path / NAME)
    try:
        await migrate(database, lambda: 0, [ONE])
        room.left = writes
        try:
            applied = len(await migrate(database, lambda: 0, [ONE, TWO]))
        except Unavailable:
            applied = 0
        room.left = None
        assert await fetch(database, "SELECT number FROM migrations WHERE number = 2") == [(2,)] * applied
        assert await fetch(database, "SELECT 1 FROM sqlite_master WHERE name = 'two'") == [(1,)] * applied
        if not applied:
            assert await migrate(database, lambda: 0, [ONE]) == []
        assert len(await migrate(database, lambda: 0, [ONE, TWO])) == 1 - applied
    finally:
        await database.close()


async def test_a_power_loss_in_a_migration_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    made = Disk()
    database = await made.open(tmp_path / NAME)
    await migrate(database, lambda: 0, [ONE])
    begun = len(made.steps)
    await migrate(database, lambda: 0, [ONE, TWO])
    ended = len(made.steps)
    await database.close()
    found = set()
    for cut in range(begun, ended + 1):
        folder = tmp_path / f"{cut}"
        lay_out(image(made.steps[:cut], chance()), folder)
        async with opened(folder, schema=False) as left:
            numbers = [row[0] for row in await fetch(left, "SELECT number FROM migrations ORDER BY number")]
            tables = await fetch(left, "SELECT name FROM sqlite_master WHERE name IN ('one', 'two') ORDER BY name")
            assert tables == [("one",), ("two",)][: len(numbers)]
            assert len(await migrate(left, lambda: 0, [ONE, TWO])) == 2 - len(numbers)
        found.add(tuple(numbers))
    assert found == {(1,), (1, 2)}


async def _noted(_transaction: Transaction, items: Sequence[bytes]) -> Sequence[int]:
    return [len(item) for item in items]


NOTING: Operation[bytes, int] = Operation(_noted, size=len)


async def test_what_waits_for_a_slow_disk_is_bounded_in_bytes(tmp_path: Path) -> None:
    async with opened(tmp_path) as sqlite:
        database = Hooked(sqlite)
        batch = Batch(database, room=10_000, patience=30)
        running = asyncio.create_task(batch.run())
        database.may_commit.clear()
        calls = [asyncio.create_task(batch.submit(NOTING, bytes(1000))) for _ in range(50)]
        refused, _ = await asyncio.wait(calls, timeout=0.2)
        assert len(refused) == 40
        assert {type(call.exception()) for call in refused} == {Unavailable}
        await batch_of(batch, database)
        assert await asyncio.gather(*(call for call in calls if call not in refused)) == [1000] * 10
        assert await batch.submit(NOTING, bytes(10_000)) == 10_000
        assert await batch.submit(NOTING, bytes(20_000)) == 20_000  # alone, none is too large
        batch.close()
        await running


async def batch_of(batch: Batch, database: Hooked) -> None:
    """Lets commits go on; until then even a call without a size finds a place, for what is sent has to be noted."""
    note = asyncio.create_task(batch.write(_nothing))
    await asyncio.sleep(0)
    assert not note.done()
    database.may_commit.set()
    await note


async def _nothing(_transaction: Transaction) -> None: ...


async def test_calls_that_were_given_up_still_count_until_they_are_done(tmp_path: Path) -> None:
    """Their callers are gone, but their bytes are here."""
    async with opened(tmp_path) as sqlite:
        database = Hooked(sqlite)
        batch = Batch(database, room=3000, patience=0.2)
        running = asyncio.create_task(batch.run())
        database.may_commit.clear()
        given_up = [asyncio.create_task(batch.submit(NOTING, bytes(1000))) for _ in range(3)]
        for call_ in given_up:
            with pytest.raises(Unavailable, match="in time"):
                await call_
        with pytest.raises(Unavailable):
            await batch.submit(NOTING, bytes(1000))
        assert batch.waiting <= 3
        database.may_commit.set()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await batch.submit(NOTING, bytes(3000)) == 3000
                    break
                except Unavailable:
                    await asyncio.sleep(0.01)
        batch.close()
        await running


async def test_a_slow_disk_refuses_some_loses_none_and_is_forgotten_once_it_is_quick(tmp_path: Path) -> None:
    made = Disk()
    slow = Slow()
    made.at_sync = slow.at_sync
    bodies = [a_body(number) for number in range(300)]
    async with on_disk(made, tmp_path / "life", capacity=20, patience=20) as way:
        slow.seconds = 0.05
        found = await call(way, made.steps, bodies, callers=100)
        assert {*found} == {200, 503}
        slow.seconds = 0.0
        assert await call(way, made.steps, bodies) == [200] * 300
        ((stored,),) = await way.fetch("SELECT count(*) FROM receipts")
        assert stored == found.count(200) + 300
        ((events,),) = await way.fetch("SELECT count(*) FROM events")
        assert events == 300


class Slow:
    seconds = 0.0

    def at_sync(self, _path: str) -> None:
        time.sleep(self.seconds)
