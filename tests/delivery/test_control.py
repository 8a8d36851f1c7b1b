"""What a subscriber may ask for by its answer, and how long a delivery lives, whole: from the answer to the store."""

from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from receiver.storage import deliveries
from tests.delivery.dispatching import PACE, SECOND, Clock, Gate, WayOut, answers, in_turn, way_out
from tests.delivery.settling import passed, settled

DAY = 86_400.0
SLOW = replace(PACE, timeout=600.0)


async def next_in(it: WayOut, event: str) -> float:
    row = await it.delivery(event)
    assert row.next_at is not None
    return (row.next_at - it.clock()) / SECOND


@pytest.mark.parametrize("word", ["abort-message", " Abort-Message "])
async def test_a_message_that_the_subscriber_will_never_take_is_dead_at_once(tmp_path: Path, word: str):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(503, webhook_delivery=word, retry_after="60"), answers(200))
        await it.subscribe("a")
        await it.record(2)
        await it.until(dead=1, succeeded=1)
        (attempt,) = await it.attempts((await it.fetch("SELECT event_id FROM deliveries WHERE state = 'dead'"))[0][0])
        assert (attempt.number, attempt.status) == (1, 503)
        assert await it.fetch("SELECT state FROM subscriptions WHERE id = 'sub_a'") == [("active",)]


@pytest.mark.parametrize("word", ["abort", "disable-me", "", "abort-message,disable", "retry"])
async def test_any_other_word_means_nothing(tmp_path: Path, word: str):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500, webhook_delivery=word), answers(200))
        await it.subscribe("a")
        await it.record()
        await it.until(retrying=1)
        await passed(it, 5.0)
        await it.until(succeeded=1)
        assert await it.fetch("SELECT state FROM subscriptions WHERE id = 'sub_a'") == [("active",)]


async def test_abort_on_a_success_takes_nothing_back(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = answers(200, webhook_delivery="abort-message")
        await it.subscribe("a")
        await it.record()
        await it.until(succeeded=1)


async def test_a_retry_after_is_obeyed_to_the_second_and_the_next_one_anew(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = in_turn(
            answers(503, retry_after="3600"), answers(429, retry_after="10"), answers(200)
        )
        await it.subscribe("a")
        (event,) = await it.record()
        await it.until(retrying=1)
        await passed(it, 3_599.0)
        assert len(it.subscribers.sent) == 1
        await passed(it, 1.0)
        assert await next_in(it, event) == 300.0  # never earlier than the schedule
        await passed(it, 300.0)
        await it.until(succeeded=1)


async def test_a_retry_after_of_ten_years_is_a_day_and_never_more_than_is_left_of_its_life(tmp_path: Path):
    clock = Clock()
    async with way_out(tmp_path, pace=SLOW, clock=clock) as it:
        it.subscribers.behaviours["a"] = answers(
            429, retry_after=formatdate(clock() / SECOND + 3_650 * DAY, usegmt=True)
        )
        await it.subscribe("a")
        (event,) = await it.record()
        await it.until(retrying=1)
        assert await next_in(it, event) == DAY
        await passed(it, DAY)
        assert await next_in(it, event) == 305.0  # its life is the schedule and a day
        await passed(it, 305.0)
        await it.until(dead=1)
        assert len(it.subscribers.sent) == 3


async def test_what_has_waited_longer_than_it_lives_is_tried_and_then_given_up(tmp_path: Path):
    """However few attempts were made: an outage does not bring back what nobody wants any more for ever."""
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = gate = Gate(in_turn(answers(500), answers(500), answers(200)))
        await it.subscribe("a", max_concurrency=1)
        await it.record(3)
        await it.until_sent(1)
        it.clock.advance(DAY + 306.0)
        gate.opened.set()
        await it.until(dead=2, succeeded=1)
        assert len(it.subscribers.sent) == 3


async def test_opened_again_it_has_its_whole_life_and_schedule_before_it(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a")
        (event,) = await it.record()
        for seconds in (5.0, 300.0):
            await settled(it)
            await passed(it, seconds)
        await it.until(dead=1)
        it.clock.advance(30 * DAY)
        row = await it.delivery(event)
        await it.batch.write(lambda transaction: deliveries.reopen(transaction, [row.id], it.clock()))
        it.dispatcher.wake("sub_a")
        await it.until_tried(event, 4)
        assert await next_in(it, event) == 5.0
        await passed(it, 5.0)
        assert await next_in(it, event) == 300.0
        await passed(it, 300.0)
        await it.until(dead=1)
        assert [attempt.number for attempt in await it.attempts(event)] == [1, 2, 3, 4, 5, 6]


async def test_a_schedule_of_its_own_is_its_own_life_and_one_without_delays_is_one_attempt(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        for name, schedule in (("a", [1.0, 2.0]), ("b", [])):
            it.subscribers.behaviours[name] = answers(500)
            await it.subscribe(name, retry_schedule=schedule, types=["receipt.*"])
        (event,) = await it.record()
        await it.until("b", dead=1)
        await it.until(retrying=1)
        assert await next_in(it, event) == 1.0
        await passed(it, 1.0)
        assert await next_in(it, event) == 2.0
        await passed(it, 2.0)
        await it.until(dead=1)


async def test_jitter_makes_no_retry_earlier(tmp_path: Path):
    for chance, seconds in ((0.0, 5.0), (0.999, 5.4995)):
        (tmp_path / f"{chance}").mkdir()
        async with way_out(tmp_path / f"{chance}", pace=SLOW, chance=chance) as it:
            it.subscribers.behaviours["a"] = answers(500)
            await it.subscribe("a")
            (event,) = await it.record()
            await it.until(retrying=1)
            assert await next_in(it, event) == seconds


async def test_a_url_that_the_rules_of_today_refuse_ends_its_deliveries_and_nothing_else(tmp_path: Path):
    """It was accepted by an earlier version; what comes in is recorded all the same, and the others get it."""
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", url="https://user:hush@a.example/hook", types=["receipt.*"])
        await it.subscribe("b", types=["receipt.*"])
        (event,) = await it.record()
        await it.until("b", succeeded=1)
        await it.until(forbidden=1)
        (attempt,) = await it.attempts(event)
        assert attempt.error == "forbidden"
        assert attempt.detail is not None
        assert "user name" in attempt.detail
        assert "hush" not in attempt.detail
