"""Deliveries: a backlog is rendered, signed, posted and its outcomes recorded, against bare posts of the same bytes."""

import tempfile
from pathlib import Path

from bench import backlog, bare
from bench.backlog import SINK_URL
from bench.figure import Figure
from bench.process import SINK_PORT, python, target
from bench.wire import Sink, listening


async def deliver(rounds: int, count: int, connections: int, aim: float) -> Figure:
    figure = Figure(name=f"deliver, {connections} connections", unit="/s", against="bare aiohttp posts", aim=aim)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            await backlog.prepare(folder, concurrency=connections)
            await backlog.fill(folder, count)
            figure.measured.append(await drained(folder, count))
        figure.reference.append(await _bare(count, connections))
    return figure


async def fan_out(rounds: int, count: int, connections: int, aim: float) -> Figure:
    """As many deliveries of ten subscriptions together as of one, with as many connections in all."""
    figure = Figure(name="fan-out to 10 subscriptions", unit="/s", against="to 1 subscription", aim=aim)
    for _ in range(rounds):
        for subscribers, rates in ((10, figure.measured), (1, figure.reference)):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                await backlog.prepare(folder, concurrency=connections, subscribers=subscribers)
                await backlog.fill(folder, count // subscribers)
                rates.append(await drained(folder, count, RECEIVER_DELIVERY_CONCURRENCY=str(connections)))
    return figure


async def drained(folder: Path, count: int, **environ: str) -> float:
    """Deliveries a second, from the first to the last; all are made and recorded in the end."""
    async with listening(Sink(), SINK_PORT) as sink:
        async with target("receiver", folder, **environ):
            await sink.reached(count)
        assert not backlog.unsent(folder), f"{backlog.unsent(folder)} deliveries are left"
        assert sink.count == count, f"{sink.count} deliveries came instead of {count}"
        return sink.rate


async def _bare(count: int, connections: int) -> float:
    async with (
        listening(Sink(), SINK_PORT) as sink,
        python(["-m", bare.__name__, SINK_URL, str(count), str(connections)], {}) as process,
    ):
        assert process.stdout is not None
        assert await process.stdout.readline()
        await sink.reached(count)
        return sink.rate
