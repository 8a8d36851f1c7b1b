"""Twilio: nothing unsigned is believed, and nothing that was altered."""

from dataclasses import replace

import pytest

from receiver.vendors import twilio
from receiver.vendors.contract import BadSignature, VendorRequest
from receiver.vendors.signatures import only
from receiver.vendors.twilio import TWILIO
from tests.vendors.test_twilio import FIXTURES, SOURCE, fixture_named


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.case)
def test_every_fixture_is_validly_signed(fixture):
    made = fixture.request(0)
    TWILIO.verify(made, SOURCE)
    bare = replace(made, headers=tuple(pair for pair in made.headers if pair[0] != b"x-twilio-signature"))
    with pytest.raises(BadSignature, match="x-twilio-signature: missing"):
        TWILIO.verify(bare, SOURCE)
    assert set(twilio.sign(bare, SOURCE).headers) == set(made.headers)


def flipped(data: bytes):
    for index in range(len(data)):
        for bit in range(8):
            yield data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]


def with_signature(made: VendorRequest, signature: bytes) -> VendorRequest:
    return replace(made, headers=((b"x-twilio-signature", signature),))


@pytest.mark.parametrize("case", ["report-sent", "inbound-json", "inbound-get"])
def test_no_bit_of_a_signed_request_can_be_flipped(case):
    made = fixture_named(case).request(0)
    signature = only(made, "x-twilio-signature").encode()
    altered = [replace(made, body=body) for body in flipped(made.body)]
    for url in flipped(made.url.encode()):
        text = url.decode("latin-1")
        altered.append(replace(made, url=text, query=text.partition("?")[2].encode("latin-1")))
    altered += [with_signature(made, other) for other in flipped(signature)]
    accepted = []
    for request_ in altered:
        try:
            TWILIO.verify(request_, SOURCE)
        except BadSignature:
            continue
        accepted.append(request_)
    # The same parameters may be written in more than one way: `%2B` and `%2b`, a blank and `+`.
    for request_ in accepted:
        assert request_.url == made.url
        assert TWILIO.parse(request_, SOURCE) == TWILIO.parse(made, SOURCE)
    assert len(accepted) <= made.body.count(b"%") * 2


def test_a_request_signed_for_one_source_is_not_anothers():
    other = replace(SOURCE, credentials={"auth_token": ("67890",)})
    with pytest.raises(BadSignature):
        TWILIO.verify(fixture_named("inbound-sms").request(0), other)
    rotated = replace(SOURCE, credentials={"auth_token": ("67890", "12345")})
    TWILIO.verify(fixture_named("inbound-sms").request(0), rotated)
