"""The writing connection in a process of its own: its end here, and over a socket the one in `writer.py`.

Two threads of one interpreter take turns at its lock, so that SQLite's work and the loop's hardly overlap: on two
cores a process apart commits twice as many requests a second.
"""

import asyncio
import marshal
import socket
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

from receiver.storage import writer
from receiver.storage.database import Broken
from receiver.storage.writer import HEAD, Done, Statement, frame

_END_SECONDS = 30.0


class Apart:
    """A connection that runs statements in its turn. It ends with us: its process ends when the socket does.

    What was asked is answered in order, so whoever no longer waits for an answer disturbs nobody.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.transport: asyncio.Transport
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._heard = bytearray()
        self._gone = asyncio.Event()

    @classmethod
    async def open(cls, path: Path, busy_seconds: float, kept: int, held: int) -> Self:
        """`kept` statements stay prepared; `held` is the lock's descriptor, which is free when both processes ended.

        Raises sqlite3.Error.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            given = (theirs.fileno(), path, busy_seconds, kept)
            process = subprocess.Popen(  # noqa: S603, ASYNC220 — our own program; and nothing is served yet
                [sys.executable, "-P", writer.__file__, *map(str, given)],
                pass_fds=(theirs.fileno(), held),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self = cls(process)
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: _Ear(self), sock=ours)
        try:
            await self.run([], 0)  # whether it could be opened at all
        except BaseException:
            await self.close()
            raise
        return self

    async def run(self, statements: Sequence[Statement], answers: int, asked: Sequence[int] = ()) -> Done:
        """See `writer.run`. Raises sqlite3.Error, and Broken once the process is no more."""
        return Done(*await self._ask(("run", statements, answers, asked)))

    def ahead(self, statements: Sequence[Statement]) -> bool:
        """They are run while the caller goes on; what fails is raised by the next `run`. Raises Broken."""
        if self._gone.is_set():
            raise Broken("the process that writes has ended")
        self.transport.write(frame(("ahead", statements)))
        return True

    async def rollback(self) -> None:
        await self._ask(("rollback",))

    async def close(self) -> None:
        if not self._gone.is_set():
            self.transport.write(frame(("close",)))
            await self._gone.wait()
        self.transport.close()
        await asyncio.get_running_loop().run_in_executor(None, self.process.wait, _END_SECONDS)

    def kill(self) -> None:
        """For an owner that gives up: what is under way is committed or not, as by a kill of the owner itself."""
        self.process.kill()

    def heard(self, data: bytes) -> None:
        self._heard += data
        while len(self._heard) >= HEAD.size:
            (size,) = HEAD.unpack_from(self._heard)
            end = HEAD.size + size
            if len(self._heard) < end:
                return
            said = marshal.loads(memoryview(self._heard)[HEAD.size : end])  # noqa: S302 — from a process of our own
            del self._heard[:end]
            self._settle(self._asked.popleft(), said)

    def gone(self) -> None:
        self._gone.set()
        while self._asked:
            waiting = self._asked.popleft()
            if not waiting.done():
                waiting.set_exception(Broken("the process that writes has ended"))

    def _ask(self, what: tuple[Any, ...]) -> "asyncio.Future[Any]":
        if self._gone.is_set():
            raise Broken("the process that writes has ended")
        data = frame(what)  # before there is anybody to answer: what cannot be said is the caller's mistake
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self.transport.write(data)
        return asked

    def _settle(self, asked: "asyncio.Future[Any]", said: tuple[Any, ...]) -> None:
        if asked.done():
            return
        if said[0] == "done":
            asked.set_result(said[1:])
        else:
            asked.set_exception(_error(*said[1:]))


class _Ear(asyncio.Protocol):
    def __init__(self, line: Apart) -> None:
        self._line = line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line.transport = cast("asyncio.Transport", transport)
        self._line.transport.set_write_buffer_limits(0)  # at once, not when the loop's turn is over

    def data_received(self, data: bytes) -> None:
        self._line.heard(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — asyncio's signature
        self._line.gone()


def _error(name: str, code: int | None, text: str) -> Exception:
    """As it was raised there: one of sqlite3's with its code, or for a value that cannot be bound a ValueError."""
    if name == UnicodeDecodeError.__name__:
        return UnicodeDecodeError("utf-8", b"", 0, 0, "a text of the database")
    kind = getattr(sqlite3, name, None)
    if not (isinstance(kind, type) and issubclass(kind, sqlite3.Error)):
        return ValueError(f"{name}: {text}")
    error = kind(text)
    if code is not None:
        error.sqlite_errorcode = code
    return error
