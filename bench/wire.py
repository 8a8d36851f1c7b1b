"""The two ends of a measurement: a client that keeps connections busy, and a sink that answers at once."""

import asyncio
import time
from collections.abc import Sequence
from typing import cast


class _Caller(asyncio.Protocol):
    """One keep-alive connection: the next request goes out when the answer to the last is whole."""

    def __init__(self, run: "Load") -> None:
        self._run = run
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, end, body = self._heard.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._heard = b""
        self._run.answered(int(head[9:12]), time.perf_counter() - self._sent)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.closed(exc)

    def _next(self) -> None:
        request = self._run.take()
        if request is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0


class Load:
    """Sends every request once over `connections`; `seconds`, `latencies` and `refused` tell how it went."""

    def __init__(self, requests: Sequence[bytes], connections: int) -> None:
        self._left = iter(requests)
        self._connections = connections
        self._open = 0
        self._over = asyncio.Event()
        self.latencies: list[float] = []
        self.refused = 0
        self.seconds = 0.0

    async def run(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        self._open = self._connections
        await asyncio.gather(
            *(loop.create_connection(lambda: _Caller(self), host, port) for _ in range(self._connections))
        )
        await self._over.wait()
        self.seconds = time.perf_counter() - started

    def take(self) -> bytes | None:
        return next(self._left, None)

    def answered(self, status: int, seconds: float) -> None:
        self.latencies.append(seconds)
        if not 200 <= status < 300:
            self.refused += 1

    def closed(self, exc: Exception | None) -> None:
        self._open -= 1
        if self._open == 0 or exc is not None:
            self._over.set()

    @property
    def rate(self) -> float:
        return (len(self.latencies) - self.refused) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return sorted(self.latencies)[int(len(self.latencies) * share)] * 1000


class Sink(asyncio.Protocol):
    """A subscriber that says 200 to everything and counts."""

    count = 0
    enough = 0
    reached: asyncio.Event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._heard = b""

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while True:
            head, end, body = self._heard.partition(b"\r\n\r\n")
            length = _length(head) if end else 0
            if not end or len(body) < length:
                return
            self._heard = body[length:]
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            Sink.count += 1
            if Sink.count == Sink.enough:
                Sink.reached.set()

    @classmethod
    def expect(cls, enough: int) -> asyncio.Event:
        cls.count, cls.enough, cls.reached = 0, enough, asyncio.Event()
        return cls.reached
