"""The pace, the pauses and the order of questions; and what is on disk when a process dies in between."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from receiver.intake.turns import LONG, Turns
from receiver.storage.database import Broken, Database, Unavailable
from receiver.vendors.contract import NotAnswered, Step
from receiver.vendors.polling import asked
from tests.polling.fakes import state
from tests.polling.turning import Turning, reply, turning

pytestmark = pytest.mark.usefixtures("engine")


def inbound(*numbers: int) -> bytes:
    rows = [{"id": str(it), "from": "40727363767", "to": "1898", "data": f"text {it}", "created": ""} for it in numbers]
    return orjson.dumps({"status": 0, "message": "OK", "details": rows})


def told(status: int) -> bytes:
    return orjson.dumps({"status": 0, "message": "OK", "details": state(status)})


async def feed_of(it: Turning, name: str = "messages_get") -> tuple[object, ...]:
    (row,) = await it.fetch(
        "SELECT position, failures, error, next_at - ? FROM polls WHERE feed = ?", it.made.now, name
    )
    return tuple(row)


async def test_a_round_follows_after_the_time_that_the_source_gives_it(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"every": 90}))
        await it.take(turns, 20)
        assert it.moments[:3] == [0, 90, 180]


async def test_no_more_questions_a_minute_than_the_vendor_takes_whatever_there_is(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"every": 1}))
        await it.take(turns, 40)
        moments = it.moments
        assert len(moments) > 15
        assert all(later - earlier >= 6 for earlier, later in pairwise(moments))
        assert moments[10] - moments[0] == pytest.approx(60)


async def test_the_pace_outlives_a_restart(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await it.source(poll={"every": 1})
        await it.turns(door).turn()
        it.made.now += 2_000_000
        again = it.turns(door)
        assert await again.turn() == pytest.approx(4)
        assert len(it.vendor.asked) == 1


async def test_failures_make_the_pauses_longer_until_an_hour_and_a_success_ends_them(tmp_path: Path) -> None:
    async with turning(tmp_path, chance=0.5) as it:
        turns = it.turns(await it.source(poll={"every": 60}))
        it.vendor.says = [reply(500)] * 8
        while len(it.vendor.asked) < 9:
            await it.take(turns, 1)
        pauses = [later - earlier for earlier, later in pairwise(it.moments)]
        assert pauses == pytest.approx([132, 264, 528, 1056, 2112, 3960, 3960, 3960])
        assert await feed_of(it) == ("{}", 0, None, 60_000_000)
        ((told,),) = await it.fetch("SELECT last_error FROM sources")
        assert told == "messages_get: the vendor answered HTTP 500"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (reply(429, retry_after="700"), 700),
        (reply(503, retry_after="Tue, 14 Nov 2023 22:33:20 GMT"), 1200),
        (reply(500, retry_after="900"), 900),
        (reply(429), 120),
        (reply(429, retry_after="1"), 120),
        (reply(429, retry_after="9999999"), 86_400),
        (NotAnswered("busy", "later", retry_after=333.0), 333),
        (reply(200, orjson.dumps({"status": -4096, "message": "", "details": ""})), 120),
    ],
)
async def test_the_vendor_is_left_alone_for_as_long_as_it_asks(tmp_path: Path, said, seconds: float) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"every": 60}))
        it.vendor.says = [said]
        await it.wait_for("src_1", "a")
        it.made.now += 1
        while len(it.vendor.asked) < 2:
            await it.take(turns, 1)
        assert it.moments[0] == 0
        expected = 6 if said == reply(500, retry_after="900") else seconds
        assert it.moments[1] == pytest.approx(
            expected, abs=0.01
        )  # a busy vendor hears nothing of the other questions too


async def test_a_busy_vendor_is_left_alone_over_a_restart_too(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await it.source(poll={"every": 60})
        await it.wait_for("src_1", "a", "b")
        it.vendor.says = [reply(), reply(body=told(1)), reply(429, retry_after="700")]
        turns = it.turns(door)
        while len(it.vendor.asked) < 3:
            await it.take(turns, 1)
        again = it.turns(door)
        while len(it.vendor.asked) < 4:
            await it.take(again, 1)
        assert it.moments[3] - it.moments[2] >= 700


async def test_a_wish_to_be_left_alone_is_of_that_answer_alone(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"every": 60}))
        it.vendor.says = [reply(500, retry_after="900"), NotAnswered("network", "not reached")]
        while len(it.vendor.asked) < 3:
            await it.take(turns, 1)
        assert it.moments == [0, 900, 1140]


async def test_what_went_wrong_says_nothing_of_a_source_that_was_changed(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await it.source(poll={"every": 600})
        it.vendor.says = [reply(401)]
        await it.turns(door).turn()
        it.made.now += 10_000_000
        await it.turns(door).turn()
        assert len(it.vendor.asked) == 1
        await it.turns(door, anew=True).turn()
        assert len(it.vendor.asked) == 2


async def test_a_feed_and_single_messages_take_turns(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"every": 1, "per_minute": 60}))
        await it.wait_for("src_1", "a", "b", "c")
        it.vendor.says = [
            reply(body=inbound(1)), reply(body=told(1)), reply(body=inbound(2)), reply(body=told(1)),
            reply(body=inbound(3)), reply(body=told(2)),
        ]  # fmt: skip
        await it.take(turns, 12)
        feeds = [question.about["feed"] for _, question in it.vendor.asked][:6]
        assert feeds == ["messages_get", "lookup", "messages_get", "lookup", "messages_get", "lookup"]
        assert await it.fetch("SELECT 1 FROM lookups") == []
        assert len(await it.fetch("SELECT 1 FROM events")) == 6


async def test_a_message_is_asked_for_twice_as_late_each_time_and_not_for_ever(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"feeds": []}, reconcile={"after": 3600}))
        await it.wait_for("src_1", "a")
        it.vendor.says = [reply(body=told(8))] * 20
        for _ in range(200_000):
            if not await it.fetch("SELECT 1 FROM lookups"):
                break
            await it.take(turns, 1)
            it.made.now += 600_000_000
        assert len(it.vendor.asked) == 12
        hours = [round(later - earlier) // 3600 for earlier, later in pairwise(it.moments)]
        assert hours == [1, 2, 4, 8, 16, 24, 24, 24, 24, 24, 24]
        assert len(await it.fetch("SELECT 1 FROM events")) == 1


async def test_one_message_that_the_vendor_cannot_tell_of_does_not_stand_before_the_others(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"feeds": [], "every": 5}))
        await it.wait_for("src_1", "a")
        it.made.now += 1
        await it.wait_for("src_1", "b")
        it.vendor.says = [reply(500), reply(body=told(1))]
        await it.take(turns, 4)
        assert [question.about["message_id"] for _, question in it.vendor.asked] == ["a", "b"]
        assert [row[0] for row in await it.fetch("SELECT name FROM lookups")] == ["a"]
        assert (await feed_of(it, "lookup"))[1:3] == (0, None)


async def test_a_vendor_out_of_reach_costs_no_message_its_tries(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={"feeds": [], "every": 5}))
        await it.wait_for("src_1", "a")
        it.vendor.says = [NotAnswered("network", "the vendor was not reached")] * 12
        await it.take(turns, 12)
        assert [tuple(row) for row in await it.fetch("SELECT name, tries FROM lookups")] == [("a", 0)]
        pauses = [later - earlier for earlier, later in pairwise(it.moments)]
        assert (min(pauses) > 10, pauses[2] > 40) == (True, True)


async def test_a_report_that_was_pushed_meanwhile_ends_the_question(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source("mobtexting", poll={"feeds": []}))
        await it.wait_for("src_1", "a", message_id="msg_that_is_gone")
        await it.take(turns, 1)
        assert (it.vendor.asked, await it.fetch("SELECT 1 FROM lookups")) == ([], [])


async def test_a_mistake_of_an_adapter_is_told_and_the_answer_asked_for_again(tmp_path: Path, monkeypatch) -> None:
    async with turning(tmp_path) as it:
        door = await it.source(poll={})
        turns = it.turns(door)
        it.vendor.says = [reply(body=b'{"status": 0, "details": [null, 5, {"id": []}]}')]
        await turns.turn()
        assert (await feed_of(it))[1] == 1
        ((error,),) = await it.fetch("SELECT last_error FROM sources")
        assert error == "messages_get: the vendor's answer cannot be read (details.id is not what its document says)"


async def test_an_item_that_cannot_be_read_is_kept_in_quarantine_and_the_rest_stored(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source(poll={}))
        rows = [
            {"id": "1", "from": "40727363767", "to": "1898"},
            {"id": "2", "from": "407", "to": "1898", "data": "two"},
        ]
        it.vendor.says = [reply(body=orjson.dumps({"status": 0, "details": rows}))]
        await it.take(turns, 3)
        found = [row[0] for row in await it.fetch("SELECT type FROM events ORDER BY seq")]
        assert found == ["message.received", "receipt.quarantined"]
        assert (await feed_of(it))[0] == '{"last_id":2}'


async def test_a_mistake_in_an_adapter_is_told_and_costs_nothing_but_time(tmp_path: Path) -> None:
    def broken(*_: Any) -> Step:
        raise ZeroDivisionError

    async with turning(tmp_path) as it:
        door = await it.source(poll={})
        poll, options = asked(door.vendor, door.source) or pytest.fail("it is to be asked")
        feeds = {name: replace(feed, read=broken) for name, feed in poll.feeds.items()}
        await Turns(door, replace(poll, feeds=feeds), options, it.asking).turn()
        assert (await feed_of(it))[1:3] == (1, "the adapter failed on the answer; see the log")


async def test_a_long_answer_is_read_beside_everything_else(tmp_path: Path) -> None:
    threads: list[object] = []

    def reading(*_: Any) -> Step:
        threads.append(threading.current_thread())
        return Step(position={}, pieces=())

    async with turning(tmp_path) as it:
        door = await it.source(poll={"every": 1})
        poll, options = asked(door.vendor, door.source) or pytest.fail("it is to be asked")
        feeds = {name: replace(feed, read=reading) for name, feed in poll.feeds.items()}
        turns = Turns(door, replace(poll, feeds=feeds), options, it.asking)
        it.vendor.says = [reply(body=b" " * LONG), reply(body=b" ")]
        while len(it.vendor.asked) < 2:
            await it.take(turns, 1)
        assert [thread is threading.main_thread() for thread in threads] == [False, True]


async def test_an_event_that_cannot_be_recorded_does_not_take_its_answer_with_it(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await it.source(poll={})
        keep, tries = it.asking.record, []

        async def record(answered: Any) -> Any:
            tries.append(answered)
            if len(tries) == 1:
                raise ValueError("a bug")
            return await keep(answered)

        it.asking = replace(it.asking, record=record)
        it.vendor.says = [reply(body=inbound(1))]
        await it.turns(door).turn()
        assert [row[0] for row in await it.fetch("SELECT type FROM events")] == ["receipt.quarantined"]
        assert (await feed_of(it))[0] == '{"last_id":1}'


async def test_a_vendor_that_does_not_turn_its_pages_is_not_asked_for_ever(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source("thesmsworks", poll={"every": 600}))
        page = [{"messageid": f"{number}", "status": "INCOMING", "content": "hi"} for number in range(200)]
        it.vendor.says = [reply(body=orjson.dumps(page))] * 5
        await it.take(turns, 4)
        assert len(it.vendor.asked) == 2
        assert (await feed_of(it, "inbox"))[2] == "the vendor gives the same page again and again"
        assert len(await it.fetch("SELECT 1 FROM events")) == 200


class Failing:
    """A database that fails at each look with the next of these."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.looked: Any = lambda: None

    def reading(self) -> Any:
        self.looked()
        raise self.errors.pop(0)


