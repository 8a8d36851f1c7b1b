"""What travels over the wire: requests whole, slow, endless, malformed or of another protocol."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from receiver.server import HEAD_BYTES, BoundedProtocol, address, tcp
from receiver.storage.database import CannotStart
from tests.delivery.dispatching import quiet
from tests.delivery.running import Run, on_both_loops
from tests.wire import (
    BODY,
    MOST,
    Connection,
    Impatient,
    Wire,
    chunked,
    owner_client,
    raw,
    send_all_then_read,
    wire,
    world_client,
)

SURPLUS = 400


async def test_many_requests_use_one_connection(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        connection = await it.connect()
        for number in range(200):
            await connection.send(it.request(b'{"text": "number %d"}' % number))
            assert await connection.status() == 200
        assert connection.open
        assert len(await it.bodies()) == 200


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(it.request(b'{"text": "1"}') + raw("GET", "/nothing") + it.request(b'{"text": "2"}'))
        assert [await connection.status() for _ in range(3)] == [200, 404, 200]
        assert await it.bodies() == [b'{"text": "1"}', b'{"text": "2"}']


async def test_a_request_may_come_byte_by_byte(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        connection = await it.connect()
        for byte in it.request():
            await connection.send(bytes([byte]))
        assert await connection.status() == 200
        assert await it.bodies() == [BODY]


async def test_no_answer_says_what_serves_it(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        for data in (it.request(), raw("GET", "/livez"), b"\x16\x03\x01\x00\xc8"):
            _, headers, _ = await (await it.say(data)).answer()
            assert "server" not in headers
            assert "date" in headers


@pytest.mark.parametrize(
    "header", ["Content-Type: text/plain", "Expect: 100-continue", "X-Forwarded-For: 1.2.3.4", "Host: evil.com"]
)
async def test_a_header_more_does_not_cost_a_message(tmp_path: Path, header: str) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(it.request(BODY, header))
        status = await connection.status()
        assert (status == 100) == header.startswith("Expect")
        if status == 100:
            status = await connection.status()
        assert status == 200
        assert await it.bodies() == [BODY]


@pytest.mark.parametrize("host", ["", "Host: \r\n", 'Host: ()<>@,;:\\"/[]?={}\r\n', "Host: evil.com\r\n"])
async def test_the_host_header_means_nothing_here(tmp_path: Path, host: str) -> None:
    async with wire(tmp_path) as it:
        head = f"POST {it.path} HTTP/1.1\r\n{host}Content-Length: {len(BODY)}\r\n\r\n".encode()
        assert await (await it.say(head + BODY)).status() == 200


async def test_the_target_may_name_a_host_that_is_ignored(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        assert await (await it.say(it.request(target=f"http://evil.com{it.path}"))).status() == 200
        assert await it.bodies() == [BODY]


async def test_chunked_bodies_and_their_trailers_are_taken(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        head = raw("POST", it.path, "Transfer-Encoding: chunked", "Trailer: X-Sum")
        connection = await it.say(head + chunked(BODY[:7], BODY[7:])[:-2] + b"X-Sum: 1\r\n\r\n" + it.request(b"{}"))
        assert [await connection.status() for _ in range(2)] == [200, 200]
        assert (await it.bodies())[0] == BODY


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
        assert (await empty.ended(1.0)).startswith(b"HTTP/1.1 200 ")
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


async def test_a_head_within_the_limit_is_taken_and_one_above_it_is_not(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        room = HEAD_BYTES - 200
        assert await (await it.say(raw("GET", "/livez", f"X-Long: {'a' * room}"))).status() == 200
        for headers in ([f"X-Long: {'a' * HEAD_BYTES}"], [f"X-{number}: a" for number in range(10_000)]):
            answered = await closed(it, raw("GET", "/livez", *headers))
            assert answered in (b"", b"HTTP/1.1 400 Bad Request")
        half = "a" * (HEAD_BYTES // 2)
        assert await closed(it, raw("GET", f"/livez?{half}", f"X-Long: {half}")) in (b"", b"HTTP/1.1 400 Bad Request")


async def closed(it: Wire, data: bytes) -> bytes:
    """The first line that came before the connection was closed, if any did."""
    connection = await it.connect()
    try:
        await connection.send(data)
        return (await connection.ended()).partition(b"\r\n")[0]
    except ConnectionError:
        return b""


async def test_a_head_without_end_is_cut_off_and_takes_no_memory(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(b"GET /livez HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            await poured(connection, (b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(2000)))


async def poured(connection: Connection, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        await connection.send(piece)
        await asyncio.sleep(0)


TRAILERS: dict[str, bytes] = {
    "many fields": b"0\r\n" + b"".join(b"T-%d: aaaaaaaaaa\r\n" % number for number in range(100_000)),
    "one field without end": b"0\r\nT: " + b"a" * 2_000_000,
    "a chunk's own words": b"5;x=" + b"a" * 2_000_000,
}


@pytest.mark.parametrize("case", TRAILERS)
@pytest.mark.parametrize("known", [True, False])
async def test_trailers_without_end_are_cut_off(tmp_path: Path, case: str, known: bool) -> None:
    async with wire(tmp_path) as it:
        target = it.path if known else "/in/generic/nobody"
        connection = await it.say(raw("POST", target, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        data = TRAILERS[case]
        with pytest.raises(ConnectionError):
            await poured(connection, (data[start : start + 10_000] for start in range(0, len(data), 10_000)))
        assert await it.bodies() == []


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"POST /in/x HT", b"GET /livez HTTP/1.1\r\nX-Sl"])
async def test_who_does_not_finish_a_head_is_let_go(tmp_path: Path, begun: bytes) -> None:
    async with wire(tmp_path, protocol=Impatient) as it:
        connection = await it.say(begun) if begun else await it.connect()
        began = time.monotonic()
        assert await connection.ended() == b""
        assert 0.1 < time.monotonic() - began < 2


async def test_a_head_that_drips_is_let_go_while_others_are_served(tmp_path: Path) -> None:
    async with wire(tmp_path, protocol=Impatient) as it:
        slow, quick = await it.connect(), await it.connect()
        ended = asyncio.create_task(slow.ended())
        for byte in raw("GET", "/livez", "X-Slow: yes" * 100):
            slow.writer.write(bytes([byte]))
            if ended.done():
                break
            await asyncio.sleep(0.02)
            await quick.send(it.request())
            assert await quick.status() == 200
        assert ended.done()


async def test_the_deadline_holds_for_the_second_head_too_and_not_for_a_quiet_connection(tmp_path: Path) -> None:
    async with wire(tmp_path, protocol=Impatient) as it:
        idle, stuck, pipelined, asking = [await it.connect() for _ in range(4)]
        for connection, more in ((idle, b""), (stuck, b""), (pipelined, b"GET /li")):
            await connection.send(it.request() + more)
            assert await connection.status() == 200
        await asking.send(raw("GET", "/livez"))
        assert await asking.status() == 200
        await stuck.send(b"GET /li")
        assert await stuck.ended(2.0) == b""
        assert await pipelined.ended(2.0) == b""
        for connection in (idle, asking):
            await connection.send(it.request())
            assert await connection.status() == 200


async def test_the_deadline_of_a_head_is_not_one_of_its_body(tmp_path: Path) -> None:
    async with wire(tmp_path, protocol=Impatient) as it:
        connection = await it.say(it.request()[:20])
        await connection.send(it.request()[20:-5])
        await quiet(0.4)
        await connection.send(BODY[-5:])
        assert await connection.status() == 200


@pytest.mark.parametrize("length", ["Content-Length: 50", "Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_408_and_nothing_is_kept(tmp_path: Path, length: str) -> None:
    class Brief(BoundedProtocol):
        linger_seconds = 0.1

    async with wire(tmp_path, protocol=Brief, body_seconds=0.2) as it:
        connection = await it.say(raw("POST", it.path, length) + b"5\r\nhel")
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert await connection.ended(2.0) == b""
        assert await it.bodies() == []


async def test_a_body_that_nobody_wants_does_not_hold_its_connection_for_ever(tmp_path: Path) -> None:
    async with wire(tmp_path, protocol=Impatient) as it:
        connection = await it.say(raw("POST", "/in/generic/nobody", "Content-Length: 1000") + b"a")
        assert await connection.status() == 404
        assert await connection.ended(2.0) == b""
        whole = await it.say(it.request(b"a" * 1000, target="/in/generic/nobody")[:-10])
        assert await whole.status() == 404
        await whole.send(b"a" * 10)
        await quiet(0.4)
        await whole.send(it.request())
        assert await whole.status() == 200


@pytest.mark.parametrize("known_length", [True, False])
async def test_a_body_above_the_limit_is_413_even_for_a_client_that_sends_before_it_reads(
    tmp_path: Path, known_length: bool
) -> None:
    async with wire(tmp_path) as it:
        body = b"a" * (MOST + 600_000)
        parts = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
        data = raw("POST", it.path, "Transfer-Encoding: chunked") + chunked(*parts)
        answered = await asyncio.to_thread(send_all_then_read, it.port, it.request(body) if known_length else data)
        assert answered.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close\r\n" in answered
        assert await it.bodies() == []


async def test_a_client_that_talks_on_after_its_413_is_cut_off(tmp_path: Path) -> None:
    class Patient(Impatient):
        linger_seconds = 30.0

    async with wire(tmp_path, protocol=Patient) as it:
        connection = await it.say(raw("POST", it.path, "Content-Length: 100000000"))
        assert await connection.status() == 413
        with pytest.raises(ConnectionError):
            await poured(connection, (b"a" * 100_000 for _ in range(200)))


async def test_with_expect_a_body_above_the_limit_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        connection = await it.say(raw("POST", it.path, f"Content-Length: {MOST + 1}", "Expect: 100-continue"))
        assert await connection.status() == 413


async def test_the_owner_s_socket_is_private_and_needs_no_key_while_tcp_does(tmp_path: Path) -> None:
    async with wire(tmp_path) as it:
        assert it.owner.stat().st_mode & 0o777 == 0o600
        async with owner_client(it.owner) as owner:
            assert (await owner.get("/v1/keys")).status_code == 200
        async with world_client(it.port) as world:
            assert (await world.get("/v1/keys")).status_code == 200
            assert (await world.get("/v1/keys", headers={"authorization": ""})).status_code == 401


async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with tcp("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            CannotStart, match=rf"^127\.0\.0\.1:{port}: cannot be listened on \(Address already in use\)"
        ):
            tcp("127.0.0.1", port)
        assert address(listener) == f"http://127.0.0.1:{port}"
    with tcp("::1", 0) as listener:
        assert address(listener).startswith("http://[::1]:")


@pytest.mark.parametrize(("trusted", "peer"), [("", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.7"), ("*", "203.0.113.7")])
async def test_the_peer_of_a_receipt_follows_the_settings(tmp_path: Path, trusted: str, peer: str) -> None:
    async with wire(tmp_path, trusted_proxies=trusted) as it:
        assert await (await it.say(it.request(BODY, "X-Forwarded-For: 203.0.113.7"))).status() == 200
        assert await it.fetch("SELECT peer FROM receipts") == [(peer,)]
