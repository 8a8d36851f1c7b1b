"""The network between one of three receivers and the database is cut: connections break, or nothing comes any more."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import aiohttp

from tests.postgres import OwnServer
from tests.sharing.story import PROCESSES, Receiver, Story, play, tell

Cut = Literal["broken", "silent"]
_CHUNK = 65_536


class Cable:
    """A way by TCP to a server's socket. Broken, it refuses and closes; silent, it holds back all that is sent until
    it is mended, as a network does that loses packets.
    """

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._broken = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def carries(self) -> int:
        return len(self._writers)

    def cut(self, how: Cut) -> None:
        if how == "silent":
            self._flowing.clear()
            return
        self._broken = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._broken = False
        self._flowing.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._broken:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        await self._flowing.wait()
        writer.close()


@asynccontextmanager
async def cable(socket: str) -> AsyncIterator[Cable]:
    made = Cable(socket)
    server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.mend()
        made.cut("broken")
        while made.carries:  # noqa: ASYNC110 — they end by themselves
            await asyncio.sleep(0.01)


async def run(folder: Path, cuts: Sequence[Cut], chance: random.Random, *, vendors: int = 8) -> Story:
    """One after the other, at any of the receivers; each is told of messages until it takes them again."""
    server = OwnServer(folder / "server")
    async with AsyncExitStack() as stack:
        stack.callback(server.close)
        cables = [await stack.enter_async_context(cable(server.socket)) for _ in range(PROCESSES)]
        urls = [f"postgresql://postgres@127.0.0.1:{made.port}/postgres" for made in cables]

        async def breaking(receivers: Sequence[Receiver], story: Story) -> None:
            for how in cuts:
                await asyncio.sleep(2.0)
                number = chance.randrange(PROCESSES)
                cables[number].cut(how)
                await _refuses(receivers[number], story)
                cables[number].mend()
                await takes(receivers[number], story)
                story.cuts += 1
            await asyncio.sleep(2.0)

        return await play(urls, breaking, lambda: server.url, vendors=vendors)


async def _refuses(receiver: Receiver, story: Story) -> None:
    """With 503 to vendors, and to the balancer; whoever was told so calls again in the end."""
    name = f"amid-{story.cuts}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        status = await tell(session, receiver, story, name)
        assert status == 503, f"{status} without a database"
        await _until_ready(session, receiver, 503)


async def takes(receiver: Receiver, story: Story) -> None:
    """What was refused before is taken now."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        await _until_ready(session, receiver, 200)
        async with asyncio.timeout(60):  # half a minute by itself, where the database fell silent; more beside others
            while await tell(session, receiver, story, f"amid-{story.cuts}") != 200:  # noqa: ASYNC110 — it is asked again
                await asyncio.sleep(0.1)


async def _until_ready(session: aiohttp.ClientSession, receiver: Receiver, wanted: int) -> None:
    async with asyncio.timeout(60):
        while True:
            async with session.get(receiver.address + "/readyz") as answer:
                if answer.status == wanted:
                    return
            await asyncio.sleep(0.2)
