"""The one door out: every request that leaves goes through `Transport`, which calls only where `Guard` lets it.

The guard stands in two places. The resolver refuses a name when any of its addresses is forbidden; the connector's
socket factory has the last word on each connect, which it alone sees for a host that is an address. No redirects, no
proxies of the environment, no cookies, no decompression; a whole attempt has one deadline and 4 KiB of answer.
"""

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass, field
from errno import EACCES
from functools import lru_cache, partial
from typing import Any

import aiohttp
import httpx2
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

from receiver import __version__
from receiver.addresses import BadDestination, Guard, check_host
from receiver.names import LookUps, Resolve, address_of, ask_system

__all__ = [
    "BadDestination",
    "Destination",
    "ForbiddenDestination",
    "Guard",
    "NameNotResolved",
    "TLSFailed",
    "Transport",
    "check_url",
    "destination",
]

ANSWER_BYTES = 4096
MAX_URL_CHARS = 4096
PIECE = 4096
MAX_READ = 256 * 1024
MAX_INTERIM = 16

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<authority>[^/?]*)(?P<target>.*))?.*")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f\\]")


class ForbiddenDestination(httpx2.ConnectError):
    """The guard said no and nothing was sent; the message names the address and what would allow it."""


class NameNotResolved(httpx2.ConnectError):
    """The host's name has no address, or none could be found in time."""


class TLSFailed(httpx2.ConnectError):
    """No TLS connection: a certificate that does not prove the host, or no TLS at all."""


class AddressRefused(OSError):
    """How the guard's word passes through aiohttp."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL parsed once for many requests. `host` is its Host header.

    `extensions` carry the path and query byte for byte as they were given (httpx's `target`): callback URLs with a
    signature inside do not survive any normalisation.
    """

    url: httpx2.URL = field(repr=False)
    host: bytes
    extensions: dict[str, bytes] = field(repr=False)


def destination(url: str) -> Destination:
    """The parts of a URL that can be requested; raises BadDestination. The guard is not asked: see `check_url`."""
    if len(url) > MAX_URL_CHARS:
        raise BadDestination(f"longer than {MAX_URL_CHARS} characters")
    if _UNSENDABLE.search(url):
        raise BadDestination("holds a blank, a control character or a backslash; percent-encode it")
    if "#" in url:
        raise BadDestination("has a fragment, which is never sent")
    match = _URL.fullmatch(url)
    if match is None or match["scheme"].lower() not in ("http", "https"):
        raise BadDestination("must be a whole URL that starts with https:// or http://")
    _check_authority(match["authority"] or "")
    target = match["target"]
    if not target.isascii():
        raise BadDestination("has a path or query that is not ASCII; percent-encode it")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise BadDestination("cannot be read as a URL") from None
    request_target = target if target.startswith("/") else f"/{target}"
    return Destination(parsed, parsed.netloc, {"target": request_target.encode("ascii")})


def _check_authority(authority: str) -> None:
    if "@" in authority:
        raise BadDestination("holds a user name or password; use a header of the subscription")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match["host"]:
        raise BadDestination("has no host, or one that cannot be read")
    if match["port"] and not 1 <= int(match["port"]) <= 65_535:
        raise BadDestination("has a port outside 1 to 65535")


def check_url(url: str, guard: Guard) -> None:
    """Everything that can be said of a subscription's URL without DNS; raises BadDestination."""
    check_host(destination(url).url.raw_host.decode("ascii"), guard)


class Names(AbstractResolver):
    """What aiohttp asks for the addresses of a name. A name with any forbidden address is refused."""

    def __init__(self, guard: Guard, look_ups: LookUps) -> None:
        self._guard = guard
        self._look_ups = look_ups

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises AddressRefused, or another OSError when there is no address."""
        del family
        addresses = await self._look_ups.addresses(host, port)
        for address in addresses:
            if refusal := self._guard.refusal(address):
                raise AddressRefused(EACCES, refusal)
        return [_result(host, port, address) for address in addresses]

    async def close(self) -> None:
        await self._look_ups.close()


def _result(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


@dataclass(slots=True)
class Kept:
    """How many connections are open, and up to how many of them one is kept for the next request when it has served."""

    most: int
    open: int = 0


class Answers(ResponseHandler):
    """A connection that takes in no more than one answer needs, however fast the other side sends.

    aiohttp parses everything that a read brings before anybody looks: a stream of short interim answers would stop
    the event loop for seconds. So a read is parsed in pieces; after MAX_INTERIM answers to one request the connection
    fails, after `max_read` bytes it is read no further and the attempt meets its deadline.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, kept: Kept, max_read: int) -> None:
        super().__init__(loop)
        self._kept = kept
        self._max_read = max_read
        self._answers = 0
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._kept.open += 1
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._kept.open -= 1
        super().connection_lost(exc)

    @property
    def should_close(self) -> bool:
        """Else one stays open for each host, and there may be thousands of them."""
        return super().should_close or self._kept.open > self._kept.most

    def set_response_params(self, **params: Any) -> None:
        """Called for each request."""
        self._answers = self._taken = 0
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        self._answers += 1
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        self._taken += len(data)
        if self._taken <= PIECE:
            super().data_received(data)
        else:
            self._in_pieces(data)

    def _in_pieces(self, data: bytes) -> None:
        if self._taken > self._max_read and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
            self.force_close()  # that is, no other request comes here
        for start in range(0, len(data) or 1, PIECE):
            super().data_received(data[start : start + PIECE])
            if self._answers > MAX_INTERIM and self.transport is not None:
                self.set_exception(HttpProcessingError(message="too many interim answers"))
                self.transport.abort()
            if self.exception() is not None:
                return

    def close(self) -> None:
        """At once: a subscriber that does not read could otherwise hold the socket until what is left is sent."""
        self.abort()


