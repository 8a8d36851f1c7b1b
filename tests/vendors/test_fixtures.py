"""Every fixture through the whole way in: its answer, its receipt and its events; and what must be refused."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from receiver.fixtures import Fixture, load_all
from receiver.sms.events import EVENT_MODELS
from receiver.sms.timestamps import from_text
from receiver.vendors import VENDORS
from receiver.vendors.bodies import split_form
from receiver.vendors.contract import BadSignature, VendorRequest
from tests.pipeline import source_of, without_our_ids
from tests.rewrite_fixtures import play

FIXTURES = load_all()
SIGNED = [fixture for fixture in FIXTURES if VENDORS[fixture.vendor].sign and fixture.expected.credentials]


def named(fixture: Fixture) -> str:
    return fixture.name


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
async def test_becomes_what_its_expectation_says(fixture: Fixture):
    answered = await play(fixture)
    expected = fixture.expected
    assert answered.receipt is not None
    assert (answered.receipt.outcome, answered.receipt.note) == (expected.outcome, expected.note)
    assert answered.status == expected.answer.status
    assert answered.headers.get("content-type") == expected.answer.content_type
    assert answered.body.decode() == expected.answer.body
    assert [without_our_ids(event) for event in answered.events] == expected.events


@pytest.mark.parametrize("fixture", FIXTURES, ids=named)
async def test_events_are_the_public_models_to_the_letter(fixture: Fixture):
    answered = await play(fixture)
    for event in answered.events:
        model = EVENT_MODELS[event["type"]].model_validate(event)
        assert model.model_dump(by_alias=True) == event
        assert list(model.model_dump(by_alias=True)["data"]) == list(event["data"])


def test_every_vendor_has_fixtures_of_each_kind_it_is_capable_of():
    for vendor in VENDORS.values():
        mine = [fixture for fixture in FIXTURES if fixture.vendor == vendor.name]
        types = [event["type"] for fixture in mine for event in fixture.expected.events]
        if "inbound" in vendor.capabilities:
            assert types.count("message.received") >= 3, vendor.name
        if "reports" in vendor.capabilities:
            assert types.count("message.status") >= 3, vendor.name
        if "opt_outs" in vendor.capabilities:
            assert "contact.opted_out" in types, vendor.name
        outcomes = {fixture.expected.outcome for fixture in mine}
        assert {"stored", "duplicate", "quarantined"} <= outcomes, vendor.name


def test_length_headers_are_true_so_that_a_fixture_is_a_request_as_it_travels():
    for fixture in FIXTURES:
        head, _, body = fixture.raw.partition(b"\r\n\r\n")
        lengths = [
            line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        ]
        assert [int(length) for length in lengths] == ([len(body)] if body or lengths else []), fixture.name


def verified(request: VendorRequest, fixture: Fixture) -> bool:
    vendor = VENDORS[fixture.vendor]
    try:
        vendor.verify(request, source_of(fixture))
    except BadSignature:
        return False
    return True


@pytest.mark.parametrize("fixture", SIGNED, ids=named)
def test_a_signed_request_passes_and_sign_makes_it_anew(fixture: Fixture):
    request = fixture.request(from_text(fixture.expected.received_at))
    sign = VENDORS[fixture.vendor].sign
    assert sign is not None
    assert verified(request, fixture)
    assert verified(sign(replace(request, headers=()), source_of(fixture)), fixture)


def every_bit_flipped(data: bytes, start: int = 0) -> Iterator[bytes]:
    for position, bit in product(range(start, len(data)), range(8)):
        changed = bytearray(data)
        changed[position] ^= 1 << bit
        yield bytes(changed)


SIGNS_CONTENT = [fixture for fixture in SIGNED if VENDORS[fixture.vendor].signs_url]


@pytest.mark.parametrize("fixture", SIGNS_CONTENT, ids=named)
def test_one_changed_bit_of_the_url_is_refused(fixture: Fixture):
    request = fixture.request(from_text(fixture.expected.received_at))
    for url in every_bit_flipped(request.url.encode()):
        changed = replace(request, url=url.decode("latin-1"), query=url.partition(b"?")[2])
        assert not verified(changed, fixture), url


@pytest.mark.parametrize("fixture", SIGNS_CONTENT, ids=named)
def test_one_changed_bit_of_the_body_is_refused_unless_it_says_the_same(fixture: Fixture):
    """`%2b` for `%2B` is another body with the same parameters, and those are what is signed."""
    request = fixture.request(from_text(fixture.expected.received_at))
    same = [body for body in every_bit_flipped(request.body) if verified(replace(request, body=body), fixture)]
    assert [body.lower() for body in same] == [request.body.lower()] * len(same)
    assert [split_form(body) for body in same] == [split_form(request.body)] * len(same)


@pytest.mark.parametrize("fixture", SIGNED, ids=named)
def test_one_changed_bit_of_the_header_that_proves_it_is_refused(fixture: Fixture):
    vendor, source = VENDORS[fixture.vendor], source_of(fixture)
    request = fixture.request(from_text(fixture.expected.received_at))
    assert vendor.sign is not None
    proof, value = vendor.sign(replace(request, headers=()), source).headers[-1]
    start = len(b"Bearer ") if value.startswith(b"Bearer ") else 0
    headers = [pair for pair in request.headers if pair[0] != proof]
    for forged in every_bit_flipped(value, start):
        assert not verified(replace(request, headers=[*headers, (proof, forged)]), fixture), forged


@pytest.mark.parametrize("fixture", SIGNED, ids=named)
def test_without_its_proof_it_is_refused(fixture: Fixture):
    request = fixture.request(from_text(fixture.expected.received_at))
    assert not verified(replace(request, headers=()), fixture)
