"""Twilio: what a form, query or JSON body says, and what is answered."""

import json
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.fixtures import Fixture, load_all
from receiver.sms.drafts import Ignored, Media, Party, Received, Reported
from receiver.sms.events import REASONS, STATUSES
from receiver.vendors import twilio
from receiver.vendors.contract import BadPayload, BadSignature, Source, VendorRequest
from receiver.vendors.twilio import TWILIO

FIXTURES = [fixture for fixture in load_all() if fixture.vendor == "twilio"]
SOURCE = Source(
    id="src_1",
    vendor="twilio",
    name="test",
    credentials={"auth_token": ("12345",)},
    options=TWILIO.options.model_validate({}),
)


def request(*, body: bytes = b"", query: bytes = b"", method: str = "POST", content_type: str = "") -> VendorRequest:
    return VendorRequest(
        method=method,
        url="https://hooks.example.com/in/twilio/token" + ("?" + query.decode("latin-1") if query else ""),
        query=query,
        headers=((b"content-type", content_type.encode("latin-1")),) if content_type else (),
        body=body,
        peer="203.0.113.9",
        received_at=0,
    )


def parsed(**parameters: str):
    (item,) = TWILIO.parse(request(body=urlencode(parameters).encode()), SOURCE)
    return item


def received(**parameters: str) -> Received:
    item = parsed(MessageSid="SM1", SmsStatus="received", **parameters)
    assert isinstance(item, Received)
    return item


def reported(status: str, **parameters: str) -> Reported:
    item = parsed(**{"MessageSid": "SM1", **parameters, "MessageStatus": status})
    assert isinstance(item, Reported)
    return item


def fixture_named(case: str) -> Fixture:
    return next(fixture for fixture in FIXTURES if fixture.case == case)


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_is_read_in_full():
    (item,) = TWILIO.parse(fixture_named("inbound-sms").request(0), SOURCE)
    assert item == Received(
        vendor_message_id="SMa8e6fe5b9e68f30a146cefebaa7edcc3",
        channel="sms",
        from_=Party(raw="+12125550123", country="US", city="NEW YORK", region="NY", postal_code="10001"),
        to=Party(raw="+15165550199", country="US", city="FARMINGDALE", region="NY", postal_code="11735"),
        text="Yes, see you at 3pm",
        media=[],
        segments=1,
        extra={"AccountSid": "AC0123456789abcdef0123456789abcdef", "ApiVersion": "2010-04-01"},
    )


def test_a_get_webhook_is_read_from_its_query():
    made = request(method="GET", query=b"MessageSid=SM1&Body=1+%2B+1&SmsStatus=received", body=b"Body=no")
    (item,) = TWILIO.parse(made, SOURCE)
    assert isinstance(item, Received)
    assert item.text == "1 + 1"


def test_of_a_post_only_the_body_is_read():
    (item,) = TWILIO.parse(fixture_named("report-own-query").request(0), SOURCE)
    assert isinstance(item, Reported)
    assert item.vendor_status == "queued"
    assert "customer" not in item.extra


def test_files_are_listed_and_need_the_accounts_credentials():
    files = {"MediaUrl0": "https://a/0", "MediaContentType0": "image/jpeg", "MediaUrl1": "https://a/1"}
    message = received(Body="", NumMedia="2", **files)
    assert message.media == [
        Media(url="https://a/0", content_type="image/jpeg", needs_auth=True),
        Media(url="https://a/1", needs_auth=True),
    ]
    assert (message.channel, message.text, message.extra) == ("mms", "", {})


def test_a_number_of_files_is_not_believed():
    assert received(Body="x", NumMedia="999999999").media == []


@pytest.mark.parametrize(("word", "intent"), [("STOP", "opt_out"), ("start", "opt_in"), ("HELP", "help"), ("X", None)])
def test_the_vendors_reading_of_a_keyword_is_taken(word, intent):
    assert received(Body="whatever", OptOutType=word).intent == intent


def test_words_alone_are_no_signal_of_the_vendor():
    assert received(Body="STOP").intent is None


def test_an_opt_out_reaches_as_far_as_the_messaging_service():
    assert received(Body="STOP").scope == "sender"
    grouped = received(Body="STOP", MessagingServiceSid="MG1")
    assert (grouped.scope, grouped.extra) == ("group", {"MessagingServiceSid": "MG1"})


