"""The machine's clock is set back or forward: nothing is lost, nothing waits for an hour, nothing storms."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.storage import events
from receiver.storage.events import Wanted
from tests.delivery.conversing import Hearing, killed, writes
from tests.delivery.dispatching import PACE, Clock, Gate, WayOut, answers, in_turn, until, way_out
from tests.delivery.settling import HurriedLoop, passed, settled

HOUR = 3_600.0
SLOW = replace(PACE, timeout=600.0)


async def failed_once(it: WayOut, number: int = 1) -> list[str]:
    it.subscribers.behaviours["a"] = in_turn(*[answers(500)] * number, answers(200))
    await it.subscribe("a")
    events = await it.record(number)
    await it.until(retrying=number)
    return events


@pytest.mark.parametrize("back", [2.0, HOUR, 40 * 86_400.0])
async def test_set_back_a_retry_comes_when_its_time_has_passed_and_not_before(tmp_path: Path, back: float):
    async with way_out(tmp_path, pace=SLOW) as it:
        await failed_once(it)
        it.clock.set_by(-back)
        it.look_again()
        await settled(it)
        await passed(it, 4.9)
        assert len(it.subscribers.sent) == 1
        await passed(it, 0.1)
        await it.until(succeeded=1)


async def test_set_back_again_and_again_it_still_comes_then(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await failed_once(it)
        for _ in range(4):
            it.clock.set_by(-HOUR)
            it.look_again()
            await settled(it)
            await passed(it, 1.0)
        assert len(it.subscribers.sent) == 1
        await passed(it, 1.0)
        await it.until(succeeded=1)


async def test_set_back_while_an_attempt_is_under_way(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate(answers(500))
        it.subscribers.behaviours["a"] = in_turn(gate, answers(200))
        await it.subscribe("a")
        await it.record()
        await it.until_sent(1)
        it.clock.set_by(-HOUR)
        gate.opened.set()
        await it.until(retrying=1)
        it.look_again()
        await settled(it)
        await passed(it, 4.9)
        assert len(it.subscribers.sent) == 1
        await passed(it, 0.1)
        await it.until(succeeded=1)


async def test_set_back_what_waits_in_store_and_what_comes_in_is_sent_and_by_its_age(tmp_path: Path):
    async with way_out(tmp_path, pace=replace(SLOW, lane=4)) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        events = await it.record(20)
        it.clock.set_by(-HOUR)
        events += await it.record(5)
        it.look_again()
        await settled(it)
        gate.opened.set()
        await it.until(succeeded=25)
        assert it.subscribers.events("a") == events == sorted(events)


async def test_set_back_with_a_full_disk_it_is_made_up_for_as_soon_as_there_is_room(tmp_path: Path):
    """And the loop goes on: an end of it would void the leases of what is under way."""
    async with way_out(tmp_path, pace=SLOW) as it:
        await failed_once(it)
        it.clock.set_by(-HOUR)
        it.database.failing = 2
        it.look_again()
        await until(lambda: it.database.failing == 0)
        await settled(it)
        assert it.running is not None
        assert not it.running.done()
        await passed(it, 5.0)
        await it.until(succeeded=1)


async def test_set_back_does_not_stop_a_breaker_a_rate_or_a_conversation(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        ear = Hearing()
        it.subscribers.behaviours["a"] = ear
        it.subscribers.behaviours["b"] = answers(500)
        await it.subscribe("a", ordered="conversation", rate_per_second=1.0, types=["message.*"])
        await it.subscribe("b", max_concurrency=1, types=["message.*"], retry_schedule=[100_000.0])
        events = await writes(it, *[1] * 22)
        await settled(it)
        assert len(it.subscribers.events("b")) == 20
        it.clock.set_by(-HOUR)
        for _ in range(30):
            await passed(it, 1.0)
        assert ear.events(1) == events
        assert len(it.subscribers.events("b")) == 21


async def test_set_forward_retries_come_early_and_within_the_lane_s_limits(tmp_path: Path):
    async with way_out(tmp_path, pace=replace(SLOW, lane=40, concurrency=16)) as it:
        it.subscribers.behaviours["a"] = in_turn(*[answers(500), answers(200)] * 100)
        await it.subscribe("a")
        await it.record(200)
        await it.until(retrying=100, succeeded=100)
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        it.subscribers.peak.clear()
        it.clock.set_by(HOUR)
        it.look_again()
        await settled(it)
        lane = it.lanes.get("sub_a")
        assert lane is not None
        assert 1 <= it.subscribers.peak["a"] <= 8
        assert lane.holds <= 40
        gate.opened.set()
        await it.until(succeeded=200)
        assert it.subscribers.peak["a"] <= 8
        assert len(it.subscribers.sent) == 300


async def test_set_forward_and_back_again_nothing_is_lost_or_sent_twice(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        events = await failed_once(it, 5)
        for step in (HOUR, -HOUR, -HOUR, HOUR):
            it.clock.set_by(step)
            events += await it.record(5)
            await passed(it, 10.0)
        await it.until(succeeded=25)
        assert sorted(it.subscribers.events("a")) == sorted([*events, *events[:5]])


@pytest.mark.parametrize("kill", [False, True])
async def test_set_back_between_two_processes_what_waited_waits_no_longer_than_it_should(tmp_path: Path, kill: bool):
    clock = Clock()
    async with way_out(tmp_path, pace=replace(SLOW, lane=4), clock=clock) as it:
        it.subscribers.behaviours["b"] = Gate()
        await it.subscribe("b", max_concurrency=1)
        await failed_once(it)
        await it.record(10)
        await it.until(retrying=1, succeeded=10)
        if kill:
            await killed(it)
        else:
            await it.dispatcher.stop(0.01)
    clock.set_by(-HOUR)
    async with way_out(tmp_path, pace=replace(SLOW, lane=4), clock=clock) as it:
        await it.until("b", succeeded=11)
        await passed(it, 4.0)
        assert it.subscribers.events("a") == []
    async with way_out(tmp_path, pace=replace(SLOW, lane=4), clock=clock) as it:
        await passed(it, 1.0)
        await it.until(succeeded=11)


async def test_a_delivery_made_before_the_clock_went_back_is_not_older_than_it_is(tmp_path: Path):
    """Its life is not used up by what the clock did."""
    async with way_out(tmp_path, pace=replace(SLOW, schedule=(5.0, 5.0, 5.0))) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a")
        (event,) = await it.record()
        for tries in range(1, 4):
            await it.until_tried(event, tries)
            it.clock.set_by(-HOUR)
            it.look_again()
            await settled(it)
            await passed(it, 5.0)
        await it.until(dead=1)
        assert len(it.subscribers.sent) == 4


def test_the_loop_notices_by_itself(tmp_path: Path):
    """Nobody tells it that the clock was set back; it looks every few seconds."""

    async def goes_on() -> None:
        async with way_out(tmp_path, pace=SLOW, patience=10_000.0) as it:
            await failed_once(it)
            it.clock.set_by(-HOUR)
            it.clock.advance(5.0)
            for _ in range(20):
                with suppress(AssertionError):
                    await it.until(succeeded=1)
                    return
            raise AssertionError("it did not notice")

    with asyncio.Runner(loop_factory=HurriedLoop) as runner:
        runner.run(goes_on())


async def times_of(it: WayOut, **asked: Any) -> list[str]:
    """The events of a time, the same from either end."""
    async with it.database.reading() as reader:
        oldest = await events.page(reader, Wanted(**asked), after=None, limit=50)
        newest = await events.page(reader, Wanted(**asked), after=None, limit=50, newest_first=True)
    assert list(oldest) == list(newest)[::-1]
    return [orjson.loads(row.body)["id"] for row in oldest]


MINUTE = 60 * 1_000_000


async def each_minute(it: WayOut, minutes: int) -> list[str]:
    found = []
    for _ in range(minutes):
        found += await it.record()
        await passed(it, 60.0)
    return found


async def have_the_same_hours_twice(it: WayOut, began: int, first: list[str], again: list[str]) -> None:
    """Ten minutes, of which the last five were to come again."""
    assert (len(first), len(again), first + again) == (10, 10, sorted(first + again))
    assert await times_of(it, since=began + 6 * MINUTE) == first[6:] + again[1:]
    assert await times_of(it, until=began + 6 * MINUTE) == first[:6] + again[:1]
    assert await times_of(it, since=began + 5 * MINUTE, until=began + 8 * MINUTE) == first[5:8] + again[:3]


async def test_set_back_every_event_of_a_time_is_found(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        began, first = it.clock(), await each_minute(it, 10)
        it.clock.set_by(-300.0)
        it.look_again()
        await settled(it)
        await have_the_same_hours_twice(it, began, first, await each_minute(it, 10))


async def test_set_back_between_two_starts_every_event_of_a_time_is_found(tmp_path: Path):
    clock = Clock()
    async with way_out(tmp_path, pace=SLOW, clock=clock) as it:
        began, first = it.clock(), await each_minute(it, 10)
    clock.set_by(-300.0)
    async with way_out(tmp_path, pace=SLOW, clock=clock) as it:
        await settled(it)
        it.ids.seed(first[-1])
        it.serial = count(len(first) + 1)
        await have_the_same_hours_twice(it, began, first, await each_minute(it, 10))
