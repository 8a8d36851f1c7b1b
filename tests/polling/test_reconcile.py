"""Outbound messages without a final report: asked for where their vendor can be, else closed by an event that says so."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.intake.reconcile import Reconciler
from receiver.sms.events import EVENT_MODELS
from receiver.storage.catalog import Door
from tests.polling.asking import until
from tests.polling.fakes import state
from tests.polling.turning import Turning, reply, turning

pytestmark = pytest.mark.usefixtures("engine")

HOUR = 3_600
MAPPED = {
    "fields": {name: name for name in ("vendor_message_id", "client_reference", "from", "to", "text", "status")},
    "statuses": {"ok": "delivered", "out": "sent"},
    "international": True,
}


async def told(it: Turning, door: Door, **fields: Any) -> None:
    """A report as the source's vendor pushes it."""
    names = "&".join(f"{name}={value}" for name, value in fields.items())
    path = f"/in/{door.vendor.name}/{door.token}"
    sent = await it.made.ask("GET", path.encode(), [{"type": "http.request", "body": b""}], names.encode())
    assert sent[0]["status"] == 200


async def passed(it: Turning, reconciler: Reconciler, seconds: float) -> None:
    it.made.now += round(seconds * 1_000_000)
    while await reconciler.step():
        pass


async def states(it: Turning) -> list[tuple[str, int]]:
    return [(row[0], row[1]) for row in await it.fetch("SELECT status, final FROM messages ORDER BY id")]


async def last_event(it: Turning) -> dict[str, Any]:
    rows = await it.fetch("SELECT body FROM events ORDER BY seq DESC LIMIT 1")
    found: dict[str, Any] = orjson.loads(rows[0][0])
    return found


async def opened(it: Turning, vendor: str = "generic", **options: Any) -> Door:
    it.made.intake = it.asking.intake
    mapped: dict[str, Any] = MAPPED if vendor == "generic" else {}
    return await it.source(vendor, **mapped, **options)


async def test_what_is_not_final_in_time_is_closed_as_unknown_with_a_receipt_that_says_why(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reconcile={"after": HOUR, "close_after": 2 * HOUR})
        await told(it, door, client_reference="order-1", to="447700900123", status="out")
        await told(it, door, client_reference="order-2", to="447700900123", status="ok")
        reconciler = it.reconciler
        await passed(it, reconciler, 2 * HOUR - 10)
        assert await states(it) == [("sent", 0), ("delivered", 1)]
        await passed(it, reconciler, 20)
        assert await states(it) == [("unknown", 1), ("delivered", 1)]
        event = await last_event(it)
        EVENT_MODELS["message.status"].model_validate(event)
        data = event["data"]
        assert (data["status"], data["final"], data["flags"]) == ("unknown", True, ["no_final_report"])
        assert (data["previous_status"], data["current_status"], data["stale"]) == ("sent", "unknown", False)
        assert (data["client_reference"], data["to"]["address"]) == ("order-1", "+447700900123")
        ((method, target, body),) = await it.fetch(
            "SELECT method, target, body FROM receipts WHERE id = ?", data["receipt_id"]
        )
        assert (method, target.partition(b"&")[0]) == ("POLL", b"/in/generic/poll?feed=closed")
        assert orjson.loads(body)["last_status"] == "sent"
        await passed(it, reconciler, 10 * HOUR)
        assert len(await it.fetch("SELECT 1 FROM events")) == 3
        assert await it.fetch("SELECT 1 FROM lookups") == []


async def test_a_real_final_report_still_counts(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reconcile={"after": HOUR, "close_after": HOUR})
        await told(it, door, vendor_message_id="m-1", to="447700900123", status="out")
        await passed(it, it.reconciler, HOUR + 1)
        assert await states(it) == [("unknown", 1)]
        await told(it, door, vendor_message_id="m-1", to="447700900123", status="ok")
        assert await states(it) == [("delivered", 1)]
        assert (await last_event(it))["data"]["previous_status"] == "unknown"


async def test_a_report_with_the_word_unknown_does_not_pass_for_the_end(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, "isendpro", reconcile={"after": HOUR, "close_after": HOUR})
        await told(it, door, tracker="t-1", num="33601020304")
        assert await states(it) == [("unknown", 0)]
        await passed(it, it.reconciler, HOUR + 1)
        assert await states(it) == [("unknown", 1)]


