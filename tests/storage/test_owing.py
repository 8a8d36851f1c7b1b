"""Whom an event is owed to and who is passed over; what goes ahead, and what stands behind others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.sms.timestamps import to_text
from receiver.storage import events, messages
from receiver.storage.catalog import Catalog
from receiver.storage.deliveries import Leased
from receiver.storage.ids import Ids
from receiver.storage.owing import Outgoing, Owing
from receiver.storage.record import Recorder
from receiver.storage.recording import Notice
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.subscriptions import Subscription
from tests.storage.making import MOMENT, a_subscription, saved
from tests.storage.opening import fetch, opened
from tests.storage.test_deliveries import do

RECEIVED, STOP = "message.received", "contact.opted_out"
DATA = {"vendor": "generic", "source_id": "src_1", "from": None, "to": None, "keyword": None}


@dataclass
class Log:
    """`owe` writes a batch of events, each named by its id, type and message, and all that they are owed to."""

    database: SqliteDatabase
    catalog: Catalog
    ids: Ids
    rooms: dict[tuple[str, bool], int] = field(default_factory=dict)

    def room(self, subscription_id: str, *, urgent: bool) -> int:
        return self.rooms.get((subscription_id, urgent), 100)

    async def owe(self, *given: tuple[str, str, str | None], besides: str | None = None) -> Outgoing:
        outgoing = Outgoing()
        async with self.database.writing() as transaction:
            await self.catalog.refresh(transaction)
            owing = Owing(self.catalog, self.ids, self.room, MOMENT)
            rows = [(event_id, kind, MOMENT, *[None] * 9, event_id) for event_id, kind, _ in given]
            events.insert(transaction, rows)
            for event_id, kind, message_id in given:
                owing.add(outgoing, event_id, kind, DATA, event_id.encode(), message_id, besides=besides)
            await owing.write(transaction)
        return outgoing

    async def rows(self) -> list[tuple[Any, ...]]:
        """(event, subscription, state) of what is owed."""
        return await fetch(self.database, "SELECT event_id, subscription_id, state FROM deliveries ORDER BY 1, 2")

    async def end(self, event_id: str, state: str) -> None:
        await do(self.database, _end, event_id, state)


async def _end(transaction: Any, event_id: str, state: str) -> None:
    await transaction.fetch("UPDATE deliveries SET state = ? WHERE event_id = ?", state, event_id)


@asynccontextmanager
async def log(folder: Path, *given: Subscription, **conversations: str) -> AsyncIterator[Log]:
    """With these subscriptions, and messages by name, each with its conversation's key."""
    async with opened(folder) as database:
        await saved(database, *given)
        rows = [
            (name, "src_1", "generic", "in", None, None, None, "sms", None, None, key, None, None, None, None, 0, 0)
            for name, key in conversations.items()
        ]
        if rows:
            await do(database, messages.save, rows)
        yield Log(database, Catalog(), Ids(lambda: MOMENT, bytes))


def ordered(identifier: str = "sub_1", **given: Any) -> Subscription:
    return a_subscription(identifier, ordered="conversation", **given)


def leased(outgoing: Outgoing) -> list[str]:
    return [item.event_id for item in outgoing.leased]


async def test_the_one_that_it_is_about_is_passed_over_even_where_it_matches(tmp_path: Path):
    async with log(tmp_path, a_subscription("sub_1"), a_subscription("sub_2"), ordered("sub_3")) as it:
        await it.owe(("e1", "subscription.failing", None), besides="sub_1")
        assert await it.rows() == [("e1", "sub_2", "sending"), ("e1", "sub_3", "sending")]
        await it.owe(("e2", "subscription.failing", None), besides="sub_3")
        assert [row[1] for row in await it.rows() if row[0] == "e2"] == ["sub_1", "sub_2"]


async def test_one_that_a_job_leads_through_the_log_gets_nothing_from_the_intake(tmp_path: Path):
    async with log(tmp_path, a_subscription("sub_1", catching_up=True), a_subscription("sub_2")) as it:
        assert it.catalog.matchers(RECEIVED) == ()
        await it.owe(("e1", RECEIVED, None))
        assert await it.rows() == [("e1", "sub_2", "sending")]
        await saved(it.database, a_subscription("sub_1", updated_at=MOMENT + 1))
        await it.owe(("e2", RECEIVED, None))
        assert [row[1] for row in await it.rows() if row[0] == "e2"] == ["sub_1", "sub_2"]


