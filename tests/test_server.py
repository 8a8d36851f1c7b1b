"""What travels over the wire: whole requests in every form that HTTP/1.1 allows, and where they are listened for."""

from pathlib import Path

import pytest

from receiver.server import address, tcp, unix
from receiver.storage.database import CannotStart
from tests.wire import BODY, chunked, owner_client, raw, wire, world_client


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


def test_what_lies_in_the_place_of_the_owner_s_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "receiver.db.sock").write_text("notes")
    with pytest.raises(CannotStart, match="is none; move it"):
        unix(tmp_path / "receiver.db.sock")
    assert (tmp_path / "receiver.db.sock").read_text() == "notes"


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
