"""A healthy subscription while another one hangs with a long backlog, against the same without that one."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import backlog
from bench.figure import Figure
from bench.flow import ways
from bench.process import HANGING_PORT, SINK_PORT, target
from bench.wire import HOST, Sink, hanging, listening, percentile

_LONGEST = 60.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What the healthy one gets: `rate` events a second for some `seconds`, brought over `connections`.

    patience   the receiver's, for one attempt: the stream should last longer
    """

    rate: float
    seconds: float
    connections: int
    patience: float


async def neighbours(rounds: int, waiting: int, stream: Stream, aim: float) -> Figure:
    """From accept to the healthy subscriber."""
    figure = Figure(
        name=f"neighbours: p99 beside one that hangs, {waiting:,} waiting", unit="ms", against="without it", aim=aim,
        at_most=True,
    )  # fmt: skip
    for _ in range(rounds):
        for behind, found in ((waiting, figure.measured), (0, figure.reference)):
            with tempfile.TemporaryDirectory() as place:
                taken = await _beside(Path(place), behind, stream)
            found.append(percentile(taken, 0.99))
            figure.see(**{("p50" if behind else "p50_without"): percentile(taken, 0.5)})
    figure.notes.append(f"{stream.rate:,.0f} events/s")
    return figure


async def _beside(folder: Path, waiting: int, stream: Stream) -> Sequence[float]:
    await backlog.prepare(
        folder, url=f"http://{HOST}:{HANGING_PORT}/", concurrency=stream.connections, subscribers=int(waiting > 0)
    )
    if waiting:
        await backlog.fill(folder, waiting)
    async with (
        hanging(HANGING_PORT) as heard,
        listening(Sink(), SINK_PORT) as sink,
        target("receiver", folder, RECEIVER_DELIVERY_TIMEOUT=f"{stream.patience:g}") as receiver,
    ):
        await backlog.subscribe(backlog.SINK_URL, concurrency=stream.connections)
        if waiting:
            async with asyncio.timeout(_LONGEST):
                await heard.wait()
            await backlog.indexed(folder)
        taken = await ways(sink, stream.rate, stream.seconds, stream.connections)
        receiver.kill()
        return taken
