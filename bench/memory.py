"""Memory with a long backlog whose subscriber hangs, against the memory of a receiver that has just started."""

import asyncio
import tempfile
from pathlib import Path

from bench import backlog
from bench.figure import Figure
from bench.process import HANGING_PORT, target
from bench.wire import HOST, hanging

_LONGEST = 60.0


async def memory(rounds: int, waiting: int, seconds: float, aim: float) -> Figure:
    """At most, within some seconds of sending."""
    figure = Figure(
        name=f"backlog: memory with {waiting:,} waiting", unit="MiB", against="at start-up", aim=aim, at_most=True
    )
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as other:
        folder, empty = Path(place), Path(other)
        for subscriber in (folder, empty):
            await backlog.prepare(subscriber, url=f"http://{HOST}:{HANGING_PORT}/")
        await backlog.fill(folder, waiting)
        for _ in range(rounds):
            async with hanging(HANGING_PORT) as heard, target("receiver", folder) as receiver:
                async with asyncio.timeout(_LONGEST):
                    await heard.wait()
                await asyncio.sleep(seconds)
                at_the_end, most = receiver.memory()
                receiver.kill()
            figure.measured.append(most)
            figure.see(at_the_end=at_the_end)
            async with target("receiver", empty) as receiver:
                figure.reference.append(receiver.memory()[0])
        assert backlog.unsent(folder) == waiting
    return figure
