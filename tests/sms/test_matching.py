from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from receiver.sms.events import EVENT_MODELS, TYPES
from receiver.sms.matching import Filter, compile_matcher, valid_type_pattern


def party(address: str, country: str | None = "GB") -> dict[str, Any]:
    return {"address": address, "country": country}


US, THEM = party("+12015550100", "US"), party("+447700900123")
RECEIVED = {"vendor": "twilio", "source_id": "src_1", "from": THEM, "to": US, "keyword": "JOIN"}
STATUS = {"vendor": "twilio", "source_id": "src_1", "from": US, "to": THEM, "status": "delivered", "final": True}
CONTACT = {"vendor": "twilio", "source_id": "src_1", "number": THEM, "sender": US, "keyword": "STOP"}
QUARANTINED = {"vendor": "twilio", "source_id": "src_1", "receipt_id": "rcp_1", "error": "body: empty"}
PING = {"subscription_id": "sub_1", "text": "hello"}
HEALTH = {
    "subscription_id": "sub_1", "host": "example.com", "failures": 10, "since": "2026-11-20T14:47:03.123Z",
    "last_error": "timeout", "last_status": None,
}  # fmt: skip
EVENTS: dict[str, dict[str, Any]] = {
    "message.received": RECEIVED,
    "message.status": STATUS,
    "contact.opted_out": CONTACT,
    "contact.opted_in": CONTACT,
    "receipt.quarantined": QUARANTINED,
    "subscription.failing": HEALTH,
    "subscription.disabled": HEALTH | {"because": "gone"},
    "subscription.recovered": HEALTH,
    "source.silent": {"source_id": "src_1"},
    "test.ping": PING,
}


def passed(types: Sequence[str] = ("*", "test.ping"), **filter_: Any) -> set[str]:
    matches = compile_matcher(types, Filter.model_validate(filter_) if filter_ else None)
    return {name for name, data in EVENTS.items() if matches(name, data)}


ALL = set(EVENTS)
NO_MESSAGE = ALL - {"message.received", "message.status", "contact.opted_out", "contact.opted_in"}


def test_the_examples_cover_every_type():
    assert set(TYPES) == ALL


@pytest.mark.parametrize("name", EVENT_MODELS)
def test_the_examples_have_only_what_their_type_has_and_of_subscriptions_all_of_it(name):
    model: Any = EVENT_MODELS[name].model_fields["data"].annotation
    fields = {field.alias or known for known, field in model.model_fields.items()}
    assert set(EVENTS[name]) <= fields
    assert not name.startswith("subscription.") or set(EVENTS[name]) == fields


def test_no_filter_keeps_back_what_is_told_of_subscriptions():
    asks_everything = {
        "vendors": ["x"], "sources": ["x"], "from": ["x"], "to": ["x"], "countries": ["XX"], "keywords": ["x"],
        "statuses": ["x"], "final_only": True,
    }  # fmt: skip
    assert passed(["subscription.*"], **asks_everything) == {name for name in TYPES if name.startswith("subscription.")}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["*"], ALL - {"test.ping"}),
        (["message.received"], {"message.received"}),
        (["message.*"], {"message.received", "message.status"}),
        (["contact.opted_out", "source.silent"], {"contact.opted_out", "source.silent"}),
        (
            ["subscription.*", "test.*"],
            {"subscription.failing", "subscription.disabled", "subscription.recovered", "test.ping"},
        ),
        (["*", "test.ping"], ALL),
        (["message"], set()),
        ([], set()),
    ],
)
def test_types_are_exact_names_or_prefixes_and_the_star_is_all_but_the_ping(types, expected):
    assert passed(types) == expected
    assert passed(types, vendors=[]) == expected


@pytest.mark.parametrize("pattern", ["*", "message.*", "mess*", "message.status", "test.ping", "test.*", "t*", *TYPES])
def test_a_pattern_that_names_a_known_type_is_valid(pattern):
    assert valid_type_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", "message", "Message.*", "messages.*", "**", "*.received", "message.*.x", "call.*", " *", "message.received*x"],
)
def test_a_pattern_that_names_none_is_not(pattern):
    assert not valid_type_pattern(pattern)


