"""`ordered: "conversation"`: of each conversation one delivery at a time, in the order of the log, whatever happens."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from receiver.egress import ForbiddenDestination
from receiver.storage import conversations, deliveries, subscriptions
from receiver.storage.database import Unavailable
from tests.delivery.conversing import Hearing, killed, message, number_of, order_of, people_in, recorded, report, writes
from tests.delivery.dispatching import (
    PACE,
    Behaviour,
    Gate,
    Sent,
    Ticking,
    WayOut,
    answers,
    fails,
    in_turn,
    quiet,
    until,
    way_out,
)
from tests.delivery.settling import passed, settled

ABORT = answers(404, webhook_delivery="abort-message")
SLOW = replace(PACE, timeout=600.0)


def of_person(number: int, behaviour: Behaviour, others: Behaviour | None = None) -> Behaviour:
    """What is about one person is treated so, everything else otherwise."""
    rest = others or answers(200)

    async def behave(sent: Sent) -> httpx2.Response:
        return await (behaviour if (people_in(sent.body) or "").endswith(f"{number:05}") else rest)(sent)

    return behave


async def hearing(it: WayOut, behaviour: Behaviour | None = None, **given: object) -> Hearing:
    """The one ordered subscription, `sub_a`."""
    ear = Hearing(behaviour or answers(200))
    it.subscribers.behaviours["a"] = ear
    await it.subscribe("a", ordered="conversation", **given)
    return ear


async def by_hand(it: WayOut, *events: str) -> None:
    """What `POST /v1/deliveries/{id}/retry` and `recover` do."""
    ids = [(await it.delivery(event)).id for event in events]
    await it.batch.write(lambda transaction: deliveries.reopen(transaction, ids, it.clock()))
    it.dispatcher.wake("sub_a")


async def test_conversations_run_beside_each_other_and_each_in_the_order_of_the_log(tmp_path: Path):
    chosen = random.Random()

    async def any_time(sent: Sent) -> httpx2.Response:
        await asyncio.sleep(chosen.random() * 0.01)
        return await answers(200)(sent)

    async with way_out(tmp_path) as it:
        ear = await hearing(it, any_time)
        told: dict[int, list[str]] = {person: [] for person in range(6)}
        for _ in range(8):
            people = [chosen.randrange(6) for _ in range(12)]
            for person, event in zip(people, await writes(it, *people), strict=True):
                told[person].append(event)
        await it.until(succeeded=96)
        assert {person: ear.events(person) for person in told} == told
        assert ear.in_order
        assert 1 < it.subscribers.peak["a"] <= 6


async def test_a_delivery_behind_another_stands_in_the_store_until_that_has_ended(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        await hearing(it, gate)
        await writes(it, 1, 1, 2)
        await it.until_sent(2)
        await settled(it)
        assert [state for state, _ in await order_of(it)] == ["sending", "queued", "sending"]
        gate.opened.set()
        await it.until(succeeded=3)


async def test_a_conversation_that_is_stuck_delays_no_other(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        stuck = Gate()
        ear = await hearing(it, of_person(1, stuck))
        await writes(it, *[1] * 20, *range(2, 22))
        await it.until(succeeded=20, sending=1, queued=19)
        assert len(ear.events(1)) == 1
        stuck.opened.set()
        await it.until(succeeded=40)
        assert ear.in_order


async def test_long_conversations_in_memory_keep_no_other_waiting_in_the_store(tmp_path: Path):
    """With each that ends its next one comes, so memory would stay full until they are all over."""
    async with way_out(tmp_path, pace=replace(SLOW, lane=4), clock=Ticking()) as it:
        ear = await hearing(it)
        await writes(it, *[1, 2, 3, 4] * 30, 5)
        await it.until(succeeded=121)
        heard = [people_in(sent.body) for sent in it.subscribers.sent]
        assert heard.index(number_of(5)) < 30
        assert ear.in_order


@pytest.mark.parametrize("trouble", [answers(500), answers(429, retry_after="120"), answers(503)])
async def test_nothing_overtakes_what_is_to_be_tried_again(tmp_path: Path, trouble: Behaviour):
    async with way_out(tmp_path) as it:
        ear = await hearing(it, of_person(1, in_turn(trouble, answers(200))))
        first, second = await writes(it, 1, 1)
        await writes(it, 2)
        await it.until(succeeded=1, retrying=1, queued=1)
        await passed(it, 4.0)
        assert ear.events(1) == [first]
        (third,) = await writes(it, 1)
        await passed(it, 120.0)
        await it.until(succeeded=4)
        assert ear.events(1) == [first, first, second, third]


async def test_after_a_delivery_that_was_given_up_the_next_says_which_is_missing(tmp_path: Path):
    async with way_out(tmp_path) as it:
        ear = await hearing(it, in_turn(ABORT, ABORT, answers(200)))
        first, second, third, fourth = await writes(it, 1, 1, 1, 1)
        await it.until(dead=2, succeeded=2)
        assert ear.events(1) == [first, second, third, fourth]
        missed = [sent.headers.get("receiver-missed") for sent in it.subscribers.sent]
        assert missed == [None, first, f"{first},{second}", None]


async def test_after_a_forbidden_address_and_after_a_used_up_schedule_the_conversation_goes_on(tmp_path: Path):
    async with way_out(tmp_path) as it:
        refused = fails(ForbiddenDestination("10.0.0.1 is private; EGRESS_ALLOW 10.0.0.0/8"))
        ear = await hearing(it, in_turn(refused, answers(500), answers(500), answers(200)), retry_schedule=[5.0])
        first, second, third = await writes(it, 1, 1, 1)
        await it.until(forbidden=1, retrying=1, queued=1)
        await passed(it, 6.0)
        await it.until(forbidden=1, dead=1, succeeded=1)
        assert ear.events(1) == [first, second, second, third]
        assert [sent.headers.get("receiver-missed") for sent in it.subscribers.sent] == [
            None, first, first, f"{first},{second}",
        ]  # fmt: skip


async def test_what_comes_long_after_a_dead_delivery_is_told_of_it_too(tmp_path: Path):
    async with way_out(tmp_path) as it:
        await hearing(it, in_turn(ABORT, answers(200)))
        (first,) = await writes(it, 1)
        await it.until(dead=1)
        await writes(it, 2, 1, 1)
        await it.until(dead=1, succeeded=3)
        missed = [sent.headers.get("receiver-missed") for sent in it.subscribers.sent]
        assert sorted(missed, key=str) == sorted([None, None, None, first], key=str)


async def test_events_without_a_message_have_no_place_in_any_order(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        stuck = Gate()
        await hearing(it, of_person(1, stuck))
        await writes(it, 1, 1)
        await it.record(10)
        await it.until(succeeded=10, sending=1, queued=1)
        assert [key for _, key in await order_of(it)][2:] == [None] * 10
        stuck.opened.set()


async def test_an_opt_out_stays_behind_the_message_that_it_came_with(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        ear = await hearing(it, gate)
        events = await recorded(it, message(it, 1), message(it, 1, "STOP"), message(it, 1))
        await it.until_sent(1)
        await settled(it)
        assert await it.states() == {"sending": 1, "queued": 3}
        gate.opened.set()
        await it.until(succeeded=4)
        assert ear.events(1) == events
        rows = await it.fetch("SELECT type FROM events ORDER BY seq")
        assert [row[0] for row in rows] == [
            "message.received", "message.received", "contact.opted_out", "message.received",
        ]  # fmt: skip
        assert len({key for _, key in await order_of(it)}) == 1


async def test_a_report_and_a_reply_are_one_conversation(tmp_path: Path):
    async with way_out(tmp_path) as it:
        ear = await hearing(it)
        events = await recorded(it, message(it, 1), report(it, 1), message(it, 1))
        await it.until(succeeded=3)
        assert ear.events(1) == events
        assert ear.in_order
        assert len({key for _, key in await order_of(it)}) == 1


async def test_two_ordered_subscriptions_do_not_wait_for_each_other(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["b"] = stuck = Gate()
        await it.subscribe("b", ordered="conversation")
        ear = await hearing(it)
        events = await writes(it, *[1] * 10)
        await it.until("a", succeeded=10)
        await it.until("b", sending=1, queued=9)
        assert ear.events(1) == events
        stuck.opened.set()
        await it.until("b", succeeded=10)


async def test_what_ends_while_its_subscription_is_paused_lets_the_conversation_go_on_afterwards(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        ear = await hearing(it, gate)
        events = await writes(it, 1, 1, 1)
        await it.until_sent(1)
        await it.change("sub_a", state="paused")
        gate.opened.set()
        await until(lambda: it.counts["attempts succeeded"] == 1)
        await settled(it)
        assert len(it.subscribers.sent) == 1
        await it.change("sub_a", state="active")
        await it.until(succeeded=3)
        assert ear.events(1) == events


async def paused_for_good(it: WayOut) -> None:
    await it.change("sub_a", state="paused")


async def removed(it: WayOut) -> None:
    await it.remove("sub_a")


@pytest.mark.parametrize(("change", "left"), [(paused_for_good, "paused"), (removed, None)])
async def test_a_change_that_was_rolled_back_leaves_no_conversation_without_a_next(
    tmp_path: Path, change: Callable[[WayOut], Awaitable[None]], left: str | None
):
    """The attempt ends while the catalog in memory still tells of what never came to be."""
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        ear = await hearing(it, gate)
        events = await writes(it, 1, 1, 1)
        await it.until_sent(1)
        row = it.catalog.subscription("sub_a")
        assert row is not None
        it.database.failing = 1

        async def wanted(transaction) -> None:
            if left is None:
                await subscriptions.remove(transaction, "sub_a", it.clock())
            else:
                await subscriptions.save(transaction, replace(row, state="paused", updated_at=it.clock()))

        it.database.moving.clear()
        shared = asyncio.gather(
            it.batch.write(wanted), it.batch.submit(it.recording, it.one_more()), return_exceptions=True
        )
        await until(lambda: it.database.tries > it.database.commits)  # the lane was told, nothing is on disk
        gate.opened.set()
        await quiet()
        it.database.moving.set()
        assert all(isinstance(outcome, Unavailable) for outcome in await shared)
        await it.until(succeeded=3)
        assert ear.events(1) == events


async def test_what_was_held_when_it_was_disabled_comes_in_order_when_it_is_opened_again(tmp_path: Path):
    async with way_out(tmp_path) as it:
        ear = await hearing(it, in_turn(answers(410), answers(200)))
        first, second, third = await writes(it, 1, 1, 1)
        await it.until(dead=1, held=2)
        (fourth,) = await writes(it, 1)
        await it.until(dead=1, held=3)
        await it.change("sub_a", state="active", disabled_by=None)
        await by_hand(it, fourth, third, second)
        await it.until(dead=1, succeeded=3)
        assert ear.events(1) == [first, second, third, fourth]
        assert it.subscribers.sent[1].headers["receiver-missed"] == first


async def test_what_is_opened_again_by_hand_stands_in_line_and_names_nothing_that_came_after_it(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        ear = await hearing(it, in_turn(ABORT, ABORT, gate, answers(200)))
        first, second, third, fourth = await writes(it, 1, 1, 1, 1)
        await it.until(dead=2, sending=1, queued=1)
        await by_hand(it, second, first)
        await settled(it)
        assert await it.states() == {"queued": 3, "sending": 1}
        gate.opened.set()
        await it.until(succeeded=4)
        assert ear.events(1) == [first, second, third, first, second, fourth]
        assert not ear.overlaps
        missed = [sent.headers.get("receiver-missed") for sent in it.subscribers.sent]
        assert missed == [None, first, f"{first},{second}", None, None, None]


async def test_what_is_opened_again_waits_for_what_is_to_be_tried_again(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        ear = await hearing(it, in_turn(ABORT, answers(500), answers(200)))
        first, second = await writes(it, 1, 1)
        await it.until(dead=1, retrying=1)
        await by_hand(it, first)
        await passed(it, 4.0)
        assert await it.states() == {"queued": 1, "retrying": 1}
        await passed(it, 1.0)
        await it.until(succeeded=2)
        assert ear.events(1) == [first, second, second, first]


async def test_the_older_of_two_dead_ones_does_not_miss_the_younger(tmp_path: Path):
    async with way_out(tmp_path) as it:
        ear = await hearing(it, in_turn(ABORT, ABORT, answers(200)))
        first, second = await writes(it, 1, 1)
        await it.until(dead=2)
        await by_hand(it, first)
        await it.until(dead=1, succeeded=1)
        assert ear.events(1) == [first, second, first]
        assert "receiver-missed" not in it.subscribers.sent[-1].headers


async def test_without_order_from_now_on_everything_that_stood_in_line_is_sent_at_once(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        await hearing(it, gate)
        await writes(it, 1, 1, 1, 1)
        await it.until_sent(1)
        await it.batch.write(lambda transaction: conversations.disband(transaction, "sub_a", it.clock()))
        await it.change("sub_a", ordered=None)
        it.dispatcher.wake("sub_a")
        await it.until_sent(4)
        await writes(it, 1)
        await it.until_sent(5)
        gate.opened.set()
        await it.until(succeeded=5)


async def test_a_removed_subscription_gets_nothing_more_of_any_conversation(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        await hearing(it, gate)
        await writes(it, 1, 1, 2)
        await it.until_sent(2)
        await it.remove("sub_a")
        gate.opened.set()
        await settled(it)
        assert await it.states() == {"canceled": 3}
        assert len(it.subscribers.sent) == 2


@pytest.mark.parametrize("kill", [False, True])
async def test_the_next_process_goes_on_where_the_last_one_ended(tmp_path: Path, kill: bool):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = Gate()
        await hearing(it, gate)
        events = await writes(it, 1, 1, 2, 1)
        await it.until_sent(2)
        if kill:
            await killed(it)
        else:
            stopping = asyncio.create_task(it.dispatcher.stop(5.0))
            await quiet()
            gate.opened.set()
            await stopping
            assert await it.states() == {"succeeded": 2, "waiting": 1, "queued": 1}
    ear = Hearing()
    async with way_out(tmp_path, clock=it.clock, behaviours={"a": ear}) as again:
        await again.until(succeeded=4)
        assert ear.events(1) == [events[0], events[1], events[3]][0 if kill else 1 :]
        assert ear.in_order
