"""From the command `serve` on a database of some size to the first 200, with nothing of the file in memory."""

import asyncio
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.figure import Figure
from bench.grown import copied, grown
from bench.process import PORT, python, settings
from bench.wire import HOST

_ASK = b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
_LONGEST = 120.0


async def start(rounds: int, events: int, cache: Path, aim: float) -> Figure:
    figure = Figure(name="start: serve to the first 200", unit="s", against="", aim=aim, at_most=True)
    kept = await grown(cache, events)
    with tempfile.TemporaryDirectory(dir=cache) as place:
        folder = copied(kept, Path(place))
        for _ in range(rounds):
            _forget(folder / "receiver.db")
            began = time.perf_counter()
            async with (
                asyncio.timeout(_LONGEST),
                python(["-m", "receiver", "serve"], settings(folder)),
            ):
                await _ready()
                figure.measured.append(time.perf_counter() - began)
            figure.see(GB=(folder / "receiver.db").stat().st_size / 1e9)
    return figure


def _forget(path: Path) -> None:
    """Drops the file from the system's cache, as after a restart of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


async def _ready() -> None:
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(HOST, PORT)
            writer.write(_ASK)
            answer = await reader.readexactly(12)
            writer.close()
            if answer.endswith(b"200"):
                return
        await asyncio.sleep(0.005)
