"""The reader's side of a stream, and the API inside a command, piece by piece."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from receiver.cli import export
from receiver.cli.following import Blocks, followed
from receiver.cli.inside import InProcess
from receiver.cli.reach import Busy
from receiver.storage.ids import Ids, moment

STREAM = (
    b'retry: 1000\nid: c0\n\n: still here\n\nid: e1\nevent: x\ndata: {"t":"a\xe2\x80\xa8b"}\n\n'
    b': still here\nid: c2\n\nid:e3\ndata:{}\ndata\n\nid: e4\ndata: {"cut'
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_read_whatever_the_pieces_and_only_whole_ones_count(size: int):
    blocks, found = Blocks("before"), []
    for start in range(0, len(STREAM), size):
        found += [(blocks.last_id, content) for content in blocks.take(STREAM[start : start + size])]
    assert found == [("e1", '{"t":"a\u2028b"}'), ("e3", "{}\n")]
    assert blocks.last_id == "e3"
    blocks.begin()
    assert [*blocks.take(b'id: e4\ndata: {"whole"}\n\n')] == ['{"whole"}']


class Streams:
    """A reach whose streams are given: the bytes of each, or how it fails."""

    def __init__(self, *streams: Any) -> None:
        self.streams = [*streams]
        self.asked: list[Any] = []

    @asynccontextmanager
    async def streaming(self, _path: str, _query: Any, headers: Any, _silence: float) -> AsyncIterator[Any]:
        self.asked.append(headers.get("last-event-id"))
        stream = self.streams.pop(0)
        if isinstance(stream, Exception):
            raise stream
        yield httpx2.Response(200, stream=httpx2.ByteStream(stream))


async def heard(reach: Any, last_id: str | None = None) -> tuple[list[str], list[str]]:
    """Until there are no more streams."""
    found: list[str] = []
    notices: list[str] = []
    try:
        async for content in followed(reach, [], last_id, notices.append):
            found += [content]
    except IndexError:
        pass
    return found, notices


async def test_it_goes_on_from_the_last_whole_block(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("receiver.cli.following.FIRST_WAIT", 0.001)
    reach = Streams(
        b"id: 1\ndata: one\n\nid: 2\ndata: tw", Busy("not now"), httpx2.ReadError("gone"), b"id: 2\ndata: two\n\n"
    )
    found, notices = await heard(reach, "0")
    assert found == ["one", "two"]
    assert reach.asked == ["0", "1", "1", "1", "2"]
    assert [notice.split()[0] for notice in notices] == ["Cut", "Cut", "Cut", "Connected", "Cut"]


@pytest.mark.parametrize("trouble", [Busy("not now"), httpx2.ConnectError("none runs")])
async def test_it_does_not_wait_for_what_was_never_there(trouble: Exception):
    with pytest.raises(type(trouble)):
        await heard(Streams(trouble))


def client(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=InProcess(app), base_url="http://receiver")


async def start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def test_a_body_inside_comes_as_it_is_made():
    made: list[int] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await start(send)
        for number in range(50):
            made.append(number)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body"})

    async with client(app) as asking, asking.stream("GET", "/") as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"x"
        assert len(made) < 5
        assert len([piece async for piece in pieces]) == 49


async def test_a_body_inside_that_ends_too_early_is_an_error():
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await start(send)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async with client(app) as asking:
        with pytest.raises(httpx2.RemoteProtocolError):
            await asking.get("/")


async def test_what_fails_inside_before_it_answers_is_raised():
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError("a bug")

    async with client(app) as asking:
        with pytest.raises(RuntimeError, match="a bug"):
            await asking.get("/")


async def test_whoever_goes_away_ends_what_is_made_inside():
    ended = asyncio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"hello"
        await start(send)
        try:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await receive()
        finally:
            ended.set()

    async with client(app) as asking:
        async with asking.stream("POST", "/", content=b"hello") as answer:
            await anext(answer.aiter_raw())
            assert not ended.is_set()
        assert ended.is_set()


def test_a_bar_shows_how_far_an_export_is_by_the_time_of_its_ids(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    times = iter(range(1_000_000, 100_000_000, 1_000_000))
    ids = Ids(lambda: next(times), bytes)
    made = [ids.new("evt") for _ in range(11)]
    monkeypatch.setattr(export, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with export._shown((moment(made[0]), moment(made[10]))) as show:
        show(b"no id here")
        show(f"{made[2]},{made[5]}".encode())
        show(made[10].encode())
        show(made[3].encode())  # it never goes back
    shown = capsys.readouterr().err
    assert "50%" in shown
    assert "100%" in shown
