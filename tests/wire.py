"""A receiver on real sockets, and a client that says exactly the bytes it is told to."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from receiver.app import App, create_app
from receiver.connections import Connections
from receiver.protocol import BoundedProtocol
from receiver.server import listening, tcp, unix
from receiver.settings import Settings
from receiver.storage.database import Transaction
from receiver.world import World
from tests import engines
from tests.delivery.dispatching import Clock, Subscribers

KEY = "an-admin-key-of-the-settings"
MOST = 200_000
"""Bytes of a body that are taken."""
PATIENCE = 20.0
"""Seconds after which a test is told that it hangs."""
BODY = b'{"text": "hello", "from": "+447700900123", "to": "+447700900124"}'


class Impatient(BoundedProtocol):
    head_seconds = 0.25
    linger_seconds = 0.25


@dataclass
class Wire:
    """`path` leads to a source that takes JSON; `connect` opens a connection."""

    app: App
    port: int
    owner: Path
    path: str = ""
    connections: list["Connection"] = field(default_factory=list)

    async def connect(self) -> "Connection":
        made = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        self.connections.append(made)
        return made

    async def say(self, data: bytes) -> "Connection":
        connection = await self.connect()
        await connection.send(data)
        return connection

    def request(self, body: bytes = BODY, *headers: str, target: str | None = None) -> bytes:
        """A vendor's POST as it travels."""
        return raw("POST", target or self.path, f"Content-Length: {len(body)}", *headers) + body

    async def make_source(self, secret: str | None = None, **options: Any) -> str:
        """The path of a new one; with a secret it wants that as a Bearer token."""
        names = {"text": "text", "from": "from", "to": "to"}
        body: dict[str, Any] = {"vendor": "generic", "options": {"fields": names, **options}}
        async with owner_client(self.owner) as client:
            answer = await client.post(
                "/v1/sources", json=body | ({"credentials": {"secret": secret}} if secret else {})
            )
        return "/in/" + str(answer.json()["url"]).partition("/in/")[2]

    async def fetch(self, sql: Any, *values: Any) -> Any:
        async with self.app.database.reading() as reader:
            return await reader.fetch(sql, *values)

    async def bodies(self) -> list[bytes]:
        """What was received and kept."""
        return [row[0] for row in await self.fetch("SELECT body FROM receipts ORDER BY id")]


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, method: str = "POST") -> tuple[int, dict[str, str], bytes]:
        """The next answer, with nothing read of what follows it."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
            return int(head[0].split(" ")[1]), headers, await self.reader.readexactly(length)

    async def status(self) -> int:
        return (await self.answer())[0]

    async def ended(self, seconds: float = PATIENCE) -> bytes:
        """What comes until the other side closes."""
        async with asyncio.timeout(seconds):
            return await self.reader.read()

    @property
    def open(self) -> bool:
        return not self.reader.at_eof()


def raw(method: str, target: str, *headers: str, version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{method} {target} {version}", "Host: receiver.example", *headers, "", ""]).encode("latin-1")


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def owner_client(path: Path) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(uds=str(path)), base_url="http://owner", timeout=PATIENCE
    )


def world_client(port: int) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=PATIENCE)


def settings(folder: Path, **given: Any) -> Settings:
    fixed = {"database_url": f"sqlite:///{folder}/receiver.db", "port": 0, "api_key": KEY, "max_body_bytes": MOST}
    return Settings.model_validate(fixed | given)


@asynccontextmanager
async def wire(
    folder: Path,
    *,
    protocol: type[BoundedProtocol] = BoundedProtocol,
    body_seconds: float = 10.0,
    connections: Connections | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    **given: Any,
) -> AsyncIterator[Wire]:
    url = await engines.database_url(folder)
    app = create_app(
        settings(folder, database_url=url, **given), world=World(monotonic=monotonic), transport=Subscribers(Clock())
    )
    async with app.lifespan():
        app._intake = replace(app._intake, body_seconds=body_seconds, discard_seconds=0.5)
        world, owner = tcp(app.settings.host, 0), folder / "receiver.db.sock"
        port = world.getsockname()[1]
        async with listening(app, world, unix(owner), protocol=protocol, connections=connections):
            made = Wire(app, port, owner)
            made.path = await made.make_source()
            try:
                yield made
            finally:
                for connection in made.connections:
                    connection.writer.close()
                await asyncio.sleep(0.01)


@asynccontextmanager
async def held(app: App) -> AsyncIterator[None]:
    """Until the end nothing is committed: a change of somebody else's takes its time."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def change(_transaction: Transaction) -> None:
        begun.set()
        await over.wait()

    writing = asyncio.create_task(app.batch.write(change))
    await begun.wait()
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(writing, return_exceptions=True)


def send_all_then_read(port: int, data: bytes) -> bytes:
    """A simple blocking client: it does not look at the answer before it has said everything."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(data)
        answer = b""
        while chunk := client.recv(65_536):
            answer += chunk
        return answer
