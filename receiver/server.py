"""uvicorn in process: two listeners, our own signals, and a protocol that bounds request heads.

The world comes over TCP; the owner of the database over `<database>.sock`, mode 0600, where no key is needed.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from asyncio import Transport
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httptools
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from receiver.app import App
from receiver.intake.http import DISCARD_BYTES, DISCARD_SECONDS, WHOLE
from receiver.intake.proxies import TrustedProxies
from receiver.observe import log
from receiver.storage.database import CannotStart

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
DRAIN_SECONDS = 5
_BACKLOG = 2048
_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""What fits into `sun_path` before its closing NUL (unix(7))."""

Asgi = Callable[[Any, Any, Any], Any]


class BoundedProtocol(HttpToolsProtocol):
    """What httptools and uvicorn leave open: limits on heads, upgrades that carry a body, and surplus bytes.

    A head or trailer of more than `head_bytes`, or a head that is not whole in `head_seconds`, ends the connection.
    Bytes that are not HTTP get 400, behind the answers to the requests before them.
    """

    head_bytes = HEAD_BYTES
    head_seconds = HEAD_SECONDS
    linger_seconds = DISCARD_SECONDS

    _loose = 0
    """Bytes since a request began or ended, or since its last piece of body: those of a head, or of trailers."""
    _in_head = True
    _upgrading = False
    _refused = False
    _unwanted: int | None = None
    """How much more of a body is read although its answer, the last of this connection, is out."""
    _deadline: asyncio.TimerHandle | None = None
    _active: RequestResponseCycle | None = None
    """The request that is being answered; `cycle` is the one that was read last."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._refused:
            return
        self._loose += len(data)
        self._feed(data)
        if self._loose > self.head_bytes and not self.transport.is_closing():
            self.transport.close()
        elif self._in_head and self._loose and self._deadline is None:
            self._await_head()

    def on_message_begin(self) -> None:
        self._loose = self._loose or 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._loose > self.head_bytes and self._head_size() > self.head_bytes:
            raise ValueError("head too large")
        self._in_head = False
        self._upgrading = self.parser.should_upgrade()
        if self._deadline is not None:
            self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose = 0
        if self._unwanted is not None:
            self._unwanted -= len(body)
            if self._unwanted < 0:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        if self._deadline is not None:
            self._stop_waiting()
        self._in_head = True
        self._loose = 0
        self.scope[WHOLE] = True  # type: ignore[literal-required]  # a key of our own
        super().on_message_complete()
        if self._unwanted is not None:
            self.transport.close()

    def on_response_complete(self) -> None:
        if self._active is not None:
            cast("_Way", self._active.transport).flush()
        super().on_response_complete()
        if self._active is None or not self._active.response_complete:
            return
        if self._refused:
            self._say_400()
        elif not self._in_head and self._deadline is None:  # the rest of a body that nobody reads must end some time
            self._await_head()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Asgi) -> None:
        self._active = cycle
        cycle.transport = _Way(self, cycle)  # type: ignore[assignment]  # all that a cycle asks of a transport
        super()._start_asgi_task(cycle, app)

    def linger(self) -> None:
        """Ends the connection when the client has said what it has to say of this request, within limits."""
        if not self.transport.is_closing():
            self._unwanted = DISCARD_BYTES
            self._deadline = self.loop.call_later(self.linger_seconds, self._too_slow)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse()

    def _without_upgrade(self, rest: bytes) -> None:
        """No other protocol is spoken here, and a request that offers one is answered like any other.

        httptools takes what follows such a head for the other protocol; a second parser reads it as the body it is.
        """
        self._upgrading = False
        self.cycle.keep_alive = False
        framing = [pair for pair in self.headers if pair[0] in (b"content-length", b"transfer-encoding")]
        name, value = framing[0] if framing else (b"content-length", b"0")
        self.parser = httptools.HttpRequestParser(_Body(self.on_body, self.on_message_complete))
        self._feed(b"POST / HTTP/1.1\r\nconnection: close\r\n%b: %b\r\n\r\n%b" % (name, value, rest))

    def _refuse(self) -> None:
        self._refused = True
        log("request.malformed", level="debug")
        active = self._active
        if active is None or active.response_complete or active.more_body:
            self._say_400()
        elif self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()

    def _say_400(self) -> None:
        if not self.transport.is_closing():
            self.send_400_response("Not a valid HTTP request.")

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()


class _Way:
    """One answer's way out. Its head waits for its body, so that both leave in one segment.

    Closed with bytes unread, a connection is reset, and its client never sees the answer (RFC 9112 section 9.6).
    """

    __slots__ = ("_begun", "_cycle", "_head", "_protocol")

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._begun:
            self._protocol.transport.write(self._head + data)
            self._head = b""
        elif self._cycle.response_started:
            self._begun, self._head = True, data
        else:  # 100 Continue
            self._protocol.transport.write(data)

    def flush(self) -> None:
        """Sends a head without a body."""
        if self._head:
            self.write(b"")

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self.flush()
        if self._cycle.more_body:
            self._protocol.linger()
        else:
            self._protocol.transport.close()


@dataclass(frozen=True, slots=True)
class _Body:
    """All that a parser has to tell of when the head is known."""

    on_body: Callable[[bytes], None]
    on_message_complete: Callable[[], None]


class _Server(uvicorn.Server):
    """uvicorn's own signal handling raises them again, so that the exit code is not 0; ours is in `serve`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Listening:
    """The servers of one app, between the ends of `listening`, and the tasks that run them."""

    servers: Sequence[_Server]
    running: "Sequence[asyncio.Task[None]]"

    def stop(self) -> None:
        for server in self.servers:
            server.should_exit = True


