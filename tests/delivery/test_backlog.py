"""A subscriber that is down: it is asked now and then, what waits for it comes in order of age, and STOP goes first."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.delivery.pacing import OPENS_AFTER, PROBE_EVERY
from receiver.storage.deliveries import Leased
from tests.delivery.conversing import Hearing, killed, writes
from tests.delivery.dispatching import PACE, Clock, Gate, Sent, WayOut, answers, in_turn, until, way_out
from tests.delivery.settling import passed, settled
from tests.faults import backlog

MESSAGES = ["message.*", "contact.*"]
SLOW = replace(PACE, timeout=600.0, schedule=(100_000.0,) * 3)


def stopped(sent: Sent) -> bool:
    return b"contact.opted_out" in sent.body


async def down(it: WayOut, number: int = 40, **given: object) -> list[str]:
    """A subscriber whose breaker is open, with so many waiting."""
    it.subscribers.behaviours["a"] = answers(500)
    await it.subscribe("a", types=MESSAGES, **({"max_concurrency": 1} | given))
    events = await writes(it, *range(1000, 1000 + number))
    await settled(it)
    return events


def test_six_hours_of_backlog_are_drained_in_order_without_a_herd_and_nobody_else_notices(tmp_path: Path):
    waiting = 1_000 * backlog.FAULTS[0].short
    seen = asyncio.run(backlog.down_for_hours(tmp_path, waiting))
    assert backlog.problems(seen, waiting) == []


async def test_the_breaker_opens_at_twenty_failures_and_then_asks_twice_a_minute(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await down(it)
        assert len(it.subscribers.sent) == OPENS_AFTER
        await passed(it, PROBE_EVERY - 1)
        assert len(it.subscribers.sent) == OPENS_AFTER
        for probes in range(1, 6):
            await passed(it, 1 if probes == 1 else PROBE_EVERY)
            assert len(it.subscribers.sent) == OPENS_AFTER + probes


async def test_twenty_failures_with_a_success_between_them_open_nothing(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = in_turn(*[answers(500)] * 19, answers(200), *[answers(500)] * 19, answers(200))
        await it.subscribe("a", max_concurrency=1)
        await it.record(50)
        await it.until(succeeded=12, retrying=38)


async def test_a_probe_is_one_attempt_however_many_may_be_under_way(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await down(it, max_concurrency=8)
        gate = Gate(answers(500))
        it.subscribers.behaviours["a"] = gate
        await passed(it, PROBE_EVERY)
        await passed(it, 3 * PROBE_EVERY)
        assert it.subscribers.under_way["a"] == 1
        gate.opened.set()


async def test_the_first_success_closes_it_and_the_rest_follows_at_once(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await down(it)
        it.subscribers.behaviours["a"] = answers(200)
        await passed(it, PROBE_EVERY)
        await it.until(succeeded=20, retrying=20)


async def test_a_new_process_knows_that_the_breaker_was_open(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await down(it)
        await killed(it)
    async with way_out(tmp_path, pace=SLOW, clock=it.clock, behaviours={"a": answers(500)}) as again:
        await settled(again)
        assert len(again.subscribers.sent) == 1  # it asks once, and not twenty times
        await passed(again, PROBE_EVERY)
        assert len(again.subscribers.sent) == 2


async def test_set_to_work_again_it_does_not_wait_for_the_next_probe(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await down(it)
        await it.change("sub_a", state="paused")
        it.subscribers.behaviours["a"] = answers(200)
        await passed(it, PROBE_EVERY - 1)
        assert len(it.subscribers.sent) == OPENS_AFTER
        await it.change("sub_a", state="active")
        await passed(it, 1)
        await it.until(succeeded=20, retrying=20)


async def test_an_opt_out_passes_an_open_breaker(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await down(it)
        await passed(it, 1)
        await writes(it, 1, text="STOP")
        await settled(it)
        assert [stopped(sent) for sent in it.subscribers.sent].index(True) == OPENS_AFTER
        assert len(it.subscribers.sent) == OPENS_AFTER + 1


async def test_an_opt_out_that_arrives_closes_the_breaker(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await down(it)
        it.subscribers.behaviours["a"] = answers(200)
        await writes(it, 1, text="STOP")
        await it.until(succeeded=22, retrying=20)


async def test_an_opt_out_waits_for_its_token_but_for_nothing_else(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", types=MESSAGES, rate_per_second=1.0)
        await writes(it, *range(1000, 1010))
        await writes(it, 1, text="STOP")
        await settled(it)
        assert len(it.subscribers.sent) == 1
        await passed(it, 1.0)
        assert [stopped(sent) for sent in it.subscribers.sent] == [False, True]


async def test_an_opt_out_overtakes_nothing_in_an_ordered_subscription(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = ear = Hearing()
        await it.subscribe("a", types=MESSAGES, rate_per_second=1.0, ordered="conversation")
        events = await writes(it, 1, 1)
        events += await writes(it, 1, text="STOP")
        for _ in range(4):
            await passed(it, 1.0)
        await it.until(succeeded=4)
        assert ear.events(1) == events


@pytest.mark.parametrize("kill", [False, True])
async def test_after_a_restart_an_opt_out_still_comes_first_and_everything_else_by_its_age(tmp_path: Path, kill: bool):
    pace = replace(SLOW, lane=40)
    clock = Clock()
    async with way_out(tmp_path, pace=pace, clock=clock) as it:
        it.subscribers.behaviours["a"] = Gate()
        await it.subscribe("a", types=MESSAGES, max_concurrency=1)
        events: list[str] = []
        for person in range(1000, 1060):
            events += await writes(it, person)
            clock.advance(0.5)
        events += await writes(it, 1, text="STOP")
        await until(lambda: it.subscribers.under_way["a"] == 1)
        if kill:
            await killed(it)
        else:
            await it.dispatcher.stop(0.01)
        clock.advance(5)
    async with way_out(tmp_path, pace=pace, clock=clock, behaviours={"a": answers(200)}) as again:
        await again.until(succeeded=62)
        first, *others = again.subscribers.sent
        assert stopped(first)
        assert [sent.event_id for sent in others] == [event for event in events if event != first.event_id]


async def test_an_opt_out_that_finds_no_place_in_memory_comes_first_from_the_store_too(tmp_path: Path):
    """Such as one that is accepted while the dispatcher is still at its start."""
    async with way_out(tmp_path, pace=replace(SLOW, lane=4), run=False) as it:
        await it.subscribe("a", types=MESSAGES, max_concurrency=1)
        await writes(it, *range(1000, 1020))
        it.clock.advance(1)
        await writes(it, 1, text="STOP")
        it.running = asyncio.create_task(it.dispatcher.run())
        await it.until(succeeded=22)
        assert [stopped(sent) for sent in it.subscribers.sent].index(True) == 0


async def test_paused_and_resumed_what_waits_still_comes_by_its_age(tmp_path: Path):
    async with way_out(tmp_path, pace=replace(SLOW, lane=8)) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        events: list[str] = []
        for _ in range(30):
            events += await it.record()
            it.clock.advance(1)
        await it.change("sub_a", state="paused")
        await it.until(sending=1, waiting=29)
        await it.change("sub_a", state="active")
        gate.opened.set()
        await it.until(succeeded=30)
        assert it.subscribers.events("a") == events


async def test_what_is_in_memory_is_bounded_with_opt_outs_too(tmp_path: Path):
    async with way_out(tmp_path, pace=replace(SLOW, lane=10)) as it:
        it.subscribers.behaviours["a"] = Gate()
        await it.subscribe("a", types=MESSAGES, max_concurrency=1)
        await writes(it, *range(1000, 1100))
        lane = it.lanes.get("sub_a")
        assert lane is not None
        assert lane.holds == 10
        lane.put([Leased(f"dlv_{number}", "sub_a", "evt_1", b"", 0, urgent=True) for number in range(1_000)])
        await writes(it, 1, text="STOP")
        await it.until(sending=10, waiting=92)
        lane.empty()
        await killed(it)
