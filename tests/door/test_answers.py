"""Answers made to do harm: each is classified, takes little memory, is not read on, and its connection is ended.

How fast a loop still turns is not measured here. What would stop it is: more taken in than one answer needs.
"""

import asyncio
import gzip
import socket
import time
import tracemalloc
import zlib
from contextlib import suppress

import pytest

from receiver.delivery.outcome import Delivered, Outcome, Refused, Unreachable
from receiver.delivery.post import post
from receiver.egress import Transport, destination
from tests.delivery.bad_subscribers import (
    TLS_HOST,
    Behaviour,
    Subscriber,
    answer,
    bytes_then_close,
    drip,
    gzip_bomb,
    headers_by_the_thousand,
    let_go,
    no_answer,
    repeats,
    sends,
    sends_a_gigabyte,
    sends_headers_without_end,
    sends_interim_answers_without_end,
    sends_one_header_without_end,
    subscriber,
    trusting_tls,
)
from tests.delivery.running import Run, on_asyncio, on_both_loops
from tests.door.knocking import HANG, LOOPBACK, Named, attempt

MEBIBYTE = 1 << 20
SOCKET_BUFFERS = 16 * MEBIBYTE
"""More than the kernel holds for one connection of the loopback."""

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

HOSES: dict[str, tuple[Behaviour, str]] = {
    "short interim answers": (repeats(b"", b"HTTP/1.1 100 \r\n\r\n" * 4000), "protocol"),
    "interim answers with headers": (repeats(b"", b"HTTP/1.1 103 X\r\nlink: </x>\r\n\r\n" * 2000), "protocol"),
    "headers": (sends_headers_without_end, "protocol"),
    "empty headers": (repeats(b"HTTP/1.1 200 OK\r\n", b"a:\r\n" * 10_000), "protocol"),
    "one header": (sends_one_header_without_end, "protocol"),
    "the name of a header": (repeats(b"HTTP/1.1 200 OK\r\n", b"x" * 65_536), "protocol"),
    "a folded header": (repeats(b"HTTP/1.1 200 OK\r\nx: y\r\n", b" z\r\n" * 10_000), "protocol"),
    "the reason": (repeats(b"HTTP/1.1 200 ", b"x" * 65_536), "protocol"),
    "the version": (repeats(b"HTTP/1.", b"1" * 65_536), "protocol"),
    "trailers": (repeats(CHUNKED + b"0\r\n", b"x: y\r\n" * 10_000), "protocol"),
    "a size of a chunk": (repeats(CHUNKED, b"1" * 65_536), "protocol"),
    "zeros before the size of a chunk": (repeats(CHUNKED, b"0" * 65_536), "timeout"),
    "an extension of a chunk": (repeats(CHUNKED + b"1;", b"x" * 65_536), "timeout"),
    "blank lines": (repeats(b"", b"\r\n" * 30_000), "timeout"),
    "noise": (repeats(b"", bytes(range(128, 256)) * 500), "protocol"),
}


async def measured(
    behaviour: Behaviour, deadline: float = HANG, *, ended: bool = True
) -> tuple[Outcome, Subscriber, int]:
    """The outcome, what the subscriber saw, and the most memory that both took. Waits until the connection has
    `ended`, unless it may be kept.
    """
    async with subscriber(behaviour) as it, Transport(LOOPBACK) as transport:
        tracemalloc.start()
        try:
            outcome = await attempt(transport, it.url, deadline)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if ended:
            await let_go(it)
    return outcome, it, peak


