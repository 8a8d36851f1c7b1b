"""What makes two requests the same: what belongs to an identity, what does not, and for how long."""

from dataclasses import replace

import pytest

from receiver.sms.drafts import (
    Binary,
    ConsentChanged,
    InboundPart,
    Media,
    Party,
    Received,
    Reported,
    ReportPart,
)
from receiver.sms.identity import (
    Origin,
    content,
    conversation,
    meaningful,
    of_consent,
    of_message,
    of_quarantine,
    of_received,
    of_report,
)
from receiver.sms.timestamps import DAY, SECOND

NOW = 1_700_000_000_000_000
ORIGIN = Origin(source_id="src_1", vendor="x", dedup_seconds=60, reference_days=7)
ANNA, BORIS = Party(raw="+447700900123"), Party(raw="+447700900456")
MESSAGE = Received(vendor_message_id="m1", from_=ANNA, to=BORIS, text="hello")
NAMELESS = replace(MESSAGE, vendor_message_id=None)
REPORT = Reported(status="sent", final=False, vendor_message_id="m1", to=ANNA, vendor_status="SENT", occurred_at=NOW)


def received(draft: Received, origin: Origin = ORIGIN, now: int = NOW, receipt_id: str = "rcp_1"):
    sender = {"address": draft.from_.raw} if draft.from_ else None
    return of_received(draft, origin, content(sender, draft), now, receipt_id)


def message(draft: Reported, origin: Origin = ORIGIN):
    return of_message(draft, origin, of_report(draft), NOW)


@pytest.mark.parametrize("none", [None, "", "  ", "0", "null", "NULL", "None", "undefined"])
def test_some_ids_say_that_there_is_none(none: str | None):
    assert meaningful(none) is None


@pytest.mark.parametrize("some", ["1", "00", "nullable", "SM0"])
def test_any_other_id_is_one(some: str):
    assert meaningful(some) == some


@pytest.mark.parametrize(
    "changed",
    [{"text": "other"}, {"from_": BORIS}, {"to": ANNA}, {"sent_at": NOW}, {"extra": {"a": 1}}, {"segments": 3}],
)
def test_an_inbound_message_with_an_id_is_its_source_and_that_id_for_ever(changed: dict[str, object]):
    first = received(MESSAGE)
    assert received(replace(MESSAGE, **changed), now=NOW + 900 * DAY, receipt_id="rcp_2") == first  # type: ignore[arg-type]
    assert (first.expires_at, first.weak) == (None, False)


@pytest.mark.parametrize(
    "changed",
    [{"vendor_message_id": "m2"}, {"part": InboundPart(reference="7", number=2, total=2)}, {"shared_id": True}],
)
def test_another_id_part_or_recipient_of_a_shared_id_is_another_message(changed: dict[str, object]):
    assert received(replace(MESSAGE, **changed)).key != received(MESSAGE).key  # type: ignore[arg-type]


def test_the_parts_of_a_message_and_the_recipients_of_a_shared_id_are_told_apart():
    parts = [replace(MESSAGE, part=InboundPart(reference="7", number=number, total=3)) for number in (1, 2, 3)]
    people = [replace(MESSAGE, shared_id=True, to=party) for party in (ANNA, BORIS, None)]
    assert len({received(draft).key for draft in [*parts, *people]}) == 6


def test_the_same_id_at_another_source_is_another_message():
    assert received(MESSAGE, replace(ORIGIN, source_id="src_2")).key != received(MESSAGE).key


def test_without_an_id_the_vendors_time_makes_it_the_same_for_ever():
    timed = replace(NAMELESS, sent_at=NOW)
    first = received(timed)
    assert (first.weak, first.expires_at) == (True, None)
    assert received(replace(timed, vendor_message_id="0"), now=NOW + DAY, receipt_id="rcp_2") == first


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "other"},
        {"from_": BORIS},
        {"to": ANNA},
        {"sent_at": NOW + 1},
        {"media": [Media(url="https://x")]},
        {"binary": Binary(data="00")},
    ],
)
def test_without_an_id_all_that_was_said_counts(changed: dict[str, object]):
    timed = replace(NAMELESS, sent_at=NOW)
    assert received(replace(timed, **changed)).key != received(timed).key  # type: ignore[arg-type]


def test_without_id_and_time_a_repeat_is_one_within_the_sources_window():
    first = received(NAMELESS, replace(ORIGIN, dedup_seconds=90))
    assert (first.weak, first.expires_at) == (True, NOW + 90 * SECOND)
    assert received(NAMELESS, receipt_id="rcp_2").key == first.key


def test_a_window_of_nothing_makes_every_message_its_own():
    off = replace(ORIGIN, dedup_seconds=0)
    assert received(NAMELESS, off, receipt_id="rcp_1").key != received(NAMELESS, off, receipt_id="rcp_2").key
    timed = replace(NAMELESS, sent_at=NOW)
    assert received(timed, off, receipt_id="rcp_1") == received(timed, off, receipt_id="rcp_2")


@pytest.mark.parametrize(
    "changed",
    [
        {"channel": "viber"},
        {"channel": None},
        {"part": ReportPart(id="p1")},
        {"part": ReportPart(number=1)},
        {"vendor_status": "DELIVRD"},
        {"vendor_code": "7"},
        {"sequence": "2"},
        {"occurred_at": NOW + 1},
        {"occurred_at": None},
    ],
)
def test_a_report_is_its_channel_part_status_code_and_moment(changed: dict[str, object]):
    assert of_report(replace(REPORT, **changed)) != of_report(REPORT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed", [{"status": "unknown"}, {"reason": "other"}, {"vendor_description": "words"}, {"extra": {"a": "b"}}]
)
def test_our_reading_of_it_and_its_words_are_not_the_report(changed: dict[str, object]):
    assert of_report(replace(REPORT, **changed)) == of_report(REPORT)  # type: ignore[arg-type]


