"""Events on their whole way: accepted and delivered by one process, and how long each of them takes.

Load and subscriber are one process, so that a message's way is timed by one clock, from when it was due to be sent.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import backlog
from bench.accept import NOOP, noop
from bench.figure import Figure
from bench.process import PORT, SINK_PORT, target
from bench.requests import MESSAGE, endless, message_id
from bench.wire import Load, Paced, Sink, listening, percentile

_LONGEST = 120.0
_NAME = b'"vendor_message_id":"'
_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Sustained:
    """`rate`: events a second until nothing was left; `most_behind`: accepted, but not delivered yet."""

    rate: float
    most_behind: int
    tail: float


async def end_to_end(rounds: int, seconds: float, count: int, connections: int) -> list[Figure]:
    """The rate that is sustained, and the latency at half of it. `count` is of requests at the no-op endpoint."""
    whole = Figure(name=f"end to end, {seconds:g} s", unit="/s", against=NOOP, aim=0.12)
    latency = Figure(name="accept to subscriber at half of that, p99", unit="ms", against="", aim=100, at_most=True)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            await backlog.prepare(folder, concurrency=connections)
            found = await sustained(folder, seconds, connections)
            whole.measured.append(found.rate)
            whole.see(most_behind=found.most_behind, seconds_of_tail=found.tail)
            ways = await _at_half(folder, found.rate / 2, seconds / 3, connections)
        latency.measured.append(percentile(ways, 0.99))
        latency.see(p50=percentile(ways, 0.5), events_a_second=found.rate / 2)
        whole.reference.append(await noop(count, connections))
    return [whole, latency]


async def sustained(folder: Path, seconds: float, connections: int) -> Sustained:
    """As much as `connections` can bring for some seconds, and then until the last event has reached its subscriber."""
    load = Load(endless(os.urandom(8).hex()), connections, seconds=seconds)
    async with listening(Sink(), SINK_PORT) as sink:
        started = time.perf_counter()
        async with target("receiver", folder):
            started = time.perf_counter()
            behind = await watched(load, sink, PORT)
            await sink.reached(len(load.latencies))
        accepted, tail = len(load.latencies), max(0.0, sink.last - started - load.seconds)
    load.sound()
    assert backlog.events(folder) == accepted, "what was accepted is not what is stored"
    assert backlog.deliveries(folder, "succeeded") == accepted, "an event was left behind"
    return Sustained(accepted / (sink.last - started), behind, tail)


async def watched(load: Load, sink: Sink, *ports: int) -> int:
    """How many were accepted and not yet delivered, at most, while the load ran."""
    running = asyncio.create_task(load.run(*ports))
    most = 0
    while not running.done():
        await asyncio.wait([running], timeout=_EVERY)
        most = max(most, len(load.latencies) - sink.count)
    await running
    return most


async def _at_half(folder: Path, rate: float, seconds: float, connections: int) -> Sequence[float]:
    async with listening(Sink(), SINK_PORT) as sink, target("receiver", folder):
        return await ways(sink, rate, seconds, connections)


async def ways(sink: Sink, rate: float, seconds: float, connections: int) -> Sequence[float]:
    """Seconds from when each message was due to be sent until the subscriber has it."""
    run, count = os.urandom(8).hex(), round(rate * seconds)
    names = [message_id(run, number) for number in range(count)]
    numbers = {name.encode(): number for number, name in enumerate(names)}
    arrived: dict[int, float] = {}
    everything = asyncio.Event()

    def look(body: bytes) -> None:
        at = body.find(_NAME) + len(_NAME)
        number = numbers.get(body[at : body.find(b'"', at)])
        if number is not None and number not in arrived:
            arrived[number] = time.perf_counter()
            if len(arrived) == count:
                everything.set()

    sink.look = look
    load = Paced([MESSAGE.request(name) for name in names], connections, rate=rate)
    await load.run(PORT)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST):
            await everything.wait()
    assert len(arrived) == count, f"{len(arrived)} of {count} events reached the subscriber"
    sink.look = None
    load.sound()
    return [arrived[number] - due for number, due in enumerate(load.intended)]
