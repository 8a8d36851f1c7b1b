"""Under attack: what honest clients get while 1,000 others drip heads and 200 drip bodies, against calm.

`python -m bench.attack` prints the figure. Who attacks comes back as soon as it is thrown out. Beside the load's busy
keep-alive connections somebody connects anew for each request, for that is what a full server would hurt first.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import uvloop

from bench import backlog
from bench.figure import Figure, table
from bench.process import PORT, pin_load, target
from bench.requests import TOKEN, endless
from bench.wire import HOST, Load, percentile

SLOW_HEADS, DRIPPING_BODIES = 1000, 200
AIM = 0.8
_HEAD = b"POST /in/twilio/%b HTTP/1.1\r\nHost: hooks.example.com\r\n" % TOKEN.encode()
_BODY = _HEAD + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\nBody="
_BYTE = 1.0
"""Seconds from one byte to the next."""
_RAMP = 5.0
"""Seconds before the load begins, so that the first attackers are thrown out and come back in its middle."""
_FRESH = 0.05
"""Seconds from one new honest connection to the next."""


class Attack:
    """Connections that say a byte a second, as many as there are to be, kept up until the end."""

    def __init__(self) -> None:
        self.thrown_out = 0
        self._over = False
        self._open: set[asyncio.Transport] = set()
        self._coming: set[asyncio.Task[None]] = set()

    async def begin(self, slow: int, dripping: int) -> None:
        await asyncio.gather(*(self._come(begun) for begun in [_HEAD] * slow + [_BODY] * dripping))

    async def end(self) -> None:
        self._over = True
        for transport in list(self._open):
            transport.abort()
        await asyncio.gather(*self._coming, return_exceptions=True)

    def came(self, transport: asyncio.Transport) -> None:
        self._open.add(transport)

    def left(self, transport: asyncio.Transport, begun: bytes) -> None:
        self._open.discard(transport)
        if self._over:
            return
        self.thrown_out += 1
        task = asyncio.get_running_loop().create_task(self._come(begun))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _come(self, begun: bytes) -> None:
        await asyncio.get_running_loop().create_connection(lambda: _Attacker(self, begun), HOST, PORT)


class _Attacker(asyncio.Protocol):
    def __init__(self, attack: Attack, begun: bytes) -> None:
        self._attack = attack
        self._begun = begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._attack.came(self._transport)
        self._transport.write(self._begun)
        self._next = asyncio.get_running_loop().call_later(_BYTE, self._say)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — asyncio's signature
        self._next.cancel()
        self._attack.left(self._transport, self._begun)

    def _say(self) -> None:
        self._transport.write(b"a")
        self._next = asyncio.get_running_loop().call_later(_BYTE, self._say)


@asynccontextmanager
async def attacking(slow: int, dripping: int) -> AsyncIterator[Attack]:
    attack = Attack()
    await attack.begin(slow, dripping)
    await asyncio.sleep(_RAMP)
    try:
        yield attack
    finally:
        await attack.end()


async def attacked(rounds: int, seconds: float, connections: int = 64) -> Figure:
    """Accepts a second under attack, against those of the same process without it, in turn."""
    figure = Figure(
        name=f"under attack, {connections} connections", unit="/s", against="the same without an attack", aim=AIM
    )
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            await backlog.prepare(folder, state="paused")
            async with target("receiver", folder):
                for under_attack in (True, False) if number % 2 else (False, True):
                    await (_stormy if under_attack else _calm)(figure, seconds, connections)
    return figure


async def _calm(figure: Figure, seconds: float, connections: int) -> None:
    load, fresh = await _honest(seconds, connections)
    figure.reference.append(load.rate)
    figure.see(fresh_p99_ms_in_calm=percentile(fresh, 0.99))


async def _stormy(figure: Figure, seconds: float, connections: int) -> None:
    async with attacking(SLOW_HEADS, DRIPPING_BODIES) as attack:
        load, fresh = await _honest(seconds, connections)
        figure.see(fresh_p99_ms=percentile(fresh, 0.99), thrown_out=attack.thrown_out)
    figure.measured.append(load.rate)


async def _honest(seconds: float, connections: int) -> tuple[Load, list[float]]:
    """The load, every request of which must succeed, and how long each request on a connection of its own took."""
    load = Load(endless(os.urandom(8).hex()), connections, seconds=seconds)
    newcomers = asyncio.create_task(_newcomers(endless(os.urandom(8).hex()), seconds))
    await load.run(PORT)
    load.sound()
    return load, await newcomers


async def _newcomers(requests: Iterator[bytes], seconds: float) -> list[float]:
    found: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(HOST, PORT)
        writer.write(next(requests))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        found.append(time.perf_counter() - began)
        writer.close()
        await asyncio.sleep(_FRESH)
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.attack", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    pin_load()
    print(table([await attacked(given.rounds, given.seconds)]))


if __name__ == "__main__":
    uvloop.run(main())