def test_a_sequence_stands_before_a_time_and_our_status_for_a_missing_word():
    numbered = replace(REPORT, sequence="4")
    assert of_report(replace(numbered, occurred_at=NOW + 5)) == of_report(numbered)
    wordless = replace(REPORT, vendor_status=None)
    assert of_report(replace(wordless, status="delivered")) != of_report(wordless)


def test_a_message_is_named_by_the_vendors_id_for_ever():
    named = message(REPORT)
    assert (named.expires_at, named.weak) == (None, False)
    assert message(replace(REPORT, to=BORIS, client_reference="r", vendor_status="DELIVRD")) == named
    assert message(replace(REPORT, vendor_message_id="m2")).key != named.key


def test_one_id_that_serves_many_names_a_message_for_each_recipient():
    shared = replace(REPORT, shared_id=True)
    assert message(shared).key != message(replace(shared, to=BORIS)).key


def test_without_an_id_the_senders_reference_and_the_recipient_name_it_for_some_days():
    referred = replace(REPORT, vendor_message_id="null", client_reference="order-7")
    named = message(referred, replace(ORIGIN, reference_days=3))
    assert (named.expires_at, named.weak) == (NOW + 3 * DAY, False)
    assert message(replace(referred, vendor_status="DELIVRD", occurred_at=None)).key == named.key
    assert message(replace(referred, to=BORIS)).key != named.key
    assert message(replace(referred, client_reference="order-8")).key != named.key


def test_an_id_and_a_reference_of_the_same_text_name_two_messages():
    assert message(REPORT).key != message(replace(REPORT, vendor_message_id=None, client_reference="m1")).key


@pytest.mark.parametrize(("window", "seconds"), [(60, 60), (0, 1)])
def test_a_report_that_names_no_message_is_about_one_of_its_own(window: int, seconds: int):
    lost = replace(REPORT, vendor_message_id=None, client_reference="0")
    named = message(lost, replace(ORIGIN, dedup_seconds=window))
    assert (named.expires_at, named.weak) == (NOW + seconds * SECOND, True)
    assert message(replace(lost, vendor_status="DELIVRD")).key != named.key
    assert message(replace(lost, to=BORIS)).key != named.key
    assert message(replace(lost, reason="other")).key == named.key


def test_a_notice_of_consent_is_what_changed_and_its_own_id_or_time():
    notice = ConsentChanged(opted_out=True, number=ANNA, vendor_id="n1")
    known = ("a", "b", "sender", "")
    first = of_consent(notice, ORIGIN, known, NOW)
    assert first.expires_at is None
    for other in (replace(notice, opted_out=False), replace(notice, vendor_id="n2"), replace(notice, vendor_id=None)):
        assert of_consent(other, ORIGIN, known, NOW).key != first.key
    assert of_consent(notice, ORIGIN, ("a", "b", "group", "g"), NOW).key != first.key
    timed = replace(notice, vendor_id="0", occurred_at=NOW)
    assert of_consent(timed, ORIGIN, known, NOW).expires_at is None
    assert of_consent(replace(timed, occurred_at=None), ORIGIN, known, NOW).expires_at == NOW + 60 * SECOND


def test_unreadable_bytes_are_the_same_for_a_day():
    first = of_quarantine(ORIGIN, "digest", NOW)
    assert first.expires_at == NOW + DAY
    assert of_quarantine(ORIGIN, "digest", NOW + 1).key == first.key
    assert of_quarantine(ORIGIN, "other", NOW).key != first.key
    assert of_quarantine(replace(ORIGIN, source_id="src_2"), "digest", NOW).key != first.key


def test_a_conversation_is_two_numbers_in_either_direction():
    anna, boris = {"address": "+1"}, {"address": "+2"}
    assert conversation(anna, boris) == conversation(boris, anna) is not None
    assert conversation(anna, None) is conversation(None, boris) is None


LONG = "9" * 100_000


@pytest.mark.parametrize(
    "key",
    [
        lambda end: received(replace(MESSAGE, vendor_message_id=LONG + end)).key,
        lambda end: received(replace(NAMELESS, to=Party(raw=LONG + end), sent_at=NOW)).key,
        lambda end: message(replace(REPORT, vendor_message_id=LONG + end)).key,
        lambda end: message(replace(REPORT, vendor_message_id=None, client_reference=LONG + end)).key,
        lambda end: of_report(replace(REPORT, vendor_status=LONG + end)),
        lambda end: (
            of_consent(ConsentChanged(opted_out=True, number=ANNA, vendor_id=LONG + end), ORIGIN, ["1"], NOW).key
        ),
        lambda end: conversation({"address": LONG + end}, {"address": "+1"}),
    ],
)
def test_whatever_a_vendor_sends_an_identity_is_short_enough_for_an_index_and_still_its_own(key):
    assert len(key("a")) <= 256
    assert key("a") == key("a") != key("b")


def test_content_is_told_apart_by_sender_text_binary_and_each_file():
    sender = {"address": "+1"}
    drafts = [
        Received(text="a"),
        Received(text="b"),
        Received(text="a", binary=Binary(data="00")),
        Received(text="a", media=[Media(url="u")]),
        Received(text="a", media=[Media(url="u"), Media(url="v")]),
        Received(text="\ud800"),
    ]
    assert len({content(sender, draft) for draft in drafts} | {content(None, drafts[0])}) == len(drafts) + 1
    assert content(sender, Received(text="a", segments=9, keyword="K")) == content(sender, drafts[0])
