"""The receiver as a process: how it starts over what an earlier one left, and how it ends."""

import asyncio
import gc
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from receiver.app import create_app
from receiver.connections import SPARE
from receiver.server import serve, tcp
from receiver.storage.database import CannotStart
from tests.delivery.bad_subscribers import Connection, no_answer, subscriber
from tests.delivery.bad_subscribers import answer as answering
from tests.delivery.dispatching import Clock, Subscribers, until
from tests.wire import BODY, KEY, owner_client, raw, settings, world_client

MAIN = """
import sys
from pathlib import Path
from receiver.app import create_app
from receiver.observe import start_logging
from receiver.server import run
from tests.wire import settings

lines = start_logging("debug", "text", 2)
made = settings(Path(sys.argv[1]), egress_allow="127.0.0.0/8", lock_wait=5, delivery_timeout=5)
code = run(lambda: create_app(made), lambda url, owner: print(url, flush=True))
lines.close()
sys.exit(code)
"""


@dataclass
class Process:
    """A receiver in a process of its own; `path` leads to a source."""

    child: asyncio.subprocess.Process
    folder: Path
    url: str = ""
    path: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    async def code(self, seconds: float = 10.0) -> int:
        return await asyncio.wait_for(self.child.wait(), seconds)

    async def log(self) -> str:
        """Everything it wrote, once it has ended."""
        assert self.child.stderr is not None
        return (await self.child.stderr.read()).decode()

    def stored(self) -> set[bytes]:
        with sqlite3.connect(self.folder / "receiver.db") as database:
            rows = database.execute("SELECT body FROM receipts").fetchall()
        database.close()
        return {row[0] for row in rows}


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, str(folder), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        made = Process(child, folder)
        made.url = (await asyncio.wait_for(child.stdout.readline(), 20)).decode().strip()
        assert made.url, await made.log()
        async with world_client(made.port) as client:
            body = {"vendor": "generic", "options": {"fields": {"text": "text", "from": "from", "to": "to"}}}
            made.path = "/in/" + (await client.post("/v1/sources", json=body)).json()["url"].partition("/in/")[2]
        yield made
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        child._transport.close()  # type: ignore[attr-defined]  # its pipes, before the loop ends


async def test_sigterm_under_load_ends_with_0_and_everything_answered_is_stored(tmp_path: Path) -> None:
    async with process(tmp_path) as it:
        answered: list[bytes] = []
        vendors = [asyncio.create_task(posting(it, number, answered)) for number in range(8)]
        await until(lambda: len(answered) >= 100)
        it.signal(signal.SIGTERM)
        began = time.monotonic()
        assert await it.code() == 0
        assert time.monotonic() - began < 25
        await asyncio.gather(*vendors)
        assert len(answered) >= 100
        assert set(answered) <= it.stored()
        assert not (tmp_path / "receiver.db.sock").exists()
        assert "WARNING" not in await it.log()


async def posting(it: Process, number: int, answered: list[bytes]) -> None:
    """One vendor after another message, until nobody takes them."""
    async with httpx2.AsyncClient(base_url=it.url) as client:
        for count in range(100_000):
            body = b'{"text": "%d of vendor %d"}' % (count, number)
            try:
                answer = await client.post(it.path, content=body)
            except httpx2.TransportError:
                return
            if answer.status_code == 200:
                answered.append(body)


async def test_open_streams_do_not_hold_up_the_end_and_are_told(tmp_path: Path) -> None:
    async with process(tmp_path) as it:
        streams = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(3)]
        for reader, writer in streams:
            writer.write(raw("GET", "/v1/events/stream", f"Authorization: Bearer {KEY}"))
            assert b"text/event-stream" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        it.signal(signal.SIGTERM)
        began = time.monotonic()
        assert await it.code() == 0
        assert time.monotonic() - began < 4  # uvicorn would wait for five seconds
        for reader, writer in streams:
            assert (await reader.read()).endswith(b"go on from the last id\n\n\r\n0\r\n\r\n")
            writer.close()
        assert "WARNING" not in await it.log()


async def test_a_stream_that_nobody_reads_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    async with process(tmp_path) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(raw("GET", "/v1/events/stream", f"Authorization: Bearer {KEY}"))
        assert b"text/event-stream" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        cast("asyncio.Transport", writer.transport).pause_reading()
        async with httpx2.AsyncClient(base_url=it.url) as client:
            for number in range(250):
                large = b'{"text": "%d%b"}' % (number, b"x" * 31_000)
                assert (await client.post(it.path, content=large)).status_code == 200
        it.signal(signal.SIGTERM)
        assert await it.code(12) == 0
        assert len(it.stored()) == 250
        writer.transport.abort()


