"""What a request said and what it says now: which fields differ, and whether it is about the same message."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from receiver.sms.compose import Entry, Origin, compose, encode
from receiver.sms.corrections import about_the_same, changes, evidence
from receiver.sms.drafts import Draft, Party, Received, Reported, ReportPart
from receiver.sms.state import Evidence

NOW = 1_795_000_000_000_000
ORIGIN = Origin(source_id="src_1", vendor="generic")
ANNA, BORIS = Party(raw="+447700900123"), Party(raw="+447700900124")
MESSAGE = Received(vendor_message_id="m", from_=ANNA, text="hello")
REPORT = Reported(status="delivered", final=True, vendor_status="ok", vendor_message_id="m", to=ANNA)


def entry(draft: Draft) -> Entry:
    return compose(draft, ORIGIN, NOW, "rcp_1")


def event(draft: Draft) -> dict[str, Any]:
    made = entry(draft)
    made.data["message_id"] = "msg_1"
    return dict(orjson.loads(encode("evt_1", made)))


@pytest.mark.parametrize("draft", [MESSAGE, REPORT, replace(MESSAGE, text="x" * 90_000, extra={"a": "b" * 9000})])
def test_the_same_reading_is_no_change_whatever_the_log_added(draft: Draft):
    before = event(draft)
    before["data"] |= {"current_status": "read", "stale": True} if before["type"] == "message.status" else {}
    assert changes(before, entry(draft)) == []


def test_what_differs_is_named():
    assert changes(event(MESSAGE), entry(REPORT)) == ["type"]
    assert changes(event(MESSAGE), entry(replace(MESSAGE, text="bye", sent_at=NOW - 1000))) == [
        "timestamp", "text", "keyword", "sent_at",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (MESSAGE, replace(MESSAGE, vendor_message_id="other"), True),
        (MESSAGE, REPORT, False),
        (REPORT, replace(REPORT, status="sent"), True),
        (REPORT, replace(REPORT, vendor_message_id="other"), False),
        (REPORT, replace(REPORT, vendor_message_id=None), False),
        (replace(REPORT, vendor_message_id=None, client_reference="a"),
         replace(REPORT, vendor_message_id=None, client_reference="a"), True),
        (replace(REPORT, vendor_message_id=None, client_reference="a"),
         replace(REPORT, vendor_message_id=None, client_reference="a", to=BORIS), False),
        (replace(REPORT, vendor_message_id=None, to=None), replace(REPORT, vendor_message_id=None, to=None), True),
    ],
)  # fmt: skip
def test_a_correction_is_about_the_same_message_or_not(before: Draft, now: Draft, same: bool):
    assert about_the_same(event(before), entry(now)) is same


def test_a_recorded_report_weighs_what_it_did():
    part = ReportPart(id="p", number=1, total=2)
    for draft in (REPORT, replace(REPORT, part=part, vendor_code="7", occurred_at=NOW)):
        assert evidence(event(draft)["data"], draft.occurred_at) == entry(draft).evidence
    assert isinstance(evidence(event(REPORT)["data"], 5), Evidence)
