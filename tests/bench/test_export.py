"""The export's end of the benchmark: it counts what comes, and takes nothing for whole that is not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from bench.export import Export
from bench.wire import HOST

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LINES = [b'{"id":"evt_%026d","data":{"text":"one\\nline"}}\n' % number for number in range(5)]
END = b"0\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """The port of a server that says this to whoever asks."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(answered, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def taken(answer: bytes, kind: str = "ndjson") -> Export:
    export = Export(kind)
    async with answering(answer) as port:
        await export.run(port)
    return export


@pytest.mark.parametrize("cut", [1, 40, len(LINES[0]) - 1, len(LINES[0]), len(LINES[0]) + 9])
async def test_lines_are_counted_wherever_the_pieces_end(cut: int):
    text = b"".join(LINES)
    found = await taken(HEAD + chunked(text[:cut], text[cut:]) + END)
    assert (found.lines, found.size, found.sorted) == (5, len(text), True)


@pytest.mark.parametrize("lines", [[LINES[0], LINES[0]], [LINES[1], LINES[0]]])
async def test_an_event_that_comes_twice_or_too_late_is_seen(lines: Sequence[bytes]):
    together, apart = chunked(b"".join(lines)), chunked(*lines)
    assert not (await taken(HEAD + together + END)).sorted
    assert not (await taken(HEAD + apart + END)).sorted


async def test_headings_are_no_event():
    assert (await taken(HEAD + chunked(b"id,type\n1,a\n", b"2,b\n") + END, "csv")).lines == 2


async def test_what_is_cut_off_is_not_whole():
    with pytest.raises(asyncio.IncompleteReadError):
        await taken(HEAD + chunked(*LINES))


async def test_what_is_refused_is_no_export():
    with pytest.raises(AssertionError, match="401"):
        await taken(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
