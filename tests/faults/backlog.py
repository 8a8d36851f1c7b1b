"""A subscriber that is down for six hours while everything piles up, and then comes back."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2

from receiver.delivery.lanes import Pace
from receiver.delivery.pacing import PROBE_EVERY
from tests.delivery.dispatching import PACE, Sent, WayOut, answers, way_out
from tests.delivery.settling import passed, settled
from tests.faults.fault import Fault, Report

HOURS = 6
CONCURRENCY = 8
LANE = 500
SCHEDULE = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)


@dataclass
class Seen:
    """What was observed, at both subscribers, and in the memory of the lane.

    neighbour   of every event that came in meanwhile: whether the other subscription had it before time went on
    begun       how many successes there had been, and how many requests were under way, whenever one began afterwards
    """

    events: list[str] = field(default_factory=list)
    attempts_while_down: int = 0
    most_in_memory: int = 0
    neighbour: list[bool] = field(default_factory=list)
    begun: list[tuple[int, int]] = field(default_factory=list)
    first_tries: list[str] = field(default_factory=list)
    tried_before: set[str] = field(default_factory=set)
    states: dict[str, int] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    @property
    def in_order_of_age(self) -> bool:
        return self.first_tries == sorted(self.first_tries)

    @property
    def no_herd(self) -> bool:
        """Each success allows one more at once, at most."""
        return all(under_way <= min(CONCURRENCY, 1 + successes) for successes, under_way in self.begun)

    @property
    def neighbour_untouched(self) -> bool:
        return bool(self.neighbour) and all(self.neighbour)


async def down_for_hours(folder: Path, waiting: int, pace: Pace | None = None) -> Seen:
    """With so many deliveries waiting in the end."""
    pace = pace or replace(PACE, schedule=SCHEDULE, timeout=600.0, lane=LANE)
    seen = Seen()
    async with way_out(folder, pace=pace) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a", types=["receipt.*"], max_concurrency=CONCURRENCY)
        await it.subscribe("b", types=["receipt.*"], max_concurrency=CONCURRENCY)
        await _down(it, waiting, seen)
        await _back(it, waiting, seen)
        seen.states = await it.states()
        seen.sent = it.subscribers.events("a")
    return seen


async def _down(it: WayOut, waiting: int, seen: Seen) -> None:
    steps = round(HOURS * 3600 / PROBE_EVERY)
    at_once = -(-waiting // (steps // 2))
    lane = it.lanes.get("sub_a")
    assert lane is not None
    for _ in range(steps):
        if len(seen.events) < waiting:
            seen.events += await it.record(min(at_once, waiting - len(seen.events)))
            await settled(it)
            seen.neighbour.append(len(it.subscribers.events("b")) == len(seen.events))
        seen.most_in_memory = max(seen.most_in_memory, lane.holds)
        await passed(it, PROBE_EVERY)
    seen.attempts_while_down = len(it.subscribers.events("a"))
    seen.tried_before = set(it.subscribers.events("a"))


async def _back(it: WayOut, waiting: int, seen: Seen) -> None:
    """From now on it takes everything, each after a moment."""
    successes = 0
    lane = it.lanes.get("sub_a")
    assert lane is not None

    async def takes(sent: Sent) -> httpx2.Response:
        nonlocal successes
        seen.begun.append((successes, it.subscribers.under_way["a"]))
        seen.most_in_memory = max(seen.most_in_memory, lane.holds)
        if sent.event_id not in seen.tried_before:
            seen.first_tries.append(sent.event_id)
        await asyncio.sleep(0.001)
        successes += 1
        return await answers(200)(sent)

    it.subscribers.behaviours["a"] = takes
    while successes < waiting:
        before = successes
        await passed(it, PROBE_EVERY)
        if successes == before:
            await passed(it, 36_000.0)  # what was tried several times has its next time later


def problems(seen: Seen, waiting: int) -> Sequence[str]:
    """What was promised and is not so."""
    steps = round(HOURS * 3600 / PROBE_EVERY)
    promises = {
        "every delivery arrived": seen.states == {"succeeded": waiting} and set(seen.sent) == set(seen.events),
        "while it was down it was asked once in half a minute": seen.attempts_while_down <= 20 + CONCURRENCY + steps,
        "drained in order of age": seen.in_order_of_age and len(seen.first_tries) > waiting // 2,
        "no herd": seen.no_herd and max(under_way for _, under_way in seen.begun) == CONCURRENCY,
        "the neighbour was untouched": seen.neighbour_untouched,
        "memory was bounded": 0 < seen.most_in_memory <= LANE + LANE // 4 + CONCURRENCY,
    }
    return [name for name, kept in promises.items() if not kept]


def run(folder: Path, rounds: int, _chance: random.Random) -> Report:
    """A round is a thousand deliveries."""
    waiting = 1_000 * rounds
    seen = asyncio.run(down_for_hours(folder, waiting))
    broken = problems(seen, waiting)
    lost = waiting - len(set(seen.sent))
    after = seen.sent[seen.attempts_while_down :]
    return Report(1, 0 if broken else 1, lost, len(after) - len(set(after)), "; ".join(broken))


FAULTS = (Fault("down for six hours", 3, 100, run),)
