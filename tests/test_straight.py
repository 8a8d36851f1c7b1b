"""Which requests go the short way over the wire, and that nobody outside can tell."""

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest

from receiver.protocol import BoundedProtocol
from tests.wire import BODY, Wire, chunked, raw, wire


class Counting(BoundedProtocol):
    """Counts the requests that go the long way."""

    long: ClassVar[list[str]] = []

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.long.append(cycle.scope["path"])
        super()._start_asgi_task(cycle, app)


def counted() -> type[Counting]:
    class Mine(Counting):
        long: ClassVar[list[str]] = []

    return Mine


async def test_a_vendor_s_request_in_one_piece_goes_the_short_way(tmp_path: Path):
    protocol = counted()
    async with wire(tmp_path, protocol=protocol) as it:
        before = len(protocol.long)
        connection = await it.connect()
        for number in range(3):
            await connection.send(it.request(b'{"text": "%d"}' % number))
            status, headers, body = await connection.answer()
            assert (status, body, headers["content-length"]) == (200, b"", "0")
            assert "date" in headers
        await connection.send(raw("POST", it.path, "Transfer-Encoding: chunked") + chunked(b'{"text"', b': "3"}'))
        assert await connection.status() == 200
        assert len(protocol.long) == before
        assert await it.bodies() == [b'{"text": "%d"}' % number for number in range(4)]


@pytest.mark.parametrize("pause", [40, -10])
async def test_one_in_two_pieces_goes_the_long_way_and_is_kept_the_same(tmp_path: Path, pause: int):
    protocol = counted()
    async with wire(tmp_path, protocol=protocol) as it:
        before = len(protocol.long)
        whole = it.request(BODY, "X-Odd: caf\xe9", target=it.path + "?a=%41")
        connection = await it.say(whole)
        assert await connection.status() == 200
        assert len(protocol.long) == before
        await connection.send(whole[:pause])
        await asyncio.sleep(0.05)
        await connection.send(whole[pause:])
        assert await connection.status() == 200
        assert len(protocol.long) == before + (pause < 0)  # the head was there
        (one, two) = await it.fetch("SELECT method, target, headers, body, peer FROM receipts ORDER BY id")
        assert one == two


async def test_what_the_short_way_does_not_take_is_answered_by_the_long_one(tmp_path: Path):
    protocol = counted()
    async with wire(tmp_path, protocol=protocol) as it:
        before = len(protocol.long)
        for data, expected in (
            (it.request(target="/in/generic/nobody"), 404),
            (raw("HEAD", it.path), 200),
            (raw("DELETE", it.path), 405),
            (it.request(BODY, "Content-Encoding: gzip"), 415),
            (it.request(target=it.path + "#fragment"), 200),
        ):
            connection = await it.say(data)
            assert (await connection.answer(data.split(b" ")[0].decode()))[0] == expected
        assert len(protocol.long) == before + 5


async def test_the_last_answer_of_a_connection_closes_it(tmp_path: Path):
    async with wire(tmp_path) as it:
        connection = await it.say(it.request(BODY, "Connection: close"))
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await connection.ended() == b""
        old = await it.say(it.request().replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert await old.status() == 200
        assert await old.ended() == b""


async def test_a_proxy_s_word_is_read_on_the_long_way(tmp_path: Path):
    protocol = counted()
    async with wire(tmp_path, protocol=protocol, trusted_proxies=["127.0.0.0/8"]) as it:
        before = len(protocol.long)
        assert await (await it.say(it.request(BODY, "X-Forwarded-For: 198.51.100.7"))).status() == 200
        assert len(protocol.long) == before + 1
        assert await it.fetch("SELECT peer FROM receipts") == [("198.51.100.7",)]


async def held(it: Wire) -> asyncio.Event:
    """Keeps the next commit from coming until it is set."""
    may, there = asyncio.Event(), asyncio.Event()

    async def wait(_transaction: Any) -> None:
        there.set()
        await may.wait()

    asyncio.get_running_loop().create_task(it.app.batch.write(wait)).add_done_callback(lambda done: done.result())
    await there.wait()
    return may


async def test_requests_sent_ahead_wait_their_turn(tmp_path: Path):
    protocol = counted()
    async with wire(tmp_path, protocol=protocol) as it:
        before, may = len(protocol.long), await held(it)
        connection = await it.say(it.request(b'{"text": "1"}') + it.request(b'{"text": "2"}'))
        await connection.send(raw("GET", "/livez"))
        await asyncio.sleep(0.05)
        may.set()
        assert [await connection.status() for _ in range(3)] == [200, 200, 200]
        assert await it.bodies() == [b'{"text": "1"}', b'{"text": "2"}']
        assert len(protocol.long) == before + 2


async def test_a_caller_that_left_before_the_commit_loses_nothing(tmp_path: Path):
    async with wire(tmp_path) as it:
        may = await held(it)
        connection = await it.say(it.request())
        await asyncio.sleep(0.05)
        connection.writer.transport.abort()
        await asyncio.sleep(0.05)
        may.set()
        for _ in range(1000):
            if await it.bodies():
                break
            await asyncio.sleep(0.01)
        assert await it.bodies() == [BODY]


async def test_bytes_that_are_not_http_behind_it_are_told_of_after_its_answer(tmp_path: Path):
    async with wire(tmp_path) as it:
        may = await held(it)
        connection = await it.say(it.request())
        await connection.send(b"\x16\x03\x01 nonsense\r\n\r\n")
        await asyncio.sleep(0.05)
        may.set()
        assert [await connection.status() for _ in range(2)] == [200, 400]
        assert await it.bodies() == [BODY]
