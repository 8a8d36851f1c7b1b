"""Subscribers with moods, a disk, a clock and a process that ends, and what must be true of the store in every pause.

`World` does one thing at a time and waits until nothing moves; `machine` decides what comes next.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from receiver.delivery.health import HEALTHY
from receiver.sms.matching import compile_matcher
from receiver.storage import deliveries, subscriptions
from receiver.storage.database import Unavailable
from receiver.storage.recording import Recording
from tests.delivery.conversing import killed, message, people_in
from tests.delivery.dispatching import PACE, Clock, Sent, WayOut, answers, way_out
from tests.delivery.settling import passed, settled

PACE_OF_THE_WORLD = replace(PACE, schedule=(5.0, 60.0, 600.0), timeout=1e6, concurrency=6, lane=6)
ATTEMPT_SECONDS = 20.0
RATE = 5.0
PEOPLE = 3

SUBSCRIPTIONS: dict[str, dict[str, Any]] = {
    "all": {"types": ["*"], "max_concurrency": 3},
    "ordered": {"types": ["message.*", "contact.*"], "max_concurrency": 4, "ordered": "conversation"},
    "slow": {"types": ["receipt.*", "contact.*"], "max_concurrency": 2, "rate_per_second": RATE},
    "leaving": {"types": ["*"], "max_concurrency": 2, "ordered": "conversation"},
}
MOODS = {
    "well": answers(200),
    "failing": answers(500),
    "busy": answers(429, retry_after="45"),
    "gone": answers(410),
    "enough": answers(200, webhook_delivery="disable"),
    "never this": answers(404, webhook_delivery="abort-message"),
}
HANGS = "hangs"

OPEN = ("queued", "waiting", "sending", "retrying")
UNDER_WAY = ("waiting", "sending", "retrying")
Key = tuple[str, str]
"""An event and the name of a subscription."""


@dataclass
class Mood:
    """One subscriber. What it keeps waiting is answered when its mood changes, or by nobody."""

    name: str
    world: "World"
    word: str = "well"
    waiting: list[tuple[Sent, "asyncio.Future[str]"]] = field(default_factory=list)

    async def __call__(self, sent: Sent) -> httpx2.Response:
        self.world.begun(self.name, sent)
        word = self.word
        if word == HANGS:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((sent, future))
            word = await future
        if word == "timeout":
            raise httpx2.ReadTimeout("no whole answer")
        return await MOODS[word](sent)

    def let_go(self, word: str) -> None:
        for _, future in self.waiting:
            future.set_result(word)
        self.waiting.clear()


@dataclass
class World:
    folder: Path
    clock: Clock = field(default_factory=Clock)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    moods: dict[str, Mood] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    rated: list[float] = field(default_factory=list)
    """When this process sent to `slow` (monotonic seconds)."""
    expected: set[Key] = field(default_factory=set)
    sent: Counter[Key] = field(default_factory=Counter)
    lost: Counter[Key] = field(default_factory=Counter)
    """Attempts that were under way when their process ended."""
    order: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By person and subscription."""
    excused: set[Key] = field(default_factory=set)
    """Held for a while or opened again by hand: these come when they come."""
    offences: list[str] = field(default_factory=list)
    it: WayOut = field(init=False)

    async def begin(self) -> None:
        self.moods = {name: Mood(name, self) for name in SUBSCRIPTIONS}
        await self._start()
        for name, given in SUBSCRIPTIONS.items():
            self.limits[name] = given["max_concurrency"]
            await self.it.subscribe(name, **given)

    async def _start(self) -> None:
        made = way_out(
            self.folder, pace=PACE_OF_THE_WORLD, clock=self.clock, behaviours=self.moods, patience=10_000.0
        )  # fmt: skip
        serial = self.it.serial if hasattr(self, "it") else None
        self.it = await self.stack.enter_async_context(made)
        self.it.serial = serial or self.it.serial
        self.rated.clear()
        await settled(self.it)

    async def restart(self, *, kill: bool) -> None:
        for mood in self.moods.values():
            self.lost.update((sent.event_id, mood.name) for sent, _ in mood.waiting)
            mood.waiting.clear()
        if kill:
            await killed(self.it)
        else:
            await self.it.dispatcher.stop(0.0)
        await self.stack.aclose()
        await self._start()

    async def end(self) -> None:
        for mood in self.moods.values():
            mood.waiting.clear()
        self.it.database.failing = 0
        await killed(self.it)
        await self.stack.aclose()

    def begun(self, name: str, sent: Sent) -> None:
        """A request has come to a subscriber."""
        key = (sent.event_id, name)
        self.sent[key] += 1
        person = people_in(sent.body)
        if person is not None and "ordered" in SUBSCRIPTIONS[name]:
            self.order[person, name].append(sent.event_id)
        if self.it.subscribers.under_way[name] > self.limits[name]:
            self.offences.append(f"{name}: {self.it.subscribers.under_way[name]} at once")
        if name == "slow":
            self.rated.append(self.clock.monotonic())
            self._check_rate()

    def _check_rate(self) -> None:
        for number, moment in enumerate(reversed(self.rated), 1):
            if number > RATE + RATE * (self.rated[-1] - moment) + 0.01:
                self.offences.append(f"slow: {number} within {self.rated[-1] - moment} s")

    async def record(self, people: Sequence[int], bare: int, stop: int | None) -> None:
        """Messages, requests that nobody understands, and somebody who opts out: at once."""
        calls = [message(self.it, person) for person in people] + [self.it.one_more() for _ in range(bare)]
        if stop is not None:
            calls.append(message(self.it, stop, "STOP"))
        done = await asyncio.gather(*map(self._recorded, calls))
        known = {name for name in SUBSCRIPTIONS if self.it.catalog.subscription(f"sub_{name}") is not None}
        for event_id, kind in (event for events in done for event in events):
            self.expected |= {
                (event_id, name) for name in known if compile_matcher(SUBSCRIPTIONS[name]["types"], None)(kind, {})
            }
        await settled(self.it)

    async def _recorded(self, recording: Recording) -> Sequence[tuple[str, str]]:
        """Nothing, where the disk is full: then nothing was promised either."""
        try:
            return (await self.it.batch.submit(self.it.recording, recording)).events
        except Unavailable:
            return ()

    async def feel(self, name: str, word: str) -> None:
        mood = self.moods[name]
        mood.word = word
        if word != HANGS:
            mood.let_go(word)
        await settled(self.it)

    async def pass_time(self, seconds: float) -> None:
        if seconds >= ATTEMPT_SECONDS:
            for mood in self.moods.values():
                mood.let_go("timeout")
            await settled(self.it)
        await passed(self.it, seconds)

    async def set_clock(self, seconds: float) -> None:
        self.clock.set_by(seconds)
        self.it.look_again()
        await settled(self.it)

    async def change(self, name: str, **given: Any) -> None:
        """As the API does it: for a subscription that was set to work anew its failures count from now."""
        async with self.it.database.reading() as reader:
            row = await subscriptions.get(reader, f"sub_{name}")
        if row is None:
            return
        changed = replace(row, **given, updated_at=self.clock())

        async def write(transaction: Any) -> None:
            await subscriptions.save(transaction, changed)
            if row.state == "disabled" != changed.state:
                subscriptions.save_health(transaction, {row.id: HEALTHY})

        try:
            await self.it.batch.write(write)
        except Unavailable:
            return
        self.limits[name] = changed.max_concurrency
        await self.it.refresh()
        if changed.state == "active":
            self.it.dispatcher.wake(row.id)
        await settled(self.it)

    async def remove(self, name: str) -> None:
        if self.it.catalog.subscription(f"sub_{name}") is None:
            return
        try:
            await self.it.remove(f"sub_{name}")
        except Unavailable:
            return
        await settled(self.it)

    async def reopen(self, number: int) -> None:
        """One of those that could be, of the subscriptions that are sent anything."""
        rows = await self.it.fetch(
            """SELECT d.id, d.event_id, d.subscription_id FROM deliveries d
               JOIN subscriptions s ON s.id = d.subscription_id
               WHERE d.state NOT IN ('queued', 'sending', 'canceled') AND s.state = 'active' AND s.removed_at IS NULL
               ORDER BY d.id"""
        )
        if not rows:
            return
        delivery_id, event_id, subscription_id = rows[number % len(rows)]
        self.excused.add((event_id, subscription_id.removeprefix("sub_")))
        try:
            await self.it.batch.write(lambda transaction: deliveries.reopen(transaction, [delivery_id], self.clock()))
        except Unavailable:
            return
        self.it.dispatcher.wake(subscription_id)
        await settled(self.it)

    async def all_is_well(self) -> None:
        """From now on every subscriber takes everything; in the end nothing is owed any more."""
        self.it.database.failing = 0
        for name in SUBSCRIPTIONS:
            await self.feel(name, "well")
            await self.change(name, state="active", disabled_by=None)
        owed = await self._owed()
        steps = [1.0, 5.0, 30.0, 60.0, 600.0, 4_000.0, 90_000.0] + [1.0] * 200
        for step in steps:
            if not await self._owed():
                break
            await passed(self.it, step)
        ended = await self.it.fetch("SELECT id, state FROM deliveries WHERE state IN ('succeeded')")
        stuck = owed - {row[0] for row in ended}
        if stuck:
            self.offences.append(f"never arrived: {await self._told(stuck)}")

    async def _owed(self) -> set[str]:
        marks = ", ".join(f"'{state}'" for state in OPEN)
        return {row[0] for row in await self.it.fetch(f"SELECT id FROM deliveries WHERE state IN ({marks})")}

    async def _told(self, ids: set[str]) -> list[tuple[Any, ...]]:
        rows = await self.it.fetch("SELECT id, subscription_id, state, attempts, next_at, conversation FROM deliveries")
        return [tuple(row) for row in rows if row[0] in ids]
