"""The way out, whole, on a real SQLite file: recorded events go through batch and dispatcher to a test's subscribers.

The clock stands still until a test moves it; a subscriber's name is the first label of its URL's host.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from receiver.delivery.dispatcher import Dispatcher
from receiver.delivery.lanes import Lanes, Pace
from receiver.sms.compose import Origin, quarantine
from receiver.storage import deliveries, subscriptions
from receiver.storage.batch import Batch, Operation
from receiver.storage.catalog import Catalog
from receiver.storage.database import Broken, Transaction, Unavailable
from receiver.storage.deliveries import Attempt, Delivery
from receiver.storage.ids import Ids
from receiver.storage.migrate import migrate
from receiver.storage.receipts import Receipt
from receiver.storage.record import Recorder
from receiver.storage.recording import Recorded, Recording
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.subscriptions import Secret, Subscription

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ORIGIN = Origin(source_id="src_1", vendor="generic", default_region=None, dedup_seconds=60, reference_days=7)
USER_AGENT = "receiver/test"
SECOND = 1_000_000
PATIENCE = 4_000
"""Looks, some milliseconds apart, before something that should come counts as missing."""


@dataclass
class Clock:
    """Unix microseconds, of today, because libraries that check signatures look at the real time."""

    now: int = field(default_factory=lambda: time.time_ns() // 1000)
    ahead: int = 0
    """Microseconds by which it was set forward, or back, against the time that passes."""

    def __call__(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return (self() - self.ahead) / SECOND

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    def set_by(self, seconds: float) -> None:
        """The machine's clock is corrected."""
        self.now += round(seconds * SECOND)
        self.ahead += round(seconds * SECOND)


class Ticking(Clock):
    """Goes on by itself."""

    def __call__(self) -> int:
        return time.time_ns() // 1000


@dataclass(frozen=True)
class Sent:
    """One request as a subscriber got it."""

    name: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    at: int

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]


Behaviour = Callable[[Sent], Awaitable[httpx2.Response]]


