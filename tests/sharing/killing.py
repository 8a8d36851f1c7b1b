"""Receivers as processes on one PostgreSQL, under load, killed one after the other, the server crashed in between.

What must hold: each message that was acknowledged is one event, nothing else is one, and each event reached the
subscriber. `python -m tests.sharing.killing KILLS` is the long form, with leases that run out by themselves.
"""

import asyncio
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web

from tests.postgres import OwnServer

KEY = "an-admin-key-of-the-settings"


@dataclass
class Story:
    """What vendors were told, what the subscriber heard, and what was done to the processes."""

    acknowledged: set[str] = field(default_factory=set)
    heard: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    crashes: int = 0
    takeovers: list[float] = field(default_factory=list)


class Receiver:
    """`receiver serve` on a port of its own."""

    def __init__(self, url: str) -> None:
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
            "RECEIVER_DATABASE_URL": url, "RECEIVER_PORT": "0", "RECEIVER_API_KEY": KEY,
            "RECEIVER_EGRESS_ALLOW": "127.0.0.0/8", "RECEIVER_LOG_LEVEL": "error",
            "RECEIVER_RETRY_SCHEDULE": "1s,1s,1s,1s,1s,1s,1s,1s",
        }  # fmt: skip
        self.address = ""
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        for _ in range(30):
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "receiver", "serve", env=self._environment, stdout=asyncio.subprocess.PIPE
            )
            assert self.process.stdout is not None
            line = (await self.process.stdout.readline()).decode()
            found = re.search(r"listens on (\S+)", line)
            if found:
                self.address = found[1]
                return
            await self.process.wait()  # the server was down
            await asyncio.sleep(0.5)
        raise AssertionError("never started")

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


async def _load(receivers: list[Receiver], path: str, story: Story, over: asyncio.Event, name: str) -> None:
    """A vendor: it tells each message until it is told of success, wherever the balancer sends it."""
    chance = random.Random(name)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        for number in range(1_000_000):
            if over.is_set():
                return
            body = {"vendor_message_id": f"{name}-{number}", "from": "447700900100", "to": "447700900999", "text": "x"}
            while True:
                receiver = chance.choice(receivers)
                try:
                    async with session.post(receiver.address + path, json=body) as answer:
                        if answer.status == 200:
                            break
                except (aiohttp.ClientError, TimeoutError, OSError):
                    pass
                await asyncio.sleep(0.05)
            story.acknowledged.add(f"{name}-{number}")


async def _subscriber(story: Story) -> tuple[web.AppRunner, str]:
    async def hear(request: web.Request) -> web.Response:
        event = await request.json()
        await asyncio.sleep(0.005)
        story.heard[event["data"]["vendor_message_id"]] += 1
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    return runner, f"http://127.0.0.1:{port}/hook"


async def _ask(receiver: Receiver, path: str, body: dict[str, Any]) -> Any:
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(receiver.address + path, json=body) as made,
    ):
        assert made.status == 201, await made.text()
        return await made.json()


async def run(folder: Path, *, kills: int, every: float, hurry: bool, vendors: int = 8) -> Story:
    """The server crashes after the first kill. `hurry` ends the leases of the killed by hand, as if their time had
    passed.
    """
    story = Story()
    server = OwnServer(folder / "server")
    receivers = [Receiver(server.url) for _ in range(3)]
    runner, hook = await _subscriber(story)
    try:
        for receiver in receivers:
            await receiver.start()
        options = {
            "fields": {name: name for name in ("vendor_message_id", "from", "to", "text")},
            "international": True,
        }
        source = await _ask(receivers[0], "/v1/sources", {"vendor": "generic", "options": options})
        await _ask(receivers[1], "/v1/subscriptions", {"url": hook, "types": ["message.received"]})
        await asyncio.sleep(1.0)
        path = "/in/" + source["url"].partition("/in/")[2]
        over = asyncio.Event()
        loads = [asyncio.create_task(_load(receivers, path, story, over, f"v{n}")) for n in range(vendors)]
        await _break(server, receivers, story, kills, every)
        over.set()
        await asyncio.gather(*loads)
        await _settle(server, story, hurry=hurry)
        await _check(server, story)
    finally:
        for receiver in receivers:
            if receiver.address and receiver.process.returncode is None:
                await receiver.kill()
        await runner.cleanup()
        server.close()
    return story


async def _break(server: OwnServer, receivers: list[Receiver], story: Story, kills: int, every: float) -> None:
    chance = random.Random(3)
    while story.kills < kills:
        await asyncio.sleep(every)
        if story.kills == 1 and not story.crashes:
            server.stop()
            await asyncio.sleep(1.0)
            server.start()
            story.crashes += 1
            continue
        victim = chance.choice(receivers)
        await victim.kill()
        story.kills += 1
        await asyncio.sleep(0.5)
        await victim.start()
    await asyncio.sleep(every)


async def _forget_the_dead(server: OwnServer, living: int) -> None:
    """The youngest are those that run."""
    connection = await asyncpg.connect(server.url)
    await connection.execute(
        "UPDATE processes SET alive_until = 0 WHERE number IN (SELECT number FROM processes ORDER BY started_at DESC OFFSET $1)",
        living,
    )  # fmt: skip
    await connection.close()


async def _settle(server: OwnServer, story: Story, *, hurry: bool) -> None:
    """Until nothing is owed, for as long as leases last and a little more."""
    if hurry:
        await _forget_the_dead(server, 3)
    connection = await asyncpg.connect(server.url)
    started = time.monotonic()
    while time.monotonic() - started < (60 if hurry else 100):
        owed = await connection.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'succeeded'")
        if not owed:
            break
        await asyncio.sleep(0.5)
    story.takeovers.append(time.monotonic() - started)
    await connection.close()


async def _check(server: OwnServer, story: Story) -> None:
    connection = await asyncpg.connect(server.url)
    kept = [row[0] for row in await connection.fetch("SELECT vendor_message_id FROM events ORDER BY seq")]
    states = dict(await connection.fetch("SELECT state, count(*) FROM deliveries GROUP BY state"))
    await connection.close()
    assert len(kept) == len(set(kept)), "a message became two events"
    assert set(kept) == story.acknowledged, "lost or invented"
    assert states == {"succeeded": len(kept)}, states
    assert set(story.heard) == set(kept), "an event did not reach the subscriber"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        told = asyncio.run(run(Path(place), kills=int(sys.argv[1]), every=6.0, hurry=False))
    again = sum(count - 1 for count in told.heard.values())
    print(  # noqa: T201
        f"{len(told.acknowledged)} messages, {told.kills} kills, {told.crashes} crashes of the server; 0 lost, "
        f"{again} sent again; all was delivered {told.takeovers[-1]:.0f} s after the load ended"
    )
