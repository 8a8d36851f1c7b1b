"""Accepts while ten readers page through the log and an export runs, against the same process without them.

A reader asks for a page every 250 ms, as people and scripts do: whatever became of the one before, at a steady pace.
"""

import asyncio
import os
import tempfile
from itertools import islice
from pathlib import Path

from bench import backlog, pages
from bench.export import exporting
from bench.figure import Figure
from bench.grown import copied, grown
from bench.pages import Asked
from bench.process import PORT, target
from bench.requests import endless
from bench.wire import Load, Paced, percentile

READERS = 10
PACE = 4.0
"""Pages a second and reader."""


async def readers(rounds: int, seconds: float, events: int, cache: Path, connections: int) -> Figure:
    figure = Figure(
        name=f"accept beside {READERS} readers and an export, {events:,} events", unit="/s", against="without them",
        aim=0.9,
    )  # fmt: skip
    kept = await grown(cache, events)
    with tempfile.TemporaryDirectory(dir=cache) as place:
        folder = copied(kept, Path(place))
        backlog.pause(folder, paused=True)
        asked = pages.requests(folder)
        for number in range(rounds):
            before = backlog.events(folder)
            async with target("receiver", folder):
                accepted = 0
                for beside in (True, False) if number % 2 else (False, True):
                    accepted += await (_beside(figure, asked, seconds, connections) if beside else
                                       _alone(figure, seconds, connections))  # fmt: skip
            assert backlog.events(folder) == before + accepted, "what was accepted is not what is stored"
    return figure


async def _alone(figure: Figure, seconds: float, connections: int) -> int:
    load = await loaded(seconds, connections)
    figure.reference.append(load.rate)
    return len(load.latencies)


async def _beside(figure: Figure, asked: Asked, seconds: float, connections: int) -> int:
    reading = paging(asked, seconds)
    async with exporting() as export:
        load, _ = await asyncio.gather(loaded(seconds, connections), reading.run(PORT))
        exported = export.lines
    reading.sound()
    figure.measured.append(load.rate)
    figure.see(pages_p99_ms=percentile(reading.latencies, 0.99), pages=len(reading.latencies), exported=exported)
    return len(load.latencies)


def paging(asked: Asked, seconds: float) -> Paced:
    """Ten readers for that long, each by other filters."""
    rate = READERS * PACE
    return Paced(list(islice(pages.mixed(asked), round(rate * seconds))), READERS, rate=rate)


async def loaded(seconds: float, connections: int) -> Load:
    """As many messages as the connections can bring in that time."""
    load = Load(endless(os.urandom(8).hex()), connections, seconds=seconds)
    await load.run(PORT)
    load.sound()
    return load
