"""Deliveries in the database: due, leased, finished, given back; and none is ever taken twice."""

import asyncio
from dataclasses import replace
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

from receiver.storage import deliveries, events, subscriptions
from receiver.storage.deliveries import Attempt, Due, Finished, Leased
from tests.storage.making import MOMENT, a_subscription, saved
from tests.storage.opening import fetch, opened

pytestmark = pytest.mark.usefixtures("engine")

FAILED = Attempt(
    number=1, started_at=MOMENT, duration_ms=7, status=500, error="status", detail="500", answer=b"\x00\xff oh"
)


async def put(
    database: Any, *rows: tuple[str, str, int | None], subscription: str = "sub_1", conversation: str | None = None
) -> None:
    """Deliveries (id, state, next_at), each of an event of its own."""
    async with database.writing() as transaction:
        events.insert(
            transaction,
            [(f"evt_{name}", "message.status", MOMENT, *[None] * 9, f"body of {name}") for name, _, _ in rows],
        )
        deliveries.insert(
            transaction,
            [
                (name, subscription, f"evt_{name}", state, 0, next_at, MOMENT, MOMENT, conversation, None)
                for name, state, next_at in rows
            ],
        )


async def do(database: Any, function: Any, *arguments: Any) -> Any:
    async with database.writing() as transaction:
        done = function(transaction, *arguments)
        return await done if isawaitable(done) else done


async def take(
    database: Any, subscription: str = "sub_1", *, fresh: int = 9, retried: int = 9, now: int = MOMENT
) -> Any:
    async with database.writing() as transaction:
        return await deliveries.take(transaction, subscription, fresh=fresh, retried=retried, now=now)


async def states(database: Any) -> dict[str, tuple[str, int | None]]:
    return {
        row[0]: (row[1], row[2])
        for row in await fetch(database, "SELECT id, state, next_at FROM deliveries ORDER BY id")
    }


def finished(name: str, state: str = "succeeded", next_at: int | None = None, **attempt: Any) -> Finished:
    return Finished(
        delivery_id=name, subscription_id="sub_1", state=state, next_at=next_at, attempt=replace(FAILED, **attempt)
    )


async def test_what_is_due_is_taken_oldest_due_first_and_only_once(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(
            database, ("a", "retrying", MOMENT), ("b", "waiting", MOMENT - 1), ("c", "waiting", MOMENT + 1),
            ("d", "sending", None), ("e", "held", None), ("f", "dead", None), ("g", "waiting", MOMENT - 2),
        )  # fmt: skip
        await put(database, ("x", "waiting", MOMENT), subscription="sub_2")
        taken = await take(database, fresh=2, retried=2)
        assert taken == [
            Leased("b", "sub_1", "evt_b", b"body of b", MOMENT),
            Leased("g", "sub_1", "evt_g", b"body of g", MOMENT),
            Leased("a", "sub_1", "evt_a", b"body of a", MOMENT),
        ]
        assert await take(database, fresh=9, retried=9) == []
        found = await states(database)
        assert [name for name, state in found.items() if state == ("sending", None)] == ["a", "b", "d", "g"]
        assert found["c"] == ("waiting", MOMENT + 1)
        assert found["x"] == ("waiting", MOMENT)


async def test_what_was_tried_is_taken_apart_from_what_was_not(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "retrying", MOMENT), ("b", "waiting", MOMENT), ("c", "retrying", MOMENT - 1))
        assert [item.delivery_id for item in await take(database, fresh=9, retried=0)] == ["b"]
        assert [item.delivery_id for item in await take(database, fresh=9, retried=1)] == ["c"]
        assert [item.delivery_id for item in await take(database, fresh=0, retried=9)] == ["a"]


async def test_two_that_take_at_once_share_nothing(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, *[(f"d{number:03}", "waiting", MOMENT) for number in range(100)])
        lots = await asyncio.gather(*(take(database, fresh=30) for _ in range(4)))
        names = [item.delivery_id for lot in lots for item in lot]
        assert len(names) == len(set(names)) == 100


