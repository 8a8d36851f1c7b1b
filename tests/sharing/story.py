"""Three receivers as processes on PostgreSQL, under load, while something breaks.

What must hold: each message that was acknowledged is one event, nothing else is one, and each event reached the
subscriber.
"""

import asyncio
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web

KEY = "an-admin-key-of-the-settings"
PROCESSES = 3
_OPTIONS = {
    "fields": {name: name for name in ("vendor_message_id", "from", "to", "text", "status")},
    "statuses": {"ok": "delivered"},
    "international": True,
}
_MESSAGE = {"from": "447700900100", "to": "447700900999", "text": "x"}
_REPORT = {"from": "447700900999", "to": "447700900100", "status": "ok"}


@dataclass
class Story:
    """What vendors were told, what the subscriber heard, and what was done.

    path    where vendors post to, below any receiver's address
    away    how often the vendors were told 503
    tail    seconds from the end of the load until all was delivered
    """

    path: str = ""
    acknowledged: set[str] = field(default_factory=set)
    heard: Counter[str] = field(default_factory=Counter)
    away: int = 0
    kills: int = 0
    crashes: int = 0
    cuts: int = 0
    tail: float = 0.0

    @property
    def again(self) -> int:
        return self.heard.total() - len(self.heard)


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


async def tell(session: aiohttp.ClientSession, receiver: Receiver, story: Story, name: str) -> int:
    """A message or, of every third, a delivery report; the status of the answer, 0 without one."""
    body = {"vendor_message_id": name, **(_REPORT if name[-1] in "0369" else _MESSAGE)}
    try:
        async with session.post(receiver.address + story.path, json=body) as answer:
            story.away += answer.status == 503
            if answer.status == 200:
                story.acknowledged.add(name)
            return answer.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0


async def _load(receivers: Sequence[Receiver], story: Story, over: asyncio.Event, name: str) -> None:
    """A vendor: it tells each message until it is told of success, wherever the balancer sends it; some once more."""
    chance = random.Random(name)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        for number in range(1_000_000):
            if over.is_set():
                return
            while await tell(session, chance.choice(receivers), story, f"{name}-{number}") != 200:  # noqa: ASYNC110 — as vendors do
                await asyncio.sleep(0.05)
            if number % 7 == 0:
                await tell(session, chance.choice(receivers), story, f"{name}-{number}")


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


async def play(
    urls: Sequence[str],
    breaking: Callable[[Sequence[Receiver], Story], Awaitable[None]],
    look: Callable[[], str],
    *,
    hurry: bool = False,
    vendors: int = 8,
) -> Story:
    """Each receiver has a URL of its own; `look` gives one to look at the database by, in the end. `hurry` ends the
    leases of those that died by hand, as if their time had passed.
    """
    story = Story()
    receivers = [Receiver(url) for url in urls]
    runner, hook = await _subscriber(story)
    try:
        for receiver in receivers:
            await receiver.start()
        await _prepare(receivers, story, hook)
        over = asyncio.Event()
        loads = [asyncio.create_task(_load(receivers, story, over, f"v{n}")) for n in range(vendors)]
        await breaking(receivers, story)
        over.set()
        await asyncio.gather(*loads)
        await _settle(look(), story, hurry=hurry)
        await _check(look(), story)
    finally:
        for receiver in receivers:
            if receiver.address and receiver.process.returncode is None:
                await receiver.kill()
        await runner.cleanup()
    return story


async def _prepare(receivers: Sequence[Receiver], story: Story, hook: str) -> None:
    source = await _ask(receivers[0], "/v1/sources", {"vendor": "generic", "options": _OPTIONS})
    await _ask(receivers[1], "/v1/subscriptions", {"url": hook, "types": ["message.*"]})
    story.path = "/in/" + source["url"].partition("/in/")[2]
    await asyncio.sleep(1.0)


async def _forget_the_dead(url: str, living: int) -> None:
    """The youngest are those that run."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE processes SET alive_until = 0 WHERE number IN (SELECT number FROM processes ORDER BY started_at DESC OFFSET $1)",
        living,
    )  # fmt: skip
    await connection.close()


async def _settle(url: str, story: Story, *, hurry: bool) -> None:
    """Until nothing is owed, for as long as leases last and a little more."""
    if hurry:
        await _forget_the_dead(url, PROCESSES)
    connection = await asyncpg.connect(url)
    started = time.monotonic()
    while time.monotonic() - started < (60 if hurry else 100):
        owed = await connection.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'succeeded'")
        if not owed:
            break
        await asyncio.sleep(0.5)
    story.tail = time.monotonic() - started
    await connection.close()


async def _check(url: str, story: Story) -> None:
    connection = await asyncpg.connect(url)
    kept = [row[0] for row in await connection.fetch("SELECT vendor_message_id FROM events ORDER BY seq")]
    states = dict(await connection.fetch("SELECT state, count(*) FROM deliveries GROUP BY state"))
    await connection.close()
    assert len(kept) == len(set(kept)), "a message became two events"
    assert set(kept) == story.acknowledged, "lost or invented"
    assert states == {"succeeded": len(kept)}, states
    assert set(story.heard) == set(kept), "an event did not reach the subscriber"