@pytest.mark.parametrize(
    ("sid", "from_", "to", "channel", "addresses"),
    [
        ("SM1", "+12125550123", "+15165550199", "sms", ("+12125550123", "+15165550199")),
        ("MM1", "+12125550123", "+15165550199", "mms", ("+12125550123", "+15165550199")),
        ("SM1", "whatsapp:+447700900456", "whatsapp:+1415", "whatsapp", ("+447700900456", "+1415")),
        ("SM1", "rcs:+447700900456", "rcs:agent_1", "rcs", ("+447700900456", "agent_1")),
        ("MM1", "12345", "messenger:77", "messenger", ("12345", "77")),
        ("SM1", "AMAZON", "", "sms", ("AMAZON", None)),
    ],
)
def test_the_channel_is_told_by_address_and_id(sid, from_, to, channel, addresses):
    item = parsed(MessageSid=sid, From=from_, To=to, Body="x")
    assert isinstance(item, Received)
    assert item.channel == channel
    assert tuple(party and party.raw for party in (item.from_, item.to)) == addresses


def test_a_country_is_two_letters_or_unknown():
    message = received(Body="x", From="+1", FromCountry="USA", To="+1", ToCountry="US")
    assert (message.from_, message.to) == (Party(raw="+1"), Party(raw="+1", country="US"))


def test_a_reply_on_whatsapp_names_what_it_answers():
    assert received(Body="x", OriginalRepliedMessageSid="SM0").in_reply_to == "SM0"


def test_blanks_at_the_ends_of_a_text_are_kept():
    assert received(Body=" x\n").text == " x\n"


def test_unknown_parameters_are_kept_and_our_own_address_is_not():
    message = received(Body="x", New="1", ErrorCode="11200", ErrorUrl="https://hooks.example.com/in/twilio/token")
    assert message.extra == {"New": "1", "ErrorCode": "11200"}


def test_bytes_outside_utf_8_are_read_and_flagged():
    (item,) = TWILIO.parse(request(body=b"MessageSid=SM1&Body=caf%E9"), SOURCE)
    assert isinstance(item, Received)
    assert (item.text, item.flags) == ("café", ("charset_guessed",))


def test_a_plus_sign_that_arrived_as_a_blank_is_still_there_for_the_address():
    (item,) = TWILIO.parse(request(body=b"MessageSid=SM1&Body=x&From=+447700900123"), SOURCE)
    assert isinstance(item, Received)
    assert item.from_ is not None
    assert item.from_.raw == " 447700900123"


@pytest.mark.parametrize(("segments", "count"), [("3", 3), ("0", None), ("", None), ("many", None), ("1.0", None)])
def test_segments_are_counted_from_one_and_an_odd_count_costs_no_message(segments, count):
    assert received(Body="x", NumSegments=segments).segments == count


def test_a_message_without_an_id_is_a_message():
    item = parsed(From="+12125550123", Body="x")
    assert isinstance(item, Received)
    assert item.vendor_message_id is None


@pytest.mark.parametrize("name", ["MessageSid", "SmsSid", "SmsMessageSid"])
def test_older_names_of_the_id_are_known(name):
    item = parsed(**{name: "SM1", "Body": "x"})
    assert isinstance(item, Received)
    assert item.vendor_message_id == "SM1"


# --- reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status", "final"),
    [
        ("accepted", "accepted", False),
        ("scheduled", "accepted", False),
        ("queued", "accepted", False),
        ("sending", "accepted", False),
        ("sent", "sent", False),
        ("Sent", "sent", False),
        ("delivered", "delivered", True),
        ("read", "read", True),
        ("undelivered", "undelivered", True),
        ("partially_delivered", "undelivered", True),
        ("failed", "failed", True),
        ("canceled", "canceled", True),
        ("postponed", "unknown", False),
    ],
)
def test_statuses(word, status, final):
    report = reported(word)
    assert (report.status, report.final, report.vendor_status) == (status, final, word)
    assert (report.reason, report.permanent, report.opted_out) == (None, None, None)


@pytest.mark.parametrize(
    ("word", "code", "status", "reason", "permanent"),
    [
        ("undelivered", "30003", "undelivered", "absent", False),
        ("undelivered", "30004", "undelivered", "blocked", None),
        ("undelivered", "30005", "undelivered", "invalid_number", True),
        ("undelivered", "30006", "undelivered", "unroutable", True),
        ("undelivered", "30007", "undelivered", "filtered", None),
        ("failed", "30001", "failed", "throttled", False),
        ("failed", "30002", "failed", "blocked", None),
        ("failed", "30008", "failed", "other", None),
        ("failed", "30034", "failed", "sender_rejected", None),
        ("failed", "30036", "failed", "expired", False),
        ("failed", "21211", "rejected", "invalid_number", True),
        ("failed", "21408", "rejected", "not_allowed", None),
        ("failed", "21610", "rejected", "opted_out", True),
        ("failed", "21614", "rejected", "invalid_number", True),
        ("failed", "21999", "rejected", "other", None),
        ("failed", "99999", "failed", "other", None),
        ("failed", "0", "failed", None, None),
        ("queued", "21610", "accepted", "opted_out", True),
        ("delivered", "30008", "delivered", None, None),
        ("read", "30003", "read", None, None),
    ],
)
def test_error_codes(word, code, status, reason, permanent):
    report = reported(word, ErrorCode=code)
    assert (report.status, report.reason, report.permanent) == (status, reason, permanent)
    assert report.vendor_code == code


