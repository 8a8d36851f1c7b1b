from contextlib import suppress
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.vendors.contract import BadPayload
from receiver.vendors.sendsms import SENDSMS, SendSmsOptions
from tests.vendors.mapped import URL, asked, item, message, report


@pytest.mark.parametrize(
    ("word", "status", "final"),
    [
        ("1", "delivered", True),
        ("2", "undelivered", True),
        ("4", "sent", False),
        ("8", "sent", False),
        ("16", "undelivered", True),
        ("3", "unknown", False),
        ("19", "unknown", False),
        ("34", "unknown", False),
        ("01", "unknown", False),
        ("delivered", "unknown", False),
    ],
)
def test_status_bits(word: str, status: str, final: bool) -> None:
    got = report(SENDSMS, asked(f"ref=ord-8841&status={word}"))
    assert (got.status, got.final, got.vendor_status) == (status, final, word)
    assert (got.client_reference, got.channel, got.reason) == ("ord-8841", "sms", None)


@pytest.mark.parametrize(
    ("ctype", "word", "channel", "final"),
    [
        ("1", "2", "sms", True),
        ("2", "2", "rcs", True),
        ("2", "16", "rcs", True),
        ("3", "1", "viber", True),
        ("3", "2", "viber", False),
        ("3", "16", "viber", False),
        ("3", "8", "viber", False),
    ],
)
def test_a_viber_failure_is_not_the_end(ctype: str, word: str, channel: str, final: bool) -> None:
    got = report(SENDSMS, asked(f"ref=x&status={word}&ctype={ctype}"))
    assert (got.channel, got.final, got.extra) == (channel, final, {})


def test_what_the_source_says_of_a_status_stands_for_viber_too() -> None:
    got = report(SENDSMS, asked("ref=x&status=2&ctype=3"), statuses={"2": {"status": "undelivered", "final": True}})
    assert got.final


def test_an_unknown_ctype_is_an_unknown_channel() -> None:
    got = report(SENDSMS, asked("ref=x&status=1&ctype=9"))
    assert (got.channel, got.extra) == (None, {"ctype": "9"})


@pytest.mark.parametrize("query", [b"ref=x&status=%d", b"ref=x&status=%25d"])
def test_a_template_sent_as_it_is_names_the_field(query: bytes) -> None:
    with pytest.raises(BadPayload, match="status: the template"):
        item(SENDSMS, asked(query))


def test_the_customers_names_are_read() -> None:
    fields = {"client_reference": "order", "status": "dlr", "to": None}
    got = report(SENDSMS, asked("order=7&dlr=1&to=40741234567&shop=2"), fields=fields)
    assert (got.client_reference, got.status, got.to) == ("7", "delivered", None)
    assert got.extra == {"to": "40741234567", "shop": "2"}


def test_setup_gives_the_template_and_the_same_encoded() -> None:
    setup = SENDSMS.setup(URL, SendSmsOptions())
    assert setup["report_url"] == f"{URL}?ref=YOUR_ID&status=%d"
    assert setup["report_url_encoded"].startswith("https%3A%2F%2Fhooks.example.com%2Fin%2F")
    assert setup["report_url_encoded"].endswith("%3Fref%3DYOUR_ID%26status%3D%25d")
    assert unquote(setup["report_url_encoded"]) == setup["report_url"]
    assert setup["report_mask"] == "31"


def test_setup_follows_the_sources_names_and_its_reports_are_understood() -> None:
    fields = {"client_reference": "my order", "status": ["dlr", "state"]}
    template = SENDSMS.setup(URL, SendSmsOptions.model_validate({"fields": fields}))["report_url"]
    called = urlsplit(template.replace("YOUR_ID", "ord-1").replace("%d", "1"))
    got = report(SENDSMS, asked(called.query.encode()), fields=fields)
    assert (got.client_reference, got.status) == ("ord-1", "delivered")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (b"message=Mul%C8%9Bumesc%2C+vin+m%C3%A2ine&charset=UTF-8", "Mulțumesc, vin mâine"),
        (b"message=%00D%00a%00+%27%13&charset=UTF-16BE", "Da ✓"),
        (b"message=%00D%00a%00%20%27%13&charset=utf-16be", "Da ✓"),
        (b"charset=UTF-16BE&message=%D8%3D%DC%4B", "👋"),
        (b"message=Caf%E9+%80&charset=8-BIT", "Café €"),
        (b"message=%81&charset=8-BIT", "\x81"),
        (b"mess%61ge=Caf%E9&charset=8-BIT", "Café"),
        (b"message=STOP+%26+dezabonare&charset=", "STOP & dezabonare"),
        (b"message=&charset=8-BIT", ""),
    ],
)
def test_the_text_is_read_in_its_charset(query: bytes, text: str) -> None:
    got = message(SENDSMS, asked(b"from=%2B40741234567&to=1898&" + query))
    assert (got.text, got.flags) == (text, ())
    assert got.from_ is not None
    assert got.to is not None
    assert (got.from_.raw, got.from_.international, got.to.raw) == ("+40741234567", True, "1898")


@pytest.mark.parametrize(
    "query", [b"message=%00D%00&charset=UTF-16BE", b"message=%D8%3D&charset=UTF-16BE", b"message=%E9&charset=KOI-7"]
)
def test_bytes_that_do_not_fit_their_charset_are_flagged(query: bytes) -> None:
    assert message(SENDSMS, asked(query)).flags == ("charset_guessed",)


def test_a_name_that_is_not_utf8_is_read_without_the_charset() -> None:
    got = message(SENDSMS, asked(b"%E9=%E9&charset=8-BIT"), fields={"text": "é"})
    assert (got.text, got.flags) == ("é", ("charset_guessed",))


def test_the_first_of_several_names_is_decoded() -> None:
    got = message(SENDSMS, asked(b"b=x&a=%80&charset=8-BIT"), fields={"text": ["a", "b"]})
    assert (got.text, got.extra) == ("€", {"b": "x", "charset": "8-BIT"})


def test_a_flag_earned_elsewhere_stays() -> None:
    assert message(SENDSMS, asked(b"message=%E9&charset=8-BIT&code=%E9")).flags == ("charset_guessed",)


def test_charset_and_group_code_are_extra() -> None:
    got = message(SENDSMS, asked("message=hi&charset=UTF-8&code=promo"))
    assert got.extra == {"charset": "UTF-8", "code": "promo"}


def test_a_report_with_a_charset_but_no_text_is_still_a_report() -> None:
    assert report(SENDSMS, asked("ref=x&status=1&charset=8-BIT")).status == "delivered"


@given(st.binary(max_size=64), st.sampled_from([b"", b"&charset=UTF-16BE", b"&charset=8-BIT", b"&charset=x&ctype=3"]))
def test_whatever_comes_is_read_or_refused(query: bytes, rest: bytes) -> None:
    for raw in (query + rest, b"message=" + query + rest, b"status=" + query + rest):
        with suppress(BadPayload):
            item(SENDSMS, asked(raw))
