"""What travels over the wire too long, too large or too slowly: heads, trailers and bodies have an end."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from receiver.protocol import HEAD_BYTES, BoundedProtocol
from tests.delivery.dispatching import quiet
from tests.wire import BODY, MOST, Connection, Impatient, Wire, chunked, raw, send_all_then_read, wire


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
        assert await connection.ended() == b""


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
        assert await stuck.ended() == b""
        assert await pipelined.ended() == b""
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
        assert await connection.ended() == b""
        assert await it.bodies() == []


async def test_a_body_that_nobody_wants_does_not_hold_its_connection_for_ever(tmp_path: Path) -> None:
    async with wire(tmp_path, protocol=Impatient) as it:
        connection = await it.say(raw("POST", "/in/generic/nobody", "Content-Length: 1000") + b"a")
        assert await connection.status() == 404
        assert await connection.ended() == b""
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
