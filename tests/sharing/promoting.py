"""The primary is gone without a word, its synchronous standby is promoted, and all receivers go on there."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from receiver.storage.database import CannotStart
from receiver.storage.postgres import PostgresDatabase
from tests.postgres import OwnServer, Standby
from tests.sharing.cutting import Cut, cable, takes
from tests.sharing.story import PROCESSES, Receiver, Story, play


async def run(folder: Path, how: Cut, *, vendors: int = 8) -> Story:
    """Nobody tells the receivers: their URL names both servers, the primary first. Cut off in silence it does not even
    refuse a connection.
    """
    async with AsyncExitStack() as stack:
        primary = OwnServer(folder / "primary")
        stack.callback(primary.close)
        standby = Standby(primary, folder / "standby")
        stack.callback(standby.close)
        await _wait_for_standby(primary)
        await _refused(standby)
        ways = [await stack.enter_async_context(cable(server.socket)) for server in (primary, standby)]
        url = f"postgresql://postgres@127.0.0.1:{ways[0].port},127.0.0.1:{ways[1].port}/postgres"

        async def breaking(receivers: Sequence[Receiver], story: Story) -> None:
            await asyncio.sleep(3.0)
            ways[0].cut(how)
            primary.stop()
            story.crashes += 1
            standby.promote()
            for receiver in receivers:
                await takes(receiver, story)
                story.cuts += 1
            await asyncio.sleep(2.0)

        return await play([url] * PROCESSES, breaking, lambda: standby.url, vendors=vendors)


async def _refused(standby: Standby) -> None:
    """By itself it is no database for a receiver."""
    try:
        await PostgresDatabase.open(standby.url)
    except CannotStart as error:
        assert "is a standby" in str(error)  # noqa: PT017 — this is a fault of the soak, too
    else:
        raise AssertionError("a standby was taken for a primary")


async def _wait_for_standby(primary: OwnServer) -> None:
    """From now on a COMMIT is answered when the standby has it on disk."""
    connection = await asyncpg.connect(primary.url)
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await connection.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(30):
        while await connection.fetchval("SELECT sync_state FROM pg_stat_replication") != "sync":  # noqa: ASYNC110 — it tells nobody
            await asyncio.sleep(0.05)
    await connection.close()