async def test_sigint_ends_with_0_too(tmp_path: Path) -> None:
    async with process(tmp_path) as it:
        it.signal(signal.SIGINT)
        assert await it.code() == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with process(tmp_path) as it, subscriber(no_answer) as silent, world_client(it.port) as client:
        await client.post("/v1/subscriptions", json={"url": silent.url})
        assert (await client.post(it.path, content=BODY)).status_code == 200
        await until(lambda: len(silent.requests) == 1)
        it.signal(signal.SIGTERM)
        with pytest.raises(TimeoutError):
            await it.code(0.7)  # it waits for the attempt under way
        it.signal(signal.SIGTERM)
        assert await it.code(1.0) == 128 + signal.SIGTERM
        assert len(it.stored()) == 1


async def test_what_a_killed_one_left_is_no_hindrance_and_its_deliveries_are_made(tmp_path: Path) -> None:
    async def silent_at_first(connection: Connection) -> None:
        await (no_answer if len(connection.seen.requests) == 1 else answering())(connection)

    async with subscriber(silent_at_first) as it_hears:
        async with process(tmp_path) as it, world_client(it.port) as client:
            await client.post("/v1/subscriptions", json={"url": it_hears.url})
            assert (await client.post(it.path, content=BODY)).status_code == 200
            await until(lambda: len(it_hears.requests) == 1)
            it.signal(signal.SIGKILL)
            assert await it.code() == -signal.SIGKILL
            assert (tmp_path / "receiver.db.sock").is_socket()
        async with process(tmp_path), owner_client(tmp_path / "receiver.db.sock") as owner:
            await until(lambda: len(it_hears.requests) == 2)
            (delivery,) = (await owner.get("/v1/deliveries")).json()["data"]
            assert delivery["event_id"].encode() in it_hears.heads[1]
        assert it_hears.requests[0][1] == it_hears.requests[1][1]


async def test_no_token_key_text_or_number_is_ever_written_to_the_log(tmp_path: Path) -> None:
    async with process(tmp_path) as it, subscriber(answering(500, b"+447700900123")) as failing:
        token = it.path.rpartition("/")[2]
        async with world_client(it.port) as client:
            await client.post("/v1/subscriptions", json={"url": f"{failing.url}?sig=s3cr3t-in-the-url"})
            for body in (BODY, BODY, b"not json +447700900123", b"\xff\xfe"):
                assert (await client.post(it.path, content=body)).status_code == 200
            for path in (f"{it.path}x", f"/in/twilio/{token}", f"{it.path}?text=hello&from=%2B447700900123"):
                await client.get(path)
            await client.delete(it.path)
            await client.get("/v1/keys", headers={"authorization": f"Bearer {KEY}wrong"})
            await client.get(f"/v1/keys?api_key={KEY}")
        for data in (
            f"GET {it.path} HTTP/9\r\n\r\n",
            f"{token}\r\n\r\n",
            f"POST {it.path} HTTP/1.1\r\nfrom +447700900123",
        ):
            await said(it, data.encode())
        await said(it, raw("POST", it.path, "Content-Length: 99"))
        await until(lambda: len(failing.requests) >= 2)
        it.signal(signal.SIGTERM)
        assert await it.code() == 0
        written = await it.log()
        assert "receipt_id=rcp_" in written
        assert "delivery_id=dlv_" in written
        for secret in (token, KEY, "s3cr3t-in-the-url", "hello", "447700900123"):
            assert secret not in written


async def said(it: Process, data: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", it.port)
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()


@pytest.fixture
def _collector() -> Iterator[None]:
    """`serve` tunes the garbage collector of its process, which here is that of all tests."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_collector")
async def test_a_database_that_cannot_be_trusted_ends_with_1(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path), transport=Subscribers(Clock()))
    code = await asyncio.wait_for(serve(app, lambda _url, _owner: app.failed.set()), 30.0)
    assert code == 1


@pytest.mark.usefixtures("_collector")
async def test_every_attempt_that_may_be_under_way_has_its_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the places there is one for each lane with nothing under way, up to twice as many."""
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, _pair: None)  # it would be that of all tests
    app = create_app(settings(tmp_path, delivery_concurrency=100), transport=Subscribers(Clock()))
    await serve(app, lambda _url, _owner: app.failed.set())
    (told,) = [record for record in caplog.records if record.getMessage() == "descriptors.few"]
    assert told.__dict__["ids"] == {"limit": 1024, "connections": 1024 - SPARE - 200}


async def test_a_port_that_is_taken_is_told_and_the_database_let_go(tmp_path: Path) -> None:
    with tcp("127.0.0.1", 0) as taken:
        given: dict[str, Any] = {"port": taken.getsockname()[1]}
        app = create_app(settings(tmp_path, **given), transport=Subscribers(Clock()))
        with pytest.raises(CannotStart, match="cannot be listened on"):
            await serve(app, lambda _url, _owner: None)
    async with create_app(settings(tmp_path), transport=Subscribers(Clock())).lifespan():
        pass


@pytest.mark.usefixtures("_collector")
async def test_something_in_the_way_of_the_owner_s_socket_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "receiver.db.sock").mkdir()
    app = create_app(settings(tmp_path), transport=Subscribers(Clock()))
    with pytest.raises(CannotStart, match=r"receiver\.db\.sock: is in the way of the owner's socket"):
        await serve(app, lambda _url, _owner: app.failed.set())
