"""The opt-out list: what changes it, and that only a change of it is an event."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.fixtures import find
from receiver.sms.drafts import Received, Reported
from receiver.vendors import VENDORS
from tests.pipeline import JSON, TOKEN, Pipeline, pipeline, source_of
from tests.storage.test_record import BATCH, HELLO, at_once, log, outcomes, types

pytestmark = pytest.mark.usefixtures("engine")

STOP = HELLO | {"text": "STOP"}
LISTED = "SELECT source_id, number, scope, sender, opted_out, via, event_id FROM opt_outs ORDER BY scope, sender"


async def test_a_word_changes_the_list_once_and_the_change_follows_its_cause(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        for number, text in enumerate(("STOP", "Stop.", "hello", "START", "START", "stop")):
            await way.tell(**HELLO | {"vendor_message_id": str(number + 1), "text": text})
        names = await types(way)
        assert names == [
            "message.received", "contact.opted_out", "message.received", "message.received",
            "message.received", "contact.opted_in", "message.received", "message.received", "contact.opted_out",
        ]  # fmt: skip
        events = await log(way)
        assert await way.fetch(LISTED) == [
            ("src_generic", "+447700900123", "sender", "+447700900456", 1, "keyword", events[-1]["id"])
        ]
        assert outcomes(way) == ["stored"] * 6


async def test_a_repeat_of_the_message_changes_nothing(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await at_once(way, STOP, STOP)
        await way.tell(**STOP)
        assert await types(way) == ["message.received", "contact.opted_out"]


async def test_many_at_once_change_the_list_in_their_order(tmp_path: Path):
    words = ("STOP", "STOP", "START", "STOP")
    async with pipeline(tmp_path) as way:
        way.open()
        await at_once(way, *[HELLO | {"vendor_message_id": f"m{n}", "text": word} for n, word in enumerate(words)])
        assert [name for name in await types(way) if name.startswith("contact.")] == [
            "contact.opted_out", "contact.opted_in", "contact.opted_out",
        ]  # fmt: skip
        assert [row[4] for row in await way.fetch(LISTED)] == [1]


async def test_a_notice_that_says_what_is_known_is_a_receipt_without_an_event(tmp_path: Path):
    notice = {"opt_out": "yes", "from": "447700900123"}
    async with pipeline(tmp_path) as way:
        way.open()
        await way.tell(**notice, vendor_message_id="n1")
        again = await way.tell(**notice, vendor_message_id="n2")
        assert again.receipt is not None
        assert (again.receipt.outcome, again.receipt.note) == ("ignored", "consent_unchanged")
        kept = await way.receipt(again.receipt.id)
        assert kept == again.receipt
        assert await types(way) == ["contact.opted_out"]


async def test_a_list_of_notices_with_one_change_is_stored(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        one, other = ({"opt_out": "yes", "from": number} for number in ("447700900123", "447700900456"))
        await way.tell(**one, vendor_message_id="n1")
        await at_once(way, [other | {"vendor_message_id": "n2"}, one | {"vendor_message_id": "n3"}])
        await at_once(way, [one | {"vendor_message_id": "n4"}, {"bad": 1}])
        assert outcomes(way) == ["stored", "stored", "quarantined"]
        assert [recorded.receipt.note for recorded in way.recorded][:2] == [None, None]


async def test_a_report_that_says_so_opts_its_recipient_out(tmp_path: Path):
    report = {"vendor_message_id": "o1", "to": "447700900123", "from": "447700900456", "status": "stop"}
    async with pipeline(tmp_path) as way:
        way.open()
        await way.tell(**report)
        await way.tell(**report | {"vendor_message_id": "o2"})
        assert await types(way) == ["message.status", "contact.opted_out", "message.status"]
        events = await log(way)
        assert events[1]["data"]["message_id"] == events[0]["data"]["message_id"]
        assert [row[1:6] for row in await way.fetch(LISTED)] == [("+447700900123", "unknown", "", 1, "report")]


async def test_each_scope_is_a_line_of_its_own_and_an_opt_in_lifts_only_its_own(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await way.tell(opt_out="1", **{"from": "447700900123"})
        await way.tell(**STOP)
        await way.tell(**HELLO | {"vendor_message_id": "m2", "text": "START"})
        assert [(row[2], row[3], row[4]) for row in await way.fetch(LISTED)] == [
            ("sender", "+447700900456", 0), ("unknown", "", 1),
        ]  # fmt: skip


async def messaging_service(way: Pipeline, sid: str, number: int, text: str = "STOP") -> None:
    fixture = find("powertextor.inbound-sms")
    way.doors.open(source_of(fixture), VENDORS["powertextor"])
    body = {
        "MessageSid": f"SM{number}", "From": "+447700900123", "To": "+447700900456", "Body": text,
        "MessagingServiceSid": sid,
    }  # fmt: skip
    await way.send("POST", f"/in/powertextor/{TOKEN}", headers=JSON, body=orjson.dumps(body))


async def test_two_messaging_services_of_one_source_have_two_lists(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        await messaging_service(way, "MG1", 1)
        await messaging_service(way, "MG2", 2)
        await messaging_service(way, "MG1", 3, "START")
        assert [row[2:5] for row in await way.fetch(LISTED)] == [("group", "MG1", 0), ("group", "MG2", 1)]
        events = [event for event in await log(way) if event["type"].startswith("contact.")]
        assert [event["data"]["extra"]["MessagingServiceSid"] for event in events] == ["MG1", "MG2", "MG1"]


REFUSED = {"MessageSid": "SM1", "MessageStatus": "failed", "ErrorCode": "21610", "To": "+1"}
WRITTEN = {"MessageSid": "SM1", "Body": "x", "From": "+1"}


@pytest.mark.parametrize(("vendor", "fields"), [("twilio", REFUSED), ("twilio", WRITTEN), ("powertextor", WRITTEN)])
def test_a_messaging_service_is_the_group_that_is_meant(vendor: str, fields: dict[str, Any]):
    fixture = find(f"{vendor}.inbound-sms")
    body = orjson.dumps(fields | {"MessagingServiceSid": "MG7"})
    asked = replace(fixture.request(0), method="POST", query=b"", headers=JSON, body=body)
    (item,) = VENDORS[vendor].parse(asked, source_of(fixture))
    assert isinstance(item, (Received, Reported))
    assert (item.scope if isinstance(item, Received) else item.opted_out) == "group"
    assert item.scope_id == "MG7"


async def test_the_category_of_an_unsubscription_is_its_group(tmp_path: Path):
    fixture = find("mobtexting.opt-out-category")
    async with pipeline(tmp_path) as way:
        await way.post(fixture)
        ((scope, named),) = await way.fetch("SELECT scope, sender FROM opt_outs")
        assert (scope, named) == ("group", fixture.expected.events[0]["data"]["extra"]["value"])


async def test_the_list_of_a_batch_is_the_same_whoever_comes_first(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await at_once(way, *BATCH)
        assert {row[1:5] for row in await way.fetch(LISTED)} == {
            ("+447700900123", "sender", "+447700900456", 1),
            ("+447700900123", "unknown", "", 1),
        }
