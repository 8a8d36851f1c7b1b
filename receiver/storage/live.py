"""Who reads along the log as it grows: woken in memory by each commit, counted, and let go when the process ends.

What they are woken for they read from the log itself, so that nothing is skipped however slow they are.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from receiver.storage.database import Unavailable

MOST = 100
"""Streams at once: each holds a connection and a page of the log."""


class Live:
    """`told` costs next to nothing while nobody waits.

    heartbeat   seconds after which whoever waits gives a sign of life
    pause       seconds between two looks of one reader at the log, where commits come faster
    """

    def __init__(self, *, most: int = MOST, heartbeat: float = 15.0, pause: float = 0.05) -> None:
        self._most = most
        self.heartbeat = heartbeat
        self.pause = pause
        self._open = 0
        self.over = False
        """The process ends."""
        self.still = False
        """Nothing is committed in this process, so that nobody waits for it."""
        self._next: asyncio.Future[None] | None = None
        self.commits = 0
        """How many there were. Whoever saw this number before reading misses nothing by waiting for the next one."""

    @property
    def open(self) -> int:
        """How many streams there are."""
        return self._open

    @property
    def closed(self) -> bool:
        """Nobody is to wait any more."""
        return self.over or self.still

    def told(self) -> None:
        """Something was committed."""
        self.commits += 1
        self._wake()

    def close(self) -> None:
        """Whoever waits is woken, and ends when it has read what there is."""
        self.over = True
        self._wake()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A stream, as long as it lasts. Raises Unavailable when there are too many."""
        if self._open >= self._most:
            raise Unavailable("too many streams are open")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def wait(self, seen: int, seconds: float) -> None:
        """Until there were more commits than `seen`, or until then."""
        if self.closed or self.commits != seen or seconds <= 0:
            return
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._next], timeout=seconds)

    def _wake(self) -> None:
        if self._next is not None:
            self._next.set_result(None)
            self._next = None