def test_the_tables_use_the_words_of_the_contract():
    assert {status for status, _ in twilio.STATUSES.values()} <= set(STATUSES)
    assert {reason for reason, _ in twilio.ERRORS.values()} <= set(REASONS)
    assert len(twilio.ERRORS) == sum(len(codes.split()) for _, _, codes in twilio.REASONS)


def test_a_refusal_for_an_opt_out_says_how_far_it_reaches():
    assert reported("failed", ErrorCode="21610").opted_out == "sender"
    grouped = reported("failed", ErrorCode="21610", MessagingServiceSid="MG1")
    assert (grouped.opted_out, grouped.extra) == ("group", {"MessagingServiceSid": "MG1"})


def test_a_report_is_about_the_message_it_names():
    report = reported("sent", From="+15165550199", To="+12125550123", SmsStatus="sent", NumSegments="2")
    assert (report.from_, report.to) == (Party(raw="+15165550199"), Party(raw="+12125550123"))
    assert (report.vendor_message_id, report.segments, report.channel) == ("SM1", 2, "sms")
    assert reported("sent", MessageSid="MM1").channel == "mms"
    assert reported("read", To="whatsapp:+447700900456").channel == "whatsapp"


def test_the_carriers_time_without_a_zone_is_no_time():
    report = reported("delivered", RawDlrDoneDate="2611201447")
    assert (report.occurred_at, report.extra) == (None, {"RawDlrDoneDate": "2611201447"})


@pytest.mark.parametrize("name", ["ErrorMessage", "ChannelStatusMessage"])
def test_the_vendors_words_are_kept(name):
    assert reported("failed", **{name: "No such thing"}).vendor_description == "No such thing"


def test_an_old_report_says_only_smsstatus():
    item = parsed(SmsSid="SM1", SmsStatus="delivered")
    assert isinstance(item, Reported)
    assert item.status == "delivered"


# --- neither ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CallSid", "CallStatus"])
def test_a_call_is_knowingly_ignored(name):
    assert parsed(**{name: "x", "From": "+1", "To": "+1"}) == Ignored(what="call")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "body: empty"),
        (b"AccountSid=AC1", "MessageSid: missing"),
        (b"[]", "an object is due"),
        (b'{"MessageSid": {}}', "MessageSid: missing"),
    ],
)
def test_what_cannot_be_read_is_named(body, error):
    with pytest.raises(BadPayload, match=error):
        TWILIO.parse(request(body=body), SOURCE)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80), st.text(st.characters(max_codepoint=255)), st.booleans())
def test_any_request_is_read_or_refused(body, query, content_type, get):
    made = request(body=body, query=query, content_type=content_type, method="GET" if get else "POST")
    TWILIO.verify(twilio.sign(made, SOURCE), SOURCE)
    with pytest.raises(BadSignature):
        TWILIO.verify(made, SOURCE)
    with suppress(BadPayload):
        TWILIO.parse(made, SOURCE)


VALUES = st.one_of(st.none(), st.text(max_size=5), st.integers(), st.booleans(), st.lists(st.none(), max_size=1))
NAMES = ["MessageSid", "MessageStatus", "SmsStatus", "ErrorCode", "Body", "From", "To", "NumSegments", "MediaUrl0"]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_known_names_with_any_value_are_read_or_refused(document):
    with suppress(BadPayload):
        TWILIO.parse(request(body=json.dumps(document).encode()), SOURCE)


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.case)
def test_the_answer_is_twiml_for_messages_and_nothing_for_all_else(fixture):
    made = fixture.request(0)
    try:
        items = TWILIO.parse(made, SOURCE)
    except BadPayload:
        items = []
    answer = TWILIO.answer(made, items)
    expected = fixture.expected.answer
    assert (answer.status, answer.content_type, answer.body.decode()) == (
        expected.status,
        expected.content_type,
        expected.body,
    )
    assert bool(answer.body) == fixture.case.startswith("inbound-")


def test_both_addresses_to_paste_are_the_sources():
    assert TWILIO.setup("https://x/in", SOURCE.options) == {
        "webhook_url": "https://x/in",
        "status_callback": "https://x/in",
    }
