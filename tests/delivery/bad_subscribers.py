"""Subscribers that misbehave, as real socket servers: `async with subscriber(silent) as it: … it.url …`.

A behaviour is a coroutine that is handed the connection once the request has been read (`at_once` ones before that).
"""

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CERTIFICATES = Path(__file__).parent / "certificates"
TLS_HOST = "subscriber.test"
"""The name that the certificates are for."""

GIGABYTE = 1 << 30


@dataclass
class Subscriber:
    """What a server saw: how often it was connected to and how many of these connections the other side has not ended
    (`held`), the raw `requests` (head and body), the TLS `server_names` asked for, how many body bytes left it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    connects: int = 0
    held: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    bytes_sent: int = 0
    left_alone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/hook"

    @property
    def heads(self) -> list[bytes]:
        return [head for head, _ in self.requests]


@dataclass(frozen=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: Subscriber

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.seen.bytes_sent += len(data)

    def reset(self) -> None:
        """A TCP RST instead of a FIN."""
        its_socket = self.writer.get_extra_info("socket")
        its_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Connection], Awaitable[None]]


class Watched(asyncio.StreamReaderProtocol):
    """Knows when the other side has gone, also while the behaviour is doing something else."""

    def __init__(
        self, seen: Subscriber, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ):
        super().__init__(asyncio.StreamReader(), serve)
        self._seen = seen
        self._there = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._there = True
        self._seen.connects += 1
        self._seen.held += 1
        self._seen.left_alone.clear()
        super().connection_made(transport)

    def eof_received(self) -> bool | None:
        self._left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        super().connection_lost(exc)

    def _left(self) -> None:
        self._seen.held -= self._there
        self._there = False
        if not self._seen.held:
            self._seen.left_alone.set()


@asynccontextmanager
async def subscriber(
    behaviour: Behaviour,
    *,
    certificate: str | None = None,
    at_once: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Subscriber]:
    """A listener that treats every request so. `certificate` names a file of `certificates/`."""
    seen = Subscriber(host=host, scheme="https" if certificate else "http")
    tasks = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _converse(Connection(reader, writer, seen), behaviour, at_once=at_once)
        writer.close()

    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    seen.port = listening.getsockname()[1]
    server = await asyncio.get_running_loop().create_server(
        lambda: Watched(seen, serve), sock=listening, ssl=_server_tls(certificate, seen)
    )
    try:
        yield seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def let_go(seen: Subscriber) -> None:
    """Waits until the other side has ended every connection."""
    async with asyncio.timeout(10):
        await seen.left_alone.wait()


def trusting_tls() -> ssl.SSLContext:
    """A client's context that takes `self_signed.pem` for an authority."""
    return ssl.create_default_context(cafile=str(CERTIFICATES / "self_signed.pem"))


def _server_tls(certificate: str | None, seen: Subscriber) -> ssl.SSLContext | None:
    if certificate is None:
        return None

    def note(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        seen.server_names.append(name)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / certificate)
    context.sni_callback = note
    return context


async def _converse(connection: Connection, behaviour: Behaviour, *, at_once: bool) -> None:
    while not connection.writer.is_closing():
        if not at_once:
            connection.seen.requests.append(await _read_request(connection.reader))
        await behaviour(connection)


async def _read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head, await reader.readexactly(length)


def answer(status: int = 200, body: bytes = b"ok", headers: Sequence[tuple[str, str]] = ()) -> Behaviour:
    """A well-formed answer on a connection that stays open."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *[f"{name}: {value}" for name, value in headers]]
    return sends("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


def sends(data: bytes) -> Behaviour:
    """These bytes as an answer, on a connection that stays open."""

    async def behave(connection: Connection) -> None:
        await connection.send(data)

    return behave


def bytes_then_close(data: bytes) -> Behaviour:
    async def behave(connection: Connection) -> None:
        await connection.send(data)
        connection.writer.close()

    return behave


def drip(data: bytes, every: float) -> Behaviour:
    """One byte at a time."""

    async def behave(connection: Connection) -> None:
        for byte in data:
            await connection.send(bytes([byte]))
            await asyncio.sleep(every)

    return behave


async def no_answer(_connection: Connection) -> None:
    """The connection stays open and nothing is said."""
    await asyncio.sleep(3600)


async def closes_at_once(connection: Connection) -> None:
    connection.writer.close()


async def resets_at_once(connection: Connection) -> None:
    connection.reset()


async def resets_mid_headers(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\ncontent-le")
    await asyncio.sleep(0.01)
    connection.reset()


async def sends_a_gigabyte(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % GIGABYTE)
    connection.seen.bytes_sent = 0
    chunk = b"x" * 65_536
    for _ in range(GIGABYTE // len(chunk)):
        await connection.send(chunk)


def repeats(first: bytes, again: bytes) -> Behaviour:
    """As fast as it is read, for ever."""

    async def behave(connection: Connection) -> None:
        await connection.send(first)
        while True:
            await connection.send(again)

    return behave


async def sends_headers_without_end(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        number += 1
        await connection.send(b"x-%d: %s\r\n" % (number, b"y" * 1000))


async def sends_one_header_without_end(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        await connection.send(b"y" * 65_536)


async def sends_interim_answers_without_end(connection: Connection) -> None:
    while True:
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100)
        await asyncio.sleep(0.001)


def gzip_bomb(inflated: int) -> Behaviour:
    """An answer that says gzip and would grow a thousandfold."""
    return answer(200, gzip.compress(b"\0" * inflated), [("content-encoding", "gzip")])


def headers_by_the_thousand(count: int = 10_000) -> Behaviour:
    return answer(200, b"ok", [(f"x-{number}", "1") for number in range(count)])


def redirect(location: str, status: int = 302) -> Behaviour:
    return answer(status, b"", [("location", location)])
