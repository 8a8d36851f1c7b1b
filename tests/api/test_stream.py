"""/v1/events/stream, on real sockets: what is committed is heard at once, and nobody who comes back misses anything."""

import asyncio
import random
from pathlib import Path
from typing import cast

import orjson
import pytest

from receiver.protocol import BoundedProtocol
from receiver.storage.live import Live
from tests.api.running import problem
from tests.delivery.dispatching import until
from tests.sse import Source, listening_to
from tests.wire import Wire, owner_client, raw, wire, world_client

pytestmark = pytest.mark.usefixtures("engine")


def body(number: int, to: str = "+447700900124", size: int = 0) -> bytes:
    return orjson.dumps({"text": f"{number:05d}" + "x" * size, "from": "+447700900123", "to": to})


async def post(it: Wire, *bodies: bytes) -> None:
    connection = await it.connect()
    for content in bodies:
        await connection.send(it.request(content))
        assert await connection.status() == 200


def hasty(it: Wire, **given: float) -> Live:
    """Signs of life come sooner."""
    it.app.live.heartbeat = given.get("heartbeat", 0.1)
    it.app.live.pause = given.get("pause", 0.01)
    return it.app.live


async def test_what_comes_after_the_beginning_is_heard_as_it_is_stored(tmp_path: Path):
    async with wire(tmp_path) as it:
        await post(it, body(1))
        async with listening_to(it) as source:
            assert source.status == 200
            await source.read()
            assert source.last_id
            await post(it, body(2), body(3))
            await source.until(2)
        stored = await it.fetch("SELECT id, type, body FROM events ORDER BY seq")
        assert source.events == [orjson.loads(row[2]) for row in stored[1:]]
        assert source.ids == [row[0] for row in stored[1:]]
        assert source.names == ["message.received"] * 2


async def test_it_goes_on_behind_the_last_id_and_behind_after(tmp_path: Path):
    async with wire(tmp_path) as it:
        await post(it, *map(body, range(5)))
        async with world_client(it.port) as client:
            page = (await client.get("/v1/events?limit=2")).json()
        event_id = page["data"][0]["id"]
        for query, last_id, expected in (
            (f"?after={event_id}", "", 4), (f"?after={page['last']}", "", 3), ("", event_id, 4), ("", page["last"], 3),
            (f"?after={event_id}", page["last"], 3),
        ):  # fmt: skip
            async with listening_to(it, query, last_id=last_id) as source:
                await source.until(expected)
            assert source.texts == [f"{number:05d}" for number in range(5 - expected, 5)]


async def test_the_very_start_of_the_log_is_a_place_too(tmp_path: Path):
    async with wire(tmp_path) as it:
        async with world_client(it.port) as client:
            start = (await client.get("/v1/events")).json()["last"]
        await post(it, body(1))
        async with listening_to(it, f"?after={start}") as source:
            await source.until(1)


async def test_filters_are_those_of_the_list(tmp_path: Path):
    async with wire(tmp_path) as it:
        async with listening_to(it, "?to=%2B44770090020*&type=message.received") as source:
            await post(it, body(1), body(2, "+447700900200"), body(3), body(4, "+447700900201"))
            await source.until(2)
        assert source.texts == ["00002", "00004"]


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ("?after=evt_01k5z2v0c3x9q8w7e6r5t4y3u2", (), (400, "bad_cursor")),
        ("", ("Last-Event-ID: nonsense",), (400, "bad_cursor")),
        ("?order=desc", (), (422, "invalid_input")),
        ("?limit=5", (), (422, "invalid_input")),
        ("?type=nope", (), (422, "invalid_input")),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_streamed(tmp_path: Path, query, headers, expected):
    async with wire(tmp_path) as it, world_client(it.port) as client:
        given = dict(header.split(": ") for header in headers)
        assert problem(await client.get(f"/v1/events/stream{query}", headers=given)) == expected


async def test_nobody_listens_without_a_key(tmp_path: Path):
    async with wire(tmp_path) as it:
        connection = await it.say(raw("GET", "/v1/events/stream"))
        assert await connection.status() == 401


async def test_in_silence_there_are_signs_of_life_and_the_id_goes_on(tmp_path: Path):
    async with wire(tmp_path) as it:
        hasty(it)
        async with listening_to(it, "?type=contact.*") as source:
            await source.read()
            first = source.last_id
            await post(it, body(1))
            while source.last_id == first:
                await source.read()
            assert source.comments
            assert source.events == []
            seen = len(source.comments)
            while len(source.comments) < seen + 2:
                await source.read()
        async with listening_to(it, last_id=source.last_id) as later:
            await post(it, body(2))
            await later.until(1)
        assert later.texts == ["00002"]


