"""A declared mapping: what each name of ours, and each declared status and form, makes of one request."""

import json
from typing import Any, ClassVar, get_args

import pytest

from receiver.sms.drafts import ConsentChanged, InboundPart, Media, Network, Price, Received, Reported
from receiver.sms.drafts import ReportPart as Part
from receiver.vendors.contract import BadPayload
from receiver.vendors.generic import GENERIC
from receiver.vendors.mapping_options import MappedOptions, OurName
from tests.vendors.mapped import asked, item, message

EVERY_NAME = {name: name for name in get_args(OurName)}


def one(payload: object, fields: dict[str, Any] | None = None, **options: Any) -> Any:
    return item(GENERIC, asked(body=json.dumps(payload)), fields=EVERY_NAME if fields is None else fields, **options)


def test_every_name_of_ours_reaches_a_report() -> None:
    got = one(
        {
            "vendor_message_id": 2**64,
            "client_reference": "order 7",
            "batch_id": "b1",
            "from": "ACME",
            "to": "+447700900123",
            "status": "D",
            "vendor_code": 34,
            "vendor_description": "Handset error",
            "permanent": False,
            "occurred_at": "2026-11-20T14:47:03.123Z",
            "sequence": "3",
            "segments": "2",
            "part_id": "p9",
            "part_number": 1,
            "part_total": 2,
            "price": "0.0182",
            "currency": "GBP",
            "mcc": "234",
            "mnc": "10",
            "network_name": "O2",
            "channel": "RCS",
        },
        statuses={"D": {"status": "undelivered", "reason": "handset_error"}},
    )
    assert got == Reported(
        status="undelivered",
        final=True,
        reason="handset_error",
        permanent=False,
        vendor_message_id="18446744073709551616",
        client_reference="order 7",
        batch_id="b1",
        channel="rcs",
        from_=got.from_,
        to=got.to,
        vendor_status="D",
        vendor_code="34",
        vendor_description="Handset error",
        occurred_at=1_795_186_023_123_000,
        sequence="3",
        segments=2,
        part=Part(id="p9", number=1, total=2),
        price=Price(amount="0.0182", currency="GBP"),
        network=Network(mcc="234", mnc="10", name="O2"),
    )
    assert (got.from_.raw, got.to.raw) == ("ACME", "+447700900123")


def test_every_name_of_ours_reaches_a_message() -> None:
    got = one(
        {
            "vendor_message_id": "m1",
            "client_reference": "order 7",
            "from": "+447700900123",
            "to": "60777",
            "cc": "+447700900124, +447700900125;",
            "text": " hi ",
            "sent_at": "2026-11-20T14:47:03Z",
            "keyword": "hi",
            "segments": 1,
            "media_url": ["https://m.example/1", "https://m.example/2"],
            "media_type": ["image/png"],
            "part_reference": "77",
            "part_number": "2",
            "part_total": "3",
            "price": 0.01,
            "currency": "EUR",
            "mcc": "234",
            "channel": "mms",
        }
    )
    assert got == Received(
        vendor_message_id="m1",
        client_reference="order 7",
        channel="mms",
        from_=got.from_,
        to=got.to,
        cc=got.cc,
        text=" hi ",
        media=[Media(url="https://m.example/1", content_type="image/png"), Media(url="https://m.example/2")],
        segments=1,
        part=InboundPart(reference="77", number=2, total=3),
        keyword="hi",
        price=Price(amount="0.01", currency="EUR"),
        network=Network(mcc="234"),
        sent_at=1_795_186_023_000_000,
    )
    assert [party.raw.strip() for party in got.cc] == ["+447700900124", "+447700900125"]


def test_an_opt_out_tells_who_and_where() -> None:
    got = one(
        {
            "opt_out": "yes",
            "from": "+447700900123",
            "to": "60777",
            "keyword": "STOP",
            "vendor_message_id": "n1",
            "occurred_at": "1795186023",
            "text": "STOP",
            "status": "ok",
            "campaign": "spring",
        }
    )
    assert isinstance(got, ConsentChanged)
    assert (got.opted_out, got.scope, got.keyword, got.vendor_id, got.occurred_at) == (
        True,
        "unknown",
        "STOP",
        "n1",
        1_795_186_023_000_000,
    )
    assert got.number is not None
    assert got.sender is not None
    assert (got.number.raw, got.sender.raw) == ("+447700900123", "60777")
    assert got.extra == {"text": "STOP", "status": "ok", "campaign": "spring"}


