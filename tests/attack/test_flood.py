"""Many clients that are slow on purpose: they are closed at their deadlines, and nobody else notices them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from receiver.connections import Connections
from receiver.protocol import BoundedProtocol
from tests.wire import KEY, PATIENCE, Wire, raw, wire, world_client

SLOW_HEADS, DRIPPING = 200, 50


class Hasty(BoundedProtocol):
    head_seconds = 1.0
    linger_seconds = 0.2


class Dripping(asyncio.Protocol):
    """Says how it begins, then a byte at a time until it hears something or the other side ends it."""

    def __init__(self, begun: bytes) -> None:
        self._begun = begun
        self.heard = b""
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._begun)
        self._say()

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def _say(self) -> None:
        if not self.heard and not self.ended.is_set():
            self._transport.write(b"a")
            asyncio.get_running_loop().call_later(0.05, self._say)


async def dripping(it: Wire, begun: bytes) -> Dripping:
    _, made = await asyncio.get_running_loop().create_connection(lambda: Dripping(begun), "127.0.0.1", it.port)
    return made


async def test_slow_heads_and_dripping_bodies_are_closed_and_honest_requests_are_served(tmp_path: Path):
    async with wire(tmp_path, protocol=Hasty, body_seconds=1.0) as it:
        slow = [await dripping(it, it.request()[:30]) for _ in range(SLOW_HEADS)]
        drips = [await dripping(it, raw("POST", it.path, "Content-Length: 1000")) for _ in range(DRIPPING)]
        assert await asyncio.gather(*(honest(it, number) for number in range(100))) == [200] * 100
        async with asyncio.timeout(PATIENCE):
            for attacker in (*slow, *drips):
                await attacker.ended.wait()
        assert {attacker.heard for attacker in slow} == {b""}
        assert {attacker.heard[:12] for attacker in drips} == {b"HTTP/1.1 408"}
        assert len(await it.bodies()) == 100


async def honest(it: Wire, number: int) -> int:
    return await (await it.say(it.request(b'{"text": "%d"}' % number))).status()


async def test_a_flood_beyond_every_place_does_not_lock_honest_clients_out(tmp_path: Path):
    async with wire(tmp_path, connections=Connections(32)) as it:
        flood = [await it.connect() for _ in range(100)]
        for number, connection in enumerate(flood):
            connection.writer.write(b"GET /livez HT" if number % 2 else it.request()[:30])
            if number % 10 == 0:
                assert await honest(it, number) == 200
        assert len(await it.bodies()) == 10


FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (190, 190))
from receiver.cli import main
sys.argv = ["receiver", "serve"]
main()
"""


@asynccontextmanager
async def process_with_few_descriptors(folder: Path) -> AsyncIterator[int]:
    environ = {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db", "RECEIVER_PORT": "0", "RECEIVER_API_KEY": KEY,
        "RECEIVER_DELIVERY_CONCURRENCY": "8", "PYTHONPATH": str(Path(__file__).parent.parent.parent),
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FEW_DESCRIPTORS, env=environ, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = await child.stdout.readline()
            while b"http://" not in line:
                assert line, "it did not start"
                line = await child.stdout.readline()
        yield int(line.decode().split("http://127.0.0.1:")[1].split()[0].rstrip("/"))
    finally:
        child.terminate()
        _, told = await asyncio.wait_for(child.communicate(), 30)
        assert b"Too many open files" not in told
        assert b"EMFILE" not in told
    assert child.returncode == 0


async def test_more_connections_than_descriptors_do_not_stop_a_process(tmp_path: Path):
    """190 descriptors leave 46 places; 400 clients come and stay."""
    async with process_with_few_descriptors(tmp_path) as port:
        flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
        async with world_client(port) as client:
            for _ in range(5):
                assert (await client.get("/livez")).status_code == 200
                made = await client.post("/v1/sources", json={"vendor": "powertextor"})
                assert made.status_code == 201, made.text
        for _, writer in flood:
            writer.close()
