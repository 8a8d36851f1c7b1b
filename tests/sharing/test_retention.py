"""Several receivers that keep for a time: one of them lets go of what is too old, by the part, while all go on."""

import time
from pathlib import Path

import pytest

from receiver.sms.timestamps import DAY
from receiver.storage import partitions
from receiver.storage.partitions import begin_of, name_of
from tests.sharing.running import group
from tests.storage.opening import opened
from tests.storage.purging import counts, put_event

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]


async def test_old_parts_go_and_new_ones_are_of_a_day(tmp_path: Path):
    today = begin_of(time.time_ns() // 1000, DAY)
    old = today - 60 * DAY
    lengths = dict.fromkeys(partitions.PARTED, DAY)
    async with opened(tmp_path) as database:
        async with database.writing() as transaction:
            await partitions.prepare(transaction, old, lengths)
        for number in range(5):
            await put_event(database, number, old + number * 1000)
        async with group(tmp_path, retention_events=30 * 86_400, retention_receipts=30 * 86_400) as it:
            path = await it.source()
            names: set[str] = set()
            for number in range(200):
                assert await it.processes[number % 2].tell(path, vendor_message_id=f"m{number}", text="hello") == 200
                rows = await it.look("SELECT relname::text FROM pg_class WHERE relispartition AND relkind = 'r'")
                names = {name for (name,) in rows}
                left = await counts(database)
                if not {name_of(table, old) for table in partitions.PARTED} & names and left["attempts"] == 0:
                    break
            assert {name_of(table, old) for table in partitions.PARTED} & names == set()
            assert {name_of(table, today + 8 * DAY) for table in partitions.PARTED} <= names
            assert (await it.look("SELECT count(*) FROM events WHERE accepted_at < $1", today - DAY)) == [(0,)]
            assert await it.look("SELECT count(*) FROM events") == [(number + 1,)]
