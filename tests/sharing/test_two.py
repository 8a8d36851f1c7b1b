"""Two receivers on one PostgreSQL: each event reaches each subscriber, whichever took it and whatever becomes of it."""

import asyncio
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path

import httpx2
import pytest

from receiver.storage import processes
from tests.delivery.dispatching import Gate, answers, in_turn
from tests.sharing.running import KEY, Process, group, until

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]


async def test_what_either_takes_is_delivered_once(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        await other.subscribe()
        told = [(one, other)[n % 2].tell(path, vendor_message_id=f"m{n}", text="hello") for n in range(60)]
        assert set(await asyncio.gather(*told)) == {200}
        await it.until_states(succeeded=60)
        assert sorted(it.heard().values()) == [1] * 60
        holders = await it.look("SELECT DISTINCT leased_by FROM deliveries")
        assert {number for (number,) in holders} == {one.number, other.number}


async def test_a_message_that_reaches_both_at_once_is_one_event(tmp_path: Path):
    async with group(tmp_path) as it:
        path = await it.source()
        await it.processes[0].subscribe()
        told = [process.tell(path, vendor_message_id="m1", text="hello") for process in it.processes * 20]
        assert set(await asyncio.gather(*told)) == {200}
        await it.until_states(succeeded=1)
        assert await it.look("SELECT outcome, count(*) FROM receipts GROUP BY outcome ORDER BY 2") == [
            ("stored", 1), ("duplicate", 39),
        ]  # fmt: skip


async def test_a_subscription_that_was_answered_misses_nothing_that_another_process_takes_from_then_on(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        for turn in range(15):
            busy = [one.tell(path, vendor_message_id=f"before{turn}-{n}", text="x") for n in range(5)]
            running = asyncio.gather(*busy)
            await other.subscribe(f"s{turn}", types=["message.received"])
            assert await one.tell(path, vendor_message_id=f"m{turn}", text="hello") == 200
            await running
        ids = dict(await it.look("SELECT url, id FROM subscriptions"))
        for turn in range(15):
            owed = await it.look(
                """SELECT count(*) FROM events JOIN deliveries ON deliveries.event_id = events.id
                   WHERE events.vendor_message_id = $1 AND deliveries.subscription_id = $2""",
                f"m{turn}", ids[f"https://s{turn}.example/hook"],
            )  # fmt: skip
            assert owed == [(1,)]


async def test_a_change_on_one_is_known_to_the_other_within_a_moment(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        made = await one.subscribe()
        await until(lambda: other.app.catalog.subscription(made["id"]) is not None)
        await other.api("PATCH", f"/v1/subscriptions/{made['id']}", paused=True)
        await until(lambda: one.app.catalog.subscription(made["id"]).state == "paused")  # type: ignore[union-attr]


async def test_what_a_dead_process_held_is_taken_over(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        await one.subscribe(max_concurrency=4)
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        for n in range(12):
            assert await one.tell(path, vendor_message_id=f"m{n}", text="hello") == 200
        await it.until_states(sending=12)
        await one.freeze()
        await it.disbelieve(one.number)
        it.subscribers.behaviours["a"] = answers(200)
        other.app.sharing.heed(renew=True)
        await it.until_states(succeeded=12)
        assert len(it.heard()) == 12
        numbers = await it.look("SELECT count(*), max(number) FROM attempts")
        assert numbers == [(12, 1)]
        gate.opened.set()  # the first process wakes up, and its attempts end
        await until(lambda: not it.subscribers.under_way["a"])
        assert await it.look("SELECT count(*), max(number) FROM attempts") == numbers
        assert await it.states() == {"succeeded": 12}


async def test_who_slept_through_its_lease_records_nothing_over_its_successor(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        await one.subscribe(max_concurrency=1)
        first = Gate(answers(500))
        it.subscribers.behaviours["a"] = in_turn(first, answers(200))
        assert await one.tell(path, vendor_message_id="m", text="hello") == 200
        await it.until_states(sending=1)
        await one.freeze()
        await it.disbelieve(one.number)
        other.app.sharing.heed(renew=True)
        await it.until_states(succeeded=1)
        first.opened.set()
        await until(lambda: not it.subscribers.under_way["a"])
        await asyncio.sleep(0.3)
        assert await it.states() == {"succeeded": 1}
        assert await it.look("SELECT number, status FROM attempts") == [(1, 200)]


async def test_a_process_that_finds_its_lease_gone_begins_anew(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        await one.subscribe(max_concurrency=2)
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        for n in range(6):
            assert await one.tell(path, vendor_message_id=f"m{n}", text="hello") == 200
        before = one.number
        await it.disbelieve(before)
        other.app.sharing.heed(renew=True)
        await until(lambda: it.heard().total() >= 3)  # the other has taken what was waiting
        one.app.sharing.heed(renew=True)
        await until(lambda: one.number != before)
        gate.opened.set()
        await it.until_states(succeeded=6)
        assert await one.tell(path, vendor_message_id="m6", text="hello") == 200
        await it.until_states(succeeded=7)


async def test_a_process_that_ends_leaves_nothing_behind_that_nobody_holds(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        await one.subscribe(max_concurrency=1)
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        for n in range(5):
            assert await one.tell(path, vendor_message_id=f"m{n}", text="hello") == 200
        closing = asyncio.create_task(it.processes.pop(0).stack.aclose())
        await asyncio.sleep(0.2)
        gate.opened.set()
        await closing
        assert await it.look("SELECT number FROM processes") == [(other.number,)]
        await it.until_states(succeeded=5)


async def test_limits_are_divided(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        made = await one.subscribe(max_concurrency=8, rate_per_second=10)
        await until(lambda: other.app.parts.lanes.get(made["id"]) is not None)
        for process in it.processes:
            process.app.sharing.heed(renew=True)
        await until(lambda: [process.app.parts.lanes.get(made["id"]).most for process in it.processes] == [4, 4])  # type: ignore[union-attr]
        await it.processes.pop().stack.aclose()
        one.app.sharing.heed(renew=True)
        await until(lambda: one.app.parts.lanes.get(made["id"]).most == 8)  # type: ignore[union-attr]


async def test_a_conversation_keeps_its_order_whoever_takes_its_messages(tmp_path: Path):
    async with group(tmp_path) as it:
        path = await it.source()
        await it.processes[0].subscribe(ordered="conversation", max_concurrency=8)

        async def talk(person: int) -> None:
            for n in range(12):
                process = it.processes[(n + person) % 2]
                words = {"from": f"44770090010{person}", "to": "447700900999", "text": f"{n}"}
                assert await process.tell(path, vendor_message_id=f"{person}-{n}", **words) == 200

        await asyncio.gather(*(talk(person) for person in range(5)))
        await it.until_states(succeeded=60)
        rows = await it.look("SELECT id, from_address, vendor_message_id FROM events")
        about = {event_id: (person, name.partition("-")[2]) for event_id, person, name in rows}
        order: dict[str, list[str]] = {}
        for person, number in (about[event_id] for event_id in it.subscribers.events("a")):
            order.setdefault(person, []).append(number)
        assert list(order.values()) == [[str(n) for n in range(12)]] * 5


async def test_a_job_runs_once_and_a_new_subscription_is_led_through_the_log_without_a_gap(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        for n in range(30):
            assert await one.tell(path, vendor_message_id=f"old{n}", text="hello") == 200

        async def go_on() -> None:
            for n in range(40):
                assert await (one, other)[n % 2].tell(path, vendor_message_id=f"new{n}", text="hello") == 200

        going_on = asyncio.create_task(go_on())
        await other.subscribe(start="2020-01-01T00:00:00Z", types=["message.received"])
        await going_on
        assert await it.look("SELECT count(*) FROM events WHERE type = 'message.received'") == [(70,)]
        await it.until_states(succeeded=70)
        assert sorted(it.heard().values()) == [1] * 70
        assert await it.look("SELECT state, count(*) FROM jobs GROUP BY state") == [("done", 1)]


async def test_one_health_of_a_subscription_for_all(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        made = await one.subscribe(types=["message.received"], retry_schedule=[3600])
        it.subscribers.behaviours["a"] = in_turn(*[answers(500)] * 6, answers(200))
        for n in range(6):
            assert await it.processes[n % 2].tell(path, vendor_message_id=f"m{n}", text="hello") == 200
            await it.until_states(retrying=n + 1)
        ((health,),) = await it.look("SELECT health FROM subscriptions WHERE id = $1", made["id"])
        assert '"failures":6' in health
        await other.tell(path, vendor_message_id="m6", text="hello")
        await it.until_states(retrying=6, succeeded=1)
        assert await it.look("SELECT health FROM subscriptions WHERE id = $1", made["id"]) == [(None,)]


async def test_who_reads_along_hears_of_what_another_process_committed(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        waiting = asyncio.create_task(one.app.live.wait(one.app.live.commits, 20.0))
        await asyncio.sleep(0.1)
        started = asyncio.get_running_loop().time()
        assert await other.tell(path, vendor_message_id="m1", text="hello") == 200
        await waiting
        assert asyncio.get_running_loop().time() - started < 10  # not by the end of its patience
        (event,) = (await one.api("GET", "/v1/events"))["data"]
        assert event["data"]["vendor_message_id"] == "m1"


async def test_deliveries_that_were_leased_without_our_knowledge_are_found(tmp_path: Path):
    """As after a COMMIT whose answer was lost."""
    async with group(tmp_path, 1) as it:
        (one,) = it.processes
        path = await it.source()
        await one.subscribe(types=["message.received"])
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        assert await one.tell(path, vendor_message_id="m1", text="hello") == 200
        await it.until_states(sending=1)
        await it.other.execute(
            """INSERT INTO deliveries (id, subscription_id, event_id, state, attempts, created_at, updated_at, leased_by)
               SELECT 'dlv_unknown', subscription_id, event_id || 'x', 'sending', 0, 1, 1, leased_by FROM deliveries"""
        )
        await it.other.execute(
            """INSERT INTO events (id, type, accepted_at, body)
               SELECT id || 'x', type, accepted_at, body FROM events"""
        )
        one.app.sharing._settle_at = 0.0
        one.app.sharing.heed()
        gate.opened.set()
        await it.until_states(succeeded=2)
        assert one.app.shared is not None


async def test_what_only_one_does_is_done_by_the_oldest_and_then_by_the_next(tmp_path: Path):
    async with group(tmp_path) as it:
        one, other = it.processes
        for process in it.processes:
            process.app.sharing.heed()
        first, second = sorted(it.processes, key=lambda process: process.number)
        await asyncio.wait_for(first.app.sharing.until_first(), 20)
        assert not second.app.sharing._is_first
        it.processes.remove(first)
        await first.stack.aclose()
        second.app.sharing.heed()
        await asyncio.wait_for(second.app.sharing.until_first(), 20)
        assert {one.number, other.number} == {first.number, second.number}


async def test_calls_under_one_idempotency_key_are_carried_out_once_whichever_process_they_reach(tmp_path: Path):
    async with group(tmp_path) as it:
        body = {"url": "https://a.example/hook"}

        async def ask(number: int) -> httpx2.Response:
            headers = {"authorization": f"Bearer {KEY}", "idempotency-key": "k"}
            return await it.processes[number % 2].client.post("/v1/subscriptions", json=body, headers=headers)

        answers = await asyncio.gather(*map(ask, range(12)))
        assert {answer.status_code for answer in answers} <= {201, 409}
        again = [await ask(number) for number in (0, 1)]
        assert len({answer.content for answer in (*answers, *again) if answer.status_code == 201}) == 1
        assert [answer.status_code for answer in again] == [201, 201]
        assert await it.look("SELECT count(*) FROM subscriptions") == [(1,)]


async def test_what_one_process_is_carrying_out_the_other_does_not_begin(tmp_path: Path):
    """Also where it changes nothing in the database."""
    async with group(tmp_path) as it:
        one, other = it.processes
        made = await one.subscribe()
        gate = it.subscribers.behaviours["a"] = Gate()

        async def ping(process: Process) -> httpx2.Response:
            headers = {"authorization": f"Bearer {KEY}", "idempotency-key": "k"}
            return await process.client.post(f"/v1/subscriptions/{made['id']}/test", json={}, headers=headers)

        first = asyncio.create_task(ping(one))
        await until(lambda: len(it.subscribers.sent) == 1)
        second = await ping(other)
        assert (second.status_code, second.json()["code"]) == (409, "conflict")
        gate.opened.set()
        assert (await first).status_code == 200
        assert (await ping(other)).content == (await first).content
        assert len(it.subscribers.sent) == 1


async def test_what_is_far_more_than_a_transaction_may_take_is_taken_over_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(processes, "_GIVEN_AWAY", 5)
    async with group(tmp_path) as it:
        one, other = it.processes
        path = await it.source()
        await one.subscribe(max_concurrency=1)
        it.subscribers.behaviours["a"] = gate = Gate()
        for n in range(12):
            assert await one.tell(path, vendor_message_id=f"m{n}", text="hello") == 200
        await it.until_states(sending=12)
        await one.freeze()
        await other.freeze()
        await it.disbelieve(one.number)
        taken = []
        for _ in range(3):
            taken.append(
                await other.app.batch.write(lambda transaction: processes.take_over(transaction, other.app.clock()))
            )
            alive = await it.look("SELECT count(*) FROM processes WHERE number = $1", one.number)
            assert alive == [(1 if len(taken) < 3 else 0,)]
            renewed = await one.app.batch.write(lambda transaction: processes.renew(transaction, one.number, 2**61))
            assert not renewed
        assert taken == [5, 5, 2]
        gate.opened.set()


async def test_a_process_whose_readers_are_all_busy_keeps_its_lease(tmp_path: Path):
    async with group(tmp_path, 1) as it, AsyncExitStack() as busy:
        app = it.processes[0].app
        await it.processes[0].freeze()
        for _ in range(4):
            await busy.enter_async_context(app.database.reading())
        await it.disbelieve(it.processes[0].number)
        app.sharing.heed(renew=True)
        await asyncio.wait_for(app.sharing.turn(), 10)
        assert await it.look("SELECT number FROM processes WHERE alive_until > 0") == [(it.processes[0].number,)]


async def test_doubts_that_keep_coming_do_not_put_off_what_the_first_one_left(tmp_path: Path):
    """Each look is some seconds after the last one, and each finds one more."""
    async with group(tmp_path, 1) as it:
        process = it.processes[0]
        path = await it.source()
        made = await process.subscribe()
        it.subscribers.behaviours["a"] = gate = Gate()
        assert await process.tell(path, vendor_message_id="m1", text="hello") == 200
        await it.until_states(sending=1)
        await process.freeze()
        await it.other.execute(
            """INSERT INTO deliveries (id, subscription_id, event_id, state, attempts, created_at, updated_at, leased_by)
               SELECT 'dlv_unknown', $1, 'evt_of_another', 'sending', 0, 0, 0, $2""",
            made["id"], process.number,
        )  # fmt: skip
        sharing, passed = process.app.sharing, 0.0
        now = sharing._monotonic
        sharing._monotonic = lambda: now() + passed
        for _ in range(6):
            process.app.database.doubts += 1  # type: ignore[attr-defined]
            passed += 5.0
            process.app.parts.lanes.believed_until = inf
            await sharing.turn()
        assert await it.look("SELECT 1 FROM deliveries WHERE id = 'dlv_unknown' AND state = 'sending'") == []
        gate.opened.set()
