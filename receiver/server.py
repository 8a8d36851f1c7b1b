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
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.app import App
from receiver.intake.http import WHOLE, Receive, Scope, Send
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
    """httptools has no limits of its own: a head of more than 64 KiB, or one not whole in ten seconds, is cut off."""

    _head = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head:
            if self._head > HEAD_BYTES and not self.transport.is_closing():
                self.transport.close()
            elif self._deadline is None:
                self._await_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head = 0
        self.scope[WHOLE] = True  # type: ignore[literal-required]  # a key of our own
        super().on_message_complete()

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._in_head and not self.transport.is_closing():
            self.transport.close()


class TrustedProxies:
    """Believes X-Forwarded-For only from the networks given, and of it only the nearest hop that is not one of them."""

    def __init__(self, app: Asgi, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._app = app
        self._networks = networks

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client is not None and self._trusts(client[0]):
            scope["client"] = (self._caller(scope, client[0]), 0)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope, peer: str) -> str:
        hops = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        for hop in reversed(hops.decode("latin-1").split(",")):
            address = _bare(hop.strip())
            if address is None:
                return peer
            peer = address
            if not self._trusts(address):
                return address
        return peer

    def _trusts(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


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
    async with app.lifespan():
        world = tcp(app.settings.host, app.settings.port)
        path = app.settings.database_path.with_name(app.settings.database_path.name + ".sock")
        with _owners(path) as owner:
            async with listening(app, world, owner) as listens:
                _on_signals(listens)
                freeze()
                started(address(world), path)
                await _until_over(app, listens)
    return 1 if app.failed.is_set() else 0


@asynccontextmanager
async def listening(app: App, world: socket.socket, owner: socket.socket | None = None) -> AsyncIterator[Listening]:
    """An app that runs is called over its sockets: the world's and, without a key, the owner's."""
    trusting: Asgi = TrustedProxies(app, app.settings.trusted_proxies) if app.settings.trusted_proxies else app
    doors = [(world, trusting)] + ([(owner, app.owner)] if owner else [])
    servers = [_Server(_config(asgi)) for _, asgi in doors]
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


def _config(app: Asgi) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",  # it would take a bound method for ASGI 2
        http=BoundedProtocol,
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
    listener = unix(path)
    try:
        yield listener
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def unix(path: Path) -> socket.socket:
    """The owner's socket, private from its first moment; one left by an earlier owner is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        path.unlink()
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(f"{path}: cannot be listened on ({error.strerror or error})") from None
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _bare(hop: str) -> str | None:
    """The address of a hop, without a port or brackets; None for anything else."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop))
    except ValueError:
        return None
