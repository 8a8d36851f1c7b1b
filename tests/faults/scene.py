"""Everything a fault happens to: a receiver on a SQLite file, vendors, subscribers, and in the end the history."""

import asyncio
import random
import sqlite3
import time
from bisect import bisect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.checker import check
from tests.faults.fault import Report
from tests.faults.hearing import Behaviour, Ear, Listener, always, at_times, ear, seldom, slow
from tests.faults.history import Attempted, History, Owed, Stored, Subscriber
from tests.faults.processes import CONCURRENCY, KEY, Receiver
from tests.faults.traffic import AUTH_TOKEN, GENERIC_OPTIONS, Build, Source, Traffic, generic, twilio

OPEN = ("queued", "waiting", "sending", "retrying")


@dataclass(frozen=True)
class Wish:
    """A subscription: what the API is told, the trait of the messages that match, how its subscriber behaves."""

    name: str
    trait: str
    body: dict[str, Any] = field(default_factory=dict)
    behave: Behaviour = always

    @property
    def ordered(self) -> bool:
        return "ordered" in self.body


SOON: dict[str, Any] = {"types": ["message.*"], "retry_schedule": [1.0] * 20}
"""What every subscription asks for, unless it asks for something else."""

WISHES = (
    Wish("all", "any"),
    Wish("join", "join", {"types": ["message.received"], "filter": {"keywords": ["JOIN"]}}, slow),
    Wish("reports", "report", {"types": ["message.status"]}),
    Wish("failing", "twilio", {"filter": {"vendors": ["twilio"]}}, at_times),
    Wish("talks", "generic", {"filter": {"vendors": ["generic"]}, "ordered": "conversation"}, seldom),
    Wish("none", "nothing of the kind", {"types": ["contact.opted_out"]}),
)


