"""The whole log as one file through the API: how quickly it comes, and what the receiver needs for it in memory."""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from bench import backlog
from bench.figure import Figure
from bench.grown import copied, grown
from bench.process import API_KEY, PORT, Target, target
from bench.wire import HOST

_FIRST = re.compile(rb'^\{"id":"(evt_\w{26})"', re.MULTILINE)
_HEADINGS = {"ndjson": 0, "csv": 1}
_EVERY = 0.1


class Export:
    """One file, over a connection of its own, counted while it comes.

    `sorted`: every id that stands in it is later than the one before, so none comes twice. A CSV's are not looked at.
    """

    def __init__(self, kind: str = "ndjson") -> None:
        self._kind = kind
        self._rest = b""
        self._last = b""
        self.lines = -_HEADINGS[kind]
        self.size = 0
        self.sorted = True

    async def run(self, port: int = PORT) -> None:
        """To the end. Raises AssertionError when it is refused, IncompleteReadError when it is cut off."""
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(self._request())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head.partition(b"\r\n")[0]
            while size := int(await reader.readuntil(b"\r\n"), 16):
                self._take((await reader.readexactly(size + 2))[:-2])
        finally:
            writer.close()

    def _request(self) -> bytes:
        path = f"/v1/events/export?format={self._kind}"
        return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {API_KEY}\r\n\r\n".encode()

    def _take(self, piece: bytes) -> None:
        whole, found, self._rest = (self._rest + piece).rpartition(b"\n")
        self.lines += whole.count(b"\n") + len(found)
        self.size += len(piece)
        if self._kind == "ndjson":
            ids = [self._last, *_FIRST.findall(whole)]
            self.sorted = self.sorted and ids == sorted(set(ids))
            self._last = ids[-1]


@asynccontextmanager
async def exporting() -> AsyncIterator[Export]:
    """Beside the block, one after the other; the last is left in the middle."""
    export = Export()

    async def again() -> None:
        while True:
            await export.run()

    running = asyncio.create_task(again())
    try:
        yield export
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def exported(events: int, cache: Path) -> list[Figure]:
    """Once, in either format; each beside the memory of a receiver that has just started."""
    kept = await grown(cache, events)
    figures = []
    with tempfile.TemporaryDirectory(dir=cache) as place:
        folder = copied(kept, Path(place))
        backlog.pause(folder, paused=True)
        stored = backlog.events(folder)
        for kind in _HEADINGS:
            figures += await _once(folder, kind, stored)
    return figures


async def _once(folder: Path, kind: str, stored: int) -> list[Figure]:
    name = f"export: {stored:,} events, {kind.upper()}"
    rate = Figure(name=name, unit="/s", against="", aim=None)
    memory = Figure(name=f"{name}, memory", unit="MiB", against="right before", aim=1.1, at_most=True)
    export = Export(kind)
    async with target("receiver", folder) as receiver:
        before = receiver.resident()
        began = time.perf_counter()
        with watched(receiver) as seen:
            await export.run()
        seconds = time.perf_counter() - began
    assert export.lines == stored, f"{export.lines} of {stored} events were exported"
    assert export.sorted, "an event came twice, or not in its place"
    rate.measured.append(stored / seconds)
    rate.see(MB_a_second=export.size / 1e6 / seconds)
    memory.measured.append(max(seen))
    memory.reference.append(before)
    return [rate, memory]


@contextmanager
def watched(receiver: Target) -> Iterator[list[float]]:
    """What all of its processes have in memory, again and again."""
    seen = [receiver.resident()]

    async def look() -> None:
        while True:
            await asyncio.sleep(_EVERY)
            seen.append(receiver.resident())

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
