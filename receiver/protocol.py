"""HTTP/1.1 on one connection: uvicorn's httptools protocol with limits on everything that a client decides.

Heads, trailers, bodies that nobody wants, requests sent ahead, answers that nobody reads: each has an end.
"""

import asyncio
from asyncio import Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from receiver.connections import Connections
from receiver.intake.http import DISCARD_BYTES, DISCARD_SECONDS, WHOLE, Whole
from receiver.observe import log
from receiver.straight import Straight, Turn

HEAD_BYTES = 64 * 1024
HEAD_FIELDS = 256
HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
"""The last word on any body; what vendors send must come sooner, and is answered when it does not."""
WRITE_SECONDS = 30.0
WRITE_BYTES = 16 * 1024
AHEAD = 64
"""Requests that a client may send before it has the answers to those before them."""

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

Asgi = Callable[[Any, Any, Any], Any]


class BoundedProtocol(HttpToolsProtocol):
    """What httptools and uvicorn leave open: limits of bytes and seconds, upgrades that carry a body, surplus bytes.

    A head or trailer of more than `head_bytes`, or a head that is not whole in `head_seconds`, ends the connection; so
    does an answer of which less than WRITE_BYTES are taken in `write_seconds`. Bytes that are not HTTP get 400, behind
    the answers to the requests before them.
    """

    head_bytes = HEAD_BYTES
    head_seconds = HEAD_SECONDS
    body_seconds = BODY_SECONDS
    linger_seconds = DISCARD_SECONDS
    write_seconds = WRITE_SECONDS

    _loose = 0
    """Bytes since a request began or ended, or since its last piece of body: those of a head, or of trailers."""
    _in_head = True
    _upgrading = False
    _refused = False
    _unwanted: int | None = None
    """How much more of a body is read although its answer, the last of this connection, is out."""
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    """Looks whether the client takes what it is sent."""
    _pieces: list[bytes] | None = None
    """The body, as far as it came, of a request that may go straight to the intake."""
    _active: RequestResponseCycle | None = None
    """The request that is being answered; `cycle` is the one that was read last."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        connections: Connections | None = None,
        straight: Straight | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections = connections or Connections()
        self._straight = straight

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        if self._connections.opened(self):
            self._expect_in(self.head_seconds)
        else:
            transport.write(_FULL)
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._stop_waiting()
        self._stop_watching()
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._refused:
            return
        self._loose += len(data)
        self._feed(data)
        if self._pieces is not None and not self._refused:
            self._go_the_long_way()
        if self._loose > self.head_bytes and not self.transport.is_closing():
            self.hang_up()
        elif self._deadline is None and not self._in_head:
            self._expect_in(self.body_seconds)
        elif self._in_head and self._loose:
            self._await_head()

    def on_message_begin(self) -> None:
        self._loose = self._loose or 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._loose > self.head_bytes and self._head_size() > self.head_bytes:
            raise ValueError("head too large")
        if len(self.headers) > HEAD_FIELDS or len(self.pipeline) >= AHEAD:
            raise ValueError("too many")
        self._in_head = False
        self._upgrading = self.parser.should_upgrade()
        if self._deadline is not None:
            self._stop_waiting()
        if self._may_go_straight():
            self._pieces = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose = 0
        if self._pieces is not None:
            self._pieces.append(body)
            return
        if self._unwanted is not None:
            self._unwanted -= len(body)
            if self._unwanted < 0:
                self.hang_up()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        if self._deadline is not None:
            self._stop_waiting()
        self._in_head = True
        self._loose = 0
        if self._pieces is not None and self._goes_straight(self._pieces):
            return
        self.scope[WHOLE] = True  # type: ignore[literal-required]  # a key of our own
        super().on_message_complete()
        if self._unwanted is not None:
            self.hang_up()

    def on_response_complete(self) -> None:
        if self._active is not None:
            cast("_Way", self._active.transport).flush()
        super().on_response_complete()
        if self._active is None or not self._active.response_complete:
            return
        self._connections.waits(self)
        if self._refused:
            self._say_400()
        elif not self._in_head and self._unwanted is None:  # the rest of a body that nobody reads must end some time
            self._expect_in(self.head_seconds)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Asgi) -> None:
        self._active = cycle
        self._connections.busy(self)
        cycle.transport = _Way(self, cycle)  # type: ignore[assignment]  # all that a cycle asks of a transport
        super()._start_asgi_task(cycle, app)

    def _may_go_straight(self) -> bool:
        return (
            self._straight is not None
            and b"/in/" in self.url
            and self.url[:1] == b"/"
            and b"#" not in self.url
            and not (self._upgrading or self.expect_100_continue or self.flow.write_paused or self.pipeline)
            and (self._active is None or self._active.response_complete)
            and self._unwanted is None
        )

    def _goes_straight(self, pieces: list[bytes]) -> bool:
        """Whether the intake took it. Else it goes the long way from here on."""
        path, _, query = self.url.partition(b"?")
        turn = Turn(self, self.server_state.default_headers, keep_alive=self._keeps_alive())
        whole = Whole(
            method=self.parser.get_method().decode("ascii"),
            path=path,
            query=query,
            headers=self.headers,
            body=pieces[0] if len(pieces) == 1 else b"".join(pieces),
            peer=self.client[0] if self.client else "",
        )
        assert self._straight is not None
        if self._straight(whole, turn.answered):
            self._pieces = None
            self._active = self.cycle = cast("RequestResponseCycle", turn)  # all that is asked of one meanwhile
            self._connections.busy(self)
            return True
        self._go_the_long_way()
        return False

    def _go_the_long_way(self) -> None:
        pieces, self._pieces = self._pieces or [], None
        super().on_headers_complete()
        for piece in pieces:
            super().on_body(piece)

    def _keeps_alive(self) -> bool:
        return self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()

    def say(self, data: bytes, *, last: bool) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(data)
        if last:
            self.hang_up()
        self.on_response_complete()

    def linger(self) -> None:
        """Ends the connection when the client has said what it has to say of this request, within limits."""
        if not self.transport.is_closing():
            self._unwanted = DISCARD_BYTES
            self._expect_in(self.linger_seconds)

    def let_go(self) -> None:
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()
        if self.transport.is_closing():
            self._watch()

    def timeout_keep_alive_handler(self) -> None:
        self.hang_up()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse()

    def _without_upgrade(self, rest: bytes) -> None:
        """No other protocol is spoken here, and a request that offers one is answered like any other.

        httptools takes what follows such a head for the other protocol; a second parser reads it as the body it is.
        """
        self._upgrading = False
        self.cycle.keep_alive = False
        framing = [pair for pair in self.headers if pair[0] in (b"content-length", b"transfer-encoding")]
        name, value = framing[0] if framing else (b"content-length", b"0")
        self.parser = httptools.HttpRequestParser(_Body(self.on_body, self.on_message_complete))
        self._feed(b"POST / HTTP/1.1\r\nconnection: close\r\n%b: %b\r\n\r\n%b" % (name, value, rest))

    def _refuse(self) -> None:
        self._refused = True
        log("request.malformed", level="debug")
        active = self._active
        if active is None or active.response_complete or active.more_body:
            self._say_400()
        elif self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()

    def _say_400(self) -> None:
        if not self.transport.is_closing():
            self.send_400_response("Not a valid HTTP request.")

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _await_head(self) -> None:
        if self.headers and len(self.headers) > HEAD_FIELDS:
            self.hang_up()
        elif self._deadline is None:
            self._expect_in(self.head_seconds)

    def _expect_in(self, seconds: float) -> None:
        """What is awaited of the client must be whole by then."""
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self.hang_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def hang_up(self) -> None:
        """Closes the connection once the client has taken what it was sent, which it may never do."""
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
        if self._unread is None and self.transport.get_write_buffer_size():
            self._watch()

    def _watch(self) -> None:
        self._stop_watching()
        before = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self.write_seconds, self._look, before)

    def _look(self, before: int) -> None:
        """A client that takes nothing holds a place for ever; one that is slow may be on a bad line."""
        if self.transport.get_write_buffer_size() > before - WRITE_BYTES:
            self.transport.abort()
        else:
            self._watch()

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class _Way:
    """One answer's way out. Its head waits for its body, so that both leave in one segment.

    Closed with bytes unread, a connection is reset, and its client never sees the answer (RFC 9112 section 9.6).
    """

    __slots__ = ("_begun", "_cycle", "_head", "_protocol")

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._begun:
            self._protocol.transport.write(self._head + data)
            self._head = b""
        elif self._cycle.response_started:
            self._begun, self._head = True, data
        else:  # 100 Continue
            self._protocol.transport.write(data)

    def flush(self) -> None:
        """Sends a head without a body."""
        if self._head:
            self.write(b"")

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self.flush()
        if self._cycle.more_body:
            self._protocol.linger()
        else:
            self._protocol.hang_up()


@dataclass(frozen=True, slots=True)
class _Body:
    """All that a parser has to tell of when the head is known."""

    on_body: Callable[[bytes], None]
    on_message_complete: Callable[[], None]
