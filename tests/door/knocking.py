"""Attempts through the door, names that resolve as a test wants, and listeners on both of its sides."""

import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from errno import EADDRINUSE
from functools import cache
from ipaddress import ip_network
from typing import Any

import httpx2

from receiver.delivery.outcome import Outcome
from receiver.delivery.post import post
from receiver.egress import Guard, destination
from tests.delivery.bad_subscribers import Behaviour, Subscriber, answer, subscriber

PUBLIC = Guard()
LOOPBACK = Guard([ip_network("127.0.0.0/8")])
ALLOWED_SIDE = "127.0.0.2"
FORBIDDEN_SIDE = "127.0.0.1"
ONE_SIDE = Guard([ip_network(ALLOWED_SIDE)])
"""Lets through to one address of the loopback, which stands for the public internet, and to no other."""

CLOSING = answer(200, b"", [("connection", "close")])
HANG = 20.0
"""Seconds that nothing here should take; a test that meets them has failed."""


async def attempt(transport: httpx2.AsyncBaseTransport, url: str, deadline: float = HANG) -> Outcome:
    headers = [(b"content-type", b"application/json"), (b"webhook-id", b"evt_1")]
    return await post(transport, destination(url), headers, b'{"id":1}', deadline=deadline, clock=time.monotonic)


class Named:
    """A resolver that gives these answers one after the other, the last one for ever, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._left = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


@asynccontextmanager
async def two_sides(
    behaviour: Behaviour, *, certificate: str | None = None
) -> AsyncIterator[tuple[Subscriber, Subscriber]]:
    """The same port on the allowed side, where it behaves so, and on the forbidden one, where it would say 200."""
    while True:
        async with subscriber(behaviour, host=ALLOWED_SIDE, certificate=certificate) as allowed:
            try:
                async with subscriber(answer(), host=FORBIDDEN_SIDE, port=allowed.port) as forbidden:
                    yield allowed, forbidden
                    return
            except OSError as error:
                if error.errno != EADDRINUSE:
                    raise


@contextmanager
def watched_connects() -> Iterator[list[Any]]:
    """The addresses that this process connects a socket to, of whatever loop or library."""
    connects: list[Any] = []
    _watching().append(connects)
    try:
        yield connects
    finally:
        _watching().remove(connects)


@cache
def _watching() -> list[list[Any]]:
    lists: list[list[Any]] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            for connects in lists:
                connects.append(arguments[1])

    sys.addaudithook(hook)
    return lists
