"""A new subscription is led through the log and then goes on by itself: no gap, nothing twice, in order."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from receiver.storage import jobs, subscriptions
from receiver.storage.database import Transaction
from tests.delivery.conversing import Hearing, number_of, writes
from tests.delivery.dispatching import Clock, WayOut, way_out
from tests.delivery.recovering import activate, arrived, ask, disable, job, jobs_of, owed, running, start, work


async def is_catching_up(it: WayOut, name: str = "a") -> bool:
    async with it.database.reading() as reader:
        found = await subscriptions.get(reader, f"sub_{name}")
    assert found is not None
    return found.catching_up


async def test_the_whole_log_arrives_in_order_and_what_comes_meanwhile_follows(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        events = await it.record(300)
        job_id = await start(it, max_concurrency=1)
        worker, more = jobs_of(it, window=50), True
        while more:
            more, new = await asyncio.gather(worker.step(), it.record(3))  # in one transaction with each step
            events += new
        events += await it.record(3)
        assert not await is_catching_up(it)
        assert await owed(it) == events
        order = await it.fetch("SELECT event_id FROM deliveries WHERE subscription_id = 'sub_a' ORDER BY id")
        assert [row[0] for row in order] == events
        found = await job(it, job_id)
        assert (found.state, found.released, found.done) == ("done", found.done, found.total)
    async with way_out(tmp_path, clock=it.clock) as it:
        assert await arrived(it, len(events)) == Counter(events)


@pytest.mark.parametrize("steps_first", [True, False])
async def test_the_step_that_ends_it_and_an_event_of_the_same_moment_make_one_delivery(tmp_path: Path, steps_first):
    async with way_out(tmp_path, run=False) as it:
        events = await it.record(2)
        await start(it)
        worker = jobs_of(it)
        await worker.step()
        calls = [worker.step(), it.record(1)]
        if not steps_first:
            calls.reverse()
        await asyncio.gather(*calls)
        while await worker.step():
            pass
        assert len(await owed(it)) == len(events) + 1
        events += await it.record(1)
        assert len(await owed(it)) == 4


async def test_a_process_that_ends_between_any_two_steps_leaves_no_gap(tmp_path: Path):
    clock = Clock()
    async with way_out(tmp_path, run=False, clock=clock) as it:
        events = await it.record(100)
        await start(it)
    more, number = True, 0
    while more:
        clock.advance(1)
        number += 1
        async with way_out(tmp_path, run=False, clock=clock) as it:
            events += await writes(it, number)
            more = await jobs_of(it, window=30).step()
    clock.advance(1)
    async with way_out(tmp_path, clock=clock) as it:
        assert not await is_catching_up(it)
        assert await arrived(it, len(events)) == Counter(events)


async def test_it_is_told_of_what_it_asked_for_and_never_of_itself(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await it.record(2)
        mine = await writes(it, 1, 2)
        about = [
            (name, f'{{"type": "subscription.failing", "data": {{"subscription_id": "{name}"}}}}')
            for name in ("sub_a", "sub_b")
        ]
        for name, body in about:
            async with it.database.writing() as transaction:
                await transaction.fetch(
                    "INSERT INTO events (id, type, accepted_at, body) VALUES (?, 'subscription.failing', 1, ?)",
                    f"evt_{name}", body,
                )  # fmt: skip
        await start(it, types=["message.*", "subscription.*"])
        await work(it)
        assert await owed(it) == sorted([*mine, "evt_sub_b"])


async def test_a_paused_one_has_it_held(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await it.record(5)
        await start(it, state="paused")
        await work(it, window=2)
        await it.record(1)
        assert await it.states() == {"held": 6}
        await activate(it)
        await ask(it, "held")
        await work(it)
        assert await it.states() == {"waiting": 6}


@pytest.mark.parametrize("stop", ["canceled", "disabled"])
async def test_one_that_is_stopped_goes_on_with_what_comes_from_then_on(tmp_path: Path, stop):
    async with way_out(tmp_path, run=False) as it:
        events = await it.record(20)
        job_id = await start(it)
        worker = jobs_of(it, window=10)
        await worker.step()
        if stop == "disabled":
            await disable(it)
        else:
            found = await job(it, job_id)

            async def cancel(transaction: Transaction) -> bool:
                return await jobs.finish(transaction, found, "canceled", it.clock())

            await it.batch.write(cancel)
        await work(it)
        new = await it.record(2)
        assert (await job(it, job_id)).state == "canceled"
        assert not await is_catching_up(it)
        assert await owed(it) == events[:10] + new


async def test_one_that_was_removed_ends_its_job(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await it.record(20)
        job_id = await start(it)
        await it.remove("sub_a")
        await work(it)
        found = await job(it, job_id)
        assert (found.state, found.error, found.released) == ("canceled", "the subscription was removed", 0)
        assert await it.record(1)


async def test_a_start_that_fails_leaves_a_subscription_that_is_told_of_what_comes(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        (bad,) = await writes(it, 1)
        await it.batch.write(lambda transaction: transaction.fetch("UPDATE events SET body = '{' WHERE id = ?", bad))
        job_id = await start(it, types=["message.*"])
        await work(it)
        assert (await job(it, job_id)).state == "failed"
        new = await writes(it, 2)
        assert await owed(it) == new


async def test_conversations_keep_their_order_over_the_end_of_the_log(tmp_path: Path):
    people = (1, 2, 3)
    async with way_out(tmp_path) as it:
        hearing = Hearing()
        it.subscribers.behaviours["a"] = hearing
        events = [event for _ in range(10) for event in await writes(it, *people)]
        await start(it, ordered="conversation")
        async with running(it, window=7):
            for _ in range(5):
                events += await writes(it, *people)
            assert await arrived(it, len(events)) == Counter(events)
        assert hearing.in_order
        assert all(len(hearing.heard[number_of(person)]) == 15 for person in people)