class Connector(aiohttp.TCPConnector):
    """Makes connections that are `Answers`; aiohttp has no public way to say so."""

    def __init__(self, kept: Kept, max_read: int = MAX_READ, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(_answers, asyncio.get_running_loop(), kept, max_read)


def _answers(loop: asyncio.AbstractEventLoop, kept: Kept, max_read: int) -> ResponseHandler:
    return Answers(loop, kept, max_read)


class Transport(httpx2.AsyncBaseTransport):
    """Sends one request over pooled connections and returns the start of its answer, read and closed.

    Raises httpx2's transport errors, or their subclasses above; no message holds the URL. `deadline` spans the whole
    attempt, in seconds like all times here; None where the caller has one, for a second timer is no small part of an
    attempt. Of an answer `answer_bytes` are read. The session is made on first use, inside the running loop.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        deadline: float | None = 20.0,
        connect_timeout: float = 5.0,
        dns_timeout: float = 5.0,
        dns_ttl: int = 10,
        connections: int = 256,
        connections_per_host: int = 64,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        self._guard = guard
        self._resolve = resolve or ask_system
        self._tls = tls
        self._deadline = deadline
        self._connect_timeout = connect_timeout
        self._dns_timeout = dns_timeout
        self._dns_ttl = dns_ttl
        self._connections = connections
        self._connections_per_host = connections_per_host
        self._answer_bytes = answer_bytes
        self._session: aiohttp.ClientSession | None = None
        self._names: Names | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        session = self._session or self._open()
        body = await request.aread()
        try:
            async with asyncio.timeout(self._deadline):
                answer = await session.request(
                    request.method,
                    _yarl(request),
                    data=body or None,
                    headers=[(name.decode("ascii"), value.decode("utf-8")) for name, value in request.headers.raw],
                    allow_redirects=False,
                )
                start = await _read_start(answer, self._answer_bytes)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            raise self._translated(error) from None
        return httpx2.Response(answer.status, headers=answer.raw_headers, stream=httpx2.ByteStream(start))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._names is not None:
            await self._names.close()

    def _open(self) -> aiohttp.ClientSession:
        self._names = Names(self._guard, LookUps(self._resolve, deadline=self._dns_timeout))
        connector = Connector(
            Kept(most=max(1, self._connections // 2)),
            max_read=MAX_READ - ANSWER_BYTES + self._answer_bytes,
            resolver=self._names,
            socket_factory=self._socket,
            ttl_dns_cache=self._dns_ttl,
            ssl=self._tls or True,
            limit=self._connections,
            limit_per_host=self._connections_per_host,
            keepalive_timeout=4.0,  # below the 5 s of common servers, so that they rarely close under a request
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"receiver/{__version__}"},
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=self._dns_timeout + self._connect_timeout,  # aiohttp allows the other one anew for each address
                sock_connect=self._connect_timeout,
            ),
            read_bufsize=ANSWER_BYTES,
        )
        return self._session

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, proto, _, sockaddr = info
        if refusal := self._guard.refusal(address_of(sockaddr)):
            raise AddressRefused(EACCES, refusal)
        return socket.socket(family, kind, proto)

    def _translated(self, error: Exception) -> httpx2.TransportError:
        match error:
            case aiohttp.ConnectionTimeoutError():
                return httpx2.ConnectTimeout(f"no connection within {self._connect_timeout:g} s")
            case TimeoutError():
                said = "in time" if self._deadline is None else f"within {self._deadline:g} s"
                return httpx2.ReadTimeout(f"no whole answer {said}")
            case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
                return _not_connected(error)
            case aiohttp.InvalidURL():
                return ForbiddenDestination("the host is an address in an unusual notation")
            case aiohttp.ServerDisconnectedError():
                return httpx2.RemoteProtocolError("the connection was closed before the answer")
            case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
                return httpx2.RemoteProtocolError(_not_http(error))
            case OSError():
                return httpx2.ReadError(f"the connection broke: {error.strerror or type(error).__name__}")
            case _:
                return httpx2.LocalProtocolError(f"the request could not be sent: {type(error).__name__}")


def _not_connected(error: aiohttp.ClientConnectorError) -> httpx2.TransportError:
    cause = error.os_error
    what = cause.strerror or type(cause).__name__
    if isinstance(cause, AddressRefused):
        return ForbiddenDestination(what)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NameNotResolved(f"no address: {what}")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TLSFailed(f"certificate not accepted: {cause.verify_message}")
    if isinstance(cause, ssl.SSLError):
        return TLSFailed(f"no TLS connection: {cause.reason or what}")
    return httpx2.ConnectError(f"no connection: {what}")


def _not_http(error: aiohttp.ClientResponseError | aiohttp.ClientPayloadError) -> str:
    """The parser's complaint up to its colon: what follows are the subscriber's own bytes."""
    what = error.message if isinstance(error, aiohttp.ClientResponseError) else "the body broke off"
    return f"not valid HTTP: {what.partition(':')[0]}"


async def _read_start(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """At most so many bytes of the body; an answer that is longer takes its connection with it."""
    start = bytearray()
    try:
        while len(start) < most and (chunk := await answer.content.readany()):
            start += chunk
    finally:
        answer.close()
    return bytes(start[:most])


@lru_cache(maxsize=1024)
def _exact(scheme: str, netloc: bytes, target: bytes) -> yarl.URL:
    """A URL that yarl will not touch: all of the target stands as its path."""
    return yarl.URL.build(scheme=scheme, authority=netloc.decode("ascii"), path=target.decode("ascii"), encoded=True)


def _yarl(request: httpx2.Request) -> yarl.URL:
    url = request.url
    return _exact(url.scheme, url.netloc, request.extensions.get("target") or url.raw_path)
