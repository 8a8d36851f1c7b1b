"""Parts of one long message that come to two processes: put by one after the other, whoever begins."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.compose import Entry, Held
from receiver.sms.joining import LATE_SECONDS
from receiver.sms.timestamps import SECOND
from receiver.storage import parts
from receiver.storage.parts import Holding
from tests.storage.opening import fetch, opened

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]

WAIT = 60
MINUTE = 60 * SECOND
LONG = "SELECT message_id, event_id, due_at FROM long_messages ORDER BY message_id"


def a_part(number: int, *groups: str, text: str | None = None) -> Sequence[Holding]:
    said = text or f"text {number}"
    return [
        Holding(
            f"rcp_{group}{number}",
            Entry(type="message.received", timestamp=0, data={"text": said}, identity=f"{group}{number}", content=said),
            Held(group, number, 2, WAIT, "sender", None),
        )
        for group in groups or ("g",)
    ]


class Process:
    """One transaction of one of the processes, which commits when it is told to."""

    def __init__(self, database: Any, name: str) -> None:
        self._database = database
        self._name = name
        self._go_on = asyncio.Event()
        self._made = count(1)
        self._last: Sequence[Any] = ()
        self._task: asyncio.Task[None] | None = None

    async def begins(self, *works: Any) -> None:
        """Works until it has done all or waits for the other."""
        done = asyncio.Event()

        async def run() -> None:
            async with self._database.writing() as transaction:
                for work in works:
                    await work(transaction)
                await transaction.flush()
                done.set()
                await self._go_on.wait()
                for work in self._last:
                    await work(transaction)

        self._task = asyncio.create_task(run())
        waiting = asyncio.create_task(done.wait())
        await asyncio.wait((self._task, waiting), timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def ends(self, *works: Any) -> None:
        self._last = works
        self._go_on.set()
        assert self._task is not None
        await self._task

    def holds(self, holdings: Sequence[Holding], now: int = MINUTE) -> Any:
        return lambda transaction: parts.hold(
            transaction, holdings, lambda _: f"msg_{self._name}{next(self._made)}", now
        )


@asynccontextmanager
async def two(folder: Path) -> Any:
    async with AsyncExitStack() as stack:
        yield [Process(await stack.enter_async_context(opened(folder)), name) for name in ("one", "two")]


async def test_the_second_part_finds_the_message_that_the_first_began(tmp_path: Path):
    async with two(tmp_path) as (one, other), opened(tmp_path) as database:
        await one.begins(one.holds(a_part(1)))
        await other.begins(other.holds(a_part(2)))
        await one.ends()
        await other.ends()
        assert await fetch(database, LONG) == [("msg_one1", None, parts.AT_ONCE)]
        assert await fetch(database, "SELECT number FROM message_parts ORDER BY number") == [(1,), (2,)]


async def test_the_last_two_parts_make_it_whole(tmp_path: Path):
    async with two(tmp_path) as (one, other), opened(tmp_path) as database:
        async with database.writing() as transaction:
            (begun,) = a_part(1)
            await parts.hold(
                transaction, [begun._replace(held=begun.held._replace(total=3))], lambda _: "msg_0", MINUTE
            )
        await one.begins(one.holds([it._replace(held=it.held._replace(total=3)) for it in a_part(2)]))
        await other.begins(other.holds([it._replace(held=it.held._replace(total=3)) for it in a_part(3)]))
        await one.ends()
        await other.ends()
        assert await fetch(database, LONG) == [("msg_0", None, parts.AT_ONCE)]


async def test_messages_in_any_order_of_their_parts_wait_for_nobody_in_a_circle(tmp_path: Path):
    async with two(tmp_path) as (one, other), opened(tmp_path) as database:
        await one.begins(one.holds(a_part(1, "a", "b", "c")))
        await other.begins(other.holds(a_part(2, "c", "b", "a")))
        await one.ends()
        await other.ends()
        rows = await fetch(database, "SELECT count(DISTINCT message_id), count(*) FROM message_parts")
        assert rows == [(3, 6)]


async def test_a_part_that_comes_while_its_message_is_told_of_is_told_of_too(tmp_path: Path):
    async with two(tmp_path) as (one, other), opened(tmp_path) as database:
        async with database.writing() as transaction:
            await parts.hold(transaction, a_part(1), lambda _: "msg_0", 0)
        found: list[Any] = []

        async def tells(transaction: Any) -> None:
            found.extend(await parts.due(transaction, 2 * MINUTE, 20))
            parts.told(transaction, {"msg_0": "evt_1"}, [])

        await one.begins(tells)
        await other.begins(other.holds(a_part(2), 2 * MINUTE))
        await one.ends()
        await other.ends()
        assert [len(message.parts) for message in found] == [1]
        assert await fetch(database, LONG) == [("msg_0", "evt_1", parts.AT_ONCE)]


async def test_a_number_that_comes_again_while_its_message_is_told_of_begins_another(tmp_path: Path):
    async with two(tmp_path) as (one, other), opened(tmp_path) as database:
        async with database.writing() as transaction:
            await parts.hold(transaction, a_part(1), lambda _: "msg_0", 0)

        async def tells(transaction: Any) -> None:
            await parts.due(transaction, 2 * MINUTE, 20)
            parts.told(transaction, {"msg_0": "evt_1"}, [])

        await one.begins(tells)
        await other.begins(other.holds(a_part(1), 2 * MINUTE))
        await one.ends()
        await other.ends()
        assert await fetch(database, LONG) == [("msg_0", "evt_1", None), ("msg_two1", None, 3 * MINUTE)]


async def test_what_is_closed_meanwhile_takes_no_more(tmp_path: Path):
    late = LATE_SECONDS * SECOND
    async with two(tmp_path) as (one, other), opened(tmp_path) as database:
        async with database.writing() as transaction:
            await parts.hold(transaction, a_part(1), lambda _: "msg_0", 0)
            parts.told(transaction, {"msg_0": "evt_1"}, [])
        await one.begins(lambda transaction: parts.close_old(transaction, late, 20))
        await other.begins(other.holds(a_part(2), late - 1))  # by a clock that is a moment behind
        await one.ends()
        await other.ends()
        assert await fetch(database, LONG) == [("msg_0", "evt_1", None), ("msg_two1", None, late - 1 + MINUTE)]


async def test_a_part_that_comes_while_its_message_is_read_again_is_told_of_too(tmp_path: Path):
    async with two(tmp_path) as (one, other), opened(tmp_path) as database:
        async with database.writing() as transaction:
            await parts.hold(transaction, a_part(1), lambda _: "msg_0", 0)
            parts.told(transaction, {"msg_0": "evt_1"}, [])

        async def reads(transaction: Any) -> None:
            await parts.keep_still(transaction, "rcp_g1")
            assert await parts.told_of(transaction, "msg_0")

        async def corrects(transaction: Any) -> None:
            parts.told(transaction, {"msg_0": "evt_2"}, ["msg_0"])

        await one.begins(reads)
        await other.begins(other.holds(a_part(2)))
        await one.ends(corrects)
        await other.ends()
        assert await fetch(database, LONG) == [("msg_0", "evt_2", parts.AT_ONCE)]