async def test_an_outcome_is_kept_with_its_attempt(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "sending", None), ("b", "sending", None))
        outcomes = [finished("a"), finished("b", "retrying", MOMENT + 5, number=1)]
        await do(database, deliveries.finish, outcomes, MOMENT + 3)
        async with database.reading() as reader:
            assert (await deliveries.get(reader, "a")) == deliveries.Delivery(
                id="a", subscription_id="sub_1", event_id="evt_a", state="succeeded", attempts=1, next_at=None,
                created_at=MOMENT, updated_at=MOMENT + 3, conversation=None, missed=None,
            )  # fmt: skip
            assert await deliveries.attempts(reader, "a") == [FAILED]
            assert await deliveries.get(reader, "nowhere") is None
        assert (await states(database))["b"] == ("retrying", MOMENT + 5)
        await take(database, now=MOMENT + 5)
        await do(database, deliveries.finish, [finished("b", number=2, error=None, status=200)], MOMENT + 9)
        async with database.reading() as reader:
            assert [item.number for item in await deliveries.attempts(reader, "b")] == [1, 2]


async def test_an_attempt_is_kept_once_and_does_not_wake_what_was_canceled(tmp_path: Path):
    async with opened(tmp_path) as database:
        await saved(database, a_subscription())
        await put(
            database, ("a", "sending", None), ("b", "waiting", MOMENT), ("c", "held", None), ("d", "succeeded", None)
        )
        assert await do(database, subscriptions.remove, "sub_1", MOMENT + 1)
        assert not await do(database, subscriptions.remove, "sub_1", MOMENT + 1)
        for _ in range(2):
            await do(database, deliveries.finish, [finished("a", "retrying", MOMENT + 5)], MOMENT + 2)
        assert await states(database) == dict.fromkeys("abc", ("canceled", None)) | {"d": ("succeeded", None)}
        assert await fetch(database, "SELECT delivery_id, number FROM attempts") == [("a", 1)]


async def test_what_is_given_back_unsent_waits_or_is_held(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "sending", None), ("b", "sending", None), ("c", "succeeded", None))
        await do(database, deliveries.release, ["a", "c"], "waiting", MOMENT + 1)
        await do(database, deliveries.release, ["b"], "held", MOMENT + 1)
        assert await states(database) == {"a": ("waiting", MOMENT), "b": ("held", None), "c": ("succeeded", None)}


async def test_the_leases_of_an_earlier_process_are_void(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "sending", None), ("b", "sending", None), ("c", "held", None))
        await do(database, deliveries.finish, [finished("b", "retrying", MOMENT)], MOMENT)
        await take(database)
        assert await do(database, deliveries.void_leases, MOMENT + 1) == 2
        assert await states(database) == {
            "a": ("waiting", MOMENT), "b": ("retrying", MOMENT), "c": ("held", None),
        }  # fmt: skip
        assert await do(database, deliveries.void_leases, MOMENT + 1) == 0


async def test_due_is_the_first_of_each_subscription_that_waits_in_store(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "waiting", MOMENT + 5), ("b", "retrying", MOMENT + 2), ("c", "sending", None))
        await put(database, ("d", "waiting", MOMENT + 9), subscription="sub_2")
        await put(database, ("e", "held", None), ("f", "sending", None), subscription="sub_3")
        async with database.reading() as reader:
            one = Due(fresh=MOMENT + 5, retried=MOMENT + 2)
            assert await deliveries.due(reader) == {"sub_1": one, "sub_2": Due(fresh=MOMENT + 9)}
            assert await deliveries.due(reader, "sub_1") == {"sub_1": one}
            assert await deliveries.due(reader, "sub_3") == {}


async def test_opened_again_anything_is_due_but_what_is_being_sent_or_canceled(tmp_path: Path):
    async with opened(tmp_path) as database:
        names = ("waiting", "sending", "retrying", "held", "succeeded", "dead", "forbidden", "canceled")
        await put(database, *[(name, name, None) for name in names])
        assert await do(database, deliveries.reopen, [*names, "nowhere"], MOMENT + 1) == 6
        due = dict.fromkeys(names, ("waiting", MOMENT + 1))
        assert await states(database) == due | {"sending": ("sending", None), "canceled": ("canceled", None)}


async def test_opened_again_a_delivery_has_its_whole_schedule_before_it(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "sending", None))
        await do(database, deliveries.finish, [finished("a", "dead", number=3)], MOMENT)
        assert await do(database, deliveries.reopen, ["a"], MOMENT + 7) == 1
        assert await states(database) == {"a": ("retrying", MOMENT + 7)}
        (taken,) = await take(database, now=MOMENT + 7)
        assert (taken.attempts, taken.tries, taken.opened_at) == (3, 0, MOMENT + 7)
        await do(database, deliveries.finish, [finished("a", "retrying", MOMENT + 9, number=4)], MOMENT + 8)
        (taken,) = await take(database, now=MOMENT + 9)
        assert (taken.attempts, taken.tries, taken.opened_at) == (4, 1, MOMENT + 7)


