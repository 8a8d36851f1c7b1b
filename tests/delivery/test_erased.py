"""Deliveries of events that are erased while they are on their way."""

import asyncio
from pathlib import Path

import orjson

from receiver.storage import jobs, windows
from receiver.storage.eraser import Eraser
from receiver.storage.jobs import Job, Request
from receiver.storage.places import places
from tests.delivery.conversing import number_of, writes
from tests.delivery.dispatching import Gate, Sent, WayOut, answers, until, way_out


async def erase(it: WayOut, person: int) -> None:
    """A job, to its end."""
    async with it.database.reading() as reader:
        span = await windows.span(reader)
    now = it.clock()
    job = Job(
        id=it.ids.new("job"), kind="erase", subscription_id=None, position="", total=0, created_at=now, updated_at=now,
        request=Request(wishes=[], last=span.last, subject=number_of(person), salt="00" * 16),
    )  # fmt: skip
    await it.batch.write(lambda transaction: jobs.insert(transaction, job))
    eraser = Eraser(
        database=it.database, batch=it.batch, places=places(), clock=it.clock,
        monotonic=asyncio.get_running_loop().time, entropy=bytes, revise=it.dispatcher.revise,
        wake_lane=it.dispatcher.wake, pause=0.01,
    )  # fmt: skip
    assert await eraser.once()


def is_erased(sent: Sent) -> bool:
    data = orjson.loads(sent.body)["data"]
    assert (data["text"] is None) == ("erased" in data["flags"])
    return data["text"] is None


async def test_what_waits_in_memory_or_in_store_is_sent_erased(tmp_path: Path):
    async with way_out(tmp_path) as it:
        gate = it.subscribers.behaviours["a"] = Gate()
        await it.subscribe("a", max_concurrency=1)
        first, *rest = await writes(it, 1, *[1, 2] * 80)  # more than a lane holds
        await it.until_sent(1)
        assert (await it.states())["waiting"] > 0
        await erase(it, 1)
        gate.opened.set()
        await it.until(succeeded=161)
        sent = {sent.event_id: is_erased(sent) for sent in it.subscribers.sent}
        assert [sent[event] for event in (first, *rest)] == [False, *[True, False] * 80]


async def test_an_attempt_that_is_under_way_ends_but_what_is_answered_to_it_is_not_kept(tmp_path: Path):
    async with way_out(tmp_path) as it:
        gate = it.subscribers.behaviours["a"] = Gate(answers(200, b"you said hello"))
        await it.subscribe("a")
        hers, his = await writes(it, 1, 2)
        await it.until_sent(2)
        await erase(it, 1)
        gate.opened.set()
        await it.until(succeeded=2)
        assert [item.answer for item in await it.attempts(hers)] == [b""]
        assert [item.answer for item in await it.attempts(his)] == [b"you said hello"]


async def test_what_is_tried_again_is_sent_erased(tmp_path: Path):
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a")
        (event,) = await writes(it, 1)
        await it.until(retrying=1)
        await erase(it, 1)
        it.subscribers.behaviours["a"] = answers(200)
        await it.reach(10)
        await it.until(succeeded=1)
        assert [is_erased(sent) for sent in it.subscribers.sent] == [False, True]
        assert [sent.event_id for sent in it.subscribers.sent] == [event, event]


async def test_a_conversation_goes_on_in_its_order_under_another_key(tmp_path: Path):
    async with way_out(tmp_path) as it:
        gate = it.subscribers.behaviours["a"] = Gate()
        await it.subscribe("a", ordered="conversation")
        events = await writes(it, *[1] * 5)
        await it.until_sent(1)
        assert await it.states() == {"sending": 1, "queued": 4}
        await erase(it, 1)
        keys = {row[0] for row in await it.fetch("SELECT conversation FROM deliveries")}
        assert len(keys) == 1
        assert number_of(1) not in str(keys)
        gate.opened.set()
        await it.until(succeeded=5)
        assert it.subscribers.events("a") == events


async def test_a_conversation_whose_delivery_ended_under_the_old_key_does_not_stand_still(tmp_path: Path):
    """Its outcome waits for its commit while the keys are changed."""
    async with way_out(tmp_path) as it:
        await it.subscribe("a", ordered="conversation", state="paused")
        events = await writes(it, *[1] * 3)
        ids = [(await it.delivery(event)).id for event in events]
        await it.change("sub_a", state="active")
        async with it.database.writing() as transaction:
            for delivery in ids:  # what is left after an end that appointed nobody
                await transaction.fetch(
                    "UPDATE deliveries SET state = 'queued', next_at = NULL, conversation = ? WHERE id = ?",
                    "\x1f".join(sorted(["+447700900999", number_of(1)])), delivery,
                )  # fmt: skip
        await erase(it, 1)
        await it.until(succeeded=3)
        assert it.subscribers.events("a") == events
        await until(lambda: not it.dispatcher._trying)
