"""The short way of a vendor's request that is all there when its head is read: from the parser to the intake and back.

Between them are no task, no scope and no messages, which cost as much as all that the intake does. Whatever is not
plain goes the long way, as ASGI.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from receiver.intake.http import RawHeaders, Whole
from receiver.vendors.contract import Answer

Straight = Callable[[Whole, Callable[[Answer, RawHeaders], None]], bool]
"""Takes a request, to answer it in a while; False when it must go the long way."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class Line(Protocol):
    """The connection, as far as an answer needs it."""

    def say(self, data: bytes, *, last: bool) -> None:
        """Sends the whole answer to the present request; after the last one the connection ends."""
        ...


class Turn:
    """A request on its short way. It stands where the server keeps the cycle of request and response."""

    __slots__ = ("_default_headers", "_line", "disconnected", "keep_alive", "response_complete")

    more_body = False
    body = b""

    def __init__(self, line: Line, default_headers: list[tuple[bytes, bytes]], *, keep_alive: bool) -> None:
        self._line = line
        self._default_headers = default_headers
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> "Turn":
        return self

    @property
    def transport(self) -> "Turn":
        return self

    def set(self) -> None:
        """Nobody waits for more of the request."""

    def flush(self) -> None:
        """Nothing is kept back."""

    def answered(self, answer: Answer, headers: RawHeaders) -> None:
        self.response_complete = True
        if not self.disconnected:
            self._line.say(self._bytes(answer, headers), last=not self.keep_alive)

    def _bytes(self, answer: Answer, headers: RawHeaders) -> bytes:
        lines = [*self._default_headers, (b"content-length", b"%d" % len(answer.body)), *headers]
        if answer.content_type is not None:
            lines.append((b"content-type", answer.content_type.encode("latin-1")))
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % line for line in lines])
        return b"%b%b\r\n%b" % (_STATUS_LINES[answer.status], head, answer.body)
