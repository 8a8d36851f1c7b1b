"""A body that is made while it is sent. One that fails half-way is cut off, so that nobody takes it for the whole."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Self

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from receiver.observe import log

PIECE_BYTES = 64 * 1024


class Streamed(StreamingResponse):
    """`begun` makes the first piece before anything is answered: what fails until then is answered as a problem."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes], headers: Mapping[str, str], media_type: str) -> None:
        async def pieces() -> AsyncGenerator[bytes]:
            yield first
            async for piece in rest:
                yield piece

        super().__init__(pieces(), headers=headers, media_type=media_type)
        self._rest = rest

    @classmethod
    async def begun(cls, body: AsyncGenerator[bytes], headers: Mapping[str, str], media_type: str) -> Self:
        return cls(await anext(body, b""), body, headers, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Exception as error:  # noqa: BLE001 — the head is out: all that is left is to say no more
            log("api.cut_off", level="warning", exc=error, path=scope["path"])
        finally:
            await self._rest.aclose()


async def in_pieces(lines: AsyncIterator[Iterable[str]]) -> AsyncGenerator[bytes]:
    """Lines in pieces of bounded size, whatever each holds."""
    async for some in lines:
        for piece in pieces(some):
            yield piece


def pieces(lines: Iterable[str]) -> Iterable[bytes]:
    """The same of lines that are there."""
    waiting: list[str] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= PIECE_BYTES:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting).encode()
