"""Work in slices: many requests that arrive at once keep nobody waiting who needs the loop for a moment.

What needs it most is the commit that is under way. Its process waits for the loop between one step and the next, and
while it waits, one of two cores does nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable

SLICE = 2
"""Requests between two looks at what else there is: with 8 the receiver takes a fifth less."""


class Slices:
    """Calls each piece of `work` in its turn, soon."""

    def __init__(self, size: int = SLICE) -> None:
        self._size = size
        self._waiting: deque[Callable[[], None]] = deque()
        self._due = False

    def put(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)
        self._come_back()

    def _come_back(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        size, self._due = min(self._size, len(self._waiting)), False
        try:
            for _ in range(size):
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._come_back()
