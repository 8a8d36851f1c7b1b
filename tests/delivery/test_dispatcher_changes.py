"""What happens to the way out when something changes under it: subscriptions, the database, the process itself."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from receiver.storage import subscriptions
from receiver.storage.batch import Operation
from receiver.storage.database import Transaction, Unavailable
from tests.delivery.dispatching import PACE, Gate, WayOut, answers, in_turn, quiet, until, way_out


async def test_nothing_is_sent_to_a_paused_subscription_and_what_was_queued_resumes(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=4)) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        events = await it.record(10)
        await it.until_sent(1)
        await it.change("sub_a", state="paused")
        gate.opened.set()
        await it.until(succeeded=1, waiting=9)
        await it.record()
        await quiet()
        assert await it.states() == {"succeeded": 1, "waiting": 9, "held": 1}
        await it.change("sub_a", state="active")
        await it.until(succeeded=10, held=1)
        assert it.subscribers.events("a") == events


async def test_pausing_and_resuming_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chosen = random.Random(7)
    async with way_out(tmp_path, pace=replace(PACE, lane=4)) as it:
        await it.subscribe("a", max_concurrency=2)
        events: list[str] = []
        for _ in range(15):
            events += await it.record(chosen.randint(1, 9))
            await it.change("sub_a", state="paused")
            for _ in range(chosen.choice([0, 1, 20])):
                await asyncio.sleep(0)
            await it.change("sub_a", state="active")
        await it.until(succeeded=len(events))
        assert sorted(it.subscribers.events("a")) == events


async def test_a_removed_subscription_gets_no_more_and_its_deliveries_are_canceled(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=4)) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        first, *_ = await it.record(10)
        await it.until_sent(1)
        await it.remove("sub_a")
        gate.opened.set()
        await until(lambda: it.counts["attempts succeeded"] == 1)
        await quiet()
        assert await it.states() == {"canceled": 10}
        assert len(it.subscribers.sent) == 1
        assert [attempt.status for attempt in await it.attempts(first)] == [200]  # what was sent is told


async def test_an_attempt_that_fails_after_its_subscription_was_removed_is_not_tried_again(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate(answers(500))
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a")
        await it.record()
        await it.until_sent(1)
        await it.remove("sub_a")
        gate.opened.set()
        await until(lambda: it.counts["attempts retry"] == 1)
        await it.reach(5)
        await quiet()
        assert await it.states() == {"canceled": 1}
        assert len(it.subscribers.sent) == 1


async def test_a_changed_url_secret_and_header_hold_for_what_is_queued(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        await it.record(2)
        await it.until_sent(1)
        await it.change("sub_a", url="https://b.example/new?x=1", headers={"X-New": "yes"})
        gate.opened.set()
        await it.until(succeeded=2)
        _, second = it.subscribers.sent
        assert (second.url, second.headers["x-new"]) == ("https://b.example/new?x=1", "yes")


async def test_what_an_earlier_process_was_sending_is_sent_again_before_anything_new(tmp_path: Path) -> None:
    async with way_out(tmp_path, run=False) as it:
        await it.subscribe("a", max_concurrency=1)
        old = await it.record(5)
        it.clock.advance(1)
        await it.batch.write(
            lambda transaction: transaction.fetch(
                "UPDATE deliveries SET state = 'sending', next_at = NULL, attempts = (id LIKE '%2')"
            )
        )
    async with way_out(tmp_path, run=False) as it:
        it.serial = iter(range(100, 200))
        running = asyncio.create_task(it.dispatcher.run())
        new = await it.record(5)  # accepted while the start is under way
        await it.until(succeeded=10)
        assert it.subscribers.events("a") == old + new
        await it.dispatcher.stop(1.0)
        await running


async def test_what_comes_in_during_the_start_is_not_overtaken(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a")
        await it.record()
        await it.until(retrying=1)  # due in the future: the start finds nothing that it could send
    async with way_out(tmp_path, run=False) as it:
        it.serial = iter(range(100, 200))
        running = asyncio.create_task(it.dispatcher.run())
        await asyncio.sleep(0)
        await it.batch.submit(it.recording, it.one_more())  # in the very transaction of the start
        assert it.lanes.room("sub_a", urgent=False) == 0
        await it.until(retrying=1, succeeded=1)
        await until(lambda: it.lanes.room("sub_a", urgent=False) == PACE.lane)
        await it.dispatcher.stop(1.0)
        await running


async def test_a_start_that_the_database_puts_off_voids_no_lease_of_this_process(tmp_path: Path) -> None:
    """Otherwise what is being sent at that moment would be taken and sent a second time."""
    async with way_out(tmp_path, run=False) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        it.database.failing = 1
        with pytest.raises(Unavailable):
            await it.dispatcher.run()
        events = await it.record(3)
        running = asyncio.create_task(it.dispatcher.run())
        await it.until_sent(1)
        gate.opened.set()
        await it.until(succeeded=3)
        await quiet()
        assert it.subscribers.events("a") == events
        await it.dispatcher.stop(1.0)
        await running


async def test_stopping_lets_attempts_finish_and_gives_the_rest_back(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=2)
        events = await it.record(10)
        await it.until_sent(2)
        stopping = asyncio.create_task(it.dispatcher.stop(5.0))
        await quiet()
        assert not stopping.done()
        gate.opened.set()
        await stopping
        assert await it.states() == {"succeeded": 2, "waiting": 8}
        assert it.subscribers.events("a") == events[:2]
        late = await it.record()
        assert (await it.delivery(late[0])).state == "waiting"
        assert len(it.subscribers.sent) == 2


async def test_an_attempt_that_outlasts_the_end_is_cut_off_and_sent_again_at_the_next_start(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = Gate()
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until_sent(1)
        await it.dispatcher.stop(0.05)
        assert await it.states() == {"sending": 1}
    async with way_out(tmp_path) as it:
        await it.until(succeeded=1)
        assert it.subscribers.events("a") == [event_id]


async def test_stopping_with_a_database_that_takes_no_more_is_no_error(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = Gate()
        await it.subscribe("a", max_concurrency=1)
        await it.record(3)
        await it.until_sent(1)
        it.database.failing = 100
        await it.dispatcher.stop(0.05)
        it.database.failing = 0


async def test_stopping_does_not_wait_for_a_database_that_takes_no_outcome(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a")
        await it.record()
        await it.until_sent(1)
        it.database.failing = 100
        gate.opened.set()
        await quiet()
        await asyncio.wait_for(it.dispatcher.stop(30.0), 15.0)
        it.database.failing = 0
        assert await it.states() == {"sending": 1}  # and is sent again at the next start


async def test_with_a_broken_database_nothing_counts_as_recorded_and_nothing_is_waited_for(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        await it.record(3)
        await it.until_sent(1)
        it.database.broken = True
        gate.opened.set()
        await quiet(0.2)
        assert not it.counts
        assert len(it.subscribers.sent) == 1
        await asyncio.wait_for(it.dispatcher.stop(30.0), 15.0)
        assert await it.states() == {"sending": 3}


async def test_a_dispatcher_that_was_stopped_does_not_start(tmp_path: Path) -> None:
    async with way_out(tmp_path, run=False) as it:
        await it.dispatcher.stop(0.1)
        it.batch.close()
        await asyncio.wait_for(it.dispatcher.run(), 15.0)


async def test_an_outcome_is_recorded_once_the_database_has_room_and_nothing_is_posted_twice(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a")
        events = await it.record(5)
        await it.until_sent(5)
        it.database.failing = 2
        gate.opened.set()
        await quiet(0.2)
        assert await it.states() == {"sending": 5}
        await it.until(succeeded=5)
        assert it.database.failing == 0
        assert sorted(it.subscribers.events("a")) == events
        for event in events:
            assert len(await it.attempts(event)) == 1


async def test_what_could_not_be_taken_is_taken_later(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=2)) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        events = await it.record(6)
        await it.until_sent(1)
        it.database.failing = 3
        gate.opened.set()
        await it.until(succeeded=6)
        assert it.subscribers.events("a") == events


async def test_a_full_database_is_not_asked_again_and_again_without_a_pause(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=2)) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=2)
        await it.record(6)
        await it.until_sent(2)
        it.database.failing = 1_000_000
        tries = it.database.tries
        it.dispatcher.wake("sub_a")
        it.dispatcher.wake("sub_alarm")
        gate.opened.set()
        await quiet(0.4)
        assert it.database.tries - tries <= 5
        it.database.failing = 0


async def test_what_is_taken_while_its_subscription_is_being_paused_goes_back(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = answers(500)
        made = await it.subscribe("a")
        await it.record()
        await it.until(retrying=1)
        await it.batch.write(lambda transaction: subscriptions.save(transaction, replace(made, state="paused")))
        it.database.moving.clear()
        await it.reach(5)
        await until(lambda: it.database.tries > it.database.commits)  # it is being taken
        await it.refresh()
        it.database.moving.set()
        lane = it.lanes.get("sub_a")
        assert lane is not None
        await until(lambda: not lane.taking)
        await it.until(retrying=1)
        await quiet()
        assert len(it.subscribers.sent) == 1


async def rolled_back(it: WayOut, change: Any) -> None:
    """A change of the catalog and a recording share a transaction that is rolled back at its COMMIT."""
    it.database.failing = 1
    shared = it.batch.write(change), it.batch.submit(it.recording, it.one_more())
    for outcome in await asyncio.gather(*shared, return_exceptions=True):
        assert isinstance(outcome, Unavailable)


CHANGES: dict[str, Any] = {
    "removal": lambda now: lambda transaction: subscriptions.remove(transaction, "sub_a", now),
    "disabling": lambda now: lambda transaction: subscriptions.disable(transaction, "sub_a", "gone", now),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_was_rolled_back_leaves_nothing_behind(tmp_path: Path, change: str) -> None:
    """Matching looks at the catalog inside the transaction, so the lanes hear of it before it is certain."""
    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        events = await it.record(4)
        await it.until_sent(1)
        await rolled_back(it, CHANGES[change](it.clock()))
        gate.opened.set()
        await it.until(succeeded=4)
        assert it.subscribers.events("a") == events
        await it.record()
        await it.until(succeeded=5)


async def test_a_retry_that_fell_due_over_a_rolled_back_removal_is_still_made(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate(answers(500))
        it.subscribers.behaviours["a"] = in_turn(gate, answers(200))
        await it.subscribe("a")
        await it.record()
        await it.until_sent(1)
        await rolled_back(it, CHANGES["removal"](it.clock()))
        await quiet()
        gate.opened.set()
        await it.until(retrying=1)
        await it.reach(5)
        await it.until(succeeded=1)


async def test_a_410_whose_record_was_rolled_back_disables_as_soon_as_it_is_recorded(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate(answers(410))
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        await it.record(4)
        await it.until_sent(1)
        it.database.failing = 1
        gate.opened.set()
        await until(lambda: it.counts["attempts dead"] >= 1)
        await quiet()
        states = await it.states()
        assert set(states) == {"dead", "held"}
        assert await it.fetch("SELECT state FROM subscriptions WHERE id = 'sub_a'") == [("disabled",)]


async def test_an_item_that_spoils_its_batch_does_not_keep_outcomes_from_being_recorded(tmp_path: Path) -> None:
    async def spoil(_transaction: Transaction, _items: Any) -> Any:
        raise ValueError("a bug elsewhere")

    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=10)
        events = await it.record(10)
        await it.until_sent(10)
        gate.opened.set()
        spoiled: Operation[None, None] = Operation(spoil)
        for _ in range(5):
            with pytest.raises(ValueError, match="a bug elsewhere"):
                await it.batch.submit(spoiled, None)
        await it.until(succeeded=10)
        assert sorted(it.subscribers.events("a")) == events
