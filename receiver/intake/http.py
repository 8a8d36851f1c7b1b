"""Bytes of one HTTP request, bounded in size and time, straight from ASGI: no request object on the hot path."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.vendors.contract import Answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = Sequence[tuple[bytes, bytes]]

WHOLE = "receiver.whole"
"""Set in the scope by our server once the whole body has arrived: waiting for it needs no timer then."""
_LENGTH_DIGITS = 18
DISCARD_BYTES = 1024 * 1024
DISCARD_SECONDS = 2.0


class Refusal(Exception):
    """The request is answered with a status of HTTP itself and nothing of it is kept.

    `source_id` is set where the caller found a source's address and then could not prove to be its vendor.
    """

    def __init__(self, status: int, reason: str, headers: RawHeaders = (), *, source_id: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers
        self.source_id = source_id


class ClientGone(Exception):
    """The caller left before its request was whole; nobody is there to answer."""


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """The whole body. Raises Refusal (413, 415, 408), ClientGone.

    A server that has it all already says so by `WHOLE` in the scope; else a timer runs.
    """
    check_headers(scope["headers"], most)
    if WHOLE in scope:
        return await _collected(receive, most)
    try:
        async with asyncio.timeout(seconds):
            return await _collected(receive, most)
    except TimeoutError:
        raise Refusal(408, "body too slow") from None


async def _collected(receive: Receive, most: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise Refusal(413, "body too large")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def discard(receive: Receive, seconds: float = DISCARD_SECONDS) -> None:
    """Reads on a little after a refusal, or the client sees a reset instead of its answer."""
    left = DISCARD_BYTES
    try:
        async with asyncio.timeout(seconds):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def respond(send: Send, answer: Answer, headers: RawHeaders = ()) -> None:
    """Status line, headers and body; a body of nothing still says its length."""
    lines = [(b"content-length", b"%d" % len(answer.body)), *headers]
    if answer.content_type is not None:
        lines.append((b"content-type", answer.content_type.encode("latin-1")))
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": answer.body})


@dataclass(slots=True)
class Whole:
    """A request that came in one piece: `path` and `query` as they came, `peer` the address that it came from."""

    method: str
    path: bytes
    query: bytes
    headers: RawHeaders
    body: bytes
    peer: str


def check_headers(headers: RawHeaders, most: int) -> None:
    """Raises Refusal for a body that is said to be larger than `most`, or encoded."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and (len(value) > _LENGTH_DIGITS or int(value) > most):
            raise Refusal(413, "body too large")
        if name == b"content-encoding" and value.lower() != b"identity":
            raise Refusal(415, "content-encoding")