@on_both_loops
@pytest.mark.parametrize(("behaviour", "word"), HOSES.values(), ids=HOSES.keys())
def test_an_answer_without_end_is_not_read_on(run: Run, behaviour: Behaviour, word: str):
    async def main() -> None:
        outcome, seen, peak = await measured(behaviour, 0.5 if word == "timeout" else HANG)
        assert isinstance(outcome, Unreachable)
        assert outcome.error == word
        assert len(outcome.detail) < 100
        assert seen.bytes_sent < SOCKET_BUFFERS
        assert peak < 1.5 * MEBIBYTE

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (repeats(b"", b"HTTP/1.1 204 X\r\n\r\n" * 4000), 204),
        (repeats(b"", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na" * 2000), 200),
        (repeats(b"", b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n" * 2000), 503),
        (repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536), 200),
        (repeats(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"), 200),
        (sends_a_gigabyte, 200),
    ],
    ids=["204s", "200s", "503s", "a body without a length", "a chunked body", "a gigabyte"],
)
def test_of_many_answers_or_a_long_one_the_start_is_taken(run: Run, behaviour: Behaviour, status: int):
    async def main() -> None:
        outcome, seen, peak = await measured(behaviour)
        assert outcome.status == status
        assert len(outcome.answer) <= 4096
        assert seen.bytes_sent < SOCKET_BUFFERS
        assert peak < 4 * MEBIBYTE

    run(main())


@on_both_loops
def test_a_few_interim_answers_before_the_real_one_are_fine(run: Run):
    async def main() -> None:
        data = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 10 + b"HTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n"
        async with subscriber(sends(data)) as it, Transport(LOOPBACK) as transport:
            for _ in range(5):  # the count begins anew with each request of a connection
                assert (await attempt(transport, it.url)).status == 202
            assert it.connects == 1

    run(main())


@on_both_loops
@pytest.mark.parametrize("size", [0, 1, 4095, 4096])
def test_an_answer_that_comes_in_many_pieces_is_put_together(run: Run, size: int):
    async def main() -> None:
        body = bytes(number % 251 for number in range(size))
        headers = "".join(f"x-{number}: {'y' * 500}\r\n" for number in range(40))
        head = f"HTTP/1.1 200 OK\r\n{headers}content-length: {size}\r\n\r\n"
        async with subscriber(sends(head.encode() + body)) as it, Transport(LOOPBACK) as transport:
            for _ in range(3):
                outcome = await attempt(transport, it.url)
                assert isinstance(outcome, Delivered)
                assert outcome.answer == body

    run(main())


BOMBS = {
    "gzip": answer(200, gzip.compress(bytes(8 * MEBIBYTE)), [("content-encoding", "gzip")]),
    "deflate": answer(200, zlib.compress(bytes(8 * MEBIBYTE)), [("content-encoding", "deflate")]),
    "gzip twice": answer(200, gzip.compress(gzip.compress(bytes(64 * MEBIBYTE))), [("content-encoding", "gzip, gzip")]),
    "gzip as a transfer encoding": bytes_then_close(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n" + gzip.compress(bytes(8 * MEBIBYTE))
    ),
    "an error": gzip_bomb(8 * MEBIBYTE),
}


@on_both_loops
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_what_says_that_it_is_packed_stays_packed(run: Run, bomb: Behaviour):
    async def main() -> None:
        outcome, _, peak = await measured(bomb, ended=False)
        assert isinstance(outcome, Delivered)
        assert 0 < len(outcome.answer) <= 4096
        assert outcome.answer.strip(b"\0") != b""
        assert peak < 4 * MEBIBYTE

    run(main())


ENDED: dict[str, tuple[Behaviour, float]] = {
    "says nothing": (no_answer, 0.2),
    "drips its head": (drip(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0.05), 0.2),
    "drips its body": (drip(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n" + b"x" * 99, 0.01), 0.2),
    "10,000 headers": (headers_by_the_thousand(), HANG),
    "interim answers": (sends_interim_answers_without_end, HANG),
    "not HTTP": (bytes_then_close(b"SSH-2.0-OpenSSH_9.6\r\n"), HANG),
    "a long body": (sends_a_gigabyte, HANG),
    "says that it closes": (answer(200, b"", [("connection", "close")]), HANG),
    "switches protocols": (answer(101, b"", [("upgrade", "websocket"), ("connection", "upgrade")]), HANG),
}


@on_both_loops
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("behaviour", "deadline"), ENDED.values(), ids=ENDED.keys())
def test_its_connection_is_ended_with_the_attempt(run: Run, behaviour: Behaviour, deadline: float, tls: bool):
    """Not when the transport is closed: that happens only after the subscriber saw it gone."""

    async def main() -> None:
        certificate = "self_signed.pem" if tls else None
        transport = Transport(LOOPBACK, resolve=Named(["127.0.0.1"]), tls=trusting_tls())
        async with subscriber(behaviour, certificate=certificate) as it, transport:
            await attempt(transport, f"{it.scheme}://{TLS_HOST}:{it.port}/", deadline)
            assert it.connects == 1
            await let_go(it)

    run(main())


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@on_both_loops
def test_a_subscriber_that_does_not_read_cannot_hold_the_connection_after_the_attempt(run: Run):
    """What could not be sent is thrown away. It would otherwise keep a socket for as long as the other side likes."""
    body = bytes(SOCKET_BUFFERS)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(HANG), Transport(LOOPBACK) as transport:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                listening.setblocking(False)
                to = destination(f"http://127.0.0.1:{listening.getsockname()[1]}/")
                sending = asyncio.create_task(post(transport, to, [], body, deadline=0.5, clock=time.monotonic))
                connection, _ = await loop.sock_accept(listening)
            with connection:
                connection.setblocking(False)
                assert (await sending).error == "timeout"
                assert await _rest(connection) < len(body)

    run(main())


async def _rest(connection: socket.socket) -> int:
    """How much can still be read of a connection, until the other side's end."""
    received = 0
    with suppress(ConnectionResetError):
        while data := await asyncio.get_running_loop().sock_recv(connection, MEBIBYTE):
            received += len(data)
    return received


RETRY_LATER = {
    "seconds": "120",
    "a date": "Fri, 31 Dec 2027 23:59:59 GMT",
    "ten years": "315360000",
    "a date in the past": "Thu, 01 Jan 1970 00:00:00 GMT",
    "words": "later, please",
    "nothing": "",
}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("wish", RETRY_LATER.values(), ids=RETRY_LATER.keys())
def test_a_refusal_keeps_its_status_and_its_wish(status: int, wish: str):
    async def main() -> None:
        behaviour = answer(status, b"busy", [("Retry-After", wish)])
        async with subscriber(behaviour) as it, Transport(LOOPBACK) as transport:
            outcome = await attempt(transport, it.url)
            assert isinstance(outcome, Refused)
            assert (outcome.status, outcome.answer, outcome.retry_after) == (status, b"busy", wish)

    on_asyncio(main())