TROUBLE = (Unavailable("locked"), ZeroDivisionError(), Broken("damaged"))


async def test_the_loop_outlives_all_but_a_broken_database(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await it.source(poll={})
        database = Failing(*TROUBLE)
        it.asking = replace(it.asking, database=cast("Database", database))
        turns = it.turns(door)
        database.looked = turns.wake
        await asyncio.wait_for(turns.run(), 30)
        assert database.errors == []
        again = Failing(*TROUBLE)
        it.asking = replace(it.asking, database=cast("Database", again))
        await asyncio.wait_for(it.reconciler.run(), 30)
        assert again.errors == []


class Dying:
    """A database whose transactions stop to commit: what a process that dies before COMMIT leaves."""

    def __init__(self, database) -> None:
        self.database = database
        self.dead = False

    def __getattr__(self, name):
        return getattr(self.database, name)

    def writing(self):
        if self.dead:
            raise Unavailable("the process is gone")
        return self.database.writing()


async def test_a_death_between_answer_and_commit_loses_none_and_doubles_none(tmp_path: Path) -> None:
    databases = []

    def dying(database) -> Dying:
        databases.append(Dying(database))
        return databases[-1]

    async with turning(tmp_path, wrapped=dying) as it:
        turns = it.turns(await it.source(poll={"every": 1}))
        it.vendor.says = [reply(body=inbound(1, 2))]
        await turns.turn()
        databases[-1].dead = True
        it.vendor.says = [reply(body=inbound(3, 4))]
        it.made.now += 10_000_000
        with suppress(Unavailable):
            await turns.turn()
        assert len(it.vendor.asked) == 2
    async with turning(tmp_path, wrapped=dying) as it:
        assert (await feed_of(it))[0] == '{"last_id":2}'
        door = await it.source(poll={"every": 1})
        turns = it.turns(door)
        it.made.now += 20_000_000
        it.vendor.says = [reply(body=inbound(3, 4))]
        await turns.turn()
        assert it.vendor.asked[0][1].about["last_id"] == "2"
        assert (await feed_of(it))[0] == '{"last_id":4}'
        ids = [row[0] for row in await it.fetch("SELECT vendor_message_id FROM events ORDER BY seq")]
        assert ids == ["1", "2", "3", "4"]


async def test_the_same_answer_once_more_makes_no_event_and_a_receipt_only_where_it_differs(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        turns = it.turns(await it.source("thesmsworks", poll={"every": 1, "per_minute": 6000}))
        row = {
            "messageid": "1", "status": "INCOMING", "sender": "447700900123", "destination": "447700900456",
            "content": "hi", "created": "2023-11-14T22:13:00.000Z",
        }  # fmt: skip
        it.vendor.says = [
            reply(body=orjson.dumps([row])),
            reply(body=orjson.dumps([row])),
            reply(body=orjson.dumps([row, row])),
        ]
        while len(it.vendor.asked) < 3:
            await it.take(turns, 1)
        assert len(await it.fetch("SELECT 1 FROM events")) == 1
        assert [row[0] for row in await it.fetch("SELECT outcome FROM receipts ORDER BY id")] == ["stored", "duplicate"]