def test_an_opt_out_of_nobody_is_not_understood() -> None:
    with pytest.raises(BadPayload, match="from: missing"):
        one({"opt_out": "1", "from": "  "})


@pytest.mark.parametrize("no", ["", " ", "0", "false", "No", False, 0, None, [], {}])
def test_a_field_that_says_no_opts_nobody_out(no: object) -> None:
    assert isinstance(one({"opt_out": no, "from": "+447700900123", "text": "hi"}), Received)


@pytest.mark.parametrize("yes", ["1", "STOP", "true", True, 1, ["sms"], {"at": 1}])
def test_any_other_value_opts_out(yes: object) -> None:
    assert isinstance(one({"opt_out": yes, "from": "+447700900123"}), ConsentChanged)


def test_a_status_makes_a_report_even_where_the_text_is_echoed() -> None:
    got = one({"status": "x", "text": "hi"})
    assert isinstance(got, Reported)
    assert got.extra == {"text": "hi"}


@pytest.mark.parametrize("status", [None, "", "  "])
def test_an_empty_status_is_none(status: str | None) -> None:
    assert isinstance(one({"status": status, "text": ""}), Received)


def test_an_empty_text_is_a_message_and_a_missing_one_is_not() -> None:
    assert one({"text": "", "from": "+447700900123"}).text == ""
    with pytest.raises(BadPayload, match="status, text, opt_out"):
        one({"from": "+447700900123"})


def test_a_file_without_text_is_a_message() -> None:
    got = one({"media_url": "https://m.example/1", "media_type": "image/png"})
    assert (got.text, got.channel, got.media) == (
        "",
        "mms",
        [Media(url="https://m.example/1", content_type="image/png")],
    )


def test_names_are_tried_in_order_literally_then_as_a_path() -> None:
    fields = {"text": ["body.text", "message"], "from": "data.0.from"}
    assert one({"body.text": "literal", "body": {"text": "path"}, "message": "last"}, fields).text == "literal"
    assert one({"body": {"text": "path"}, "message": "last"}, fields).text == "path"
    assert one({"body": {"text": ""}, "message": "last"}, fields).text == "last"
    assert one({"data": [{"from": "ACME"}], "message": ""}, fields).from_.raw == "ACME"


def test_null_takes_a_default_away_and_a_name_replaces_it() -> None:
    class Usual(MappedOptions):
        DEFAULT_FIELDS: ClassVar = {"status": ("state",), "to": ("msisdn",)}
        DEFAULT_STATUSES: ClassVar = {"D": ("delivered", True, None), "F": ("failed", True, None)}

    options = Usual.model_validate({"fields": {"status": None, "text": "msg"}, "statuses": {"F": None, "E": "expired"}})
    assert options.names == {"to": ("msisdn",), "text": ("msg",)}
    assert options.verdicts == {"D": ("delivered", True, None), "E": ("expired", True, None)}


@pytest.mark.parametrize(
    ("word", "final"),
    [("accepted", False), ("sent", False), ("unknown", False), ("delivered", True), ("read", True)]
    + [(word, True) for word in ("undelivered", "rejected", "expired", "failed", "canceled")],
)
def test_a_status_brings_its_usual_finality(word: str, final: bool) -> None:
    assert one({"status": "W"}, statuses={"W": word}).final is final
    assert one({"status": "W"}, statuses={"W": {"status": word, "final": not final}}).final is not final


def test_a_word_that_is_not_listed_is_unknown_and_not_final() -> None:
    got = one({"status": "Weird"}, statuses={"WEIRD": "delivered"})
    assert (got.status, got.final, got.vendor_status) == ("unknown", False, "Weird")


def test_a_reason_of_opted_out_opts_the_recipient_out() -> None:
    assert one({"status": "X"}, statuses={"X": {"status": "rejected", "reason": "opted_out"}}).opted_out == "unknown"
    assert one({"status": "X"}, statuses={"X": {"status": "rejected", "reason": "blocked"}}).opted_out is None


