"""Processes that hold their commits, and a reader that follows the log meanwhile: it must miss nothing.

`python -m tests.sharing.holding EVENTS`: four processes write as many between them.
"""

import asyncio
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from receiver.storage import events
from receiver.storage.events import Wanted
from receiver.storage.migrate import migrate
from receiver.storage.postgres import PostgresDatabase
from tests.postgres import OwnServer

WRITERS = 4


async def write(url: str, number: int, count: int) -> None:
    """In transactions of any size, each held for a while before its COMMIT."""
    chance = random.Random(number)
    database = await PostgresDatabase.open(url, readers=1)
    done = 0
    while done < count:
        size = min(chance.choice((1, 20, 500, 2000)), count - done)
        rows = [(f"evt_{number}_{n}", "message.status", n, *[None] * 9, "{}") for n in range(done, done + size)]
        async with database.writing() as transaction:
            events.insert(transaction, rows)
            await transaction.fetch("SELECT 1")
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.005, 0.05)))
        done += size
    await database.close()


async def follow(url: str, writers: "list[subprocess.Popen[bytes]]") -> tuple[int, int, int]:
    """How many events the reader saw, in how many looks, and how many looks found some that had to wait."""
    database = await PostgresDatabase.open(url, readers=1)
    position = seen = looks = held = 0
    ended = False
    while True:
        async with database.reading() as reader:
            stretch = await events.follow(reader, Wanted(), after=position, limit=5000)
            ((last,),) = await reader.fetch("SELECT coalesce(max(seq), 0) FROM events")
        seen, position, looks = seen + len(stretch.rows), stretch.reached, looks + 1
        held += stretch.at_end and last > position
        if stretch.at_end and not stretch.rows and ended:
            break
        ended = all(writer.poll() is not None for writer in writers)
        if stretch.at_end:
            await asyncio.sleep(0.002)
    async with database.reading() as reader:
        ((there,),) = await reader.fetch("SELECT count(*) FROM events")
    await database.close()
    assert seen == there, f"the reader saw {seen} of {there}"
    return seen, looks, held


async def run(folder: Path, count: int) -> tuple[int, int, int]:
    server = OwnServer(folder)
    try:
        database = await PostgresDatabase.open(server.url, readers=1)
        await migrate(database, lambda: 0)
        await database.close()
        writers = [
            subprocess.Popen(  # noqa: ASYNC220 — they are to run beside it
                [sys.executable, "-m", "tests.sharing.holding", server.url, str(number), str(count // WRITERS)]
            )
            for number in range(WRITERS)
        ]
        return await follow(server.url, writers)
    finally:
        server.close()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        asyncio.run(write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    else:
        with tempfile.TemporaryDirectory(prefix="rcv", dir="/tmp") as place:
            Path(place).chmod(0o755)
            found = asyncio.run(run(Path(place) / "server", int(sys.argv[1])))
        print(  # noqa: T201
            f"{found[0]} events, none missed, in {found[1]} looks; in {found[2]} of them some were there that had to wait"
        )
