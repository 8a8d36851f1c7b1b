"""The API in this very process as an HTTP client's transport, which takes bodies piece by piece as they are made."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

Message = MutableMapping[str, Any]
App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
               Awaitable[None]]  # fmt: skip


class InProcess(httpx2.AsyncBaseTransport):
    """httpx2's own transport of this kind keeps the whole body before it gives any of it."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = _Exchange(await request.aread())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": ("127.0.0.1", 0),
            "root_path": "",
        }
        running = asyncio.create_task(exchange.run(self._app(scope, exchange.receive, exchange.send)))
        try:
            start = await exchange.started
        except BaseException:
            running.cancel()
            raise
        return httpx2.Response(start["status"], headers=start.get("headers", []), stream=_Body(exchange, running))


@dataclass
class _Exchange:
    """One request and its answer on the way between the two sides."""

    content: bytes
    started: asyncio.Future[Message] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    pieces: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(1))
    whole: bool = False
    _asked: bool = False

    async def run(self, answering: Awaitable[None]) -> None:
        try:
            await answering
        except Exception as error:  # noqa: BLE001 — raised where the answer is awaited
            if not self.started.done():
                self.started.set_exception(error)
        await self.pieces.put(None)

    async def receive(self) -> Message:
        if self._asked:
            await asyncio.Future()  # whoever goes away cancels the whole exchange
        self._asked = True
        return {"type": "http.request", "body": self.content, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started.set_result(message)
            return
        if message.get("body"):
            await self.pieces.put(message["body"])
        self.whole = not message.get("more_body", False)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, exchange: _Exchange, running: "asyncio.Task[None]") -> None:
        self._exchange = exchange
        self._running = running

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._exchange.pieces.get()) is not None:
            yield piece
        if not self._exchange.whole:
            raise httpx2.RemoteProtocolError("the answer was cut off")

    async def aclose(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