@pytest.mark.parametrize("raw", ["%d", "{status}", "{{status}}", "@{{ status }}"])
def test_a_placeholder_that_came_back_is_not_a_status(raw: str) -> None:
    with pytest.raises(BadPayload, match="dlr: the template's placeholder"):
        one({"dlr": raw}, {"status": "dlr"})


@pytest.mark.parametrize("ours", ["vendor_message_id", "client_reference", "batch_id"])
@pytest.mark.parametrize("raw", ["%d", "{id}", "{{id}}", "@{{ id }}", "YOUR_ID"])
def test_a_placeholder_that_came_back_names_no_message(ours: str, raw: str) -> None:
    """It is the same in every request: all of them would be about one message, and repeats of each other."""
    got = one({"status": "delivered", ours: raw})
    assert getattr(got, ours) is None
    assert got.extra == {ours: raw}


@pytest.mark.parametrize("reference", ["{3F2504E0-4F89-11D3-9A0C-0305E82C3301}", "50%discount", "a{b}", "{}"])
def test_a_reference_with_braces_or_percent_signs_is_one(reference: str) -> None:
    assert one({"status": "x", "client_reference": reference}).client_reference == reference


@pytest.mark.parametrize(
    ("form", "text", "at"),
    [
        (None, "2026-11-20T14:47:03Z", 1_795_186_023_000_000),
        (None, "1795186023", 1_795_186_023_000_000),
        (None, "2026-11-20 14:47:03", None),
        ("iso", "2026-11-20T15:47:03+01:00", 1_795_186_023_000_000),
        ("iso", "1795186023", None),
        ("unix", "1795186023", 1_795_186_023_000_000),
        ("unix", "2026-11-20T14:47:03Z", None),
        ("unix_ms", "1795186023123", 1_795_186_023_123_000),
        ("%d/%m/%y %H:%M:%S %z", "20/11/26 14:47:03 +0000", 1_795_186_023_000_000),
        ("%d/%m/%y %H:%M:%S", "20/11/26 14:47:03", None),
        ("%d/%m/%y %H:%M:%S", "yesterday", None),
    ],
)
def test_a_time_is_read_in_the_declared_form_or_stays_in_extra(form: str | None, text: str, at: int | None) -> None:
    got = one({"status": "x", "occurred_at": text}, time_format=form)
    assert got.occurred_at == at
    assert got.extra == ({} if at else {"occurred_at": text})


def test_the_sources_zone_serves_times_without_one() -> None:
    got = one({"status": "x", "occurred_at": "2026-11-20 15:47:03"}, timezone="Europe/Paris")
    assert got.occurred_at == 1_795_186_023_000_000


def test_a_message_takes_either_time() -> None:
    assert one({"text": "hi", "occurred_at": "1795186023"}).sent_at == 1_795_186_023_000_000


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("segments", "many", "segments"),
        ("segments", "٣", "segments"),
        ("segments", 0, "segments"),
        ("price", "1,20", "price"),
        ("price", "NaN", "price"),
        ("permanent", "perhaps", "permanent"),
        ("channel", "7", "channel"),
        ("sequence", "9" * 19, "sequence"),
        ("segments", [2], "segments"),
        ("price", {"amount": "1.20"}, "price"),
        ("permanent", {"value": True}, "permanent"),
        ("occurred_at", {"unix": 1795186023}, "occurred_at"),
        ("vendor_code", [30003], "vendor_code"),
        ("vendor_description", {"en": "Absent"}, "vendor_description"),
        ("mcc", [234], "network"),
        ("part_number", {"of": 2}, "part"),
    ],
)
def test_a_side_value_of_an_odd_form_costs_nothing_else(name: str, value: object, where: str) -> None:
    got = one({"status": "x", name: value})
    assert getattr(got, where) is None
    assert got.extra == ({} if value == 0 else {name: value})


@pytest.mark.parametrize("name", ["vendor_message_id", "client_reference", "to", "status"])
def test_what_decides_must_be_text(name: str) -> None:
    with pytest.raises(BadPayload, match=f"{name}: text is due, a list came"):
        one({"status": "x", name: ["1"]})


def test_a_currency_that_is_no_iso_code_is_the_vendors_credits() -> None:
    got = one({"status": "x", "price": "2", "currency": "credits"})
    assert got.price == Price(amount="2")
    assert got.extra == {"currency": "credits"}


