"""Databases for measurements: a source, subscriptions made through the API, deliveries waiting as many as wanted."""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson

from bench.multiply import SHARED, Specimen
from bench.process import API_KEY, PORT, SINK_PORT, target
from bench.requests import AUTH_TOKEN, TOKEN, endless
from bench.wire import HOST, Load

_BULK = 500_000
_LONGEST_INDEXING = 120.0
SINK_URL = f"http://{HOST}:{SINK_PORT}/"


def now() -> int:
    return time.time_ns() // 1000


@contextmanager
def opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of a receiver that does not run."""
    connection = sqlite3.connect(folder / "receiver.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


async def prepare(
    folder: Path, *, url: str = SINK_URL, state: str = "active", concurrency: int = 64, subscribers: int = 1
) -> None:
    """A fresh database with one source of a known token and `subscribers` subscriptions, active or paused."""
    async with target("receiver", folder):
        await make_source()
        for _ in range(subscribers):
            await subscribe(url, paused=state == "paused", concurrency=concurrency)
    with opened(folder) as database:
        database.execute("UPDATE sources SET token = ?", [TOKEN])


async def make_source() -> None:
    """The one that requests come from, at the receiver that runs; its token is not the known one yet."""
    source = {"vendor": "twilio", "name": "bench", "credentials": {"auth_token": AUTH_TOKEN}}
    await asyncio.to_thread(_post, "/v1/sources", source)


async def subscribe(url: str, *, paused: bool = False, concurrency: int = 64) -> None:
    """One more subscription, at the receiver that runs."""
    wanted = {"url": url, "types": ["*"], "max_concurrency": concurrency, "paused": paused}
    await asyncio.to_thread(_post, "/v1/subscriptions", wanted)


def _post(path: str, body: dict[str, Any]) -> None:
    headers = {"authorization": f"Bearer {API_KEY}", "content-type": "application/json"}
    with urlopen(Request(f"http://{HOST}:{PORT}{path}", orjson.dumps(body), headers, method="POST")) as answer:
        assert answer.status == 201


async def fill(folder: Path, count: int) -> None:
    """`count` messages for the subscriptions of a database, none of their deliveries taken yet."""
    specimen = await _waiting(folder)
    with opened(folder) as database:
        specimen.write(database, count, ends=now(), bulk=count >= _BULK)


async def _waiting(folder: Path) -> Specimen:
    """One message that really was taken in, by the same source and for the same subscriptions, as it would wait."""
    with tempfile.TemporaryDirectory() as place:
        other = Path(place)
        _emptied(folder, other)
        pause(other, paused=True)
        async with target("receiver", other):
            load = Load([next(endless(os.urandom(8).hex()))], 1)
            await load.run(PORT)
            load.sound()
        with opened(other) as database:
            database.execute("UPDATE deliveries SET state = 'waiting', next_at = updated_at")
            return Specimen(database)


def _emptied(folder: Path, other: Path) -> None:
    """The same database without what it holds."""
    with opened(other) as database:
        database.execute("ATTACH ? AS full", [str(folder / "receiver.db")])
        ((mark,),) = database.execute("PRAGMA full.application_id")
        database.execute(f"PRAGMA application_id = {mark}")
        shadows = "SELECT name FROM pragma_table_list WHERE schema = 'full' AND type = 'shadow'"
        schema = "SELECT sql FROM full.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        for (statement,) in database.execute(
            f"{schema} AND name NOT IN ({shadows}) ORDER BY type = 'table' DESC"
        ).fetchall():
            database.execute(statement)
        for name in SHARED:
            database.execute(f"INSERT INTO {name} SELECT * FROM full.{name}")
        database.execute("UPDATE followers SET position = 0")


def pause(folder: Path, *, paused: bool) -> None:
    """Every subscription, or none."""
    with opened(folder) as database:
        database.execute("UPDATE subscriptions SET state = ?", ["paused" if paused else "active"])


def events(folder: Path) -> int:
    return _count(folder, "SELECT count(*) FROM events")


async def indexed(folder: Path) -> None:
    """Until the index of texts has caught up with the log, as in a receiver that has been running for a while."""
    behind = "SELECT count(*) FROM events WHERE seq > (SELECT min(position) FROM followers)"
    async with asyncio.timeout(_LONGEST_INDEXING):
        while _count(folder, behind):  # noqa: ASYNC110 — another process, which tells nobody
            await asyncio.sleep(0.2)


def deliveries(folder: Path, state: str = "") -> int:
    """All, or those in one state."""
    return _count(folder, "SELECT count(*) FROM deliveries" + (f" WHERE state = '{state}'" if state else ""))


def unsent(folder: Path) -> int:
    """Deliveries that are neither made nor held."""
    return _count(folder, "SELECT count(*) FROM deliveries WHERE state NOT IN ('succeeded', 'held')")


def _count(folder: Path, sql: str) -> int:
    with opened(folder) as database:
        ((number,),) = database.execute(sql)
        return int(number)
