"""Whatever bytes a caller sends to whichever vendor: events, quarantine or a refusal, and one receipt for each success."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from receiver.fixtures import load_all
from receiver.sms.events import EVENT_MODELS
from receiver.vendors import VENDORS
from receiver.vendors.contract import BadSignature, Source, VendorRequest
from tests.pipeline import START, TOKEN, Pipeline, generic_source, pipeline, scope_of, whole

FIXTURES = {name: [item for item in load_all() if item.vendor == name] for name in VENDORS}
NAMES = ("text", "status", "from", "to", "vendor_message_id", "opt_out", "sent_at", "sequence", "part_total", "part_number",
         "media_url", "MessageSid", "Body", "From", "To", "MessageStatus", "ErrorCode", "NumSegments", "MediaUrl0",
         "CallSid", "OptOutType", "MessagingServiceSid", "messageid", "id", "mobile", "message", "date", "deliv_at",
         "number", "shortcode", "event", "payload", "receiver", "type", "value", "challenge", "validation_key", "charset",
         "content", "destination", "sender", "reply", "batchid", "keyword", "status_code")  # fmt: skip

words = some.text(max_size=30) | some.sampled_from(
    [
        "STOP",
        "0",
        "null",
        "",
        "447700900123",
        "delivered",
        "1",
        "2023-11-14T22:00:00Z",
        "\x00",
        "\ud800",
        "9" * 400,
        "%d",
    ]
)
scalars = words | some.integers() | some.floats() | some.booleans() | some.none()
documents = some.recursive(
    some.dictionaries(some.sampled_from(NAMES) | words, scalars, max_size=8),
    lambda inner: (
        some.lists(inner | scalars, max_size=4) | some.dictionaries(some.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


def as_json(document: object) -> bytes:
    import json

    return json.dumps(document).encode()


def as_form(pairs: list[tuple[str, str]]) -> bytes:
    from urllib.parse import quote_plus

    return "&".join(f"{name}={quote_plus(value.encode('utf-8', 'surrogatepass'))}" for name, value in pairs).encode()


forms = some.lists(some.tuples(some.sampled_from(NAMES), words), max_size=8).map(as_form)
content_types = some.sampled_from(
    [b"application/json", b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; charset=utf-16",
     b"multipart/form-data; boundary=B", b"multipart/form-data", b"text/plain; charset=idna", b"text/xml", b""]
)  # fmt: skip
headers = some.lists(
    some.tuples(some.sampled_from([b"authorization", b"x-twilio-signature", b"content-length", b"x", b"content-encoding"]),
                some.binary(max_size=20)), max_size=2,
)  # fmt: skip


@some.composite
def requests(draw: Any, vendor: str) -> tuple[str, bytes, list[tuple[bytes, bytes]], bytes]:
    """Method, query, headers and body: of pure noise, of names in odd places, or nearly those of a fixture."""
    methods = some.sampled_from(VENDORS[vendor].methods) | some.sampled_from(["HEAD", "DELETE", "POST"])
    kind = draw(some.sampled_from(["noise", "json", "form", "fixture"]))
    if kind == "fixture" and FIXTURES[vendor]:
        fixture = draw(some.sampled_from(FIXTURES[vendor])).request(START)
        return fixture.method, mangled(draw, fixture.query), [*fixture.headers], mangled(draw, fixture.body)
    body = draw({"json": documents.map(as_json), "form": forms}.get(kind, some.binary(max_size=200)))
    query = draw(some.just(b"") | forms | some.binary(max_size=40))
    return draw(methods), query, [(b"content-type", draw(content_types)), *draw(headers)], body


def mangled(draw: Any, data: bytes) -> bytes:
    """As it is, or with a few bytes taken out, put in or put in the place of others."""
    for _ in range(draw(some.integers(0, 3))):
        at = draw(some.integers(0, len(data)))
        data = data[:at] + draw(some.binary(max_size=4)) + data[at + draw(some.integers(0, 6)) :]
    return data


def source_for(vendor: str) -> Source:
    if vendor == "generic":
        return generic_source()
    credentials: Mapping[str, tuple[str, ...]] = {"auth_token": ("token",)} if vendor == "twilio" else {}
    return Source(
        id=f"src_{vendor}", vendor=vendor, name="", credentials=credentials, options=VENDORS[vendor].options()
    )


def signed(vendor: str, source: Source, request: VendorRequest) -> VendorRequest:
    sign = VENDORS[vendor].sign
    try:
        return sign(request, source) if sign is not None else request
    except BadSignature:
        return request


@contextmanager
def running(folder: Path) -> Iterator[tuple[asyncio.Runner, Pipeline]]:
    """One pipeline for all examples, on a loop of its own."""
    with asyncio.Runner() as runner:
        way = pipeline(folder)
        try:
            yield runner, runner.run(way.__aenter__())
        finally:
            runner.run(way.__aexit__(None, None, None))


async def asked(way: Pipeline, vendor: str, request: VendorRequest) -> int:
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return whole(request.body)

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/in/{vendor}/{TOKEN}".encode()
    await way.intake(scope_of(request.method, path, request.query, request.headers), receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return int(sent[0]["status"])


async def check_event(way: Pipeline, event_id: str) -> None:
    ((body,),) = await way.fetch("SELECT body FROM events WHERE id = ?", event_id)
    event = orjson.loads(body)
    assert EVENT_MODELS[event["type"]].model_validate(event).model_dump(by_alias=True) == event
    assert len(body.encode()) <= 64 * 1024
    assert "\x00" not in str(event)
    assert {name for name, value in event["data"].items() if value == "" and name != "text"} == set()


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_any_request_is_an_event_quarantine_or_a_refusal(tmp_path: Path, vendor: str):
    source = source_for(vendor)
    with running(tmp_path) as (runner, way):
        way.doors.open(source, VENDORS[vendor])

        @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests(vendor), some.booleans())
        def check(given_request: tuple[str, bytes, list[tuple[bytes, bytes]], bytes], sign: bool) -> None:
            method, query, lines, body = given_request
            target = f"/in/{vendor}/{TOKEN}" + (f"?{query.decode('latin-1')}" if query else "")
            request = VendorRequest(
                method=method, url=f"https://hooks.example.com{target}", query=query, headers=lines, body=body,
                peer="203.0.113.9", received_at=way.now,
            )  # fmt: skip
            before = len(way.recorded)
            status = runner.run(asked(way, vendor, signed(vendor, source, request) if sign else request))
            mine = way.recorded[before:]
            assert status == 200 or 400 <= status < 500
            assert len(mine) == (1 if status == 200 and method != "HEAD" else 0)
            for recorded in mine:
                assert recorded.receipt.body == body
                assert "the adapter failed" not in (recorded.receipt.note or "")
                assert "could not be recorded" not in (recorded.receipt.note or "")
                for event_id, _ in recorded.events:
                    runner.run(check_event(way, event_id))

        check()
