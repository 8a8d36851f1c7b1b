"""A small HTTP server on loopback, for the fakes of vendors' APIs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson


@dataclass
class Asked:
    """A question as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def form(self) -> Mapping[str, str]:
        return dict(parse_qsl(self.body.decode(), strict_parsing=True))


@dataclass
class Says:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json(document: object, status: int = 200, **headers: str) -> Says:
    return Says(status, orjson.dumps(document), {"content-type": "application/json", **headers})


class Api(Protocol):
    def answer(self, asked: Asked) -> Says: ...


@dataclass
class Fake:
    """A running fake: `asked` is what it heard, `next` what it says instead of its own next answers.

    `answered` is called when an answer has left.
    """

    api: Api
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    next: list[Says] = field(default_factory=list)
    answered: Callable[[Asked], None] = lambda asked: None
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await _read(reader)
                self.asked.append(asked)
                says = self.next.pop(0) if self.next else self.api.answer(asked)
                lines = [f"{name}: {value}\r\n" for name, value in says.headers.items()]
                head = f"HTTP/1.1 {says.status} Said\r\ncontent-length: {len(says.body)}\r\n{''.join(lines)}\r\n"
                writer.write(head.encode() + says.body)
                await writer.drain()
                self.answered(asked)
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    path, _, query = target.partition("?")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, dict(parse_qsl(query, keep_blank_values=True)), headers, body)


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[Fake]:
    fake = Fake(api)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()
        for writer in fake.writers:
            writer.close()
        await asyncio.sleep(0.01)
