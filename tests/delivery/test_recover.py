"""Jobs: what they release is sent exactly once, in order of age, whatever stops them in between."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.matching import Filter
from receiver.storage import jobs, subscriptions
from receiver.storage.database import Transaction
from tests.delivery.conversing import writes
from tests.delivery.dispatching import Clock, Gate, answers, way_out
from tests.delivery.recovering import (
    activate,
    arrived,
    ask,
    disable,
    ended,
    held,
    job,
    jobs_of,
    put_in,
    running,
    work,
)

MANY = 3_100


async def test_what_a_disabled_subscription_was_held_is_sent_once_each_in_order_of_age(tmp_path: Path):
    async with way_out(tmp_path) as it:
        events = await held(it, MANY)
        assert await it.states() == {"held": len(events)}
        job_id = await ask(it, "failed", "held")
        async with running(it):
            seen = await arrived(it, len(events))
        assert seen == Counter(events)
        assert it.subscribers.events("a") == events
        found = await job(it, job_id)
        assert (found.state, found.done, found.released, found.total) == ("done", len(events), len(events), len(events))


async def test_a_process_that_ends_between_any_two_steps_loses_and_repeats_nothing(tmp_path: Path):
    clock = Clock()
    async with way_out(tmp_path, run=False, clock=clock) as it:
        events = await held(it, MANY)
        job_id = await ask(it, "failed", "held")
    steps, more = 0, True
    while more:
        clock.advance(1)
        async with way_out(tmp_path, run=False, clock=clock) as it:
            more = await jobs_of(it).step()
            steps += more
            found = await job(it, job_id)
            assert found.released == found.done == min(steps * 500, len(events))
    assert steps == len(events) // 500 + 1
    clock.advance(1)
    async with way_out(tmp_path, clock=clock) as it:
        assert await arrived(it, len(events)) == Counter(events)
        assert it.subscribers.events("a") == events


@pytest.mark.parametrize("times", [1, 2])
async def test_a_step_whose_commit_fails_is_taken_again_and_released_once(tmp_path: Path, times):
    async with way_out(tmp_path) as it:
        events = await held(it, 30)
        job_id = await ask(it, "held")
        it.database.failing = times
        await work(it, window=10)
        assert await arrived(it, 30) == Counter(events)
        assert (await job(it, job_id)).released == 30


@pytest.mark.parametrize("wish", ["held", "all"])
async def test_two_that_ask_at_the_same_time_get_it_once(tmp_path: Path, wish):
    async with way_out(tmp_path) as it:
        events = await held(it, 300)
        both = [await ask(it, wish), await ask(it, wish)]
        it.clock.advance(1)
        async with running(it, window=70):
            assert await arrived(it, 300) == Counter(events)
            await ended(it, *both)
        assert Counter(it.subscribers.events("a")) == Counter(events)
        assert sum([(await job(it, job_id)).released for job_id in both]) == 300


@pytest.mark.parametrize("wish", ["held", "all"])
async def test_one_that_was_asked_beside_another_does_not_repeat_what_that_sent(tmp_path: Path, wish):
    async with way_out(tmp_path) as it:
        events = await held(it, 30)
        first, second = [await ask(it, wish), await ask(it, wish)]
        it.clock.advance(1)
        worker = jobs_of(it)
        await worker.step()
        assert await arrived(it, 30) == Counter(events)
        while await worker.step():
            pass
        assert ((await job(it, first)).released, (await job(it, second)).released) == (30, 0)
        it.clock.advance(1)
        later = await ask(it, wish)  # who asks again for all gets it again
        await work(it)
        assert (await job(it, later)).released == (30 if wish == "all" else 0)


async def test_jobs_take_turns(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        for name in ("a", "b"):
            await it.subscribe(name, state="paused")
        await it.record(30)
        for name in ("a", "b"):
            await it.change(f"sub_{name}", state="active")
        both = [await ask(it, "held", name=name) for name in ("a", "b")]
        worker = jobs_of(it, window=10)
        for _ in range(4):
            await worker.step()
        assert [(await job(it, job_id)).done for job_id in both] == [20, 20]


STATES = ("queued", "waiting", "sending", "retrying", "held", "succeeded", "dead", "forbidden", "canceled", "none")
WISHES = {
    ("failed",): {"dead", "forbidden"},
    ("held",): {"held"},
    ("failed", "held"): {"dead", "forbidden", "held"},
    ("missing",): {"none"},
    ("held", "missing"): {"held", "none"},
    ("all",): {"dead", "forbidden", "held", "retrying", "succeeded", "none"},
}


@pytest.mark.parametrize("wishes", WISHES, ids="+".join)
async def test_exactly_what_was_asked_for_is_released(tmp_path: Path, wishes):
    async with way_out(tmp_path, run=False) as it:
        await it.subscribe("a", state="paused")
        events = dict(zip(STATES, await it.record(len(STATES)), strict=True))
        for state, event_id in events.items():
            await put_in(it, event_id, state)
        await it.batch.write(lambda transaction: transaction.fetch("DELETE FROM deliveries WHERE state = 'none'"))
        await activate(it)
        before = dict(await it.fetch("SELECT event_id, state FROM deliveries"))
        it.clock.advance(1)
        job_id = await ask(it, *wishes)
        await work(it)
        rows = await it.fetch("SELECT event_id, state, attempts_before, attempts, next_at FROM deliveries")
        released = {row[0]: row for row in rows if row[1] != before.get(row[0]) or row[4] == it.clock()}
        assert set(released) == {events[state] for state in WISHES[wishes]}
        assert (await job(it, job_id)).released == len(released)
        for _, state, tried_before, attempts, next_at in released.values():
            assert state == ("waiting" if attempts == 0 else "retrying")
            assert (tried_before, next_at) == (attempts, it.clock())


async def test_what_is_missing_is_made_for_what_matches_now_and_only_once(tmp_path: Path):
    async with way_out(tmp_path) as it:
        await it.record(3)
        mine = await writes(it, 1, 2, 3)
        await it.subscribe("a", types=["message.*"])
        mine += await writes(it, 4)
        await ask(it, "missing")
        await work(it)
        assert await arrived(it, 4) == Counter(mine)
        again = await ask(it, "missing")
        await work(it)
        found = await job(it, again)
        assert (found.released, found.done) == (0, 7)
        assert await it.states() == {"succeeded": 4}


async def test_what_matches_no_more_is_sent_where_it_was_given_up_and_never_made_anew(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await it.subscribe("a", state="paused")
        dead, taken = await it.record(2)
        await put_in(it, dead, "dead")
        await put_in(it, taken, "succeeded")
        await it.change("sub_a", types=["message.*"], state="active", catching_up=True)
        await it.record(1)
        (mine,) = await writes(it, 1)
        await it.change("sub_a", catching_up=False)
        it.clock.advance(1)
        await ask(it, "all", "missing")
        await work(it)
        assert await it.states() == {"dead": 1, "succeeded": 1, "waiting": 1}
        assert (await it.delivery(mine)).state == "waiting"
        await ask(it, "failed", "missing")
        await work(it)
        assert await it.states() == {"retrying": 1, "succeeded": 1, "waiting": 1}
        assert (await it.delivery(dead)).state == "retrying"


async def test_a_recovery_is_narrowed_by_types_filter_and_time_of_acceptance(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await it.subscribe("a", state="paused")
        early = await writes(it, 1, 2)
        it.clock.advance(100)
        noon = it.clock()
        await it.record(1)
        late = await writes(it, 1, 2)
        await activate(it)
        first = {"from": ["+447700900001"]}

        async def released(*wishes: str, **given: Any) -> set[str]:
            job_id = await ask(it, *wishes, **given)
            await work(it)
            rows = await it.fetch("SELECT event_id FROM deliveries WHERE state = 'waiting'")
            await it.batch.write(lambda transaction: transaction.fetch("UPDATE deliveries SET state = 'held'"))
            assert len(rows) == (await job(it, job_id)).released
            return {row[0] for row in rows}

        for wishes in (["held"], ["held", "missing"]):
            assert await released(*wishes, since=noon, types=["message.*"]) == set(late)
            assert await released(*wishes, until=noon) == set(early)
            assert await released(*wishes, filter=a_filter(first), types=["message.*"]) == {early[0], late[0]}
            assert await released(*wishes, filter=a_filter(first), types=["message.*"], since=noon) == {late[0]}


def a_filter(document: Mapping[str, object]) -> Filter:
    return Filter.model_validate(document)


@pytest.mark.parametrize("stop", ["removed", "paused", "disabled"])
async def test_a_recovery_ends_when_its_subscription_can_take_nothing_any_more(tmp_path: Path, stop):
    async with way_out(tmp_path, run=False) as it:
        await held(it, 30)
        job_id = await ask(it, "held")
        worker = jobs_of(it, window=10)
        await worker.step()
        if stop == "removed":
            await it.remove("sub_a")
        elif stop == "paused":
            await it.change("sub_a", state="paused")
        else:
            await disable(it)
        while await worker.step():
            pass
        found = await job(it, job_id)
        assert (found.state, found.done, found.error) == (
            "canceled", 10, f"the subscription {'was' if stop == 'removed' else 'is'} {stop}"
        )  # fmt: skip


async def test_a_step_knows_what_was_changed_right_before_it(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await held(it, 30)
        job_id = await ask(it, "held")

        async def stop(transaction: Transaction) -> bool:
            return await subscriptions.disable(transaction, "sub_a", "gone", it.clock())

        await asyncio.gather(it.batch.write(stop), jobs_of(it).step())  # in one transaction
        assert ((await job(it, job_id)).state, await it.states()) == ("canceled", {"held": 30})


async def test_a_canceled_job_releases_nothing_more(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await held(it, 30)
        job_id = await ask(it, "held")
        worker = jobs_of(it, window=10)
        await worker.step()
        found = await job(it, job_id)

        async def cancel(transaction: Transaction) -> bool:
            return await jobs.finish(transaction, found, "canceled", it.clock())

        step, canceled = await asyncio.gather(worker.step(), it.batch.write(cancel))  # in one transaction
        assert step
        assert canceled
        assert not await worker.step()
        assert await it.states() == {"held": 10, "waiting": 20}
        assert ((await job(it, job_id)).state, (await job(it, job_id)).released) == ("canceled", 20)


async def test_a_job_that_cannot_be_done_fails_alone_and_says_no_more_than_what_kind_of_error(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        bad, _ = await writes(it, 1, 2)
        await it.batch.write(lambda transaction: transaction.fetch("UPDATE events SET body = '{' WHERE id = ?", bad))
        await it.subscribe("a", filter=a_filter({"from": ["+44*"]}))
        await it.subscribe("b", state="paused")
        await it.record(5)
        await it.change("sub_b", state="active")
        failing = await ask(it, "missing")
        good = await ask(it, "held", name="b")
        await asyncio.gather(work(it, window=2), it.record(1))
        found = await job(it, failing)
        assert (found.state, found.error, found.done) == ("failed", "JSONDecodeError", 0)
        assert ((await job(it, good)).state, (await job(it, good)).released) == ("done", 5)


async def test_what_a_step_released_is_sent_though_its_commit_took_longer_than_anybody_waits(tmp_path: Path):
    async with way_out(tmp_path, patience=2.0) as it:
        events = await held(it, 3)
        job_id = await ask(it, "held")
        it.database.moving.clear()
        assert await jobs_of(it).step()  # as far as it knows, nothing was done
        assert (await job(it, job_id)).state == "running"
        it.database.moving.set()
        assert set(await arrived(it, 3)) == set(events)
        assert (await job(it, job_id)).state == "done"


async def test_what_was_given_up_has_its_whole_schedule_before_it_again(tmp_path: Path):
    async with way_out(tmp_path) as it:
        await it.subscribe("a", retry_schedule=[1.0])
        it.subscribers.behaviours["a"] = answers(500)
        (event_id,) = await it.record()
        await it.until(retrying=1)
        await it.reach(2)
        await it.until(dead=1)
        await ask(it, "failed")
        async with running(it):
            await it.until_tried(event_id, 3)
            await it.until(retrying=1)
            it.subscribers.behaviours["a"] = answers(200)
            await it.reach(2)
            await it.until(succeeded=1)
        assert len(await it.attempts(event_id)) == 4
        assert {sent.event_id for sent in it.subscribers.sent} == {event_id}


async def test_a_delivery_that_is_being_sent_is_left_alone(tmp_path: Path):
    async with way_out(tmp_path) as it:
        await it.subscribe("a")
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        (event_id,) = await it.record()
        await it.until_sent(1)
        it.clock.advance(1)
        await ask(it, "all")
        await work(it)
        gate.opened.set()
        await it.until(succeeded=1)
        assert it.subscribers.events("a") == [event_id]