@pytest.mark.parametrize(
    ("filter_", "missed"),
    [
        ({"vendors": ["twilio"]}, set()),
        ({"vendors": ["sendsms", "generic"]}, {"message.received", "message.status", "contact.opted_out", "contact.opted_in", "receipt.quarantined"}),
        ({"sources": ["src_1"]}, set()),
        ({"sources": ["src_2"]}, ALL - {"subscription.failing", "subscription.disabled", "subscription.recovered", "test.ping"}),
        ({"from": ["+447700900123"]}, {"message.status"}),
        ({"from": ["+12015550100"]}, ALL - NO_MESSAGE - {"message.status"}),
        ({"from": ["+44*"]}, {"message.status"}),
        ({"from": ["+4477009001"]}, ALL - NO_MESSAGE),
        ({"from": ["+33*", "+1*"]}, ALL - NO_MESSAGE - {"message.status"}),
        ({"from": ["*"]}, set()),
        ({"to": ["+447700900123"]}, ALL - NO_MESSAGE - {"message.status"}),
        ({"to": ["+1201*", "x"]}, {"message.status"}),
        ({"countries": ["GB"]}, set()),
        ({"countries": ["gb", "FR"]}, set()),
        ({"countries": ["US"]}, ALL - NO_MESSAGE),
        ({"keywords": ["join"]}, {"contact.opted_out", "contact.opted_in"}),
        ({"keywords": ["Stop"]}, {"message.received"}),
        ({"statuses": ["delivered", "read"]}, set()),
        ({"statuses": ["undelivered"]}, {"message.status"}),
        ({"final_only": True}, set()),
        ({"final_only": False}, set()),
        ({"vendors": ["twilio"], "statuses": ["sent"]}, {"message.status"}),
        ({"vendors": [], "from": [], "keywords": []}, set()),
        ({}, set()),
    ],
)  # fmt: skip
def test_a_filter_asks_about_what_a_type_has_and_passes_what_it_lacks(filter_, missed):
    assert passed(**filter_) == ALL - missed


def test_only_final_reports_pass_when_only_they_are_wanted():
    matches = compile_matcher(["message.*"], Filter(final_only=True))
    assert matches("message.status", STATUS)
    assert not matches("message.status", STATUS | {"final": False})
    assert matches("message.received", RECEIVED)


@pytest.mark.parametrize(
    ("name", "unknown", "filter_"),
    [
        ("message.received", {"from": None}, {"from": ["*"]}),
        ("message.received", {"from": None}, {"countries": ["GB"]}),
        ("message.received", {"from": party("+447700900123", None)}, {"countries": ["GB"]}),
        ("message.received", {"keyword": None}, {"keywords": ["JOIN"]}),
        ("message.received", {"to": None}, {"to": ["+1*"]}),
        ("contact.opted_out", {"vendor": None}, {"vendors": ["twilio"]}),
    ],
)
def test_a_field_that_the_type_has_but_nobody_knows_does_not_pass(name, unknown, filter_):
    matches = compile_matcher(["*"], Filter.model_validate(filter_))
    assert matches(name, EVENTS[name])
    assert not matches(name, EVENTS[name] | unknown)


def test_a_filter_is_read_and_written_under_the_names_of_the_api():
    filter_ = Filter.model_validate({"from": ["+44*"]})
    assert filter_.from_ == ["+44*"]
    assert filter_.model_dump(by_alias=True, exclude_defaults=True) == {"from": ["+44*"]}
    assert Filter(from_=["+44*"]) == filter_


@pytest.mark.parametrize(
    "bad",
    [
        {"froms": ["+44"]},
        {"vendors": "twilio"},
        {"vendors": [""]},
        {"vendors": ["x" * 257]},
        {"vendors": ["x"] * 1001},
        {"to": [44]},
        {"final_only": "perhaps"},
    ],
)
def test_a_filter_beyond_its_bounds_is_refused(bad):
    with pytest.raises(ValidationError):
        Filter.model_validate(bad)


def test_a_filter_at_its_bounds_is_taken():
    assert Filter(vendors=["x" * 256] * 1000).vendors


@given(
    st.lists(st.sampled_from([*TYPES, "*", "message.*", "contact.*", "nothing"]), max_size=4), st.sampled_from(TYPES)
)
def test_a_filter_never_lets_through_what_its_types_leave_out(types, name):
    free, filtered = compile_matcher(types, None), compile_matcher(types, Filter(sources=["src_1"], countries=["GB"]))
    assert free(name, EVENTS[name]) or not filtered(name, EVENTS[name])
