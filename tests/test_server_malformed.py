"""What travels over the wire and is no HTTP, or could be read two ways: refused, and never at another's cost."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from receiver.protocol import HEAD_BYTES
from tests.delivery.dispatching import quiet
from tests.delivery.running import Run, on_both_loops
from tests.wire import BODY, chunked, raw, wire

SURPLUS = 400

MALFORMED: dict[str, bytes] = {
    "length and encoding": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a negative length": b"Content-Length: -5\r\n\r\nhello",
    "a length that is no number": b"Content-Length: five\r\n\r\nhello",
    "a giant chunk": b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
    "a chunk of no size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a bad chunk behind a good one": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    "a header without a name": b": x\r\n\r\n",
    "a folded header": b"X-A: 1\r\n\tb: 2\r\n\x00\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_could_be_read_two_ways_is_refused_and_nothing_is_kept(tmp_path: Path, case: str) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(f"POST {it.path} HTTP/1.1\r\nHost: x\r\n".encode() + MALFORMED[case])
        assert (await connection.ended()).startswith(b"HTTP/1.1 400 ")
        assert await it.bodies() == []


OTHER_PROTOCOLS: dict[str, bytes] = {
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(193),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.0": b"GET / HTTP/3.0\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a proxy's tunnel": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "a path that is not ASCII": "GET /livéz HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a NUL in the path": b"GET /livez\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target that is no URL": b"GET http://[::1/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare line feeds": b"GET /livez HTTP/1.1\nHost: x\n\n",
}


@pytest.mark.parametrize("case", OTHER_PROTOCOLS)
async def test_what_is_not_http_1_gets_400_without_a_trace_in_the_log(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(OTHER_PROTOCOLS[case])
        assert (await connection.ended()).startswith(b"HTTP/1.1 400 ")
        assert await (await it.say(it.request())).status() == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_http_0_9_is_answered_and_closed(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        assert b'{"status":"alive"}' in await (await it.say(b"GET /livez\r\n\r\n")).ended()


@pytest.mark.parametrize("offer", ["websocket", "h2c", "TLS/1.0"])
async def test_an_offer_of_another_protocol_is_ignored_and_the_message_is_kept(
    tmp_path: Path, offer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Java's HTTP client offers h2c with the first request of a connection, even with a POST that has a body."""
    offers = (f"Upgrade: {offer}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAoAAA")
    async with wire(tmp_path) as it:
        whole = await it.say(it.request(BODY, *offers))
        assert (await whole.ended()).startswith(b"HTTP/1.1 200 ")
        slow = await it.say(it.request(BODY, *offers)[:-20])
        await quiet(0.02)
        await slow.send(BODY[-20:])
        assert (await slow.ended()).startswith(b"HTTP/1.1 200 ")
        parts = await it.say(raw("POST", it.path, "Transfer-Encoding: chunked", *offers) + chunked(BODY[:9], BODY[9:]))
        assert (await parts.ended()).startswith(b"HTTP/1.1 200 ")
        empty = await it.say(raw("POST", it.path, *offers))
        assert (await empty.ended()).startswith(b"HTTP/1.1 200 ")
        bare = await it.say(raw("GET", "/livez", *offers))
        assert b'{"status":"alive"}' in await bare.ended()
        assert await it.bodies() == [BODY, BODY, BODY, b""]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@on_both_loops
def test_what_follows_an_ignored_offer_is_no_part_of_its_body(
    tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with wire(tmp_path) as it:
            offer = it.request(BODY, "Upgrade: h2c", "Connection: Upgrade")
            connection = await it.say(offer + it.request(b'{"text": "smuggled"}'))
            answered = await connection.ended()
            assert answered.count(b"HTTP/1.1 ") == 1
            assert await it.bodies() == [BODY]

    run(main())
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("surplus", [b"garbage", b"garbage\r\n\r\n", b"\x00", b'{"text": "more"}\r\n\r\n'])
async def test_bytes_behind_the_body_get_400_after_the_request_has_its_answer(tmp_path: Path, surplus: bytes) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(it.request() + surplus)
        assert [await connection.status() for _ in range(2)] == [200, SURPLUS]
        assert await connection.ended() == b""
        assert await it.bodies() == [BODY]


async def test_every_whole_request_before_the_surplus_has_its_answer(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(it.request(b'{"n": 1}') + it.request(b'{"n": 2}') + it.request(b'{"n": 3}') + b"xyz")
        assert [await connection.status() for _ in range(4)] == [200, 200, 200, SURPLUS]
        assert await connection.ended() == b""
        assert len(await it.bodies()) == 3


async def test_a_flood_of_surplus_does_not_cost_the_answer_before_it(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        with busy(tmp_path):
            connection = await it.say(it.request() + b"garbage")
            await connection.send(b"x" * (3 * HEAD_BYTES))
            await quiet(0.1)
        assert await connection.status() == 200


@contextmanager
def busy(folder: Path) -> Iterator[None]:
    """Somebody else writes to the database, and every commit has to wait."""
    with closing(sqlite3.connect(folder / "receiver.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_bad_body_behind_a_good_request_spoils_only_itself(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        bad = raw("POST", it.path, "Transfer-Encoding: chunked") + b"5\r\nhello\r\nzz\r\n"
        connection = await it.say(it.request() + bad)
        assert [await connection.status() for _ in range(2)] == [200, 400]
        assert await connection.ended() == b""
        assert await it.bodies() == [BODY]


async def test_surplus_that_comes_later_closes_the_connection_too(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(it.request())
        assert await connection.status() == 200
        await connection.send(b"garbage\r\n\r\n")
        assert (await connection.ended()).startswith(b"HTTP/1.1 400 ")


@on_both_loops
def test_a_client_that_leaves_in_the_middle_leaves_no_trace_in_the_log(
    tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with wire(tmp_path) as it:
            for data in (it.request()[:40], it.request()[:-5], it.request(), it.request() * 3, it.request() + b"xyz"):
                connection = await it.say(data)
                connection.writer.transport.abort()
            await quiet()
            assert await (await it.say(it.request())).status() == 200

    run(main())
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
