"""Notes on sources of several processes at once."""

import asyncio
from pathlib import Path

import pytest

from receiver.storage import sources
from tests.storage.making import a_source, saved
from tests.storage.opening import fetch, opened

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]


async def test_a_refusal_is_not_noted_where_another_process_just_notes_one(tmp_path: Path):
    """Two that note in turns would wait for each other in a circle, and with them all that they record."""
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        await saved(one, a_source("src_1", "token-1"), a_source("src_2", "token-2"))

        async def note(database: object, first: str, second: str, both: asyncio.Barrier) -> None:
            async with database.writing() as transaction:  # type: ignore[attr-defined]
                await sources.failed(transaction, first, "bad_signature", 7)
                await both.wait()
                await sources.failed(transaction, second, "bad_signature", 8)
                await both.wait()

        both = asyncio.Barrier(2)
        async with asyncio.timeout(4):
            await asyncio.gather(note(one, "src_1", "src_2", both), note(other, "src_2", "src_1", both))
        assert await fetch(one, "SELECT last_error_at FROM sources ORDER BY id") == [(7,), (7,)]