@pytest.mark.parametrize(
    "part",
    [
        {"part_reference": "1", "part_number": "0", "part_total": "2"},
        {"part_reference": "1", "part_number": "3", "part_total": "2"},
        {"part_reference": "1", "part_number": "1", "part_total": "256"},
        {"part_reference": "1", "part_number": "1"},
        {"part_number": "1", "part_total": "2"},
    ],
)
def test_an_impossible_part_is_a_message_of_its_own(part: dict[str, str]) -> None:
    got = one({"text": "hi", **part})
    assert got.part is None
    assert got.extra == part


def test_one_part_of_one_is_no_part() -> None:
    got = one({"text": "hi", "part_reference": "1", "part_number": "1", "part_total": "1"})
    assert (got.part, got.extra) == (None, {})


@pytest.mark.parametrize(
    ("udh", "reference"), [("050003CC0201", "204"), ("0608040A1B0201", "2587"), ("0605040B8423F0", None), ("x", None)]
)
def test_a_user_data_header_tells_the_place_of_a_part(udh: str, reference: str | None) -> None:
    got = one({"text": "hi", "udh": udh})
    assert got.part == (InboundPart(reference=reference, number=1, total=2) if reference else None)
    assert got.extra == ({} if reference else {"udh": udh})


def test_a_header_of_one_part_is_no_part_and_named_parts_come_first() -> None:
    assert one({"text": "hi", "udh": "050003CC0101"}).part is None
    got = one({"text": "hi", "udh": "050003CC0201", "part_reference": "7", "part_number": "2", "part_total": "3"})
    assert got.part == InboundPart(reference="7", number=2, total=3)


def test_one_name_is_the_person_at_either_end() -> None:
    fields = {"from": ["sender", "num"], "to": ["num", "service"], "status": "state", "text": "msg"}
    sent = one({"state": "x", "num": "+447700900123"}, fields)
    came = one({"msg": "x", "num": "+447700900123", "service": "60777"}, fields)
    assert (sent.from_, sent.to.raw) == (None, "+447700900123")
    assert (came.from_.raw, came.to.raw) == ("+447700900123", "60777")


def test_a_blank_that_was_a_plus_sign_is_kept() -> None:
    got = message(GENERIC, asked(b"n=+447700900123&t=hi"), fields={"from": "n", "text": "t"})
    assert got.from_ is not None
    assert got.from_.raw == " 447700900123"


def test_international_digits_are_marked_as_such() -> None:
    payload = {"text": "hi", "from": "447700900123", "cc": ["447700900124"]}
    got = one(payload, international=True)
    assert (got.from_.international, got.cc[0].international) == (True, True)
    assert one(payload).from_.international is False


def test_what_no_name_asks_for_is_extra_without_empty_rests() -> None:
    fields = {"text": "data.msg.body", "from": "data.from", "to": "list.0.to", "client_reference": "list.1"}
    payload = {
        "data": {"msg": {"body": "hi"}, "from": "ACME"},
        "list": [{"to": "60777"}, "ref", "more"],
        "a": "",
        "b": 0,
    }
    assert one(payload, fields).extra == {"list": [{}, None, "more"], "b": 0}
    assert one({"data": {"msg": {"body": "hi", "lang": "en"}}}, fields).extra == {"data": {"msg": {"lang": "en"}}}
    assert one({"data": {"msg": {"body": "hi"}}, "list": [0, "ref"]}, fields).extra == {}


def test_extra_keeps_the_vendors_order() -> None:
    payload = {"a": {"b": {"text": "hi", "y": 1}, "c": 1, "d": {"from": "ACME", "x": 1}, "e": 1}, "f": 1}
    got = one(payload, {"from": "a.d.from", "text": "a.b.text"})
    assert json.dumps(got.extra) == '{"a": {"b": {"y": 1}, "c": 1, "d": {"x": 1}, "e": 1}, "f": 1}'


def test_overlapping_names_leave_nothing_twice() -> None:
    fields = {"opt_out": "stop", "from": "stop.number"}
    got = one({"stop": {"number": "+447700900123"}, "x": 1}, fields)
    assert got.number.raw == "+447700900123"
    assert got.extra == {"x": 1}
