"""Deliveries × subscriptions × time, in any order that hypothesis thinks of, and what holds after every step."""

import asyncio
import os
import random
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.delivery.settling import HurriedLoop, settled
from tests.faults.fault import Fault, Report
from tests.faults.restless import HANGS, MOODS, PEOPLE, SUBSCRIPTIONS, UNDER_WAY, World

EXAMPLES = "RECEIVER_TEST_MACHINE_EXAMPLES"
"""In the environment: how many stories the short form tells."""
STEPS = 30

names = st.sampled_from([*SUBSCRIPTIONS, "ordered", "ordered"])
people = st.lists(st.integers(1, PEOPLE), min_size=1, max_size=6)
moments = st.sampled_from([0.0, 0.0, 0.0, 0.2, 1.0, 6.0, 31.0, 700.0])
"""Seconds that go by after something was done."""
words = st.sampled_from([*MOODS, "failing", "well", HANGS, HANGS])


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=HurriedLoop)
        self.folder = tempfile.TemporaryDirectory(prefix="machine-", ignore_cleanup_errors=True)
        self.world = World(Path(self.folder.name))

    @initialize(moods=st.tuples(*[words] * len(SUBSCRIPTIONS)), people=people)
    def begin(self, moods: tuple[str, ...], people: list[int]) -> None:
        self.do(self.world.begin())
        for name, word in zip(SUBSCRIPTIONS, moods, strict=True):
            self.do(self.world.feel(name, word))
        self.do(self.world.record([*people, *people], 2, None))

    def do(self, step: Coroutine[Any, Any, None], then: float = 0.0) -> None:
        self.runner.run(step)
        if then:
            self.runner.run(self.world.pass_time(then))

    @rule(people=people, bare=st.integers(0, 4), stop=st.none() | st.integers(1, PEOPLE), then=moments)
    def record(self, people: list[int], bare: int, stop: int | None, then: float) -> None:
        self.do(self.world.record(people, bare, stop), then)

    @rule(name=names, word=words, then=moments)
    def feel(self, name: str, word: str, then: float) -> None:
        self.do(self.world.feel(name, word), then)

    @rule(seconds=moments)
    def pass_time(self, seconds: float) -> None:
        self.do(self.world.pass_time(seconds))

    @rule(seconds=st.sampled_from([-3_600.0, -30.0, 60.0, 3_600.0]), then=moments)
    def set_clock(self, seconds: float, then: float) -> None:
        self.do(self.world.set_clock(seconds), then)

    @rule(name=names, then=moments)
    def pause(self, name: str, then: float) -> None:
        self.do(self.world.change(name, state="paused", disabled_by=None), then)

    @rule(name=names, then=moments)
    def set_to_work(self, name: str, then: float) -> None:
        self.do(self.world.change(name, state="active", disabled_by=None), then)

    @rule(name=names, most=st.sampled_from([1, 2, 5]))
    def limit(self, name: str, most: int) -> None:
        self.do(self.world.change(name, max_concurrency=most))

    @rule(sure=st.integers(0, 9))
    def remove(self, sure: int) -> None:
        """For good, so not every time."""
        if sure == 9:
            self.do(self.world.remove("leaving"))

    @rule(number=st.integers(0, 10_000), then=moments)
    def reopen(self, number: int, then: float) -> None:
        self.do(self.world.reopen(number), then)

    @rule(kill=st.booleans(), then=moments)
    @precondition(lambda self: self.world.it.database.failing == 0)
    def restart(self, kill: bool, then: float) -> None:
        self.do(self.world.restart(kill=kill), then)

    @rule(commits=st.integers(1, 3))
    def fill_the_disk(self, commits: int) -> None:
        """The next commits fail, whoever makes them."""
        self.world.it.database.failing = commits

    @invariant()
    def holds(self) -> None:
        if hasattr(self.world, "it"):
            self.do(consistent(self.world))

    def teardown(self) -> None:
        try:
            if hasattr(self.world, "it"):
                self.do(self.world.all_is_well())
                self.do(consistent(self.world))
        finally:
            if hasattr(self.world, "it"):
                self.do(self.world.end())
            self.runner.close()
            self.folder.cleanup()


async def consistent(world: World) -> None:
    """While nothing moves."""
    await settled(world.it)
    rows = await world.it.fetch(
        """SELECT d.event_id, substr(d.subscription_id, 5), d.state, d.next_at, d.conversation, d.id, e.type,
               s.state, s.removed_at IS NOT NULL, (SELECT count(*) FROM attempts WHERE delivery_id = d.id)
           FROM deliveries d JOIN events e ON e.id = d.event_id JOIN subscriptions s ON s.id = d.subscription_id"""
    )
    assert world.offences == []
    _nobody_else(world, rows)
    _told_as_sent(world, rows)
    _in_memory(world, rows)
    _states(rows)
    _in_line(rows)
    _in_order(world, rows)


def _nobody_else(world: World, rows: Any) -> None:
    """One delivery for each event and each subscription that wants it, and no other."""
    owed = {(row[0], row[1]) for row in rows if not row[6].startswith("subscription.")}
    assert owed == world.expected
    pairs = {(row[0], row[1]) for row in rows}
    assert len(pairs) == len(rows)
    assert world.sent.keys() <= pairs


def _told_as_sent(world: World, rows: Any) -> None:
    """As many attempts are on record as were made, but for those that are or were under way."""
    hanging = Counter((sent.event_id, mood.name) for mood in world.moods.values() for sent, _ in mood.waiting)
    for row in rows:
        key = (row[0], row[1])
        assert row[9] == world.sent[key] - hanging[key] - world.lost[key], row


def _in_memory(world: World, rows: Any) -> None:
    """Nothing is leased but what this process is about to send."""
    leased = Counter(row[1] for row in rows if row[2] == "sending")
    held = {lane.subscription.id.removeprefix("sub_"): lane.holds for lane in world.it.lanes}
    for name in SUBSCRIPTIONS:
        if world.it.catalog.subscription(f"sub_{name}") is not None:
            assert leased[name] == held.get(name, 0), name


def _states(rows: Any) -> None:
    for _, _, state, next_at, _, _, _, works, removed, _ in rows:
        assert (next_at is not None) == (state in ("waiting", "retrying"))
        if removed:
            assert state in ("canceled", "succeeded", "dead", "forbidden")
        elif works == "disabled":
            assert state not in ("queued", "waiting", "retrying")


def _in_line(rows: Any) -> None:
    """Of a conversation one delivery is under way, and whoever stands in line stands behind somebody."""
    talking = [row for row in rows if row[4] is not None and not row[8]]
    ahead = Counter((row[1], row[4]) for row in talking if row[2] in UNDER_WAY)
    assert all(number == 1 for number in ahead.values())
    assert {(row[1], row[4]) for row in talking if row[2] == "queued"} <= ahead.keys()


def _in_order(world: World, rows: Any) -> None:
    world.excused |= {(row[0], row[1]) for row in rows if row[2] == "held"}
    for (person, name), events in world.order.items():
        steady = [event for event in events if (event, name) not in world.excused]
        assert steady == sorted(steady), (person, name)


def stories(number: int, *, seeded: int | None = None) -> None:
    """Raises when one of them ends badly. Without a seed they are the same ones every time."""
    factory = type("Story", (Machine,), {})
    if seeded is not None:
        factory = seed(seeded)(factory)
    given = settings(
        phases=[Phase.generate],
        max_examples=number, stateful_step_count=STEPS, deadline=None, database=None, derandomize=seeded is None,
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip
    run_state_machine_as_test(factory, settings=given)


def short() -> int:
    return int(os.environ.get(EXAMPLES, FAULTS[0].short))


def run(_folder: Path, rounds: int, chance: random.Random) -> Report:
    """A round is a story of its own; the first that ends badly ends them all."""
    stories(rounds, seeded=chance.getrandbits(32))
    return Report(rounds, rounds, 0, 0)


FAULTS = (Fault("everything in any order", 40, 2_000, run),)
