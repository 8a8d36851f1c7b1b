"""What is taken out of SQLite's index of texts leaves no byte in the file."""

from pathlib import Path

from receiver.storage import search
from tests.storage.opening import fetch, opened
from tests.storage.test_search import filled, index


async def test_of_what_was_taken_out_no_byte_is_left_when_the_index_was_written_anew(tmp_path: Path):
    """Of many stretches, while more come; the words are in every page, and begin as no other ones do."""
    texts = [f"text {number:x} {number * 7919:x}" + " quixotic" * (number % 40 == 7) for number in range(2000)]
    async with opened(tmp_path) as database:
        for begin in range(0, 2000, 250):
            await filled(database, texts[begin : begin + 250], begin + 1)
            await index(database)
        gone = [row[0] for row in await fetch(database, "SELECT id FROM events WHERE body LIKE '%quixotic%'")]
        async with database.writing() as transaction:
            await search.forget(transaction, gone)
            await transaction.fetch("DELETE FROM events WHERE body LIKE '%quixotic%'")
        assert await database.scrub()
        assert b"quixotic" in (tmp_path / "receiver.db").read_bytes()
        steps, more = 0, True
        while more:
            async with database.writing() as transaction:
                more = await search.compact(transaction, begin=steps == 0, pages=1)
            steps += 1
            if steps <= 20:
                await filled(database, ["another one"], 3000 + steps)
                await index(database)
        assert await database.scrub()
        assert steps > 3
        assert b"quixotic" not in (tmp_path / "receiver.db").read_bytes()
        assert await fetch(database, "SELECT count(*) FROM texts WHERE texts MATCH 'text'") == [(1950,)]
        assert await fetch(database, "SELECT count(*) FROM texts WHERE texts MATCH 'another'") == [(min(steps, 20),)]
