"""Subscribers in this process: they check every signature, write down what they heard, and fail as they are told."""

import asyncio
import base64
import hashlib
import hmac
import json
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.faults.history import Heard
from tests.faults.waiting import until

Behaviour = Callable[[str, int], Awaitable[int | None]]
"""What is said to the n-th request (from 1) about an event: a status, or None to hang up."""


@dataclass
class Listener:
    """What `Ear` needs to know of one subscriber: its name is the path of its URL."""

    id: str
    secret: str
    behave: Behaviour


@dataclass
class Ear:
    """`run` is set by whoever starts and ends the receiver; every request is noted with the run it came from."""

    url: str = ""
    run: int = 0
    heard: list[Heard] = field(default_factory=list)
    listeners: dict[str, Listener] = field(default_factory=dict)
    open: int = 0
    _probed: asyncio.Event = field(default_factory=asyncio.Event)
    _times: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def quiet(self) -> None:
        """Until everything that a dead process sent is read. Connections are accepted in their order, so behind one
        of our own there is none of it.
        """
        self._probed.clear()
        host, _, port = self.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"probe\r\n\r\n")
        await until(self._probed.is_set)
        writer.close()
        await until(lambda: self.open == 0)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.open += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """One request and its answer; whether more may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"probe"):
            self._probed.set()
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        status = await self._answer(first.split(" ")[1].strip("/"), headers, body)
        if status is None:
            writer.transport.abort()
            return False
        writer.write(b"HTTP/1.1 %d .\r\ncontent-length: 0\r\n\r\n" % status)
        await writer.drain()
        return True

    async def _answer(self, name: str, headers: dict[str, str], body: bytes) -> int | None:
        listener, run, place = self.listeners[name], self.run, len(self.heard)
        event_id = headers["webhook-id"]
        self._times[name, event_id] += 1
        key = str(json.loads(body)["data"].get("vendor_message_id"))
        genuine = is_genuine(listener.secret, headers, body)
        self.heard.append(Heard(listener.id, event_id, key, run, None, genuine))
        status = await listener.behave(event_id, self._times[name, event_id])
        self.heard[place] = Heard(listener.id, event_id, key, run, status, genuine)
        return status


def is_genuine(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Standard Webhooks 1.0, written down once more here so that it does not check itself."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split(" ")


@asynccontextmanager
async def ear() -> AsyncIterator[Ear]:
    made = Ear()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, backlog=1024)
    made.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield made
    finally:
        server.close()
        await until(lambda: made.open == 0)
        await asyncio.sleep(0)


async def always(_event_id: str, _time: int) -> int | None:
    return 200


async def slow(_event_id: str, _time: int) -> int | None:
    """Slow enough to have something under way at any moment of a load."""
    await asyncio.sleep(0.03)
    return 200


async def at_times(event_id: str, time: int) -> int | None:
    """Of every second event the first attempt fails, each in one of three ways."""
    return await _failing(event_id, time, of=6)


async def seldom(event_id: str, time: int) -> int | None:
    """Of every tenth: what waits behind an event has to wait for it."""
    return await _failing(event_id, time, of=30)


async def _failing(event_id: str, time: int, of: int) -> int | None:
    await asyncio.sleep(0.01)
    number = hashlib.sha256(event_id.encode()).digest()[0] % of
    return (500, 429, None)[number] if time == 1 and number < 3 else 200
