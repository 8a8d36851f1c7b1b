"""Host names to addresses: in time, asked once for all who wait, and never at the others' cost.

`egress` asks here before it connects; whether the addresses may be called is the guard's business.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EAGAIN, ECANCELED, EINVAL, ETIMEDOUT

MAX_SLOW = 10_000
"""How many slow names are remembered."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to its addresses as text; raises OSError."""


@dataclass(slots=True, eq=False)
class LookUp:
    """One under way. `waiting` is how many want to know; `started` that it holds a thread by now."""

    task: asyncio.Task[Sequence[str]]
    waiting: int = 0
    started: bool = False


class LookUps:
    """Asks `resolve`, which blocks a thread for as long as the name servers are silent, half a minute and more.

    A look-up has one of `slots` for `patience` seconds at most, then it goes on beside them: whatever hangs, the next
    names get their turn. Up to `stuck` hang like this; one more keeps its slot, so the threads are bounded. A name
    that was slower than `deadline` waits for one of `slow_slots` the next time. All times are seconds.
    """

    def __init__(
        self,
        resolve: Resolve,
        *,
        deadline: float,
        patience: float = 1.0,
        slots: int = 128,
        slow_slots: int = 8,
        stuck: int = 256,
    ) -> None:
        self._resolve = resolve
        self._deadline = deadline
        self._patience = patience
        self._slots = asyncio.Semaphore(slots)
        self._slow_slots = asyncio.Semaphore(slow_slots)
        self._stuck = asyncio.Semaphore(stuck)
        self._running: dict[str, LookUp] = {}
        self._slow: dict[str, None] = {}

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """At least one; raises OSError when there is none, or none within the deadline."""
        look_up = self._running.get(host) or self._begin(host, port)
        look_up.waiting += 1
        try:
            await asyncio.wait({look_up.task}, timeout=self._deadline)
        finally:
            look_up.waiting -= 1
            if not look_up.waiting and not look_up.started:
                self._forget(host, look_up)
                look_up.task.cancel()
        return self._found(look_up.task)

    async def close(self) -> None:
        tasks = [look_up.task for look_up in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _found(self, task: asyncio.Task[Sequence[str]]) -> Sequence[str]:
        if not task.done():
            raise OSError(ETIMEDOUT, f"the name servers did not answer within {self._deadline:g} s")
        if task.cancelled():
            raise OSError(ECANCELED, "no more names are looked up")
        try:
            found = task.result()
        except UnicodeError:
            raise OSError(EINVAL, "not a name that DNS could hold") from None
        if not found:
            raise OSError(EADDRNOTAVAIL, "the name has no addresses")
        return found

    def _begin(self, host: str, port: int) -> LookUp:
        look_up = self._running[host] = LookUp(asyncio.create_task(self._in_turn(host, port)))

        def ended(task: asyncio.Task[Sequence[str]]) -> None:
            self._forget(host, look_up)
            if not task.cancelled():
                task.exception()  # nobody may be waiting any more to hear of it

        look_up.task.add_done_callback(ended)
        return look_up

    def _forget(self, host: str, look_up: LookUp) -> None:
        if self._running.get(host) is look_up:
            del self._running[host]

    async def _in_turn(self, host: str, port: int) -> Sequence[str]:
        if host in self._slow:
            async with self._slow_slots:
                return await self._begun(host, port)
        async with self._slots:
            asking = self._begun(host, port)
            try:
                await asyncio.wait({asking}, timeout=self._patience)
            except asyncio.CancelledError:
                asking.cancel()
                raise
            if asking.done() or self._stuck.locked():
                return await asking
        async with self._stuck:
            return await asking

    def _begun(self, host: str, port: int) -> asyncio.Task[Sequence[str]]:
        self._running[host].started = True
        return asyncio.create_task(self._timed(host, port))

    async def _timed(self, host: str, port: int) -> Sequence[str]:
        now = asyncio.get_running_loop().time
        started = now()
        try:
            return await self._resolve(host, port)
        finally:
            self._slow.pop(host, None)
            if now() - started >= self._deadline:
                self._remember_slow(host)

    def _remember_slow(self, host: str) -> None:
        self._slow[host] = None
        if len(self._slow) > MAX_SLOW:
            del self._slow[next(iter(self._slow))]


async def ask_system(host: str, port: int) -> Sequence[str]:
    """Asks getaddrinfo in a daemon thread of its own: uvloop's pool has four for everybody, and an executor's threads
    would hold up the exit of the process for as long as a name server is silent.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(addresses: Sequence[str], error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(addresses)
        else:
            answer.set_exception(error)

    def ask() -> None:
        addresses, error = _getaddrinfo(host, port)
        with suppress(RuntimeError):  # the loop is closed, nobody waits
            loop.call_soon_threadsafe(settle, addresses, error)

    try:
        threading.Thread(target=ask, name="name look-up", daemon=True).start()
    except RuntimeError:
        raise OSError(EAGAIN, "the system has no thread left for a look-up") from None
    return await answer


def _getaddrinfo(host: str, port: int) -> tuple[Sequence[str], Exception | None]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, UnicodeError) as error:
        return (), error
    return list(dict.fromkeys([address_of(sockaddr) for *_, sockaddr in found])), None


def address_of(sockaddr: tuple[object, ...]) -> str:
    """The address of a socket address, an IPv6 one with its scope."""
    scope = sockaddr[3] if len(sockaddr) > 3 else 0
    return f"{sockaddr[0]}%{scope}" if scope and "%" not in str(sockaddr[0]) else str(sockaddr[0])
