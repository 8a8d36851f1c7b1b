"""The two ends of a measurement on bare protocols: clients that keep connections busy, subscribers that answer or hang.

`Load` is closed-loop: the next request goes out when the last is answered. `Paced` is open-loop: requests go out when
they are due, whatever became of those before, and all times count from when they were due.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle, islice
from typing import Protocol, cast

HOST = "127.0.0.1"
_PATIENCE = 60.0
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class _Run(Protocol):
    def ready(self, caller: "Caller") -> None: ...

    def answered(self, status: int, sent: float) -> None: ...

    def closed(self, *, unanswered: bool) -> None: ...


class Caller(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._heard = b""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._run.ready(self)

    def send(self, request: bytes, due: float | None = None) -> None:
        """Its time counts from when it was due, or from now."""
        self._busy = True
        self._sent = time.perf_counter() if due is None else due
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        heard = self._heard + data if self._heard else data
        if not _size(heard):
            self._heard = heard
            return
        self._heard = b""
        self._busy = False
        self._run.answered(int(heard[9:12]), self._sent)
        self._run.ready(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.closed(unanswered=self._busy or exc is not None)


def _size(heard: bytes) -> int:
    """Of the first whole request or answer in what was heard; 0 while it is not whole."""
    end = heard.find(b"\r\n\r\n") + 4
    if end < 4:
        return 0
    head = heard[:end].lower()
    at = head.find(b"content-length:")
    size = end + (int(head[at + 15 : head.find(b"\r", at)]) if at >= 0 else 0)
    return size if len(heard) >= size else 0


class _Calls:
    """What both kinds of load have in common: their connections, and how the answers were."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._open = 0
        self._over = asyncio.Event()
        self.latencies: list[float] = []
        self.refused = 0
        self.broken = 0

    async def connect(self, run: _Run, ports: Sequence[int]) -> None:
        """To one port after the other, in turn."""
        loop = asyncio.get_running_loop()
        self._open = self._connections
        turn = islice(cycle(ports), self._open)
        await asyncio.gather(*(loop.create_connection(lambda: Caller(run), HOST, port) for port in turn))

    def closed(self, *, unanswered: bool) -> None:
        self._open -= 1
        self.broken += unanswered
        if self._open == 0:
            self._over.set()

    def sound(self) -> None:
        """Raises AssertionError unless every request got its 2xx."""
        assert not self.refused, f"{self.refused} of {len(self.latencies)} were refused"
        assert not self.broken, f"{self.broken} connections broke"


class Load(_Calls):
    """Sends requests over `connections` until there are no more, or for some seconds."""

    def __init__(self, requests: Iterable[bytes], connections: int, *, seconds: float | None = None) -> None:
        super().__init__(connections)
        self._left = iter(requests)
        self._limit = seconds
        self._until = float("inf")
        self.seconds = 0.0

    async def run(self, *ports: int) -> None:
        started = time.perf_counter()
        if self._limit is not None:
            self._until = started + self._limit
        await self.connect(self, ports)
        await self._over.wait()
        self.seconds = time.perf_counter() - started

    def ready(self, caller: Caller) -> None:
        request = next(self._left, None) if time.perf_counter() < self._until else None
        if request is None:
            caller.close()
        else:
            caller.send(request)

    def answered(self, status: int, sent: float) -> None:
        self.latencies.append(time.perf_counter() - sent)
        self.refused += not 200 <= status < 300

    @property
    def rate(self) -> float:
        return (len(self.latencies) - self.refused) / self.seconds


class Paced(_Calls):
    """Sends each request when it is due, at a steady rate. `intended` tells when that was."""

    def __init__(self, requests: Sequence[bytes], connections: int, *, rate: float) -> None:
        super().__init__(connections)
        self._requests = requests
        self._rate = rate
        self._free: deque[Caller] = deque()  # each in its turn: one that never asks for anything is closed
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._ended = False
        self.intended: list[float] = []

    async def run(self, port: int) -> None:
        await self.connect(self, [port])
        started = time.perf_counter() + 0.01
        for number, request in enumerate(self._requests):
            due = started + number / self._rate
            wait = due - time.perf_counter()
            if wait > 0:  # the loop's clock has milliseconds: what is sent a little late counts as late
                await asyncio.sleep(max(wait, 0.001))
            self.intended.append(due)
            if self._free:
                self._free.popleft().send(request, due)
            else:
                self._waiting.append((request, due))
        self._ended = True
        self._close_free()
        await self._over.wait()

    def ready(self, caller: Caller) -> None:
        if self._waiting:
            caller.send(*self._waiting.popleft())
            return
        self._free.append(caller)
        if self._ended:
            self._close_free()

    def answered(self, status: int, sent: float) -> None:
        self.latencies.append(time.perf_counter() - sent)
        self.refused += not 200 <= status < 300

    def _close_free(self) -> None:
        while self._free:
            self._free.pop().close()


class Sink:
    """A subscriber that says 200 to everything, counts, and may look at each body."""

    def __init__(self, look: Callable[[bytes], None] | None = None) -> None:
        self.look = look
        self.count = 0
        self.first = self.last = 0.0
        self._enough = 0
        self._reached = asyncio.Event()

    async def reached(self, count: int) -> None:
        """Until so many deliveries have come in all; raises AssertionError when they cease to come before."""
        self._enough = count
        self._reached.clear()
        before = -1
        while self.count < count:
            assert self.count > before, f"{before} of {count} deliveries came, and no more for {_PATIENCE:g} s"
            before = self.count
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._reached.wait()

    def took(self, body: bytes) -> None:
        self.last = time.perf_counter()
        if not self.count:
            self.first = self.last
        self.count += 1
        if self.look is not None:
            self.look(body)
        if self.count == self._enough:
            self._reached.set()

    @property
    def rate(self) -> float:
        """A second, from the first delivery to the last."""
        return (self.count - 1) / (self.last - self.first)


class _Taker(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        heard = self._heard + data if self._heard else data
        while size := _size(heard):
            self._sink.took(heard[:size])
            self._transport.write(_OK)
            heard = heard[size:]
        self._heard = heard


class _Silent(asyncio.Protocol):
    """Reads and never answers."""

    def __init__(self, heard: asyncio.Event) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 — asyncio's signature
        self._heard.set()


@asynccontextmanager
async def listening(sink: Sink, port: int) -> AsyncIterator[Sink]:
    """The subscriber's end."""
    async with _server(lambda: _Taker(sink), port):
        yield sink


@asynccontextmanager
async def hanging(port: int) -> AsyncIterator[asyncio.Event]:
    """A subscriber that never answers; set when it has heard something."""
    heard = asyncio.Event()
    async with _server(lambda: _Silent(heard), port):
        yield heard


@asynccontextmanager
async def _server(protocol: Callable[[], asyncio.Protocol], port: int) -> AsyncIterator[None]:
    server = await asyncio.get_running_loop().create_server(protocol, HOST, port, backlog=1024)
    try:
        yield
    finally:
        server.close()


def percentile(values: Sequence[float], share: float) -> float:
    """In milliseconds, of seconds."""
    ranked = sorted(values)
    return ranked[min(int(len(ranked) * share), len(ranked) - 1)] * 1000
