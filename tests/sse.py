"""A reader of Server-Sent Events that remembers what an EventSource would: the last id, of whole blocks alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.wire import KEY, PATIENCE, Connection, Wire, raw


@dataclass
class Source:
    """`events` are all that came, over every connection; `comments` what else was said."""

    wire: Wire
    query: str = ""
    key: str = KEY
    last_id: str = ""
    events: list[Any] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    status: int = 0
    over: bool = False
    """The answer came to its proper end."""
    connection: Connection | None = None
    _rest: bytes = b""
    _chunks: bytes = b""

    @property
    def texts(self) -> list[str]:
        return [event["data"].get("text") for event in self.events]

    async def connect(self) -> None:
        headers = [f"Authorization: Bearer {self.key}", *([f"Last-Event-ID: {self.last_id}"] if self.last_id else [])]
        if self.connection is not None:
            self.cut()
        self.connection = Connection(*await asyncio.open_connection("127.0.0.1", self.wire.port))
        await self.connection.send(raw("GET", f"/v1/events/stream{self.query}", *headers))
        self._rest = self._chunks = b""
        self.over = False
        self.status = await self.connection.status()

    async def read(self, most: int = 65_536) -> bool:
        """What comes next; False when the connection is at its end."""
        assert self.connection is not None
        async with asyncio.timeout(PATIENCE):
            data = await self.connection.reader.read(most)
        self._chunks += data
        self._unchunk()
        while b"\n\n" in self._rest:
            block, _, self._rest = self._rest.partition(b"\n\n")
            self._dispatch(block.decode())
        return bool(data)

    async def until(self, count: int) -> None:
        while len(self.events) < count:
            assert await self.read(), f"{len(self.events)} events and no more"

    async def to_the_end(self) -> None:
        while not self.over and await self.read():
            pass

    def cut(self) -> None:
        assert self.connection is not None
        self.connection.writer.transport.abort()

    def _unchunk(self) -> None:
        """RFC 9112 section 7.1."""
        while (end := self._chunks.find(b"\r\n")) >= 0:
            size = int(self._chunks[:end], 16)
            if len(self._chunks) < end + 4 + size:
                return
            self._rest += self._chunks[end + 2 : end + 2 + size]
            self._chunks = self._chunks[end + 4 + size :]
            self.over = self.over or size == 0

    def _dispatch(self, block: str) -> None:
        data, name = "", ""
        for line in block.split("\n"):
            field_name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field_name == "id":
                self.last_id = value
            elif field_name == "data":
                data = value
            elif field_name == "event":
                name = value
            elif field_name == "":
                self.comments.append(value)
        if data:
            self.events.append(orjson.loads(data))
            self.names.append(name)
            self.ids.append(self.last_id)


@asynccontextmanager
async def listening_to(wire: Wire, query: str = "", **given: Any) -> AsyncIterator[Source]:
    source = Source(wire, query, **given)
    await source.connect()
    try:
        yield source
    finally:
        source.cut()
