"""How much came in since the last look, whether it made events or not."""

from pathlib import Path

import pytest

from receiver.storage.arrivals import Arrivals
from tests.engines import AnyDatabase
from tests.storage.opening import change, opened

pytestmark = pytest.mark.usefixtures("engine")


async def put(database: AnyDatabase, *, events: int = 0, receipts: int = 0, at: int = 0) -> None:
    for number in range(events):
        await change(
            database,
            "INSERT INTO events (id, type, accepted_at, body) VALUES (?, 'message.received', ?, '{}')",
            f"evt_{at}{number}", at,
        )  # fmt: skip
    for number in range(receipts):
        await change(
            database,
            """INSERT INTO receipts (id, source_id, vendor, received_at, outcome, peer, method, target, headers, body)
               VALUES (?, 'src', 'generic', ?, 'stored', '', 'POST', ?, ?, ?)""",
            f"rcp_{at}{number}", at, b"/", b"", b"",
        )  # fmt: skip


async def test_it_is_as_much_as_events_or_requests_and_nothing_at_the_first_look(tmp_path: Path):
    arrivals = Arrivals()

    async def came(database: AnyDatabase) -> int:
        async with database.reading() as reader:
            return await arrivals.since(reader)

    async with opened(tmp_path) as database:
        await put(database, events=3, receipts=2, at=1)
        assert await came(database) == 0
        assert await came(database) == 0
        await put(database, events=4, receipts=1, at=2)
        assert await came(database) == 4
        await put(database, receipts=5, at=3)
        assert await came(database) == 5
        await change(database, "DELETE FROM events")
        await change(database, "DELETE FROM receipts")
        assert await came(database) == 0
