"""Power Textor: inbound messages under Twilio's names, as JSON or as a form."""

import json
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.fixtures import load_all
from receiver.sms.drafts import Media, Party, Received
from receiver.vendors.contract import EMPTY_200, BadPayload, Source, VendorRequest
from receiver.vendors.powertextor import POWERTEXTOR

SOURCE = Source(
    id="src_1", vendor="powertextor", name="test", credentials={}, options=POWERTEXTOR.options.model_validate({})
)
PLACES = {"FromCity": "NEW YORK", "FromState": "NY", "FromZip": "10001", "FromCountry": "US"}
MESSAGE = {"SmsSid": "SM1", "Body": "Hi", "From": "+12125550123", "To": "+15165550199"}


def request(body: bytes, content_type: str = "application/json") -> VendorRequest:
    headers = ((b"content-type", content_type.encode("latin-1")),)
    return VendorRequest(method="POST", url="", query=b"", headers=headers, body=body, peer="", received_at=0)


def received(body: bytes) -> Received:
    (item,) = POWERTEXTOR.parse(request(body), SOURCE)
    assert isinstance(item, Received)
    return item


def as_json(**fields: object) -> Received:
    return received(json.dumps(MESSAGE | fields).encode())


@pytest.mark.parametrize("encode", [json.dumps, urlencode])
def test_json_and_form_say_the_same(encode):
    fields = MESSAGE | PLACES | {"ToCity": "FARMINGDALE", "ToCountry": "US", "AccountSid": "AC1"}
    assert received(encode(fields).encode()) == Received(
        vendor_message_id="SM1",
        from_=Party(raw="+12125550123", country="US", city="NEW YORK", region="NY", postal_code="10001"),
        to=Party(raw="+15165550199", country="US", city="FARMINGDALE"),
        text="Hi",
        media=[],
        extra={"AccountSid": "AC1"},
    )


def test_places_that_are_not_known_are_null():
    assert as_json(FromCity="", FromZip=None).from_ == Party(raw="+12125550123")


@pytest.mark.parametrize(
    ("word", "intent"), [("STOP", "opt_out"), ("START", "opt_in"), ("HELP", "help"), (None, None), ("", None)]
)
def test_the_vendors_reading_of_a_keyword_is_taken(word, intent):
    assert as_json(OptOutType=word).intent == intent


def test_an_opt_out_reaches_as_far_as_the_messaging_service():
    assert as_json().scope == "sender"
    grouped = as_json(MessagingServiceSid="MG1", MessageStatus="received")
    assert (grouped.scope, grouped.extra) == ("group", {"MessagingServiceSid": "MG1", "MessageStatus": "received"})


def test_the_one_file_of_the_connector():
    message = as_json(MessageSid="MM1", NumMedia=1, ReferralNumMedia=0, mediaURL="https://a/1", contentType="image/png")
    assert message.media == [Media(url="https://a/1", content_type="image/png")]
    assert (message.channel, message.vendor_message_id, message.extra) == ("mms", "MM1", {"ReferralNumMedia": 0})


def test_the_files_of_twilios_form():
    body = urlencode({"MessageSid": "SM1", "Body": "", "MediaUrl0": "https://a/0", "MediaContentType0": "image/png"})
    message = received(body.encode())
    assert message.media == [Media(url="https://a/0", content_type="image/png")]
    assert (message.channel, message.text, message.extra) == ("mms", "", {})


def test_a_file_needs_no_words():
    assert received(b'{"mediaURL": "https://a/1"}').text is None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "body: empty"),
        (b"{}", "Body or mediaURL: missing"),
        (b'{"SmsSid": "SM1", "MessageStatus": "received"}', "Body or mediaURL: missing"),
        (b"[]", "an object is due, a list came"),
        (b'{"Body": ["x"]}', "Body: text is due, a list came"),
    ],
)
def test_what_cannot_be_read_is_named(body, error):
    with pytest.raises(BadPayload, match=error):
        POWERTEXTOR.parse(request(body), SOURCE)


VALUES = st.one_of(st.none(), st.text(max_size=5), st.integers(), st.booleans(), st.lists(st.none(), max_size=1))
NAMES = ["SmsSid", "Body", "From", "FromCountry", "OptOutType", "NumMedia", "NumSegments", "mediaURL", "contentType"]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_known_names_with_any_value_are_read_or_refused(document):
    with suppress(BadPayload):
        POWERTEXTOR.parse(request(json.dumps(document).encode()), SOURCE)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.text(st.characters(max_codepoint=255)))
def test_any_request_is_read_or_refused(body, content_type):
    with suppress(BadPayload):
        POWERTEXTOR.parse(request(body, content_type), SOURCE)


@pytest.mark.parametrize(
    "fixture", [f for f in load_all() if f.vendor == "powertextor"], ids=lambda fixture: fixture.case
)
def test_the_answer_is_empty(fixture):
    made = fixture.request(0)
    POWERTEXTOR.verify(made, SOURCE)
    assert POWERTEXTOR.answer(made, []) == EMPTY_200
    assert fixture.expected.answer.body == ""
