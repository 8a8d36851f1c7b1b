"""How many connections are open at once, and which of them go when there is no room for one more.

Descriptors are what runs out first. So their number is bounded below the limit of the process, and what gives way is
whoever waits, never a request that is being answered.
"""

import resource
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Protocol

from receiver.observe import log
from receiver.throttle import network_of

MOST = 4096
"""Connections at once where descriptors allow it: about 40 MB when all of them are idle."""
SPARE = 128
"""Descriptors for all but connections: the database and its readers, logs, name look-ups, the owner's socket, vendors
that are asked."""
_LEAST = 16
_SHARE = 16
"""What is let go at once, as a fraction of the bound: finding out whom costs a look at all."""


class Caller(Hashable, Protocol):
    """An open connection."""

    client: tuple[str, int] | None

    def let_go(self) -> None:
        """Closes it at once; nobody is answered there."""


class Connections:
    """The connections of one listener. They wait, for a request or its head, unless they are busy with one.

    When `most` are open, those that wait give way: first of the peer that holds the most, and there the one that has
    waited longest. There is no fixed share of a peer, for behind one reverse proxy all vendors are one peer; alone, it
    may have every place. Yet a flood from one address takes no place from another that holds few.
    """

    def __init__(self, most: int = MOST, count: Callable[[str], None] = lambda _name: None) -> None:
        self._most = most
        self._count = count
        self._open: dict[Caller, str] = {}
        self._waiting: dict[Caller, None] = {}
        self._told = False

    @property
    def open(self) -> int:
        return len(self._open)

    def opened(self, caller: Caller) -> bool:
        """False when there is no place left and all are busy."""
        if len(self._open) >= self._most and not self._make_room():
            self._count("connections_refused")
            return False
        self._open[caller] = network_of(caller.client[0]) if caller.client else ""
        self._waiting[caller] = None
        return True

    def busy(self, caller: Caller) -> None:
        self._waiting.pop(caller, None)

    def waits(self, caller: Caller) -> None:
        """From now on; one that waited already has waited longer."""
        if caller in self._open:
            self._waiting.setdefault(caller)

    def closed(self, caller: Caller) -> None:
        self._open.pop(caller, None)
        self._waiting.pop(caller, None)
        if self._told and len(self._open) < self._most // 2:
            self._told = False

    def _make_room(self) -> bool:
        if not self._told:
            self._told = True
            log("connections.full", level="warning", open=len(self._open), waiting=len(self._waiting))
        crowd = self._crowd(max(self._most // _SHARE, 1))
        for caller in crowd:
            self.closed(caller)
            self._count("connections_let_go")
            caller.let_go()
        return bool(crowd)

    def _crowd(self, size: int) -> list[Caller]:
        """Those who wait, from the peer that holds the most downwards, each peer's longest waiting first."""
        held = Counter(network for caller, network in self._open.items() if caller not in self._waiting)
        ranked: list[tuple[int, Caller]] = []
        for caller in reversed(self._waiting):
            held[self._open[caller]] += 1
            ranked.append((held[self._open[caller]], caller))
        ranked.reverse()
        ranked.sort(key=lambda it: it[0], reverse=True)
        return [caller for _, caller in ranked[:size]]


def places(outbound: int) -> int:
    """How many connections this process can take beside `outbound` ones; first the limit is raised as far as it may be.

    A shell's own limit is often 1,024, which is meant for programs that use select(), while it may have far more.
    """
    wanted = MOST + SPARE + outbound
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a system may have an opinion of its own
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
            )
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = MOST if soft == resource.RLIM_INFINITY else min(MOST, soft - SPARE - outbound)
    if found < MOST:
        log("descriptors.few", level="warning", limit=soft, connections=max(found, _LEAST))
    return max(found, _LEAST)
