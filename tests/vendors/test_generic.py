from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from receiver.sms.drafts import ConsentChanged
from receiver.vendors.contract import BadPayload, BadSignature
from receiver.vendors.generic import GENERIC, GenericOptions
from tests.vendors.mapped import FORM, asked, item, message, report, source

FIELDS = {"from": "msisdn", "to": "service", "text": "body", "status": "state", "opt_out": "stop"}


def test_a_source_that_declares_nothing_understands_nothing() -> None:
    with pytest.raises(BadPayload, match="none of them came"):
        item(GENERIC, asked("status=delivered&text=hi&from=1"))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_query_form_and_json_say_the_same(method: str) -> None:
    pairs = "msisdn=%2B447700900123&service=60777&body=caf%C3%A9"
    document = '{"msisdn":"+447700900123","service":60777,"body":"café"}'
    requests = [
        asked(pairs, method=method),
        asked(body=pairs, content_type=FORM, method=method),
        asked(body=document, content_type="text/plain", method=method),
    ]
    first, *others = [message(GENERIC, request, fields=FIELDS) for request in requests]
    assert first.text == "café"
    assert others == [first, first]


def test_a_declared_word_makes_a_report() -> None:
    got = report(GENERIC, asked("state=16&msisdn=ACME"), fields=FIELDS, statuses={"16": {"status": "undelivered"}})
    assert (got.status, got.final, got.vendor_status) == ("undelivered", True, "16")


def test_a_declared_opt_out_is_one() -> None:
    assert isinstance(item(GENERIC, asked("stop=1&msisdn=%2B447700900123"), fields=FIELDS), ConsentChanged)


def test_latin_bytes_are_read_and_flagged() -> None:
    got = message(GENERIC, asked(b"body=caf%E9"), fields=FIELDS)
    assert (got.text, got.flags) == ("café", ("charset_guessed",))


@pytest.mark.parametrize("value", ["Bearer s3cret", "bearer s3cret", "s3cret"])
def test_the_secret_opens_with_or_without_the_word_bearer(value: str) -> None:
    GENERIC.verify(asked(authorization=value), source(GENERIC, "s3cret"))


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer wrong", "S3cret", "Basic s3cret", "s3cret s3cret"])
def test_a_wrong_secret_is_refused(value: str) -> None:
    with pytest.raises(BadSignature):
        GENERIC.verify(asked(authorization=value), source(GENERIC, "s3cret"))


def test_a_missing_secret_is_refused() -> None:
    with pytest.raises(BadSignature, match="missing"):
        GENERIC.verify(asked(), source(GENERIC, "s3cret"))


def test_without_a_credential_nothing_is_asked() -> None:
    GENERIC.verify(asked(), source(GENERIC))


def test_either_secret_opens_during_rotation() -> None:
    for value in ("old", "new"):
        GENERIC.verify(asked(authorization=value), source(GENERIC, ("new", "old")))


def test_the_secret_is_looked_for_in_the_named_header_only() -> None:
    named = source(GENERIC, "s3cret", secret_header="X-Api-Key")
    GENERIC.verify(asked(x_api_key="s3cret"), named)
    with pytest.raises(BadSignature, match="x-api-key: missing"):
        GENERIC.verify(asked(authorization="s3cret"), named)


@pytest.mark.parametrize("header", ["authorization", "X-Api-Key"])
def test_a_signed_request_is_one_that_verifies(header: str) -> None:
    named = source(GENERIC, "s3cret", secret_header=header)
    unsigned = asked(b"body=hi", **{header.lower(): "wrong"})
    assert GENERIC.sign is not None
    signed = GENERIC.sign(unsigned, named)
    GENERIC.verify(signed, named)
    assert (signed.query, signed.body) == (unsigned.query, unsigned.body)


def test_without_a_secret_signing_changes_nothing() -> None:
    assert GENERIC.sign is not None
    request = asked(b"body=hi")
    assert GENERIC.sign(request, source(GENERIC)) is request


@pytest.mark.parametrize("header", ["", "x y", "x:", "x\r\ny", "é"])
def test_a_header_name_that_http_does_not_know_is_refused(header: str) -> None:
    with pytest.raises(ValidationError):
        GenericOptions(secret_header=header)


@given(st.binary(max_size=64), st.binary(max_size=64), st.text(st.characters(codec="latin-1"), max_size=32))
def test_whatever_comes_is_read_or_refused(query: bytes, body: bytes, content_type: str) -> None:
    with suppress(BadPayload):
        item(GENERIC, asked(query, body, content_type=content_type), fields=FIELDS)
