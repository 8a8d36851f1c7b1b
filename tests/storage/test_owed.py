"""What an event owes its subscribers when it is recorded: to whom, in which state, and never too late or too little."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.storage.catalog import Catalog
from tests.pipeline import Pipeline, pipeline
from tests.storage.making import MOMENT, a_subscription, saved
from tests.storage.test_record import DELIVERED, HELLO, SENT, at_once

pytestmark = pytest.mark.usefixtures("engine")


async def owed(way: Pipeline) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for row in await way.fetch(
            """SELECT subscription_id, type, state FROM deliveries JOIN events ON events.id = event_id
               ORDER BY deliveries.id"""
        )
    ]


async def test_a_delivery_is_born_sending_and_handed_over_with_the_body_that_is_stored(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await saved(way.database, a_subscription())
        await way.tell(**HELLO)
        (job,) = way.recorded[0].outgoing.leased
        rows = await way.fetch("SELECT id, subscription_id, event_id, state, attempts, next_at FROM deliveries")
        assert rows == [(job.delivery_id, "sub_1", job.event_id, "sending", 0, None)]
        assert await way.fetch("SELECT body FROM events") == [(job.body.decode(),)]
        assert orjson.loads(job.body)["id"] == job.event_id
        assert way.recorded[0].outgoing.stored == set()


async def test_beyond_the_lanes_room_deliveries_wait_in_store_and_their_lane_is_told(tmp_path: Path):
    room = {"sub_1": 2, "sub_2": 0, "sub_3": 100}
    async with pipeline(tmp_path, room.__getitem__) as way:
        way.open()
        await saved(way.database, *(a_subscription(name) for name in room))
        await at_once(way, *[HELLO | {"vendor_message_id": str(number)} for number in range(1, 5)])
        rows = await way.fetch(
            "SELECT subscription_id, state, count(*), min(next_at) FROM deliveries GROUP BY 1, 2 ORDER BY 1, 2"
        )
        assert rows == [
            ("sub_1", "sending", 2, None), ("sub_1", "waiting", 2, way.now), ("sub_2", "waiting", 4, way.now),
            ("sub_3", "sending", 4, None),
        ]  # fmt: skip
        assert [len(recorded.outgoing.leased) for recorded in way.recorded] == [2, 2, 1, 1]
        assert [recorded.outgoing.stored for recorded in way.recorded] == [
            {"sub_2"},
            {"sub_2"},
            {"sub_1", "sub_2"},
            {"sub_1", "sub_2"},
        ]


async def test_a_paused_or_disabled_subscription_is_owed_but_sent_nothing(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await saved(way.database, a_subscription("sub_1", state="paused"), a_subscription("sub_2", state="disabled"))
        await way.tell(**HELLO)
        assert await owed(way) == [("sub_1", "message.received", "held"), ("sub_2", "message.received", "held")]
        assert (way.recorded[0].outgoing.leased, way.recorded[0].outgoing.stored) == ([], set())
        assert await way.fetch("SELECT DISTINCT next_at FROM deliveries") == [(None,)]


async def test_only_what_matches_is_owed(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await saved(
            way.database,
            a_subscription("sub_1", ["message.status"]),
            a_subscription("sub_2", ["*"], filter={"final_only": True}),
            a_subscription("sub_3", ["contact.*"]),
            a_subscription("sub_4", ["*"], filter={"from": ["+33*"]}),
        )
        await at_once(way, HELLO | {"text": "STOP"}, SENT, DELIVERED)
        assert sorted(await owed(way)) == [
            ("sub_1", "message.status", "sending"), ("sub_1", "message.status", "sending"),
            ("sub_2", "contact.opted_out", "sending"), ("sub_2", "message.received", "sending"),
            ("sub_2", "message.status", "sending"), ("sub_3", "contact.opted_out", "sending"),
        ]  # fmt: skip


async def test_a_subscription_saved_a_moment_ago_by_anyone_misses_nothing(tmp_path: Path):
    """Nobody refreshes this process's catalog but the recording itself."""
    async with pipeline(tmp_path) as way:
        way.open()
        await way.tell(**HELLO)
        elsewhere = Catalog()
        async with way.database.reading() as reader:
            await elsewhere.refresh(reader)
        await saved(way.database, a_subscription())
        assert way.catalog.subscription("sub_1") is None
        await way.tell(**DELIVERED)
        assert await owed(way) == [("sub_1", "message.status", "sending")]
        await saved(way.database, a_subscription(types=["message.received"], updated_at=MOMENT + 1))
        await way.tell(**SENT)
        assert len(await owed(way)) == 1


async def test_a_duplicate_owes_nobody_anything(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await way.tell(**HELLO)
        await saved(way.database, a_subscription())
        await way.tell(**HELLO)
        assert await owed(way) == []
