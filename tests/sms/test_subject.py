"""A number is found however it is written, and little else is taken for it."""

from urllib.parse import quote

import orjson
import pytest

from receiver.sms.events import EVENT_MODELS
from receiver.sms.subject import Subject, erased, is_erased

NUMBER = "+447700900123"
PERSON = Subject(NUMBER)

WAYS = [
    NUMBER, "447700900123", "00447700900123", "07700900123", "7700900123", "+44 7700 900123", "+44 (0) 7700-900123",
    "0044.7700/900.123", "+44\u00a07700\u2009900\u2011123", "07700 900 123", "[44]7700900123", "(07700) 900123",
]  # fmt: skip


@pytest.mark.parametrize("number", [NUMBER, " 447700900123", "00447700900123", "447700900123", "+44 (0) 7700-900123"])
def test_a_number_may_be_given_in_any_form_that_is_international(number):
    assert Subject(number).address == NUMBER


@pytest.mark.parametrize("number", ["", " ", "\t"])
def test_a_blank_is_nobody(number):
    with pytest.raises(ValueError, match="blank"):
        Subject(number)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", ["", "call ", '{"from":"', "tel:", "from=", "SM", "ü"])
@pytest.mark.parametrize("after", ["", " now", '"}', "&to=1", ".", "é"])
def test_it_is_found_however_it_is_written(way, before, after):
    text = before + way + after
    assert PERSON.is_in(text.encode())
    assert PERSON.is_in(quote(text, safe="").encode())
    assert PERSON.is_in(orjson.dumps(text))
    escaped = "".join(f"\\u{ord(char):04x}" for char in text)
    assert PERSON.is_in(escaped.encode())
    assert PERSON.is_in(quote(escaped, safe="").encode())
    assert PERSON.is_in(quote(quote(orjson.dumps(text), safe=""), safe="").encode())


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-be", "utf-16-le", "latin-1"])
def test_it_is_found_in_other_charsets(charset):
    assert PERSON.is_in(f'{{"from": "{NUMBER}", "text": "grüße"}}'.encode(charset))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+447700900124",
        "17700900123",
        "77009001234",
        "4477009001230",
        "7700900 12",
        "2026-11-20",
        "%",
        "\\u12",
        "\\ud800",
    ],
)
def test_what_is_not_it_is_left_alone(text):
    assert not PERSON.is_in(text.encode())


def test_a_short_national_number_needs_a_prefix():
    person = Subject("+3725123456")  # seven digits behind the code of Estonia
    assert person.address == "+3725123456"
    for text, found in (("5123456", False), ("+372 5123456", True), ("372-512 3456", True), ("order 5123456", False)):
        assert person.is_in(text.encode()) is found, text


def test_a_national_number_of_nowhere_is_found_as_it_is():
    person = Subject("07700 900123")
    assert person.is_in(b"from 07700-900123")
    assert not person.is_in(b"from 107700900123")


@pytest.mark.parametrize("short", ["60777", "AMAZON", "123456"])
def test_what_is_no_persons_number_is_found_as_an_address_alone(short):
    subject = Subject(short)
    assert not subject.is_in(f"about {short}".encode())
    assert not subject.is_in_event(orjson.dumps({"text": short}))
    assert subject.is_in_event(orjson.dumps({"from": {"address": short, "kind": "x"}}))
    assert not subject.is_in_event(orjson.dumps({"from": {"address": short + "7", "kind": "x"}}))
    assert subject.is_key(f"x\x1f{short}")
    assert not subject.is_key(f"x\x1f{short}7")


def test_a_key_names_it_as_one_of_its_parts():
    assert PERSON.is_key(f"{NUMBER}\x1f+1")
    assert PERSON.is_key("r\x1fsrc\x1fref 07700 900123")
    assert not PERSON.is_key("r\x1fsrc\x1f+447700900124")
    assert not PERSON.is_key(None)


def party(number: str) -> dict[str, object]:
    return {
        "address": number, "kind": "e164", "raw": number[1:], "country": "GB", "city": "Leeds", "region": None,
        "postal_code": None,
    }  # fmt: skip


ORIGIN = {
    "message_id": "msg_1", "vendor": "generic", "source_id": "src_1", "receipt_id": "rcp_1", "vendor_message_id": "v-1",
    "channel": "sms", "from": party(NUMBER), "to": party("+447700900456"),
}  # fmt: skip
TIMES = {"received_at": "2026-11-20T14:47:03.123Z", "flags": ["weak_identity"], "extra": {"a": "b"}}
MESSAGE = {
    **ORIGIN, "cc": [party("+447700900789")], "text": "hello", "media": [{"url": "https://x.example/1"}],
    "binary": {"data": "00", "udh": None}, "encoding": "gsm7", "segments": 1,
    "part": {"reference": "447700900123/7", "number": 1, "total": 2, "missing": [2]}, "keyword": "HELLO",
    "intent": None, "in_reply_to": "v-447700900123", "client_reference": "order 7",
    "price": {"amount": "1", "currency": None}, "network": None, "sent_at": None, **TIMES,
}  # fmt: skip
CONTACT = {
    "number": party("+447700900789"), "sender": party(NUMBER), "scope": "sender", "channel": "sms", "vendor": "generic",
    "source_id": "src_1", "receipt_id": "rcp_1", "message_id": None, "via": "keyword", "keyword": "STOP", **TIMES,
}  # fmt: skip
QUARANTINED = {
    "receipt_id": "rcp_1", "source_id": "src_1", "vendor": "generic", "error": f"nothing of {NUMBER}",
    "received_at": TIMES["received_at"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "data", "left"),
    [
        (
            "message.received",
            MESSAGE,
            {"message_id", "vendor", "source_id", "receipt_id", "vendor_message_id", "channel", "encoding", "segments"}
            | {"part", "received_at"},
        ),
        (
            "contact.opted_out",
            CONTACT,
            {"scope", "channel", "vendor", "source_id", "receipt_id", "via", "received_at"},
        ),
        ("receipt.quarantined", QUARANTINED, {"receipt_id", "source_id", "vendor", "received_at"}),
    ],
)
def test_what_is_left_of_an_event_is_still_one(kind, data, left):
    event = {"id": "evt_1", "type": kind, "timestamp": TIMES["received_at"], "supersedes": None, "data": data}
    found = erased(event, PERSON)
    EVENT_MODELS[kind].model_validate(found)
    assert {name for name, value in found["data"].items() if value not in (None, [], {}, "")} - {"flags"} == left
    assert not PERSON.is_in_event(orjson.dumps(found))
    assert b"Leeds" not in orjson.dumps(found)
    assert (found["id"], found["type"], found["timestamp"]) == ("evt_1", kind, TIMES["received_at"])
    assert is_erased(found) is ("flags" in data)
    assert found["data"].get("flags", []) in ([], ["weak_identity", "erased"])
    assert erased(found, PERSON) == found
    assert not is_erased(event)


def test_your_own_number_stays_in_a_persons_opt_out():
    event = {"data": {**CONTACT, "number": party(NUMBER), "sender": party("+447700900456")}}
    found = erased(event, PERSON)["data"]
    assert (found["number"], found["sender"]["address"]) == (None, "+447700900456")