async def serve(app: App, started: Callable[[str, Path], None]) -> int:
    """Runs until a signal or a fatal error; returns the exit code. Raises CannotStart.

    `started` is told the address and the owner's socket, which is not there when its path is too long, once both are
    listened on.
    """
    path = app.settings.database_path.with_name(app.settings.database_path.name + ".sock")
    async with app.lifespan():
        with tcp(app.settings.host, app.settings.port) as world, _owners(path) as owner:
            async with listening(app, world, owner) as listens:
                _on_signals(listens)
                freeze()
                started(address(world), path)
                await _until_over(app, listens)
    return 1 if app.failed.is_set() else 0


@asynccontextmanager
async def listening(
    app: App,
    world: socket.socket,
    owner: socket.socket | None = None,
    *,
    protocol: type[BoundedProtocol] = BoundedProtocol,
) -> AsyncIterator[Listening]:
    """An app that runs is called over its sockets: the world's and, without a key, the owner's."""
    trusting: Asgi = TrustedProxies(app, app.settings.trusted_proxies) if app.settings.trusted_proxies else app
    doors = [(world, trusting)] + ([(owner, app.owner)] if owner else [])
    servers = [_Server(_config(asgi, protocol)) for _, asgi in doors]
    running = [asyncio.create_task(server.serve([sock])) for server, (sock, _) in zip(servers, doors, strict=True)]
    listens = Listening(servers, running)
    try:
        yield listens
    finally:
        listens.stop()
        await asyncio.gather(*running)


def run(app: Callable[[], App], started: Callable[[str, Path], None]) -> int:
    """`serve` on uvloop, from outside of any loop."""

    async def main() -> int:
        return await serve(app(), started)

    return uvloop.run(main())


def freeze() -> None:
    """What is there at the start stays: collecting it again and again would only cost time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def _until_over(app: App, listens: Listening) -> None:
    failed = asyncio.create_task(app.failed.wait())
    await asyncio.wait([failed, *listens.running], return_when=asyncio.FIRST_COMPLETED)
    failed.cancel()


def _on_signals(listens: Listening) -> None:
    """The first signal ends politely, the second at once."""
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if any(server.should_exit for server in listens.servers):
            os._exit(128 + number)
        log("stopping", signal=signal.Signals(number).name)
        listens.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


def _config(app: Asgi, protocol: type[BoundedProtocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",  # it would take a bound method for ASGI 2
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=_BACKLOG,
    )


def tcp(host: str, port: int) -> socket.socket:
    """Listens already, so that whoever is told of it can connect. Raises CannotStart."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(f"{host}:{port}: cannot be listened on ({error.strerror})") from None
    listener.setblocking(False)
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a TCP listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _owners(path: Path) -> Iterator[socket.socket | None]:
    """The owner's socket, gone in the end; None, with a warning, when the path is longer than a socket's can be."""
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        log("owner_socket.path_too_long", level="warning", path=str(path), most_bytes=_SOCKET_PATH_BYTES)
        yield None
        return
    with unix(path) as listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def unix(path: Path) -> socket.socket:
    """The owner's socket, private from its first moment; one left by an earlier owner is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(f"{path}: cannot be listened on ({error.strerror or error})") from None
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener
