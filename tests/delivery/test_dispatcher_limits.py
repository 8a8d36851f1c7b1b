"""How much at once and in which order: limits, turns, and what does not fit into memory and waits in the database."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from tests.delivery.dispatching import PACE, Clock, Gate, Sent, answers, in_turn, quiet, until, way_out


async def briefly(_sent: Sent) -> httpx2.Response:
    await asyncio.sleep(0.002)
    return await answers(200)(_sent)


async def test_a_subscription_s_own_limit_is_reached_and_never_exceeded(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = briefly
        await it.subscribe("a", max_concurrency=3)
        await it.record(40)
        await it.until(succeeded=40)
        assert it.subscribers.peak["a"] == 3


async def test_the_limit_over_all_subscriptions_is_reached_and_never_exceeded(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, concurrency=5)) as it:
        for name in ("a", "b", "c"):
            it.subscribers.behaviours[name] = briefly
            await it.subscribe(name, max_concurrency=4)
        await it.record(20)
        for name in ("a", "b", "c"):
            await it.until(name, succeeded=20)
        assert it.subscribers.peak[""] == 5


async def test_a_lower_limit_holds_from_the_next_attempt_on(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate(briefly)
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=6)
        await it.record(30)
        await it.until_sent(6)
        await it.change("sub_a", max_concurrency=2)
        it.subscribers.peak.clear()
        gate.opened.set()
        await it.until(succeeded=30)
        assert it.subscribers.peak["a"] <= 6
        it.subscribers.peak.clear()
        await it.record(20)
        await it.until(succeeded=50)
        assert it.subscribers.peak["a"] == 2


async def test_a_place_is_free_again_only_when_the_outcome_is_on_disk(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        await it.subscribe("a", max_concurrency=1)
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.record(2)
        await it.until_sent(1)
        it.database.failing = 1
        gate.opened.set()
        await quiet(0.2)
        assert len(it.subscribers.sent) == 1
        await it.until(succeeded=2)


async def test_one_subscription_that_hangs_does_not_hold_up_another(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, concurrency=10)) as it:
        hanging = Gate()
        it.subscribers.behaviours["hanging"] = hanging
        await it.subscribe("hanging", max_concurrency=8)
        await it.subscribe("a")
        await it.record(60)
        await it.until(succeeded=60)
        assert len(it.subscribers.events("hanging")) == 5  # half of all places at most
        hanging.opened.set()
        await it.until("hanging", succeeded=60)


async def test_subscriptions_take_turns_when_there_is_not_room_for_all(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, concurrency=1)) as it:
        first = Gate()
        it.subscribers.behaviours["a"] = first
        for name in ("a", "b", "c"):
            await it.subscribe(name)
        await it.record(10)
        await it.until_sent(1)
        first.opened.set()
        for name in ("a", "b", "c"):
            await it.until(name, succeeded=10)
        turns = [sent.name for sent in it.subscribers.sent]
        assert all(set(turns[start : start + 3]) == {"a", "b", "c"} for start in range(0, 30, 3))


async def test_a_long_queue_gets_no_more_turns_than_a_short_one(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, concurrency=1)) as it:
        first = Gate()
        it.subscribers.behaviours["a"] = first
        await it.subscribe("a")
        await it.record(20)
        await it.subscribe("b")
        await it.record(5)
        first.opened.set()
        await it.until("a", succeeded=25)
        await it.until("b", succeeded=5)
        turns = [sent.name for sent in it.subscribers.sent]
        assert turns[:11].count("b") >= 4


async def test_what_does_not_fit_waits_in_the_database_and_comes_oldest_first(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=4)) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        early = await it.record(30)
        assert await it.states() == {"sending": 4, "waiting": 26}
        late = await it.record(10)
        assert await it.states() == {"sending": 4, "waiting": 36}
        gate.opened.set()
        await it.until(succeeded=40)
        assert it.subscribers.events("a") == early + late


async def test_memory_never_holds_more_than_the_lane_takes(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=6)) as it:
        seen: list[int] = []

        async def looks(sent: Sent) -> httpx2.Response:
            seen.append((await it.states()).get("sending", 0))
            return await answers(200)(sent)

        it.subscribers.behaviours["a"] = looks
        await it.subscribe("a", max_concurrency=2)
        await it.record(60)
        await it.until(succeeded=60)
        assert max(seen) <= 6


async def test_a_lane_of_one_place_works(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=1)) as it:
        await it.subscribe("a")
        events = await it.record(10)
        await it.until(succeeded=10)
        assert it.subscribers.events("a") == events


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_doubled_or_overtaken_while_new_ones_come_in_and_old_ones_are_taken(
    tmp_path: Path, seed: int
) -> None:
    chosen = random.Random(seed)
    async with way_out(tmp_path, pace=replace(PACE, lane=chosen.choice([2, 3, 5, 8]))) as it:

        async def sometimes_slow(sent: Sent) -> httpx2.Response:
            for _ in range(chosen.choice([0, 0, 1, 5])):
                await asyncio.sleep(0)
            return await answers(200)(sent)

        it.subscribers.behaviours["a"] = sometimes_slow
        await it.subscribe("a", max_concurrency=1)
        events: list[str] = []
        for _ in range(25):
            events += await it.record(chosen.randint(1, 12))
            for _ in range(chosen.choice([0, 1, 10, 60])):
                await asyncio.sleep(0)
            it.clock.advance(chosen.choice([0, 0.001, 1]))
        await it.until(succeeded=len(events))
        assert it.subscribers.events("a") == events


async def test_new_deliveries_do_not_wait_behind_those_that_are_to_be_tried_again_later(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500), answers(200))
        await it.subscribe("a")
        await it.record()
        await it.until(retrying=1)
        (fresh,) = await it.record()
        await it.until(retrying=1, succeeded=1)
        assert it.subscribers.events("a")[-1] == fresh


async def test_a_subscriber_with_too_much_to_do_gets_half_and_slowly_more_again(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        busy = Gate(answers(429))
        it.subscribers.behaviours["a"] = busy
        await it.subscribe("a", max_concurrency=8)
        await it.record(2)
        await it.until_sent(2)
        busy.opened.set()
        await it.until(retrying=2)  # 8 → 4 → 2

        gate = Gate(briefly)
        it.subscribers.behaviours["a"] = gate
        it.subscribers.peak.clear()
        await it.record(60)
        await quiet()
        assert it.subscribers.peak["a"] == 2
        gate.opened.set()
        await it.until(retrying=2, succeeded=60)
        assert it.subscribers.peak["a"] == 8


async def test_being_slow_is_not_forgotten_when_something_else_changes(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(200), answers(503))
        await it.subscribe("a", max_concurrency=8)
        await it.record()
        await it.until(succeeded=1)
        await it.record(2)
        await it.until(succeeded=1, retrying=2)
        await it.subscribe("b")  # the catalog is read anew, with another last_success_at for a
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        it.subscribers.peak.clear()
        await it.record(20)
        await quiet()
        assert it.subscribers.peak["a"] == 2
        gate.opened.set()


async def test_the_loop_does_not_spin_over_what_cannot_be_sent_now(tmp_path: Path) -> None:
    """Full lanes, paused subscriptions, retries of tomorrow: none of them is a reason to ask the database again."""
    async with way_out(tmp_path, pace=replace(PACE, lane=2)) as it:
        gate = Gate()
        it.subscribers.behaviours["full"] = gate
        it.subscribers.behaviours["later"] = answers(500)
        await it.subscribe("full")
        await it.subscribe("later")
        await it.record(20)
        await until(lambda: len(it.subscribers.events("later")) == 20)
        before = it.database.commits
        await quiet(0.4)
        assert it.database.commits - before <= 2
        gate.opened.set()


async def test_a_paused_subscription_costs_nothing_while_its_deliveries_wait(tmp_path: Path) -> None:
    class Counting(Clock):
        looks = 0

        def __call__(self) -> int:
            self.looks += 1
            return self.now

    clock = Counting()
    async with way_out(tmp_path, clock=clock) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a")
        await it.record(3)
        await it.until(retrying=3)
        await it.change("sub_a", state="paused")
        await it.reach(5)
        await quiet()
        before = clock.looks
        await quiet(0.6)
        assert clock.looks == before
