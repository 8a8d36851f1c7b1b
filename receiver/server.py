"""uvicorn in process: two listeners and our own signals.

The world comes over TCP; the owner of the database over `<database>.sock`, mode 0600, where no key is needed.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
import uvloop

from receiver.app import App
from receiver.connections import Connections, places
from receiver.intake.proxies import TrustedProxies
from receiver.observe import log
from receiver.protocol import Asgi, BoundedProtocol
from receiver.storage.database import CannotStart

DRAIN_SECONDS = 5
END_SECONDS = 5.0
"""What a process that has failed may still take to end by itself."""
_BACKLOG = 2048
_OWNERS = 64
"""Connections to the owner's socket; they are no part of the world's."""
_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""What fits into `sun_path` before its closing NUL (unix(7))."""


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
    end_streams: Callable[[], None]

    def stop(self) -> None:
        self.end_streams()
        for server in self.servers:
            server.should_exit = True


async def serve(app: App, started: Callable[[str, Path], None]) -> int:
    """Runs until a signal or a fatal error; returns the exit code. Raises CannotStart.

    `started` is told the address and the owner's socket, which is not there when its path is too long, once both are
    listened on.
    """
    path = app.settings.database_path.with_name(app.settings.database_path.name + ".sock")
    ending = asyncio.create_task(_end_anyway(app))
    try:
        async with app.lifespan(apart=True):
            with tcp(app.settings.host, app.settings.port) as world, owners(path) as owner:
                connections = Connections(places(app.attempts_at_most), app.counters.increment)
                async with listening(app, world, owner, connections=connections) as listens:
                    _on_signals(listens)
                    freeze()
                    started(address(world), path)
                    await _until_over(app, listens)
    finally:
        ending.cancel()
    return 1 if app.failed.is_set() else 0


@asynccontextmanager
async def listening(
    app: App,
    world: socket.socket,
    owner: socket.socket | None = None,
    *,
    protocol: type[BoundedProtocol] = BoundedProtocol,
    connections: Connections | None = None,
) -> AsyncIterator[Listening]:
    """An app that runs is called over its sockets: the world's and, without a key, the owner's."""
    trusting: Asgi = TrustedProxies(app, app.settings.trusted_proxies) if app.settings.trusted_proxies else app
    straight = None if app.settings.trusted_proxies else app.straight  # who calls is for the proxies' word to say
    protocols = [partial(protocol, connections=connections or Connections(), straight=straight)]
    doors = [(world, trusting)]
    if owner is not None:
        protocols.append(partial(protocol, connections=Connections(_OWNERS)))
        doors.append((owner, app.owner))
    servers = [_Server(_config(door[1], made)) for door, made in zip(doors, protocols, strict=True)]
    running = [asyncio.create_task(server.serve([door[0]])) for server, door in zip(servers, doors, strict=True)]
    listens = Listening(servers, running, app.end_streams)
    try:
        yield listens
    finally:
        listens.stop()
        await asyncio.gather(*running)


def run(app: Callable[[], App], started: Callable[[str, Path], None]) -> int:
    """`serve` on uvloop, from outside of any loop."""

    async def main() -> int:
        return await serve(app(), started)

    code = uvloop.run(main())
    if code:  # what is still to be said goes to a pipe that nobody may read
        ending = threading.Timer(END_SECONDS, os._exit, (code,))
        ending.daemon = True
        ending.start()
    return code


def freeze() -> None:
    """What is there at the start stays: collecting it again and again would only cost time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def _end_anyway(app: App) -> None:
    """A thread that waits for a disk keeps the interpreter from ending, so the process is ended some time after it
    has failed, however far it got.
    """
    await app.failed.wait()
    ending = threading.Timer(END_SECONDS, os._exit, (1,))
    ending.daemon = True
    ending.start()
    try:
        await asyncio.Future()
    finally:
        ending.cancel()  # it has ended by itself


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


def _config(app: Asgi, protocol: Callable[..., BoundedProtocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",  # it would take a bound method for ASGI 2
        http=cast("type[BoundedProtocol]", protocol),  # it is called, and nothing else
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
def owners(path: Path) -> Iterator[socket.socket | None]:
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
    """The owner's socket, private from its first moment; one left by an earlier owner is replaced, and nothing else."""
    if path.exists() and not path.is_socket():
        raise CannotStart(f"{path}: is in the way of the owner's socket and is none; move it")
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