async def test_an_opt_out_has_room_of_its_own(tmp_path: Path):
    async with log(tmp_path, a_subscription()) as it:
        it.rooms = {("sub_1", False): 1, ("sub_1", True): 1}
        outgoing = await it.owe(*((f"e{number}", RECEIVED if number < 3 else STOP, "m1") for number in range(1, 5)))
        assert [(item.event_id, item.urgent) for item in outgoing.leased] == [("e1", False), ("e3", True)]
        assert outgoing.stored == {"sub_1"}
        assert [row[2] for row in await it.rows()] == ["sending", "waiting", "sending", "waiting"]


async def test_in_an_ordered_subscription_an_opt_out_overtakes_nothing(tmp_path: Path):
    async with log(tmp_path, ordered(), m1="c") as it:
        outgoing = await it.owe(("e1", RECEIVED, "m1"), ("e2", STOP, "m1"))
        assert [(item.event_id, item.urgent) for item in outgoing.leased] == [("e1", False)]
        assert await it.rows() == [("e1", "sub_1", "sending"), ("e2", "sub_1", "queued")]


async def test_of_a_conversation_the_first_goes_and_the_others_stand_behind_it(tmp_path: Path):
    async with log(tmp_path, ordered(), a_subscription("sub_2"), m1="c", m2="c", m3="d") as it:
        outgoing = await it.owe(("e1", RECEIVED, "m1"), ("e2", RECEIVED, "m2"), ("e3", RECEIVED, "m3"))
        mine = [item for item in outgoing.leased if item.subscription_id == "sub_1"]
        assert [(item.event_id, item.conversation, item.missed) for item in mine] == [
            ("e1", "c", None),
            ("e3", "d", None),
        ]
        columns = "SELECT event_id, state, next_at, conversation FROM deliveries WHERE subscription_id = ? ORDER BY 1"
        assert await fetch(it.database, columns, "sub_1") == [
            ("e1", "sending", None, "c"), ("e2", "queued", None, "c"), ("e3", "sending", None, "d"),
        ]  # fmt: skip
        assert await fetch(it.database, columns, "sub_2") == [
            (name, "sending", None, None) for name in ("e1", "e2", "e3")
        ]


@pytest.mark.parametrize("state", ["queued", "waiting", "sending", "retrying"])
async def test_behind_whatever_is_still_to_be_made_from_before_it_stands_too(tmp_path: Path, state: str):
    async with log(tmp_path, ordered(), m1="c") as it:
        await it.owe(("e1", RECEIVED, "m1"))
        await it.end("e1", state)
        outgoing = await it.owe(("e2", RECEIVED, "m1"))
        assert (outgoing.leased, outgoing.stored) == ([], set())
        assert (await it.rows())[1] == ("e2", "sub_1", "queued")


@pytest.mark.parametrize("state", ["succeeded", "held", "canceled"])
async def test_what_is_over_keeps_nothing_waiting(tmp_path: Path, state: str):
    async with log(tmp_path, ordered(), m1="c") as it:
        await it.owe(("e1", RECEIVED, "m1"))
        await it.end("e1", state)
        assert leased(await it.owe(("e2", RECEIVED, "m1"))) == ["e2"]


@pytest.mark.parametrize("state", ["dead", "forbidden"])
async def test_what_was_given_up_is_named_by_the_next_and_by_that_alone(tmp_path: Path, state: str):
    async with log(tmp_path, ordered(), m1="c", m2="d") as it:
        await it.owe(("e1", RECEIVED, "m1"))
        await it.end("e1", state)
        outgoing = await it.owe(("e2", RECEIVED, "m1"), ("e3", RECEIVED, "m1"), ("e4", RECEIVED, "m2"))
        assert [(item.event_id, item.missed) for item in outgoing.leased] == [("e2", "e1"), ("e4", None)]
        kept = await fetch(it.database, "SELECT event_id, missed FROM deliveries ORDER BY 1")
        assert kept == [("e1", None), ("e2", "e1"), ("e3", None), ("e4", None)]


async def test_without_room_the_first_of_a_conversation_waits_in_store_with_all_it_has_to_say(tmp_path: Path):
    async with log(tmp_path, ordered(), m1="c") as it:
        await it.owe(("e1", RECEIVED, "m1"))
        await it.end("e1", "dead")
        it.rooms = {("sub_1", False): 0}
        outgoing = await it.owe(("e2", RECEIVED, "m1"), ("e3", RECEIVED, "m1"))
        assert (outgoing.leased, outgoing.stored) == ([], {"sub_1"})
        assert await fetch(
            it.database, "SELECT event_id, state, next_at, conversation, missed FROM deliveries WHERE event_id > 'e1'"
        ) == [("e2", "waiting", MOMENT, "c", "e1"), ("e3", "queued", None, "c", None)]


