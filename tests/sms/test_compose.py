"""From drafts to the events of the public contract, rule by rule."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from receiver.sms.compose import Entry, Origin, compose, encode, finish_report, follow_up_entry, quarantine
from receiver.sms.drafts import (
    Binary,
    ConsentChanged,
    Draft,
    InboundPart,
    Media,
    Network,
    Party,
    Price,
    Received,
    Reported,
    ReportPart,
)
from receiver.sms.events import EVENT_MODELS
from receiver.sms.timestamps import DAY, MINUTE, SECOND, from_text, to_text

NOW = from_text("2026-11-20T14:47:03.123Z")
ORIGIN = Origin(source_id="src_1", vendor="twilio")
ANNA, SHOP = Party(raw="+447700900123"), Party(raw="+447700900456")
MESSAGE = Received(vendor_message_id="m1", from_=ANNA, to=SHOP, text="hello")
REPORT = Reported(status="sent", final=False, vendor_message_id="m1", from_=SHOP, to=ANNA, vendor_status="SENT")


def composed(draft: Draft, origin: Origin = ORIGIN) -> Entry:
    return compose(draft, origin, NOW, "rcp_1")


def public(entry: Entry):
    """What a subscriber gets, held against the public models."""
    body = encode("evt_1", entry)
    event = orjson.loads(body)
    model = EVENT_MODELS[entry.type].model_validate_json(body)
    assert model.model_dump(by_alias=True) == event
    assert list(model.model_dump(by_alias=True)["data"]) == list(event["data"])
    return event


def data(draft: Draft, origin: Origin = ORIGIN) -> Any:
    entry = composed(draft, origin)
    if entry.evidence is not None:
        finish_report(entry, None)
    return public(entry)["data"]


FULL = Received(
    vendor_message_id="m1", channel="sms", from_=replace(ANNA, city="London"), to=SHOP, cc=[Party(raw="+447700900789")],
    text="hello", media=[Media(url="https://x/1", content_type="image/png", filename="1.png", size=5, needs_auth=True)],
    binary=Binary(data="00ff", udh="050003010201"), segments=2, part=InboundPart(reference="9", number=2, total=3),
    keyword="hello", in_reply_to="m0", client_reference="ref", price=Price(amount="0.01", currency="EUR"),
    network=Network(mcc="234", mnc="15", name="Net", country="GB"), sent_at=NOW - SECOND, flags=("charset_guessed",),
    extra={"Field": "value"},
)  # fmt: skip


def test_a_full_message_is_the_contract_to_the_letter():
    found = data(FULL)
    assert found["from"]["address"] == "+447700900123"
    assert found["from"]["city"] == "London"
    assert found["cc"][0]["address"] == "+447700900789"
    assert found["media"] == [
        {"url": "https://x/1", "content_type": "image/png", "filename": "1.png", "size": 5, "needs_auth": True}
    ]
    assert found["binary"] == {"data": "00ff", "udh": "050003010201"}
    assert found["part"] == {"reference": "9", "number": 2, "total": 3, "missing": [1, 3]}
    assert found["price"] == {"amount": "0.01", "currency": "EUR"}
    assert found["network"] == {"mcc": "234", "mnc": "15", "name": "Net", "country": "GB"}
    assert (found["in_reply_to"], found["client_reference"], found["keyword"]) == ("m0", "ref", "HELLO")
    assert (found["sent_at"], found["received_at"]) == (to_text(NOW - SECOND), to_text(NOW))
    assert (found["flags"], found["extra"]) == (["charset_guessed"], {"Field": "value"})


NEVER_NULL = {
    "message.received": {"message_id", "vendor", "source_id", "receipt_id", "received_at", "cc", "media", "flags", "extra"},
    "message.status": {"message_id", "vendor", "source_id", "receipt_id", "received_at", "status", "final",
                       "current_status", "stale", "flags", "extra"},
    "contact.opted_out": {"scope", "via", "received_at", "flags", "extra", "vendor", "source_id", "receipt_id"},
}  # fmt: skip


@pytest.mark.parametrize(
    "draft",
    [
        Received(channel=None),
        Reported(status="unknown", final=False, channel=None),
        ConsentChanged(opted_out=True, number=None, channel=None),
    ],
)
def test_what_is_unknown_is_null_and_the_rest_is_there(draft: Draft):
    entry = composed(draft)
    found = data(draft)
    assert {name for name in NEVER_NULL[entry.type] if found[name] is None} == set()
    assert {name for name, value in found.items() if value == "" and name != "message_id"} == set()
    assert {name for name, value in found.items() if value is None} == set(found) - NEVER_NULL[entry.type]


def test_a_report_carries_everything_its_draft_knows():
    draft = replace(
        REPORT, status="undelivered", final=True, reason="absent", permanent=False, client_reference="ref", batch_id="b1",
        channel="rcs", vendor_code="30003", vendor_description="Unreachable", occurred_at=NOW - SECOND, segments=2,
        part=ReportPart(id="p1", number=1, total=2), price=Price(amount="1"), network=Network(name="Net"),
        flags=("time_guessed",), extra={"a": "b"},
    )  # fmt: skip
    found = data(draft)
    assert found["to"]["address"] == "+447700900123"
    assert found["part"] == {"id": "p1", "number": 1, "total": 2}
    assert found["price"] == {"amount": "1", "currency": None}
    assert found["occurred_at"] == to_text(NOW - SECOND)
    given = ("status", "final", "reason", "permanent", "client_reference", "batch_id", "channel", "vendor_status",
             "vendor_code", "vendor_description", "segments")  # fmt: skip
    assert [found[name] for name in given] == [getattr(draft, name) for name in given]
    assert (found["flags"], found["extra"]) == (["time_guessed"], {"a": "b"})


@pytest.mark.parametrize(
    ("vendor_time", "believed"),
    [
        (NOW - DAY, True),
        (NOW + 10 * MINUTE, True),
        (NOW + 11 * MINUTE, False),
        (from_text("1999-12-31T23:59:59Z"), False),
    ],
)
def test_an_event_happened_at_the_vendors_time_where_that_can_be_true_else_at_ours(vendor_time: int, believed: bool):
    moment = to_text(vendor_time) if believed else None
    drafts: list[Draft] = [replace(MESSAGE, sent_at=vendor_time), replace(REPORT, occurred_at=vendor_time)]
    for draft, name in zip(drafts, ("sent_at", "occurred_at"), strict=True):
        entry = composed(draft)
        assert entry.data[name] == moment
        assert to_text(entry.timestamp) == (moment or to_text(NOW))
    notice = ConsentChanged(opted_out=True, number=ANNA, occurred_at=vendor_time)
    assert to_text(composed(notice).timestamp) == (moment or to_text(NOW))


@pytest.mark.parametrize("vendor_id", ["", "0", "null", None])
def test_a_message_without_an_id_says_so_and_has_no_hash_to_conflict_with(vendor_id: str | None):
    entry = composed(replace(MESSAGE, vendor_message_id=vendor_id))
    assert entry.data["vendor_message_id"] is None
    assert entry.data["flags"] == ["weak_identity"]
    assert entry.content is None
    assert entry.expires_at == NOW + 60 * SECOND


def test_a_message_with_an_id_has_a_hash_that_tells_another_text_from_it():
    entry = composed(MESSAGE)
    assert entry.data["flags"] == []
    assert entry.content != composed(replace(MESSAGE, text="other")).content
    assert entry.content == composed(replace(MESSAGE, sent_at=NOW)).content
    assert entry.conversation == composed(REPORT).conversation


def test_a_report_that_names_no_message_says_so():
    entry = composed(replace(REPORT, vendor_message_id="0"))
    assert entry.data["flags"] == ["weak_identity"]
    assert entry.data["vendor_message_id"] is None
    assert entry.message_expires_at == NOW + 60 * SECOND


@pytest.mark.parametrize(
    ("draft", "encoding", "segments"),
    [
        (MESSAGE, "gsm7", 1),
        (replace(MESSAGE, text="x" * 161), "gsm7", 2),
        (replace(MESSAGE, text="ж" * 71), "ucs2", 2),
        (replace(MESSAGE, text="x" * 161, segments=7), "gsm7", 7),
        (replace(MESSAGE, channel=None), "gsm7", 1),
        (replace(MESSAGE, text=None), None, None),
        (replace(MESSAGE, text=None, binary=Binary(data="00"), segments=1), "binary", 1),
        (replace(MESSAGE, media=[Media(url="u")]), None, None),
        (replace(MESSAGE, channel="whatsapp", segments=1), None, 1),
    ],
)
def test_encoding_and_segments_are_of_texts_alone_and_the_vendors_count_stands(draft, encoding, segments):
    found = data(draft)
    assert (found["encoding"], found["segments"]) == (encoding, segments)


def test_a_message_of_files_has_an_empty_text_and_one_of_neither_has_none():
    assert data(replace(MESSAGE, text=None, media=[Media(url="u")]))["text"] == ""
    assert data(replace(MESSAGE, text=None))["text"] is None
    assert data(replace(MESSAGE, text=""))["text"] == ""


@pytest.mark.parametrize(
    ("text", "vendors", "keyword"),
    [
        ("Hello you", None, "HELLO"),
        ("Hello you", "join", "JOIN"),
        ("...", None, None),
        (None, None, None),
        ("a", "", "A"),
    ],
)
def test_the_keyword_is_the_vendors_else_the_first_word_in_capitals(text, vendors, keyword):
    assert data(replace(MESSAGE, text=text, keyword=vendors))["keyword"] == keyword


@pytest.mark.parametrize(
    ("text", "signal", "intent", "via"),
    [
        ("STOP", None, "opt_out", "keyword"),
        ("start", None, "opt_in", "keyword"),
        ("STOP", "help", "help", None),
        ("CANCEL my 3 pm", None, None, None),
        ("see you", "opt_out", "opt_out", "vendor"),
        ("STOP", "opt_in", "opt_in", "vendor"),
    ],
)
def test_the_vendors_signal_stands_before_a_reading_of_the_text(text, signal, intent, via):
    entry = composed(replace(MESSAGE, text=text, intent=signal))
    assert entry.data["intent"] == intent
    assert (entry.consent.via if entry.consent else None) == via
    if entry.consent is not None:
        assert entry.consent.opted_out is (intent == "opt_out")


STOP = replace(MESSAGE, text="STOP", extra={"MessagingServiceSid": "MG1"})


@pytest.mark.parametrize(
    ("draft", "scope", "named", "extra"),
    [
        (STOP, "sender", "+447700900456", {}),
        (replace(STOP, scope="group", scope_id="MG1"), "group", "MG1", {"MessagingServiceSid": "MG1"}),
        (replace(STOP, scope="group"), "group", "", {"MessagingServiceSid": "MG1"}),
        (replace(STOP, scope="account", scope_id="MG1"), "account", "", {}),
        (replace(STOP, to=None), "unknown", "", {}),
    ],
)
def test_an_opt_out_reaches_as_far_as_the_vendor_says_and_names_whom(draft, scope, named, extra):
    entry = composed(draft)
    assert entry.consent is not None
    assert (entry.consent.number, entry.consent.scope, entry.consent.sender) == ("+447700900123", scope, named)
    follow = follow_up_entry(entry, "msg_1")
    found = public(follow)["data"]
    assert (follow.type, found["scope"], found["extra"], found["message_id"]) == (
        "contact.opted_out",
        scope,
        extra,
        "msg_1",
    )
    assert (found["keyword"], found["via"], found["channel"]) == ("STOP", "keyword", "sms")
    assert follow.timestamp == entry.timestamp
    assert follow.conversation == entry.conversation


def test_an_opt_in_is_followed_by_its_own_event():
    entry = composed(replace(MESSAGE, text="START"))
    assert follow_up_entry(entry, "msg_1").type == "contact.opted_in"


def test_nobody_is_opted_out_when_nobody_is_named():
    assert composed(replace(STOP, from_=None)).consent is None
    assert composed(replace(REPORT, opted_out="unknown", to=None)).consent is None


def test_a_report_opts_its_recipient_out_never_the_sender():
    entry = composed(replace(REPORT, opted_out="group", scope_id="MG1"))
    assert entry.consent is not None
    assert (entry.consent.number, entry.consent.sender, entry.consent.via) == ("+447700900123", "MG1", "report")
    assert public(follow_up_entry(entry, "msg_1"))["data"]["sender"]["address"] == "+447700900456"
    assert composed(REPORT).consent is None


@pytest.mark.parametrize(
    ("draft", "scope", "named"),
    [
        (ConsentChanged(opted_out=True, number=ANNA, sender=SHOP, scope="sender"), "sender", "+447700900456"),
        (ConsentChanged(opted_out=False, number=ANNA, scope="sender"), "unknown", ""),
        (ConsentChanged(opted_out=True, number=ANNA, sender=SHOP, scope="group", scope_id="c1"), "group", "c1"),
        (ConsentChanged(opted_out=True, number=ANNA, sender=SHOP, scope="account"), "account", ""),
        (ConsentChanged(opted_out=True, number=ANNA, sender=SHOP), "unknown", ""),
    ],
)
def test_a_vendors_notice_is_an_event_of_its_own(draft: ConsentChanged, scope: str, named: str):
    entry = composed(draft)
    assert entry.type == ("contact.opted_out" if draft.opted_out else "contact.opted_in")
    assert entry.consent is not None
    assert (entry.consent.scope, entry.consent.sender, entry.consent.opted_out) == (scope, named, draft.opted_out)
    found = public(entry)["data"]
    assert (found["scope"], found["via"], found["message_id"]) == (scope, "vendor", None)


def test_two_groups_of_one_source_are_two_notices():
    notice = ConsentChanged(opted_out=True, number=ANNA, scope="group", scope_id="c1", occurred_at=NOW)
    assert composed(notice).identity != composed(replace(notice, scope_id="c2")).identity


def test_a_notice_about_nobody_is_told_but_changes_no_list():
    entry = composed(ConsentChanged(opted_out=True, number=None))
    assert entry.consent is None
    assert public(entry)["data"]["number"] is None


def test_text_and_extra_beyond_their_limits_are_cut_and_flagged_once():
    found = data(replace(MESSAGE, text="x" * 40_000, extra={"a": "1", "b": "y" * 9_000}))
    assert len(found["text"]) == 32 * 1024
    assert found["extra"] == {"a": "1"}
    assert found["flags"] == ["truncated"]
    assert data(replace(REPORT, extra={"b": "y" * 9_000}))["flags"] == ["truncated"]
    assert data(ConsentChanged(opted_out=True, number=ANNA, extra={"b": "y" * 9_000}))["flags"] == ["truncated"]


def test_an_event_is_never_larger_than_64_kib():
    long = "\x1f" * 100_000
    party = Party(raw=long, country=long, city=long)
    draft = replace(FULL, vendor_message_id=long, from_=party, to=party, cc=[party] * 40, text=long, keyword=long)
    entry = composed(draft)
    assert len(encode("evt_1", entry)) <= 64 * 1024
    assert "truncated" in public(entry)["data"]["flags"]


def test_a_part_of_an_absurd_total_names_no_more_than_255_missing():
    part = InboundPart(reference="1", number=1, total=10**15)
    assert len(data(replace(MESSAGE, part=part))["part"]["missing"]) == 254


def test_a_quarantined_request_is_an_event_with_a_bounded_clean_error():
    entry = quarantine("\x00" + "x" * 5_000, "digest", ORIGIN, NOW, "rcp_1")
    assert public(entry)["data"] == {
        "receipt_id": "rcp_1",
        "source_id": "src_1",
        "vendor": "twilio",
        "error": "\ufffd" + "x" * 1_023,
        "received_at": to_text(NOW),
    }
    assert entry.expires_at == NOW + DAY
