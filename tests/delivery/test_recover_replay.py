"""Replays: an event, or the events of a time, again to everybody whom they match now."""

from collections import Counter
from pathlib import Path

import pytest

from tests.delivery.conversing import writes
from tests.delivery.dispatching import way_out
from tests.delivery.recovering import arrived, ask, job, jobs_of, work


async def test_an_event_goes_again_to_all_that_it_matches_whatever_became_of_it(tmp_path: Path):
    async with way_out(tmp_path) as it:
        await it.subscribe("a")
        await it.subscribe("b", types=["contact.*"])
        await it.subscribe("c", state="paused")
        (event_id,) = await it.record()
        await it.until(succeeded=1)
        await it.subscribe("d")
        it.clock.advance(1)
        job_id = await ask(it, "all", name=None, kind="replay")
        await work(it)
        assert await arrived(it, 1, "d") == {event_id: 1}
        await it.until_tried(event_id, 2)
        assert Counter(sent.name for sent in it.subscribers.sent) == {"a": 2, "d": 1}
        assert {sent.event_id for sent in it.subscribers.sent} == {event_id}
        assert (await it.delivery(event_id, "c")).state == "held"
        found = await job(it, job_id)
        assert (found.done, found.released) == (1, 2)


async def test_only_those_that_are_named_get_it_again(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await it.record(3)
        for name in ("a", "b", "c"):
            await it.subscribe(name)
        await ask(it, "all", name=None, kind="replay", subscription_ids=["sub_a", "sub_c", "sub_a"])
        await work(it)
        assert [await it.states(name) for name in ("a", "b", "c")] == [{"waiting": 3}, {}, {"waiting": 3}]


@pytest.mark.parametrize("window", [1, 7, 120, 500])
async def test_many_subscriptions_and_events_make_every_pair_once_though_the_process_ends_in_between(
    tmp_path: Path, window
):
    """More subscriptions than one step is about."""
    names = [f"n{number:03}" for number in range(110)]
    async with way_out(tmp_path, run=False) as it:
        events = await it.record(6 if window > 1 else 2)
        for name in names:
            await it.subscribe(name)
        job_id = await ask(it, "all", name=None, kind="replay")
        while await jobs_of(it, window=window).step():  # each step by another one
            pass
        rows = await it.fetch("SELECT subscription_id, event_id FROM deliveries")
        assert sorted(rows) == sorted((f"sub_{name}", event) for name in names for event in events)
        found = await job(it, job_id)
        assert (found.state, found.done, found.released) == ("done", len(events), len(rows))


async def test_subscriptions_that_come_and_go_in_the_middle_keep_nobody_from_their_events(tmp_path: Path):
    names = [f"n{number:03}" for number in range(0, 220, 2)]
    async with way_out(tmp_path, run=False) as it:
        events = await it.record(30)
        for name in names:
            await it.subscribe(name)
        job_id = await ask(it, "all", name=None, kind="replay")
        worker, number = jobs_of(it), 0
        while await worker.step():
            number += 1
            if number == 1:
                for name in names[40:]:
                    await it.remove(f"sub_{name}")
            elif number == 3:
                await it.subscribe("n001")
        assert (await job(it, job_id)).state == "done"
        for name in names[:40]:
            assert await it.states(name) == {"waiting": len(events)}


async def test_one_that_is_led_through_the_log_gets_it_in_its_turn(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        events = await writes(it, 1, 2)
        await it.subscribe("a", catching_up=True)
        replaying = await ask(it, "all", name=None, kind="replay")  # its turn is before the other's
        leading = await ask(it, "missing", kind="start")
        await work(it, window=1)
        assert ((await job(it, replaying)).released, (await job(it, leading)).released) == (0, len(events))
        assert await it.states() == {"waiting": len(events)}