@pytest.mark.parametrize("state", ["paused", "disabled"])
async def test_while_it_is_stopped_all_of_it_is_held_with_its_conversation(tmp_path: Path, state: str):
    async with log(tmp_path, ordered(state=state), m1="c") as it:
        outgoing = await it.owe(("e1", RECEIVED, "m1"), ("e2", RECEIVED, "m1"), ("e3", RECEIVED, None))
        assert (outgoing.leased, outgoing.stored) == ([], set())
        assert await fetch(it.database, "SELECT event_id, state, conversation FROM deliveries ORDER BY 1") == [
            ("e1", "held", "c"), ("e2", "held", "c"), ("e3", "held", None),
        ]  # fmt: skip


async def test_what_is_about_no_message_has_no_conversation_and_comes_when_it_comes(tmp_path: Path):
    async with log(tmp_path, ordered(), m1="c") as it:
        outgoing = await it.owe(
            ("e1", RECEIVED, "m1"), ("e2", "receipt.quarantined", None), ("e3", "receipt.quarantined", None)
        )
        assert [(item.event_id, item.conversation) for item in outgoing.leased] == [
            ("e1", "c"), ("e2", None), ("e3", None),
        ]  # fmt: skip


async def test_a_message_that_is_not_there_any_more_has_none_either(tmp_path: Path):
    async with log(tmp_path, ordered()) as it:
        assert leased(await it.owe(("e1", RECEIVED, "gone"), ("e2", RECEIVED, "gone"))) == ["e1", "e2"]


async def test_each_ordered_subscription_has_conversations_of_its_own(tmp_path: Path):
    async with log(tmp_path, ordered("sub_1"), ordered("sub_2"), m1="c") as it:
        await it.owe(("e1", RECEIVED, "m1"))
        await do(it.database, _end_of, "sub_1")
        outgoing = await it.owe(("e2", RECEIVED, "m1"))
        assert [(item.subscription_id, item.event_id) for item in outgoing.leased] == [("sub_1", "e2")]


async def _end_of(transaction: Any, subscription_id: str) -> None:
    await transaction.fetch("UPDATE deliveries SET state = 'succeeded' WHERE subscription_id = ?", subscription_id)


async def test_nothing_owed_writes_nothing(tmp_path: Path):
    async with log(tmp_path, a_subscription(types=["message.status"])) as it:
        assert await it.owe(("e1", RECEIVED, None)) == Outgoing()
        assert await it.rows() == []


def notice(name: str = "subscription.failing", about: str | None = "sub_1") -> Notice:
    return Notice(type=name, data={"subscription_id": about, "failures": 10}, about=about)


async def told(it: Log, *notices: Notice) -> Outgoing:
    async with it.database.writing() as transaction:
        await it.catalog.refresh(transaction)
        recorder = Recorder(it.catalog, it.ids, lambda: 0, it.room)
        return await recorder.tell(transaction, notices, MOMENT)


async def test_what_is_told_is_an_event_of_the_log_for_all_but_the_one_it_is_about(tmp_path: Path):
    async with log(tmp_path, a_subscription("sub_1"), a_subscription("sub_2")) as it:
        outgoing = await told(it, notice())
        ((event_id, kind, accepted_at, body),) = await fetch(
            it.database, "SELECT id, type, accepted_at, body FROM events"
        )
        assert (kind, accepted_at) == ("subscription.failing", MOMENT)
        assert orjson.loads(body) == {
            "id": event_id, "type": "subscription.failing", "timestamp": to_text(MOMENT), "supersedes": None,
            "data": {"subscription_id": "sub_1", "failures": 10},
        }  # fmt: skip
        (delivery,) = await fetch(it.database, "SELECT id, subscription_id, state FROM deliveries")
        assert delivery[1:] == ("sub_2", "sending")
        assert outgoing.leased == [Leased(delivery[0], "sub_2", event_id, body.encode(), MOMENT)]


async def test_what_is_told_at_once_keeps_its_order_and_each_its_own_exception(tmp_path: Path):
    async with log(tmp_path, a_subscription("sub_1"), a_subscription("sub_2")) as it:
        await told(it, notice(about="sub_1"), notice("subscription.disabled", "sub_2"), notice("source.silent", None))
        assert await fetch(
            it.database,
            """SELECT type, group_concat(subscription_id) FROM events LEFT JOIN deliveries ON event_id = events.id
               GROUP BY seq ORDER BY seq""",
        ) == [
            ("subscription.failing", "sub_2"), ("subscription.disabled", "sub_1"), ("source.silent", "sub_1,sub_2"),
        ]  # fmt: skip


async def test_what_nobody_wants_to_hear_is_in_the_log_all_the_same(tmp_path: Path):
    async with log(tmp_path, a_subscription("sub_1")) as it:
        assert await told(it, notice()) == Outgoing()
        assert await fetch(it.database, "SELECT type FROM events") == [("subscription.failing",)]