async def test_whoever_is_cut_off_before_the_first_event_misses_nothing_either(tmp_path: Path):
    async with wire(tmp_path) as it:
        async with listening_to(it) as source:
            await source.read()
        await post(it, body(1))
        await source.connect()
        await source.until(1)
        source.cut()
        assert source.texts == ["00001"]


@pytest.mark.parametrize("query", ["", "?to=%2B447700900200"], ids=["everything", "filtered"])
async def test_a_reader_cut_off_a_hundred_times_sees_every_event_once_and_in_order(tmp_path: Path, query):
    chance = random.Random(7)
    async with wire(tmp_path) as it:
        hasty(it)
        over = asyncio.Event()

        async def arriving() -> int:
            connection, number = await it.connect(), 0
            while not over.is_set():
                number += 1
                to = "+447700900200" if number % 3 == 0 or not query else "+447700900201"
                await connection.send(it.request(body(number, to, chance.randrange(3000))))
                assert await connection.status() == 200
                await asyncio.sleep(chance.random() * 0.002)
            return number

        source = Source(it, query)
        await source.connect()
        await source.read()
        posting = asyncio.create_task(arriving())
        for _ in range(100):
            for _ in range(chance.randrange(1, 4)):
                await source.read(chance.randrange(1, 9000))
            source.cut()
            await asyncio.sleep(chance.random() * 0.01)
            await source.connect()
        over.set()
        count = await posting
        expected = [f"{number:05d}" for number in range(1, count + 1) if not query or number % 3 == 0]
        await source.until(len(expected))
        source.cut()
        assert [text[:5] for text in source.texts] == expected
        assert len(expected) > 10


class Waiting(BoundedProtocol):
    write_seconds = 0.2


async def test_a_slow_reader_is_cut_off_with_bounded_memory_and_goes_on_where_it_was(tmp_path: Path):
    async with wire(tmp_path, protocol=Waiting) as it:
        hasty(it)
        async with listening_to(it) as source:
            await source.read()
            assert source.connection is not None
            transport = cast("asyncio.Transport", source.connection.writer.transport)
            transport.pause_reading()
            big = [body(number, size=30_000) for number in range(400)]  # more than the kernel takes for both sides
            await post(it, *big)
            await until(lambda: it.app.live.open == 0)
            transport.resume_reading()
            await source.to_the_end()
            assert not source.over
            assert 0 < len(source.events) < len(big)
            await source.connect()
            await source.until(len(big))
        assert [text[:5] for text in source.texts] == [f"{number:05d}" for number in range(len(big))]


async def test_a_key_that_is_revoked_hears_no_more(tmp_path: Path):
    async with wire(tmp_path) as it, owner_client(it.owner) as owner:
        hasty(it, heartbeat=0.05)
        made = (await owner.post("/v1/keys", json={"name": "tail", "scopes": ["read"]})).json()
        async with listening_to(it, key=made["key"]) as source:
            await source.read()
            await owner.delete(f"/v1/keys/{made['id']}")
            await source.to_the_end()
            assert source.over
            assert source.comments[-1] == "the key is no longer valid"


async def test_there_are_only_so_many_streams_and_places_are_given_back(tmp_path: Path):
    async with wire(tmp_path) as it, world_client(it.port) as client:
        it.app.live._most = 2
        async with listening_to(it) as one, listening_to(it) as other:
            assert (one.status, other.status) == (200, 200)
            assert problem(await client.get("/v1/events/stream")) == (503, "unavailable")
            one.cut()
            await until(lambda: it.app.live.open == 1)
            async with listening_to(it) as third:
                assert third.status == 200
        await until(lambda: it.app.live.open == 0)


async def test_at_the_end_what_is_there_is_said_and_the_answer_is_whole(tmp_path: Path):
    source: Source
    async with wire(tmp_path) as it:
        source = Source(it)
        await source.connect()
        await source.read()
        await post(it, body(1))
        ending = asyncio.create_task(source.to_the_end())
        began = asyncio.get_running_loop().time()
    await ending
    source.cut()
    assert asyncio.get_running_loop().time() - began < 4  # uvicorn would wait for five seconds
    assert source.over
    assert source.texts == ["00001"]
    assert source.comments[-1].startswith("the receiver stops")


async def test_the_owner_needs_no_key(tmp_path: Path):
    async with wire(tmp_path) as it:
        reader, writer = await asyncio.open_unix_connection(str(it.owner))
        writer.write(raw("GET", "/v1/events/stream"))
        assert b" 200 OK" in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