async def test_an_outcome_that_is_told_late_and_twice_changes_nothing_any_more(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "sending", None))
        await do(database, deliveries.finish, [finished("a", "retrying", MOMENT + 1)], MOMENT)
        await take(database, now=MOMENT + 1)
        await do(database, deliveries.finish, [finished("a", "succeeded")], MOMENT + 2)
        assert await states(database) == {"a": ("sending", None)}


async def test_owing_makes_a_delivery_once_and_as_its_subscription_stands(tmp_path: Path):
    async with opened(tmp_path) as database:
        items = [("d1", "evt_1", "c"), ("d2", "evt_2", "c")]
        assert await do(database, deliveries.owe, a_subscription(), items, MOMENT) == 2
        assert await do(database, deliveries.owe, a_subscription(), [("d3", "evt_2", "c")], MOMENT) == 0
        held = replace(a_subscription("sub_2"), state="paused")
        assert await do(database, deliveries.owe, held, [("d4", "evt_1", "c")], MOMENT) == 1
        ordered = replace(a_subscription("sub_3"), ordered="conversation")
        rows = [("d5", "evt_1", "c"), ("d6", "evt_2", "c"), ("d7", "evt_3", None)]
        assert await do(database, deliveries.owe, ordered, rows, MOMENT) == 3
        assert await states(database) == {
            "d1": ("waiting", MOMENT), "d2": ("waiting", MOMENT), "d4": ("held", None),
            "d5": ("waiting", MOMENT), "d6": ("queued", None), "d7": ("waiting", MOMENT),
        }  # fmt: skip


async def test_set_back_what_is_due_later_keeps_its_distance(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "retrying", MOMENT + 3600), ("b", "retrying", MOMENT + 5), ("c", "waiting", MOMENT))
        await do(database, deliveries.shift, -3595, MOMENT + 1)
        assert await states(database) == {
            "a": ("retrying", MOMENT + 5), "b": ("retrying", MOMENT + 1), "c": ("waiting", MOMENT),
        }  # fmt: skip


async def test_lists_are_newest_first_and_by_what_is_asked(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "waiting", MOMENT), ("b", "dead", None))
        await put(database, ("c", "waiting", MOMENT), subscription="sub_2")

        async def ids(**given: Any) -> list[str]:
            async with database.reading() as reader:
                return [item.id for item in await deliveries.page(reader, **{"limit": 10} | given)]

        assert await ids() == ["c", "b", "a"]
        assert await ids(limit=2) == ["c", "b"]
        assert await ids(before="c") == ["b", "a"]
        assert await ids(subscription="sub_1") == ["b", "a"]
        assert await ids(state="dead") == ["b"]
        assert await ids(event="evt_c") == ["c"]
        assert await ids(event="evt_c", state="dead") == []


async def test_a_disabled_subscription_holds_what_waits(tmp_path: Path):
    async with opened(tmp_path) as database:
        await saved(database, a_subscription())
        await put(
            database, ("a", "sending", None), ("b", "waiting", MOMENT), ("c", "retrying", MOMENT), ("d", "dead", None)
        )
        assert await do(database, subscriptions.disable, "sub_1", "gone", MOMENT + 1)
        assert not await do(database, subscriptions.disable, "sub_1", "failures", MOMENT + 2)
        assert await states(database) == {
            "a": ("sending", None), "b": ("held", None), "c": ("held", None), "d": ("dead", None),
        }  # fmt: skip
        async with database.reading() as reader:
            found = await subscriptions.get(reader, "sub_1")
        assert found is not None
        assert (found.state, found.disabled_by) == ("disabled", "gone")


async def test_a_backlog_counts_what_is_still_owed(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "waiting", MOMENT), ("b", "sending", None), ("c", "dead", None), ("d", "held", None))
        await put(database, ("e", "retrying", MOMENT), subscription="sub_2")
        two, one = (subscriptions.Backlog(waiting=count, oldest_waiting_at=MOMENT) for count in (2, 1))
        async with database.reading() as reader:
            assert await subscriptions.backlog(reader, "sub_1") == two
            assert await subscriptions.backlogs(reader, ["sub_1", "sub_2", "sub_3"]) == {"sub_1": two, "sub_2": one}
            assert await subscriptions.backlogs(reader, []) == {}
            nothing = await subscriptions.backlog(reader, "sub_3")
        assert (nothing.waiting, nothing.oldest_waiting_at) == (0, None)
