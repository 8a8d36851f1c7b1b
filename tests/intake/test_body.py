"""A body, bounded in size and time: too large, too slow, cut off, in pieces."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.intake.http import DISCARD_BYTES, WHOLE
from tests.pipeline import JSON, TOKEN, Pipeline, piece, pipeline, scope_of, whole

PATH = f"/in/generic/{TOKEN}".encode()
BODY = b'{"vendor_message_id": "m1", "text": "hello"}'
MOST = 1_000
GONE = {"type": "http.disconnect"}


class Messages:
    """ASGI messages of which is known how many were asked for."""

    def __init__(self, messages: Iterable[Any]) -> None:
        self._messages = iter(messages)
        self.taken = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        message = next(self._messages)
        self.taken += 1
        return message


async def post(way: Pipeline, messages: Iterable[Any], *headers: tuple[bytes, bytes]) -> list[dict[str, Any]]:
    return await way.ask("POST", PATH, messages, headers=[*JSON, *headers])


async def kept(way: Pipeline) -> int:
    ((count,),) = await way.fetch("SELECT count(*) FROM receipts")
    return int(count)


def length(number: object) -> tuple[bytes, bytes]:
    return b"content-length", str(number).encode()


def answer(sent: list[dict[str, Any]]) -> tuple[int, dict[bytes, bytes], bytes]:
    start, *rest = sent
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return start["status"], dict(start["headers"]), b"".join(message["body"] for message in rest)


@pytest.mark.parametrize("size", [1, 7, len(BODY), 1_000])
async def test_a_body_in_pieces_is_one_body(tmp_path: Path, size: int):
    pieces = [piece(BODY[start : start + size]) for start in range(0, len(BODY), size)]
    async with pipeline(tmp_path) as way:
        way.open()
        status, _, body = answer(await post(way, [*pieces, piece(b"", more=False)]))
        assert (status, body) == (200, b"")
        assert way.recorded[0].receipt.body == BODY


async def test_a_body_that_a_server_says_is_whole_is_read_without_a_timer(tmp_path: Path):
    async with pipeline(tmp_path, body_seconds=0.0) as way:
        way.open()
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            return whole(BODY)

        async def send(message: Any) -> None:
            sent.append(message)

        await way.intake(scope_of("POST", PATH, headers=JSON) | {WHOLE: True}, receive, send)
        assert sent[0]["status"] == 200
        assert way.recorded[0].receipt.body == BODY


@pytest.mark.parametrize("number", [MOST + 1, 10**18, "9" * 19, "9" * 5_000, "0" * 20 + str(MOST + 1)])
async def test_a_length_beyond_the_limit_is_refused_before_anything_is_read(tmp_path: Path, number: object):
    async with pipeline(tmp_path, max_body_bytes=MOST) as way:
        way.open()
        status, headers, body = answer(await post(way, [whole(b"x")], length(number)))
        assert (status, body, headers[b"connection"]) == (413, b"", b"close")
        assert await kept(way) == 0


async def test_the_refusal_comes_before_the_rest_is_read(tmp_path: Path):
    order: list[str] = []

    async def receive() -> Any:
        order.append("read")
        return piece(b"x", more=False)

    async def send(message: Any) -> None:
        order.append(message["type"])

    async with pipeline(tmp_path, max_body_bytes=MOST) as way:
        way.open()
        await way.intake(scope_of("POST", PATH, headers=[length(MOST + 1)]), receive, send)
    assert order == ["http.response.start", "http.response.body", "read"]


@pytest.mark.parametrize("headers", [[], [length("garbage")], [length("-1")], [length("")]])
async def test_a_body_that_turns_out_too_large_is_refused_midway(tmp_path: Path, headers: list[tuple[bytes, bytes]]):
    rest = Messages(piece(b"x" * 100) for _ in range(100_000))
    async with pipeline(tmp_path, max_body_bytes=MOST) as way:
        way.open()
        assert answer(await post(way, rest, *headers))[0] == 413
        assert rest.taken == 11 + -(-DISCARD_BYTES // 100)
        assert await kept(way) == 0


@pytest.mark.parametrize("messages", [[whole(b"x" * MOST)], [piece(b"x" * MOST), piece(b"", more=False)]])
async def test_the_limit_itself_is_no_trespass(tmp_path: Path, messages: list[Any]):
    async with pipeline(tmp_path, max_body_bytes=MOST) as way:
        way.open()
        assert answer(await post(way, messages, length(MOST)))[0] == 200


async def test_one_byte_more_in_one_piece_is_refused(tmp_path: Path):
    async with pipeline(tmp_path, max_body_bytes=MOST) as way:
        way.open()
        assert answer(await post(way, [whole(b"x" * (MOST + 1))]))[0] == 413


async def test_discarding_ends_with_the_body_or_the_client(tmp_path: Path):
    async with pipeline(tmp_path, max_body_bytes=MOST) as way:
        way.open()
        ending = Messages([whole(b"x" * 2_000), whole(b"never asked for")])
        leaving = Messages([piece(b"x" * 2_000), GONE, whole(b"never asked for")])
        assert answer(await post(way, ending))[0] == answer(await post(way, leaving))[0] == 413
        assert (ending.taken, leaving.taken) == (2, 2)


async def stalled(*before: Any) -> list[Any]:
    """Messages behind which nothing comes."""
    return [*before, asyncio.get_running_loop().create_future()]


@pytest.mark.parametrize("before", [[], [piece(b'{"text":')]])
async def test_a_body_that_stalls_is_given_up_at_the_deadline(tmp_path: Path, before: list[Any]):
    async with pipeline(tmp_path, body_seconds=0.05, discard_seconds=0.05) as way:
        way.open()
        started = asyncio.get_running_loop().time()
        status, headers, _ = answer(await post(way, await stalled(*before), length(100)))
        assert (status, headers[b"connection"]) == (408, b"close")
        assert asyncio.get_running_loop().time() - started < 2
        assert await kept(way) == 0
        assert way.counts == {"intake_refused 408": 1}


async def test_dripping_does_not_move_the_deadline(tmp_path: Path):
    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.04)
        return piece(b" ")

    drops = Messages(drip() for _ in range(1_000))
    async with pipeline(tmp_path, body_seconds=0.1, discard_seconds=0.0) as way:
        way.open()
        assert answer(await post(way, drops))[0] == 408
        assert drops.taken <= 4


async def test_others_are_served_while_one_stalls(tmp_path: Path):
    async with pipeline(tmp_path, body_seconds=60.0) as way:
        way.open()
        slow = asyncio.create_task(post(way, await stalled()))
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            assert answer(await post(way, [whole(BODY)]))[0] == 200
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


@pytest.mark.parametrize("messages", [[GONE], [piece(b'{"text":'), GONE]])
async def test_a_client_that_leaves_before_its_body_is_whole_leaves_nothing(tmp_path: Path, messages: list[Any]):
    async with pipeline(tmp_path) as way:
        way.open()
        assert await post(way, messages) == []
        assert await kept(way) == 0
        assert way.counts == {"intake_gone": 1}