def answers(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    async def behave(_sent: Sent) -> httpx2.Response:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return httpx2.Response(status, headers=named, stream=httpx2.ByteStream(body))

    return behave


def fails(error: Exception) -> Behaviour:
    async def behave(_sent: Sent) -> httpx2.Response:
        raise error

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first request is treated by the first, and so on; the last serves for good."""
    left = list(behaviours)

    async def behave(sent: Sent) -> httpx2.Response:
        return await (left.pop(0) if len(left) > 1 else left[0])(sent)

    return behave


@dataclass
class Gate:
    """Keeps requests waiting until it is opened, then treats them as told."""

    behaviour: Behaviour = field(default_factory=lambda: answers(200))
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, sent: Sent) -> httpx2.Response:
        await self.opened.wait()
        return await self.behaviour(sent)


class Subscribers(httpx2.AsyncBaseTransport):
    """Every subscriber there is; what was sent, and how many requests were under way at once, by name and in all."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.sent: list[Sent] = []
        self.behaviours: dict[str, Behaviour] = {}
        self.under_way: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._clock = clock

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        name = request.url.host.partition(".")[0]
        headers = {key.decode(): value.decode() for key, value in request.headers.raw}
        sent = Sent(name, str(request.url), headers, await request.aread(), self._clock())
        self.sent.append(sent)
        for counted in (name, ""):
            self.under_way[counted] += 1
            self.peak[counted] = max(self.peak[counted], self.under_way[counted])
        try:
            return await self.behaviours.get(name, answers(200))(sent)
        finally:
            for counted in (name, ""):
                self.under_way[counted] -= 1

    def events(self, name: str) -> list[str]:
        """Which events a subscriber got, in order."""
        return [sent.event_id for sent in self.sent if sent.name == name]


class Hesitant:
    """A database that can be full: its next `failing` commits are rolled back. `commits` counts those that were not.

    A `broken` one cannot be trusted any more; one whose `moving` is not set keeps a transaction from its commit.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.failing = 0
        self.commits = 0
        self.tries = 0
        self.broken = False
        self.moving = asyncio.Event()
        self.moving.set()

    def reading(self) -> Any:
        return self._database.reading()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        async with self._database.writing() as transaction:
            yield transaction
            self.tries += 1
            await self.moving.wait()
            if self.broken:
                raise Broken("disk I/O error")
            if self.failing:
                self.failing -= 1
                raise Unavailable("database or disk is full")
        self.commits += 1

    async def scrub(self) -> bool:
        return await self._database.scrub()

    async def close(self) -> None:
        await self._database.close()


@dataclass
class WayOut:
    """`record` commits events as the intake does; everything else looks at what became of them."""

    database: Hesitant
    batch: Batch
    catalog: Catalog
    dispatcher: Dispatcher
    lanes: Lanes
    subscribers: Subscribers
    clock: Clock
    ids: Ids
    recording: Operation[Recording, Recorded]
    running: "asyncio.Task[None] | None" = None
    counts: Counter[str] = field(default_factory=Counter)
    serial: Any = field(default_factory=lambda: count(1))

    async def subscribe(self, name: str, **given: Any) -> Subscription:
        made = Subscription(
            **{
                "id": f"sub_{name}", "url": f"https://{name}.example/hook", "types": ["*"], "filter": None,
                "format": "standard", "secrets": [Secret(SECRET)], "headers": {}, "max_concurrency": 8,
                "retry_schedule": None, "state": "active", "description": None, "created_at": self.clock(),
                "updated_at": self.clock(),
            } | given
        )  # fmt: skip
        return await self.save(made)

    async def change(self, subscription_id: str, **given: Any) -> Subscription:
        async with self.database.reading() as reader:
            found = await subscriptions.get(reader, subscription_id)
        assert found is not None
        return await self.save(replace(found, **given))

    async def save(self, subscription: Subscription) -> Subscription:
        await self.batch.write(lambda transaction: subscriptions.save(transaction, subscription))
        await self.refresh()
        return subscription

    async def remove(self, subscription_id: str) -> None:
        await self.batch.write(lambda transaction: subscriptions.remove(transaction, subscription_id, self.clock()))
        await self.refresh()

    async def refresh(self) -> None:
        """What the API does after a change."""
        async with self.database.reading() as reader:
            await self.catalog.refresh(reader)

    def one_more(self) -> Recording:
        """A request with one event, to be recorded."""
        number, now = next(self.serial), self.clock()
        receipt = Receipt(
            id=self.ids.new("rcp"), source_id=ORIGIN.source_id, vendor=ORIGIN.vendor, received_at=now, peer="",
            method="POST", target=b"/", headers=b"", body=b"",
        )  # fmt: skip
        entry = quarantine(f"number {number}", str(number), ORIGIN, now, receipt.id)
        return Recording(receipt=receipt, origin=ORIGIN, entries=[entry], outcome="quarantined", note="odd")

    async def record(self, number: int = 1) -> list[str]:
        """That many events at once; their ids, in the order of the log."""
        calls = [self.batch.submit(self.recording, self.one_more()) for _ in range(number)]
        recorded = await asyncio.gather(*calls)
        return [event_id for item in recorded for event_id, _ in item.events]

    async def fetch(self, sql: Any, *values: Any) -> Any:
        async with self.database.reading() as reader:
            return await reader.fetch(sql, *values)

    async def delivery(self, event_id: str, name: str = "a") -> Delivery:
        async with self.database.reading() as reader:
            rows = await deliveries.page(reader, subscription=f"sub_{name}", event=event_id, limit=2)
        (row,) = rows
        return row

    async def attempts(self, event_id: str, name: str = "a") -> Sequence[Attempt]:
        row = await self.delivery(event_id, name)
        async with self.database.reading() as reader:
            return await deliveries.attempts(reader, row.id)

    async def states(self, name: str = "a") -> dict[str, int]:
        rows = await self.fetch(
            "SELECT state, count(*) FROM deliveries WHERE subscription_id = ? GROUP BY state", f"sub_{name}"
        )
        return dict(rows)

    async def until(self, name: str = "a", **wanted: int) -> None:
        """Waits for exactly these states of a subscription's deliveries."""
        seen: dict[str, int] = {}
        for _ in range(PATIENCE):
            seen = await self.states(name)
            if seen == wanted:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"{seen} never became {wanted}")

    async def until_tried(self, event_id: str, times: int, name: str = "a") -> None:
        """Waits for so many recorded attempts."""
        for _ in range(PATIENCE):
            if (await self.delivery(event_id, name)).attempts == times:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"never tried {times} times")

    async def until_sent(self, number: int) -> None:
        await until(lambda: len(self.subscribers.sent) >= number)

    def look_again(self) -> None:
        """The clock was moved; the dispatcher's timer runs by the loop's own time and has to be told."""
        self.dispatcher.wake("sub_alarm")

    async def reach(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.look_again()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(PATIENCE):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


async def quiet(seconds: float = 0.05) -> None:
    """Long enough for what must not happen to have happened."""
    await asyncio.sleep(seconds)


PACE = Pace(schedule=(5.0, 300.0), timeout=5.0, concurrency=64, lane=100)


@asynccontextmanager
async def way_out(
    folder: Path, *, pace: Pace = PACE, clock: Clock | None = None, chance: float = 0.0, run: bool = True,
    behaviours: Mapping[str, Behaviour] | None = None, patience: float = 10.0,
) -> AsyncIterator[WayOut]:  # fmt: skip
    """`run=False` leaves the dispatcher's own loop to the test; `behaviours` are those that its first requests meet."""
    clock = clock or Clock()
    opened = await SqliteDatabase.open(folder / "receiver.db")
    await migrate(opened, clock)
    database = Hesitant(opened)
    batch, catalog = Batch(database, patience=patience), Catalog()
    subscribers = Subscribers(clock)
    subscribers.behaviours.update(behaviours or {})
    counts: Counter[str] = Counter()

    def tally(name: str, /, **labels: str) -> None:
        counts[" ".join([name, *labels.values()])] += 1

    ids = Ids(clock, bytes)
    monotonic = clock.monotonic
    lanes = Lanes(catalog, pace, user_agent=USER_AGENT, origin="receiver.example", monotonic=monotonic)
    recorder = Recorder(catalog, ids, clock, lanes.room, holder=lambda: lanes.holder)
    dispatcher = Dispatcher(
        catalog=catalog, lanes=lanes, batch=batch, transport=subscribers, pace=pace, clock=clock, monotonic=monotonic,
        chance=lambda: chance, count=tally, tell=recorder.tell,
    )  # fmt: skip
    async with opened.reading() as reader:
        (newest,) = (await reader.fetch("SELECT max(id) FROM deliveries"))[0]
        ids.seed(newest)
        await catalog.refresh(reader)
    recording: Operation[Recording, Recorded] = Operation(
        recorder.record, lambda committed: dispatcher.hand_over([item.outgoing for item in committed])
    )
    made = WayOut(database, batch, catalog, dispatcher, lanes, subscribers, clock, ids, recording, counts=counts)
    committing = asyncio.create_task(batch.run())
    await made.subscribe("alarm", types=["test.ping"])
    if run:
        made.running = asyncio.create_task(dispatcher.run())
        await until(lambda: lanes.open)
    try:
        yield made
    finally:
        await dispatcher.stop(5.0)
        batch.close()
        ends = await asyncio.gather(committing, *([made.running] if made.running else []), return_exceptions=True)
        await database.close()
        assert all(end is None or (database.broken and isinstance(end, Broken)) for end in ends)
