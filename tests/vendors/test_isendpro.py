from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.drafts import ConsentChanged
from receiver.vendors.contract import BadPayload
from receiver.vendors.isendpro import ISENDPRO, ISendProOptions
from tests.vendors.mapped import FORM, URL, asked, item, message, report


def test_tracker_is_the_senders_reference_and_a_code_means_nothing_by_itself() -> None:
    got = report(ISENDPRO, asked("tracker=c0ffee12345678&num=33601020304&statut=1&date=2024-05-13+14%3A22%3A07"))
    assert (got.client_reference, got.status, got.final, got.vendor_status) == ("c0ffee12345678", "unknown", False, "1")
    assert got.to is not None
    assert (got.to.raw, got.to.international, got.from_) == ("33601020304", False, None)
    assert (got.occurred_at, got.extra) == (None, {"date": "2024-05-13 14:22:07"})


@pytest.mark.parametrize("code", ["0", "1", "2", "11", "16", "21", "DELIVRD"])
def test_no_code_is_guessed(code: str) -> None:
    assert report(ISENDPRO, asked(f"tracker=t&statut={code}")).status == "unknown"


def test_the_source_says_what_codes_and_times_mean() -> None:
    got = report(
        ISENDPRO,
        asked("tracker=t&tel=0601020305&statut=2&date=2024-05-13+14:25:40"),
        statuses={"2": {"status": "undelivered", "reason": "absent"}},
        timezone="Europe/Paris",
    )
    assert (got.status, got.final, got.reason) == ("undelivered", True, "absent")
    assert got.occurred_at == 1_715_603_140_000_000


@pytest.mark.parametrize("name", ["statut", "status", "etat", "code", "dlr"])
@pytest.mark.parametrize("number", ["num", "tel", "numero", "destinataire", "to"])
def test_usual_names_of_a_receipt(name: str, number: str) -> None:
    got = report(ISENDPRO, asked(f"{number}=33601020304&{name}=9"))
    assert got.to is not None
    assert (got.to.raw, got.vendor_status) == ("33601020304", "9")


def test_a_tracker_without_a_known_status_is_an_unknown_report() -> None:
    got = report(ISENDPRO, asked("tracker=t&num=33601020304&resultat=OK"))
    assert (got.status, got.final, got.vendor_status, got.extra) == ("unknown", False, None, {"resultat": "OK"})


def test_without_tracker_status_or_text_nothing_is_understood() -> None:
    with pytest.raises(BadPayload, match="none of them came"):
        item(ISENDPRO, asked("tracker=&num=33601020304"))


@pytest.mark.parametrize("name", ["sms", "message", "texte", "reponse", "text"])
@pytest.mark.parametrize("form", [False, True])
def test_usual_names_of_a_reply(name: str, form: bool) -> None:
    pairs = f"num=33601020304&{name}=Oui%20%C3%A0%2010h&tracker=t"
    got = message(ISENDPRO, asked(body=pairs, content_type=FORM) if form else asked(pairs, method="GET"))
    assert got.from_ is not None
    assert (got.text, got.from_.raw, got.to, got.client_reference) == ("Oui à 10h", "33601020304", None, "t")


def test_a_reply_tells_both_ends_where_both_came() -> None:
    got = message(ISENDPRO, asked("num=0601020308&destinataire=38015&message=x"))
    assert got.from_ is not None
    assert got.to is not None
    assert (got.from_.raw, got.to.raw) == ("0601020308", "38015")


def test_latin_bytes_are_read_and_flagged() -> None:
    got = message(ISENDPRO, asked(b"num=0601020308&message=Caf%E9"))
    assert (got.text, got.flags) == ("Café", ("charset_guessed",))


def test_the_stop_url_opts_the_number_out() -> None:
    stop = ISENDPRO.setup(URL, ISendProOptions())["stop_url"].partition("?")[2]
    got = item(ISENDPRO, asked(f"{stop}&num=33601020310"))
    assert isinstance(got, ConsentChanged)
    assert got.number is not None
    assert (got.opted_out, got.number.raw, got.scope, got.extra) == (True, "33601020310", "unknown", {})


def test_names_are_the_sources_to_change() -> None:
    got = report(
        ISENDPRO,
        asked("ref=7&resultat=OK"),
        fields={"client_reference": "ref", "status": "resultat"},
        statuses={"OK": "delivered"},
    )
    assert (got.client_reference, got.status) == ("7", "delivered")


@given(st.binary(max_size=64), st.binary(max_size=64), st.text(st.characters(codec="latin-1"), max_size=32))
def test_whatever_comes_is_read_or_refused(query: bytes, body: bytes, content_type: str) -> None:
    with suppress(BadPayload):
        item(ISENDPRO, asked(query, body, content_type=content_type))
