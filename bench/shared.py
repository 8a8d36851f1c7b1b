"""Events on their whole way with processes that share one PostgreSQL, beside one process on SQLite.

Server, processes, load and subscriber are all on this machine.
"""

import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench import backlog
from bench.figure import Figure
from bench.flow import Sustained, sustained, watched
from bench.process import OTHER_PORT, PORT, SINK_PORT, on_every_core, target
from bench.requests import TOKEN, endless
from bench.wire import Load, Sink, listening
from tests.postgres import OwnServer

_PORTS = ((PORT,), (PORT, OTHER_PORT))


async def shared(rounds: int, seconds: float, connections: int) -> list[Figure]:
    """With one process and with two."""
    figures = [_figure(len(ports), seconds) for ports in _PORTS]
    for _ in range(rounds):
        alone = await _on_sqlite(seconds, connections)
        for figure, ports in zip(figures, _PORTS, strict=True):
            found = await _on_postgres(ports, seconds, connections)
            figure.measured.append(found.rate)
            figure.see(most_behind=found.most_behind, seconds_of_tail=found.tail)
            figure.reference.append(alone.rate)
    return figures


def _figure(processes: int, seconds: float) -> Figure:
    many = "1 process" if processes == 1 else f"{processes} processes"
    return Figure(name=f"PostgreSQL, {many}, {seconds:g} s", unit="/s", against="1 process on SQLite", aim=None)


async def _on_sqlite(seconds: float, connections: int) -> Sustained:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        await backlog.prepare(folder, concurrency=connections)
        return await sustained(folder, seconds, connections)


async def _on_postgres(ports: Sequence[int], seconds: float, connections: int) -> Sustained:
    """Connections go to the processes in turn, as a balancer would have it."""
    load = Load(endless(os.urandom(8).hex()), connections, seconds=seconds)
    with _server() as url:
        await _prepare(url, connections)
        async with listening(Sink(), SINK_PORT) as sink:
            async with _receivers(url, ports):
                started = time.perf_counter()
                behind = await watched(load, sink, *ports)
                await sink.reached(len(load.latencies))
            accepted, tail = len(load.latencies), max(0.0, sink.last - started - load.seconds)
        load.sound()
        await _check(url, accepted, len(ports))
    return Sustained(accepted / (sink.last - started), behind, tail)


@contextmanager
def _server() -> Iterator[str]:
    """A fresh one, as its makers set it up, on every core; its URL."""
    with tempfile.TemporaryDirectory(prefix="rcv") as place:
        Path(place).chmod(0o755)  # it may have to be another user
        with on_every_core():
            server = OwnServer(Path(place) / "server")
        try:
            yield server.url
        finally:
            server.close()


@asynccontextmanager
async def _receivers(url: str, ports: Sequence[int]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for port in ports:
            await stack.enter_async_context(target("receiver", Path(), port, RECEIVER_DATABASE_URL=url))
        yield


async def _prepare(url: str, connections: int) -> None:
    """One source of the known token, one subscription."""
    async with _receivers(url, [PORT]):
        await backlog.make_source()
        await backlog.subscribe(backlog.SINK_URL, concurrency=connections)
    await _ask(url, "UPDATE sources SET token = $1", TOKEN)


async def _check(url: str, accepted: int, processes: int) -> None:
    """Everything is there, delivered, and every process had its part in it."""
    ((stored,),) = await _ask(url, "SELECT count(*) FROM events")
    assert stored == accepted, f"{accepted} were accepted, {stored} are stored"
    states = dict(await _ask(url, "SELECT state, count(*) FROM deliveries GROUP BY state"))
    assert states == {"succeeded": accepted}, f"of {accepted} deliveries: {states}"
    ((busy,),) = await _ask(url, "SELECT count(DISTINCT leased_by) FROM deliveries")
    assert busy == processes, f"{busy} of {processes} processes delivered"


async def _ask(url: str, sql: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()
