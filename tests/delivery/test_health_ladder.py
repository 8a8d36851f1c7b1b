"""How a subscription that fails is told of: failing, then disabled, or recovered; to the others, and never too often."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.delivery.health import Health
from receiver.sms.events import EVENT_MODELS
from receiver.storage import subscriptions
from tests.delivery.dispatching import (
    PACE,
    Behaviour,
    Clock,
    Gate,
    WayOut,
    answers,
    fails,
    in_turn,
    until,
    way_out,
)
from tests.delivery.settling import passed, settled

HOUR = 3_600.0
HOURLY = replace(PACE, schedule=(HOUR,) * 400, timeout=600.0)
NEVER = replace(PACE, schedule=(1e6,), timeout=600.0)


async def told(it: WayOut) -> list[dict[str, Any]]:
    """The operational events of the log, each as its model has it."""
    rows = await it.fetch("SELECT type, body FROM events WHERE type LIKE 'subscription.%' ORDER BY seq")
    for kind, body in rows:
        EVENT_MODELS[kind].model_validate_json(body, strict=False)
    return [orjson.loads(body) for _, body in rows]


async def names(it: WayOut) -> list[str]:
    return [event["type"].removeprefix("subscription.") for event in await told(it)]


async def state(it: WayOut) -> tuple[str, str | None]:
    ((found, because),) = await it.fetch("SELECT state, disabled_by FROM subscriptions WHERE id = 'sub_a'")
    return found, because


async def watched(it: WayOut, behaviour: Behaviour, **given: Any) -> None:
    """Two subscriptions of everything; the first is the one that has trouble."""
    it.subscribers.behaviours["a"] = behaviour
    await it.subscribe("a", **({"max_concurrency": 1} | given))
    await it.subscribe("b", types=["subscription.*"])


async def test_ten_failures_in_a_row_are_told_once_to_everybody_else(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        await watched(it, answers(500))
        began = it.clock()
        await it.record(9)
        await it.until(retrying=9)
        assert await names(it) == []
        await it.record(10)
        await it.until("b", succeeded=1)
        await it.until(retrying=19)
        (event,) = await told(it)
        assert event["type"] == "subscription.failing"
        assert event["data"] == {
            "subscription_id": "sub_a",
            "host": "a.example",
            "failures": 10,
            "since": event["timestamp"],
            "last_error": "status",
            "last_status": 500,
        }
        assert it.clock() == began
        ((owed,),) = await it.fetch(
            "SELECT group_concat(subscription_id) FROM deliveries WHERE event_id = ?", event["id"]
        )
        assert owed == "sub_b"


async def test_an_hour_of_nothing_but_failures_is_told_though_there_were_few(tmp_path: Path):
    async with way_out(tmp_path, pace=replace(NEVER, schedule=(3_599.0, 1.0, 1e6))) as it:
        await watched(it, answers(500))
        await it.record()
        await it.until(retrying=1)
        await passed(it, 3_599.0)
        assert await names(it) == []
        await passed(it, 1.0)
        assert await names(it) == ["failing"]


async def test_a_success_between_them_begins_the_count_anew(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        await watched(it, in_turn(*[answers(500)] * 9, answers(200), *[answers(500)] * 9, answers(200)))
        await it.record(20)
        await it.until(retrying=18, succeeded=2)
        assert await names(it) == []


async def test_recovered_is_told_with_the_first_success_and_not_again(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        await watched(it, in_turn(*[answers(500)] * 12, answers(200)))
        await it.record(15)
        await it.until(retrying=12, succeeded=3)
        await it.until("b", succeeded=2)
        assert await names(it) == ["failing", "recovered"]
        assert (await told(it))[1]["data"]["failures"] == 12
        await it.record(5)
        await it.until(retrying=12, succeeded=8)
        assert await names(it) == ["failing", "recovered"]


@pytest.mark.parametrize(
    ("behaviour", "end", "because"),
    [
        (answers(410), "dead", "gone"),
        (answers(500, webhook_delivery="disable"), "dead", "answer"),
        (answers(200, webhook_delivery="disable"), "succeeded", "answer"),
        (answers(204, webhook_delivery=" Disable "), "succeeded", "answer"),
    ],
)
async def test_whoever_wants_no_more_is_disabled_at_once(tmp_path: Path, behaviour: Behaviour, end: str, because: str):
    async with way_out(tmp_path, pace=NEVER) as it:
        await watched(it, behaviour)
        await it.record(4)
        await it.record()
        await it.until("a", **{end: 1, "held": 4})
        assert await state(it) == ("disabled", because)
        assert await names(it) == ["disabled"]
        await it.until("b", succeeded=1)
        await it.record()
        await it.until("a", **{end: 1, "held": 5})
        assert len(it.subscribers.events("a")) == 1


async def test_several_that_are_refused_at_once_are_one_disabling(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        gate = Gate(answers(410))
        await watched(it, gate, max_concurrency=8)
        await it.record(8)
        await it.until_sent(8)
        gate.opened.set()
        await it.until(dead=8)
        assert await names(it) == ["disabled"]


async def failing_for(it: WayOut, hours: int) -> None:
    for _ in range(hours):
        await passed(it, HOUR)


async def test_five_days_of_failures_by_the_hour_disable(tmp_path: Path):
    async with way_out(tmp_path, pace=HOURLY) as it:
        await watched(it, answers(500))
        await it.record()
        await it.until(retrying=1)
        await failing_for(it, 119)
        assert (await state(it), await names(it)) == (("active", None), ["failing"])
        await failing_for(it, 1)
        assert (await state(it), await names(it)) == (("disabled", "failures"), ["failing", "disabled"])
        assert await it.states() == {"held": 1}
        (_, event) = await told(it)
        assert event["data"] | {"since": ""} == {
            "subscription_id": "sub_a",
            "host": "a.example",
            "failures": 121,
            "since": "",
            "last_error": "status",
            "last_status": 500,
            "because": "failures",
        }


async def test_one_burst_after_a_long_silence_disables_nobody(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        await watched(it, answers(500), max_concurrency=8)
        await it.record()
        await it.until(retrying=1)
        it.clock.advance(20 * 86_400)
        await it.record(15)
        await it.until(dead=1, retrying=15)
        assert (await state(it), await names(it)) == (("active", None), ["failing"])


async def test_one_success_in_five_days_disables_nobody(tmp_path: Path):
    async with way_out(tmp_path, pace=HOURLY) as it:
        await watched(it, in_turn(*[answers(500)] * 60, answers(200), answers(500)))
        await it.record(2)
        await settled(it)
        await failing_for(it, 119)
        assert await state(it) == ("active", None)


async def test_how_long_is_a_setting(tmp_path: Path):
    async with way_out(tmp_path, pace=replace(HOURLY, schedule=(60.0,) * 99, disable_after=600.0)) as it:
        await watched(it, answers(500))
        await it.record()
        await it.until(retrying=1)
        for _ in range(9):
            await passed(it, 60.0)
        assert await state(it) == ("active", None)
        await passed(it, 60.0)
        assert await state(it) == ("disabled", "failures")


async def test_what_fails_while_it_is_being_disabled_is_held_and_not_tried_again(tmp_path: Path):
    async with way_out(tmp_path) as it:
        late = Gate(answers(500))
        await watched(it, in_turn(late, answers(410)), max_concurrency=2)
        await it.record(2)
        await it.until(sending=1, dead=1)
        late.opened.set()
        await it.until(held=1, dead=1)
        await passed(it, 6.0)
        assert len(it.subscribers.events("a")) == 2
        assert await names(it) == ["disabled"]


async def test_one_that_was_disabled_has_not_recovered_by_what_was_under_way(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        late = Gate()
        await watched(it, in_turn(late, answers(410)), max_concurrency=2)
        await it.record(2)
        await it.until(sending=1, dead=1)
        late.opened.set()
        await it.until(succeeded=1, dead=1)
        assert await names(it) == ["disabled"]


async def test_set_to_work_again_it_has_as_long_as_at_first(tmp_path: Path):
    async with way_out(tmp_path, pace=HOURLY) as it:
        await watched(it, answers(500))
        await it.record()
        await it.until(retrying=1)
        await failing_for(it, 120)
        assert await state(it) == ("disabled", "failures")
        await it.batch.write(to_health_anew)
        await it.change("sub_a", state="active", disabled_by=None, updated_at=it.clock() + 1)
        await it.record()
        await it.until(held=1, retrying=1)
        await failing_for(it, 119)
        assert await state(it) == ("active", None)
        await failing_for(it, 1)
        assert await state(it) == ("disabled", "failures")
        assert await names(it) == ["failing", "disabled"] * 2


async def to_health_anew(transaction: Any) -> None:
    """What the API does beside."""
    subscriptions.save_health(transaction, {"sub_a": Health(lapsed=True)})


@pytest.mark.parametrize("before", [7, 12])
async def test_health_survives_a_restart(tmp_path: Path, before: int):
    clock = Clock()
    async with way_out(tmp_path, pace=NEVER, clock=clock) as it:
        await watched(it, answers(500))
        await it.record(before)
        await it.until(retrying=before)
    async with way_out(tmp_path, pace=NEVER, clock=clock, behaviours={"a": answers(500)}) as it:
        it.serial = iter(range(100, 200))
        await it.record(12 - before)
        await settled(it)
        it.subscribers.behaviours["a"] = answers(200)
        await it.record()
        await it.until(retrying=12, succeeded=1)
        assert await names(it) == ["failing", "recovered"]
        assert [event["data"]["failures"] for event in await told(it)] == [10, 12]


async def test_a_batch_that_was_rolled_back_tells_and_counts_nothing(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        gate = Gate(answers(500))
        await watched(it, gate, max_concurrency=10)
        await it.record(10)
        await it.until_sent(10)
        it.database.failing = 2
        gate.opened.set()
        await until(lambda: it.database.failing == 0)
        assert await names(it) == []
        await it.until(retrying=10)
        await it.until("b", succeeded=1)
        assert [event["data"]["failures"] for event in await told(it)] == [10]


async def test_a_410_is_not_forgotten_when_everything_of_it_was_rolled_back_twice(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        gate = Gate(answers(410))
        await watched(it, gate)
        await it.record(3)
        await it.until_sent(1)
        it.database.failing = 4
        gate.opened.set()
        await it.until(dead=1, held=2)
        assert await state(it) == ("disabled", "gone")
        assert await names(it) == ["disabled"]


async def test_the_last_success_is_noted_though_the_first_try_to_write_it_failed(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        gate = Gate()
        await watched(it, gate)
        await it.record()
        await it.until_sent(1)
        it.database.failing = 1
        gate.opened.set()
        await it.until(succeeded=1)
        assert await it.fetch("SELECT last_success_at FROM subscriptions WHERE id = 'sub_a'") == [(it.clock(),)]


async def test_two_that_fail_tell_of_each_other_and_not_of_themselves(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        for name in ("a", "b"):
            it.subscribers.behaviours[name] = answers(500)
            await it.subscribe(name, max_concurrency=1)
        await it.record(10)
        await it.until("a", retrying=11)
        await it.until("b", retrying=11)
        for event in await told(it):
            rows = await it.fetch("SELECT subscription_id FROM deliveries WHERE event_id = ?", event["id"])
            assert [row[0] for row in rows] == [{"sub_a": "sub_b", "sub_b": "sub_a"}[event["data"]["subscription_id"]]]


async def test_a_subscription_made_a_moment_ago_hears_of_it(tmp_path: Path):
    """By whatever process; this one's catalog has not been read since."""
    async with way_out(tmp_path, pace=NEVER) as it:
        made = await it.subscribe("c", types=["subscription.*"], state="paused")
        gate = Gate(answers(500))
        await watched(it, gate, max_concurrency=10)
        await it.record(10)
        await it.until_sent(10)
        active = replace(made, state="active", updated_at=it.clock() + 1)
        await it.batch.write(lambda transaction: subscriptions.save(transaction, active))
        gate.opened.set()
        await it.until("c", succeeded=1)


async def test_the_host_alone_is_told_of_a_url_with_secrets(tmp_path: Path):
    async with way_out(tmp_path, pace=NEVER) as it:
        await watched(it, fails(RuntimeError("nothing")), url="https://a.example:8443/hush?sig=hush")
        await it.record(10)
        await it.until("b", succeeded=1)
        (event,) = await told(it)
        assert "hush" not in orjson.dumps(event).decode()
        assert (event["data"]["host"], event["data"]["last_error"]) == ("a.example", "protocol")