async def test_what_can_be_asked_for_is_asked_for_first(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        fields = {"vendor_message_id": "id"}
        door = await opened(
            it, "sendsms", poll={"feeds": []}, fields=fields, reconcile={"after": HOUR, "close_after": 24 * HOUR}
        )
        for name in ("a", "b", "c"):
            await told(it, door, id=name, ref=name, status="8")
        await told(it, door, ref="only-a-reference", status="8")
        turns = it.turns(door)
        await passed(it, it.reconciler, HOUR + 1)
        await told(it, door, id="b", ref="b", status="1")
        it.vendor.says = [
            reply(body=orjson.dumps({"status": 0, "details": state(2)})),
            reply(body=orjson.dumps({"status": -1})),
        ]
        await it.take(turns, 6)
        assert [question.about["message_id"] for _, question in it.vendor.asked] == ["a", "c"]
        assert await states(it) == [("undelivered", 1), ("delivered", 1), ("sent", 0), ("sent", 0)]
        await passed(it, it.reconciler, 24 * HOUR)
        assert await states(it) == [("undelivered", 1), ("delivered", 1), ("unknown", 1), ("unknown", 1)]


async def test_nothing_is_closed_where_the_source_does_not_want_it_any_more(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reconcile={"after": HOUR, "close_after": 2 * HOUR})
        await told(it, door, client_reference="order-1", to="447700900123", status="out")
        reconciler = it.reconciler
        await passed(it, reconciler, HOUR + 1)
        assert len(await it.fetch("SELECT 1 FROM lookups")) == 1
        await opened(it)
        await passed(it, reconciler, 2 * HOUR)
        assert await states(it) == [("sent", 0)]
        assert await it.fetch("SELECT 1 FROM lookups") == []


async def test_of_two_sources_whose_messages_are_called_alike_each_keeps_to_its_own_wish(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        wishes = {"after": HOUR, "close_after": 2 * HOUR}
        door = await opened(it, reconcile=wishes)
        await told(it, door, vendor_message_id="m-1", to="447700900123", status="out")
        other = await opened(it, source_id="src_2", reconcile=wishes)
        await told(it, other, vendor_message_id="m-1", to="447700900123", status="out")
        await passed(it, it.reconciler, HOUR + 1)
        assert len(await it.fetch("SELECT 1 FROM lookups")) == 2
        await opened(it, source_id="src_2")
        await passed(it, it.reconciler, 2 * HOUR)
        assert await states(it) == [("unknown", 1), ("sent", 0)]
        assert await it.fetch("SELECT 1 FROM lookups") == []


async def deleted(it: Turning, client_reference: str) -> None:
    async with it.made.database.writing() as transaction:
        await transaction.fetch("UPDATE messages SET deleted_at = 1 WHERE client_reference = ?", client_reference)


async def test_a_deleted_message_is_not_looked_for(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reconcile={"after": HOUR, "close_after": HOUR})
        for name in ("order-1", "order-2"):
            await told(it, door, client_reference=name, to="447700900123", status="out")
        await deleted(it, "order-1")
        await passed(it, it.reconciler, HOUR + 1)
        assert await states(it) == [("sent", 0), ("unknown", 1)]


async def test_a_message_that_was_deleted_meanwhile_is_neither_asked_for_nor_closed(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(
            it, "sendsms", poll={"feeds": []}, fields={"vendor_message_id": "id"},
            reconcile={"after": HOUR, "close_after": 24 * HOUR},
        )  # fmt: skip
        await told(it, door, id="a", ref="order-1", status="8")
        await told(it, door, ref="order-2", status="8")
        turns = it.turns(door)
        await passed(it, it.reconciler, HOUR + 1)
        assert len(await it.fetch("SELECT 1 FROM lookups")) == 2
        await deleted(it, "order-1")
        await deleted(it, "order-2")
        await it.take(turns, 2)
        assert it.vendor.asked == []
        await passed(it, it.reconciler, 24 * HOUR)
        assert await states(it) == [("sent", 0), ("sent", 0)]
        assert await it.fetch("SELECT 1 FROM lookups") == []


async def test_a_name_that_means_another_message_by_now_closes_none(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reference_days=1, reconcile={"after": HOUR, "close_after": 2 * HOUR})
        await told(it, door, client_reference="order-1", to="447700900123", status="out")
        await passed(it, it.reconciler, HOUR + 1)
        it.made.now += 3 * 24 * HOUR * 1_000_000  # the process was away
        await told(it, door, client_reference="order-1", to="447700900123", status="out")
        await passed(it, it.reconciler, 1)
        assert await states(it) == [("sent", 0), ("sent", 0)]
        assert (await last_event(it))["data"]["status"] == "sent"
        assert await it.fetch("SELECT close_at FROM lookups") == []


async def test_each_message_is_looked_at_once_however_many_there_are(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reconcile={"after": HOUR, "close_after": HOUR})
        for number in range(20):
            await told(it, door, client_reference=f"order-{number}", to="447700900123", status="out")
            it.made.now += 1_000_000
        await told(it, door, **{"from": "447700900123", "to": "447700900124", "text": "hello"})
        reconciler = it.reconciler
        await passed(it, reconciler, HOUR + 60)
        assert [final for _, final in await states(it)] == [1] * 20 + [None]
        ((behind,),) = await it.fetch("SELECT message_id FROM reconciled")
        assert behind > (await it.fetch("SELECT max(id) FROM messages WHERE direction = 'out'"))[0][0]
        assert not await reconciler.step()


async def test_its_loop_goes_on_whatever_happens(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reconcile={"after": HOUR, "close_after": HOUR})
        await told(it, door, client_reference="order-1", to="447700900123", status="out")
        it.made.now += 2 * HOUR * 1_000_000
        running = asyncio.create_task(it.reconciler.run())

        async def closed() -> bool:
            return await states(it) == [("unknown", 1)]

        await until(closed)
        running.cancel()
