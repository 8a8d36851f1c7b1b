"""The SMS Works: inbound messages and reports on one URL, read with the tolerance that loose documents ask for."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.fixtures import load_all
from receiver.sms.drafts import Ignored, Party, Received, Reported, Unreadable
from receiver.sms.events import REASONS, STATUSES
from receiver.vendors import thesmsworks
from receiver.vendors.contract import EMPTY_200, BadPayload, Source, VendorRequest
from receiver.vendors.thesmsworks import THESMSWORKS

SOURCE = Source(
    id="src_1", vendor="thesmsworks", name="test", credentials={}, options=THESMSWORKS.options.model_validate({})
)
INCOMING = {"messagetype": "incoming", "messageid": "3288", "content": "Hi", "from": "447700900123"}
HEALTHY = {"code": 0, "details": "", "permanent": False}


def request(body: bytes, content_type: str = "application/json") -> VendorRequest:
    headers = ((b"content-type", content_type.encode("latin-1")),)
    return VendorRequest(method="POST", url="", query=b"", headers=headers, body=body, peer="", received_at=0)


def parse(document: object):
    return THESMSWORKS.parse(request(json.dumps(document).encode()), SOURCE)


def received(**fields: object) -> Received:
    (item,) = parse(INCOMING | fields)
    assert isinstance(item, Received)
    return item


def reported(status: str, **fields: object) -> Reported:
    (item,) = parse({"messageid": "d87e93c0", "destination": 447700900123, "status": status} | fields)
    assert isinstance(item, Reported)
    return item


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_reply_is_read_in_full():
    message = received(to="447700900456", outboundmessageid="d87e93c0", keyword="HI", new=1)
    assert message == Received(
        vendor_message_id="3288",
        from_=Party(raw="447700900123", international=True),
        to=Party(raw="447700900456", international=True),
        text="Hi",
        keyword="HI",
        in_reply_to="d87e93c0",
        extra={"new": 1},
    )


@pytest.mark.parametrize("number", [447700900123, "447700900123"])
def test_numbers_come_as_numbers_or_as_text(number):
    message = received(**{"from": number, "to": number, "messageid": 328827210622192878142})
    assert message.from_ == message.to == Party(raw="447700900123", international=True)
    assert message.vendor_message_id == "328827210622192878142"


def test_the_sender_is_known_by_its_other_name():
    assert received(**{"from": None}, source="447700900999").from_ == Party(raw="447700900999", international=True)


def test_without_a_sender_it_is_a_message_still():
    assert received(**{"from": ""}).from_ is None


def test_an_empty_text_is_a_text():
    assert received(content="").text == ""


def test_no_text_at_all_is_named():
    with pytest.raises(BadPayload, match="content: missing"):
        parse({"messagetype": "incoming", "messageid": "1"})


@pytest.mark.parametrize("word", ["INCOMING", "incoming"])
def test_an_inbound_message_of_the_search_api_is_a_message(word):
    fields = {"sender": "447700900123", "destination": 447700900456, "content": "Hi", "messageid": "1"}
    (item,) = parse(fields | {"status": word, "created": "2026-06-01T12:00:00.000Z"})
    assert isinstance(item, Received)
    assert item.from_ == Party(raw="447700900123", international=True)
    assert item.to == Party(raw="447700900456", international=True)
    assert item.sent_at == 1_780_315_200_000_000


# --- reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status", "final"),
    [
        ("SCHEDULED", "accepted", False),
        ("PROCESSED", "accepted", False),
        ("SENT", "sent", False),
        ("DELIVERED", "delivered", True),
        ("delivered", "delivered", True),
        ("UNDELIVERABLE", "undelivered", True),
        ("EXPIRED", "expired", True),
        ("REJECTED", "rejected", True),
        ("CANCELLED", "canceled", True),
        ("PAUSED", "unknown", False),
    ],
)
@pytest.mark.parametrize("failure", [None, HEALTHY, {"code": "0"}, {}, "", {"code": None, "details": None}])
def test_statuses_and_healthy_reports(word, status, final, failure):
    report = reported(word, failurereason=failure)
    assert (report.status, report.final, report.vendor_status) == (status, final, word)
    assert (report.reason, report.permanent, report.vendor_code, report.vendor_description) == (None, None, None, None)


@pytest.mark.parametrize(
    ("failure", "reason", "permanent", "code"),
    [
        ({"code": 34, "details": "Handset error", "permanent": False}, "handset_error", False, "34"),
        ({"code": "3001", "permanent": False}, "absent", False, "3001"),
        ({"code": 5001, "permanent": True}, "invalid_number", True, "5001"),
        ({"code": 5002, "permanent": True}, "other", True, "5002"),
        ({"code": 7}, "other", None, "7"),
        ({"code": 0, "details": "Something", "permanent": False}, "other", False, None),
        ({"details": "Something"}, "other", None, None),
    ],
)
@pytest.mark.parametrize("word", ["UNDELIVERABLE", "EXPIRED", "REJECTED", "SENT"])
def test_failure_reasons(word, failure, reason, permanent, code):
    report = reported(word, failurereason=failure)
    assert (report.reason, report.permanent, report.vendor_code) == (reason, permanent, code)
    assert report.vendor_description == failure.get("details")


@pytest.mark.parametrize("word", ["DELIVERED", "UNDELIVERABLE"])
@pytest.mark.parametrize("failure", ["Handset error", 34, [{"code": 34}], True])
def test_a_failure_of_an_odd_form_costs_no_report_and_is_kept_beside_it(word, failure):
    report = reported(word, failurereason=failure)
    assert (report.vendor_status, report.reason, report.vendor_code) == (word, None, None)
    assert report.extra["failurereason"] == failure


@pytest.mark.parametrize("odd", [{"code": {}}, {"details": ["x"]}, {"permanent": "perhaps"}, {"permanent": {}}])
def test_an_odd_part_of_a_failure_costs_neither_the_report_nor_the_rest(odd):
    failure = {"code": 34, "details": "Handset error", "permanent": False}
    report = reported("UNDELIVERABLE", failurereason=failure | odd)
    known = {"code": "34", "details": "Handset error", "permanent": False} | dict.fromkeys(odd)
    assert report.status == "undelivered"
    assert {"code": report.vendor_code, "details": report.vendor_description, "permanent": report.permanent} == known


def test_what_is_not_delivered_yet_is_sent_with_its_reason():
    report = reported("SENT", failurereason={"code": 3001, "details": "retrying", "permanent": False})
    assert (report.status, report.final, report.reason, report.permanent) == ("sent", False, "absent", False)


def test_delivered_is_delivered_whatever_stands_beside_it():
    report = reported("DELIVERED", failurereason={"code": 34, "details": "Handset error", "permanent": False})
    assert (report.status, report.reason, report.permanent) == ("delivered", None, None)
    assert (report.vendor_code, report.vendor_description) == ("34", "Handset error")


@pytest.mark.parametrize(
    ("modified", "moment"),
    [
        ("2026-06-01T12:00:00.000Z", 1_780_315_200_000_000),
        ("Mon Jun 01 2026 13:00:00 GMT+0100 (British Summer Time)", 1_780_315_200_000_000),
        ("Mon Jun 01 2026 13:00:00 GMT+0100 (BST)", 1_780_315_200_000_000),
        ("2026-06-01 12:00:00", None),
        ("", None),
        (None, None),
    ],
)
def test_the_time_is_that_of_the_last_change(modified, moment):
    assert reported("SENT", modified=modified, created="2026-05-01T12:00:00.000Z").occurred_at == moment


def test_parties_batch_and_labels():
    report = reported("SENT", sender="EXAMPLE", batchid="2586749", tag="campaign2", metadata={"order": "8841"})
    assert report.from_ == Party(raw="EXAMPLE", international=True)
    assert report.to == Party(raw="447700900123", international=True)
    assert report.batch_id == "2586749"
    assert report.client_reference is None
    assert report.extra == {"tag": "campaign2", "metadata": {"order": "8841"}}
    assert reported("SENT", batchid="", metadata=[{"key": "a", "value": 1}]).extra == {
        "metadata": [{"key": "a", "value": 1}]
    }


def test_our_own_address_is_not_passed_on():
    assert reported("SENT", deliveryreporturl="https://hooks.example.com/in/thesmsworks/token").extra == {}
    assert received(deliveryreporturl="https://hooks.example.com/in/thesmsworks/token").extra == {}


def test_the_older_name_of_the_id_is_known():
    assert reported("SENT", messageid=None, id=123456789).vendor_message_id == "123456789"


# --- neither, and many ------------------------------------------------------------------------------------------------


def test_a_verified_password_is_knowingly_ignored():
    assert parse({"status": "VERIFIED"}) == [Ignored(what="one-time password verified")]


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (None, "body: an object is due, null came"),
        (7, "body: an object is due, a number came"),
        ({}, "status: missing or empty"),
        ({"status": []}, "status: text is due, a list came"),
    ],
)
def test_what_cannot_be_read_is_named(document, error):
    with pytest.raises(BadPayload, match=error):
        parse(document)


def test_one_bad_item_spoils_no_other():
    items = parse([INCOMING, None, {"status": "SENT", "messageid": "1"}, {"status": ""}])
    assert [type(item) for item in items] == [Received, Unreadable, Reported, Unreadable]
    assert items[1] == Unreadable(error="body: an object is due, null came")
    assert items[3] == Unreadable(error="status: missing or empty")


def test_a_list_may_be_empty_or_long_but_not_endless():
    assert parse([]) == []
    assert len(parse([INCOMING] * 1_000)) == 1_000
    with pytest.raises(BadPayload, match="body: more than 1000 items"):
        parse([1] * 1_001)


def test_bytes_outside_utf_8_are_flagged_on_every_item():
    body = '[{"messagetype": "incoming", "content": "café"}]'.encode("latin-1")
    (item,) = THESMSWORKS.parse(request(body), SOURCE)
    assert isinstance(item, Received)
    assert (item.text, item.flags) == ("café", ("charset_guessed",))


def test_the_tables_use_the_words_of_the_contract():
    assert {status for status, _ in thesmsworks.STATUSES.values()} <= set(STATUSES)
    assert set(thesmsworks.REASONS.values()) <= set(REASONS)


FIELDS = ["messagetype", "status", "content", "failurereason", "from", "destination", "modified", "messageid"]
VALUES = st.one_of(
    st.none(),
    st.sampled_from(["incoming", "SENT", "DELIVERED", ""]),
    st.text(max_size=5),
    st.integers(),
    st.lists(st.none(), max_size=1),
    st.dictionaries(st.sampled_from(["code", "details", "permanent"]), st.none() | st.integers() | st.text(max_size=3)),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_known_names_with_any_value_are_read_or_refused(document):
    assert len(parse([document])) == 1
    with suppress(BadPayload):
        parse(document)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.text(st.characters(max_codepoint=255)))
def test_any_request_is_read_or_refused(body, content_type):
    with suppress(BadPayload):
        THESMSWORKS.parse(request(body, content_type), SOURCE)


@pytest.mark.parametrize(
    "fixture", [f for f in load_all() if f.vendor == "thesmsworks"], ids=lambda fixture: fixture.case
)
def test_the_answer_is_empty(fixture):
    made = fixture.request(0)
    THESMSWORKS.verify(made, SOURCE)
    assert THESMSWORKS.answer(made, []) == EMPTY_200
    assert fixture.expected.answer.body == ""