@dataclass
class Scene:
    receiver: Receiver
    ear: Ear
    traffic: Traffic
    wishes: tuple[Wish, ...]
    subscribers: list[Subscriber] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    silent: int = 0

    @property
    def database(self) -> Path:
        return self.receiver.folder / "receiver.db"

    async def prepare(self) -> None:
        """Sources and subscriptions, by the API."""
        async with self.api() as client:
            for body, build, trait in SOURCES:
                made = (await client.post("/v1/sources", json=body)).raise_for_status().json()
                self.traffic.sources.append(Source(made["url"], build, frozenset({trait})))
            for wish in self.wishes:
                body = {"url": f"{self.ear.url}/{wish.name}", **SOON, **wish.body}
                made = (await client.post("/v1/subscriptions", json=body)).raise_for_status().json()
                self.ear.listeners[wish.name] = Listener(made["id"], made["secret"], wish.behave)
                self.subscribers.append(Subscriber(made["id"], wish.trait, wish.ordered))

    def api(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.receiver.url, headers={"authorization": f"Bearer {KEY}"}, timeout=30, trust_env=False
        )

    @asynccontextmanager
    async def load(self, connections: int = 16) -> AsyncIterator[None]:
        """Messages come as long as this lasts, or as the receiver does."""
        running = asyncio.create_task(self.traffic.run(self.receiver.port, connections))
        try:
            yield
        finally:
            self.traffic.closing = True
            try:
                await asyncio.wait_for(running, 60)
            finally:
                running.cancel()

    async def kill(self) -> None:
        """A run ends with no chance to do anything about it."""
        self.killed.add(self.ear.run)
        await self.receiver.kill()
        await self._next_run()

    async def kill_writer(self) -> int:
        """Its receiver ends by itself, with this code."""
        self.killed.add(self.ear.run)
        code = await self.receiver.kill_writer()
        await self._next_run()
        return code

    async def stop(self) -> int:
        code = await self.receiver.stop()
        await self._next_run()
        return code

    async def _next_run(self) -> None:
        await self.ear.quiet()
        self.ear.run += 1

    async def settled(self, patience: float = 30.0) -> None:
        """Until nothing is owed any more, or nothing moved for so long."""
        until, before = time.monotonic() + patience, -1
        while self.owed() and time.monotonic() < until:
            if len(self.ear.heard) != before:
                until, before = time.monotonic() + patience, len(self.ear.heard)
            await asyncio.sleep(0.1)

    def owed(self, *states: str) -> int:
        """Deliveries that are not done."""
        listed = ", ".join(f"'{state}'" for state in states or OPEN)
        return int(self._read(f"SELECT count(*) FROM deliveries WHERE state IN ({listed})")[0][0])

    def history(self) -> History:
        """Of a receiver that has ended."""
        assert not self.receiver.alive
        events = self._read("SELECT seq, id, vendor_message_id FROM events WHERE type LIKE 'message.%'")
        owed = self._read("SELECT subscription_id, event_id, state FROM deliveries")
        attempts = self._read(
            """SELECT subscription_id, event_id, started_at, status
               FROM attempts JOIN deliveries ON deliveries.id = attempts.delivery_id"""
        )
        ended_at = self.receiver.ended_at if self.ear.run > 1 else []  # of a single run, whose clock may have stepped
        return History(
            sent=self.traffic.sent,
            fates=self.traffic.fates,
            subscribers=self.subscribers,
            stored=[Stored(*row) for row in events],
            owed=[Owed(*row) for row in owed],
            attempted=[Attempted(who, what, bisect(ended_at, at), status) for who, what, at, status in attempts],
            heard=self.ear.heard,
            killed=frozenset(self.killed),
            concurrency=CONCURRENCY,
            silent=self.silent,
            integrity=str(self._read("PRAGMA integrity_check")[0][0]),
        )

    def _read(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            return database.execute(sql).fetchall()


SOURCES: tuple[tuple[dict[str, Any], Build, str], ...] = (
    ({"vendor": "twilio", "credentials": {"auth_token": AUTH_TOKEN}}, twilio, "twilio"),
    ({"vendor": "generic", "options": GENERIC_OPTIONS}, generic, "generic"),
)


@asynccontextmanager
async def scene(
    folder: Path, chance: random.Random, *, wishes: tuple[Wish, ...] = WISHES, **given: Any
) -> AsyncIterator[Scene]:
    """A receiver that runs, with all it takes; `given` is for the process."""
    async with ear() as ears:
        made = Scene(Receiver(folder, **given), ears, Traffic([], chance), wishes)
        try:
            await made.receiver.start()
            await made.prepare()
            yield made
        finally:
            with suppress(ProcessLookupError):
                await made.receiver.close()


async def ended(made: Scene, patience: float = 30.0) -> History:
    """The peaceful end of every story: what is owed is delivered, the process leaves with 0."""
    await made.settled(patience)
    code = await made.stop()
    assert code == 0, made.receiver.log()[-2000:]
    return made.history()


def told(tried: int, history: History, note: str = "") -> Report:
    """What a fault has to say, with the first problem, if there is one, else the `note`."""
    verdict = check(history)
    note = note or f"{len(history.of_fate('acknowledged'))} acknowledged, {len(history.heard)} requests to subscribers"
    if verdict.problems:
        first = verdict.problems[0]
        note = f"{first.kind}: {first.what}, and {len(verdict.problems) - 1} more"
    return Report(
        tried=tried,
        survived=tried - min(tried, len(verdict.problems)),
        lost=verdict.lost,
        duplicated=verdict.duplicated,
        note=note,
    )


Story = Callable[[Path, int, random.Random], Awaitable[History]]


def run(story: Story) -> Callable[[Path, int, random.Random], Report]:
    """A story as a fault of the soak tells it."""
    return lambda folder, rounds, chance: told(rounds, asyncio.run(_told(story, folder, rounds, chance)))


async def _told(story: Story, folder: Path, rounds: int, chance: random.Random) -> History:
    return await story(folder, rounds, chance)
