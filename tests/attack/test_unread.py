"""Clients that ask for more than they take: answers nobody reads, requests sent far ahead, heads of many fields."""

import asyncio
import socket
from asyncio import Transport
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from receiver.connections import Connections
from receiver.protocol import AHEAD, HEAD_FIELDS, BoundedProtocol
from tests.delivery.dispatching import until
from tests.wire import BODY, KEY, PATIENCE, Connection, Wire, raw, wire


class Watching(BoundedProtocol):
    write_seconds = 0.2
    body_seconds = 0.3


def deaf(port: int) -> socket.socket:
    """A connection whose client has little room for answers."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    return made


async def test_answers_that_nobody_reads_end_the_connection(tmp_path: Path):
    bound = Connections()
    async with wire(tmp_path, protocol=Watching, connections=bound) as it:
        with deaf(it.port) as client:
            await asyncio.to_thread(client.sendall, raw("GET", "/openapi.json") * 60)
            await until(lambda: bound.open == 1)
            await until(lambda: bound.open == 0)


class Scripted(asyncio.Transport):
    """Says of its buffer what it is told to, look by look."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.sizes.pop(0)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        """Behind `connection_lost` there is nothing left to close."""


@pytest.mark.parametrize("last", [60_000, 50_001])
async def test_a_client_that_takes_little_keeps_its_connection_and_one_that_takes_next_to_nothing_does_not(last: int):
    async def app(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError

    class Looking(BoundedProtocol):
        write_seconds = 0.01

    protocol = Looking(
        uvicorn.Config(app, interface="asgi3", http=Looking, ws="none", log_config=None), ServerState(), {}
    )
    transport = Scripted(100_000, 83_616, 83_616, 66_384, 66_384, last)
    protocol.connection_made(transport)
    protocol.pause_writing()
    await asyncio.wait_for(transport.aborted.wait(), PATIENCE)
    assert transport.sizes == []
    protocol.connection_lost(None)


async def test_a_connection_that_is_closed_with_an_unread_answer_ends_too(tmp_path: Path):
    left: list[int] = []

    class Closing(Watching):
        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            super().connection_made(transport)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.timeout_keep_alive_handler()
            left.append(self.transport.get_write_buffer_size())

    bound = Connections()
    async with wire(tmp_path, protocol=Closing, connections=bound) as it:
        with deaf(it.port) as client:
            client.sendall(raw("GET", "/v1/vendors", f"Authorization: Bearer {KEY}"))
            await until(lambda: any(left))
            await until(lambda: bound.open == 0)


async def test_requests_sent_far_ahead_are_answered_up_to_a_number(tmp_path: Path):
    async with wire(tmp_path) as it:
        connection = await it.say(raw("GET", "/livez") * 5000)
        answered = await all_of(connection)
        assert answered.count(b"HTTP/1.1 200 ") == AHEAD + 1
        assert answered.count(b"HTTP/1.1 400 ") == 1
        assert answered.index(b"HTTP/1.1 400 ") > answered.rindex(b"HTTP/1.1 200 ")
        few = await it.say(raw("GET", "/livez") * AHEAD)
        assert [await few.status() for _ in range(AHEAD)] == [200] * AHEAD


async def all_of(connection: Connection) -> bytes:
    """Everything up to the end, which may be a reset, for bytes were left unread."""
    found = b""
    try:
        async with asyncio.timeout(20):
            while chunk := await connection.reader.read(65_536):
                found += chunk
    except ConnectionError:
        pass
    return found


def fields(number: int) -> list[str]:
    return [f"x{index}: 1" for index in range(number)]


async def test_a_head_of_many_fields_is_refused_whole_or_not(tmp_path: Path):
    async with wire(tmp_path) as it:
        assert await (await it.say(raw("GET", "/livez", *fields(HEAD_FIELDS - 1)))).status() == 200
        assert b"HTTP/1.1 400 " in await all_of(await it.say(raw("GET", "/livez", *fields(HEAD_FIELDS))))


async def test_a_head_of_many_fields_is_ended_before_it_is_whole(tmp_path: Path):
    class Patient(BoundedProtocol):
        head_seconds = 3600.0

    async with wire(tmp_path, protocol=Patient) as it:
        part = raw("GET", "/livez", *fields(HEAD_FIELDS + 1))[:-2]
        assert await all_of(await it.say(part)) == b""


async def test_a_body_to_the_api_that_drips_ends_some_time(tmp_path: Path):
    async with wire(tmp_path, protocol=Watching) as it:
        head = raw("POST", "/v1/keys", "Content-Length: 1000", f"Authorization: Bearer {KEY}")
        connection = await it.say(head + b'{"name":')
        assert b"201" not in await all_of(connection)


async def test_a_body_in_pieces_within_its_time_is_taken(tmp_path: Path):
    async with wire(tmp_path) as it:
        request = it.request()
        connection = await it.say(request[: -len(BODY)])
        for byte in BODY:
            await connection.send(bytes([byte]))
        assert await connection.status() == 200


@pytest.mark.parametrize("path", ["/in/generic/nobody", "/v1/keys", "/nothing", "/livez"])
async def test_a_body_that_nobody_wants_is_not_kept_in_memory(tmp_path: Path, path: str):
    """Whoever has neither token nor key cannot make us hold more than a read or two of what it sends."""
    seen: list[int] = []

    class Measuring(BoundedProtocol):
        def on_body(self, body: bytes) -> None:
            super().on_body(body)
            seen.append(len(self.cycle.body))

    async with wire(tmp_path, protocol=Measuring) as it:
        await pour(it, path, 8 * 1024 * 1024)
        assert seen
        assert max(seen) < 1024 * 1024


async def pour(it: Wire, path: str, size: int) -> None:
    connection = await it.say(raw("POST", path, f"Content-Length: {size}"))
    try:
        for _ in range(size // 65_536):
            await connection.send(b"a" * 65_536)
    except ConnectionError:
        pass
