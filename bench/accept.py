"""Accepts: durable, deduplicated and fanned out, against the same server's endpoint that reads and answers empty."""

import os
import tempfile
from pathlib import Path

from bench import backlog
from bench.figure import Figure
from bench.process import PORT, target
from bench.requests import twilio_requests
from bench.wire import Load, percentile

NOOP = "no-op endpoint"


async def accept(rounds: int, count: int, connections: int, aim: float) -> Figure:
    figure = Figure(name=f"accept, {connections} connections", unit="/s", against=NOOP, aim=aim)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            await backlog.prepare(folder, state="paused")
            load, _ = await accepted(folder, count, connections)
            assert backlog.events(folder) == count, "what was accepted is not what is stored"
        figure.measured.append(load.rate)
        figure.see(p50_ms=percentile(load.latencies, 0.5), p99_ms=percentile(load.latencies, 0.99))
        figure.reference.append(await noop(count, connections))
    return figure


async def accepted(folder: Path, count: int, connections: int) -> tuple[Load, float]:
    """A load of messages that the database does not have, and the most memory of the receiver meanwhile."""
    load = Load(twilio_requests(count, os.urandom(8).hex()), connections)
    async with target("receiver", folder) as receiver:
        await load.run(PORT)
        _, most = receiver.memory()
    load.sound()
    return load, most


async def noop(count: int, connections: int) -> float:
    """Requests a second at the no-op endpoint: as many more as it is quicker."""
    requests = twilio_requests(count, "noop")
    load = Load((request for _ in range(3) for request in requests), connections)
    with tempfile.TemporaryDirectory() as place:
        async with target("noop", Path(place)):
            await load.run(PORT)
    load.sound()
    return load.rate
