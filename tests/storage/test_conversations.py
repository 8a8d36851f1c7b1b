"""The order within a conversation: of each at most one delivery is under way, and the least event id follows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from receiver.storage import conversations, deliveries
from tests.storage.making import MOMENT
from tests.storage.opening import fetch, opened
from tests.storage.test_deliveries import do, finished, put, states

pytestmark = pytest.mark.usefixtures("engine")

PAIR = ("sub_1", "c")


async def advanced(database: Any, pairs: Sequence[tuple[str, str]] = (PAIR,)) -> list[tuple[str, str | None]]:
    return [(item.delivery_id, item.missed) for item in await do(database, deliveries.advance, pairs, MOMENT)]


async def test_a_conversation_is_busy_while_anything_in_it_is_still_to_be_made(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number, state in enumerate(("queued", "waiting", "sending", "retrying", "held", "succeeded", "dead")):
            await put(database, (f"d{number}", state, None), conversation=state)
        pairs = [("sub_1", name) for name in ("queued", "waiting", "sending", "retrying", "held", "succeeded", "dead")]
        found = await do(database, conversations.busy, [*pairs, ("sub_2", "waiting"), ("sub_1", "nobody's")])
        assert found == set(pairs[:4])


async def test_the_least_event_follows_and_only_when_none_is_under_way(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("c", "queued", None), ("b", "queued", None), ("a", "sending", None), conversation="c")
        assert await advanced(database) == []
        await do(database, deliveries.finish, [finished("a")], MOMENT)
        assert await advanced(database) == [("b", None)]
        assert await advanced(database) == []
        assert await states(database) == {
            "a": ("succeeded", None), "b": ("sending", None), "c": ("queued", None),
        }  # fmt: skip


async def test_conversations_and_subscriptions_do_not_wait_for_each_other(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "retrying", MOMENT + 5), ("b", "queued", None), conversation="stuck")
        await put(database, ("d", "queued", None), conversation="c")
        await put(database, ("e", "queued", None), conversation="c", subscription="sub_2")
        pairs = [("sub_1", "c"), ("sub_1", "stuck"), ("sub_2", "c")]
        assert await advanced(database, pairs) == [("d", None), ("e", None)]


async def test_what_was_given_up_is_named_to_the_next(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "dead", None), ("b", "succeeded", None), ("c", "dead", None), ("d", "forbidden", None),
                  ("e", "queued", None), conversation="c")  # fmt: skip
        assert await advanced(database) == [("e", "evt_c,evt_d")]
        assert await do(database, conversations.missed, [PAIR, ("sub_2", "c")]) == {PAIR: "evt_c,evt_d"}


async def test_of_many_that_were_given_up_the_last_ten_are_named(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, *[(f"d{number:02}", "dead", None) for number in range(14)], conversation="c")
        found = await do(database, conversations.missed, [PAIR])
        assert found[PAIR].split(",") == [f"evt_d{number:02}" for number in range(4, 14)]


async def test_appointed_the_next_is_due_now_unless_one_is_under_way(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "queued", None), ("b", "queued", None), conversation="c")
        for _ in range(2):
            await do(database, conversations.appoint, [PAIR], MOMENT + 3)
        assert await states(database) == {"a": ("waiting", MOMENT + 3), "b": ("queued", None)}


async def test_opened_again_deliveries_of_a_conversation_go_one_by_one_in_the_order_of_the_log(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, *[(name, "held", None) for name in "dbac"], conversation="c")
        assert await do(database, deliveries.reopen, ["c", "a", "b", "d"], MOMENT) == 4
        seen = []
        for _ in range(4):
            ((name,),) = await fetch(database, "SELECT id FROM deliveries WHERE state = 'waiting'")
            seen.append(name)
            async with database.writing() as transaction:
                await deliveries.take(transaction, "sub_1", fresh=9, retried=9, now=MOMENT)
            await do(database, deliveries.finish, [finished(name)], MOMENT)
            await do(database, conversations.appoint, [PAIR], MOMENT)
        assert seen == ["a", "b", "c", "d"]


async def test_disbanded_everybody_may_go(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, ("a", "sending", None), ("b", "queued", None), ("c", "queued", None), conversation="c")
        await put(database, ("x", "queued", None), conversation="c", subscription="sub_2")
        await do(database, conversations.disband, "sub_1", MOMENT + 1)
        assert await states(database) == {
            "a": ("sending", None), "b": ("waiting", MOMENT + 1), "c": ("waiting", MOMENT + 1), "x": ("queued", None),
        }  # fmt: skip


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_the_next_of_a_long_conversation_is_found_by_the_index(tmp_path: Path):
    async with opened(tmp_path) as database:
        for state in ("queued", "dead", "succeeded"):
            plan = await fetch(
                database,
                "EXPLAIN QUERY PLAN SELECT min(event_id) FROM deliveries "
                "WHERE subscription_id = ? AND conversation = ? AND state = ?",
                "sub_1", "c", state,
            )  # fmt: skip
            assert "COVERING INDEX deliveries_in_order (subscription_id=? AND conversation=? AND state=?)" in plan[0][3]
