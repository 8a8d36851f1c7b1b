"""Who may call: networks, HTTP Basic, the vendor's own proof; and what is told of those who may not."""

import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from receiver.fixtures import find
from receiver.vendors import VENDORS
from tests.pipeline import JSON, TOKEN, Pipeline, pipeline, source_of, whole

PATH = f"/in/generic/{TOKEN}".encode()
BODY = b'{"vendor_message_id": "m1", "text": "hello"}'
BASIC = {"username": "ánna", "password": "pä:ss wörd🔑"}


async def ask(
    way: Pipeline, *headers: tuple[bytes, bytes], peer: str | None = "203.0.113.9"
) -> tuple[int, dict[bytes, bytes]]:
    sent = await way.ask("POST", PATH, [whole(BODY)], headers=[*JSON, *headers], peer=peer)
    return sent[0]["status"], dict(sent[0]["headers"])


def basic(text: str | bytes, scheme: str = "Basic") -> tuple[bytes, bytes]:
    raw = text if isinstance(text, bytes) else text.encode()
    return b"authorization", scheme.encode() + b" " + b64encode(raw)


RIGHT = f"{BASIC['username']}:{BASIC['password']}"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
async def test_right_credentials_pass_in_any_alphabet(tmp_path: Path, scheme: str):
    async with pipeline(tmp_path) as way:
        way.open(basic=BASIC)
        assert (await ask(way, basic(RIGHT, scheme)))[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        (b"authorization", b""),
        (b"authorization", b"Basic"),
        (b"authorization", b"Basic "),
        (b"authorization", b"Basic not base64!"),
        (b"authorization", b"Basic YTpi\xff"),
        (b"authorization", b"Basic YTp"),
        (b"authorization", b"Basic " + b64encode(RIGHT.encode())[:8] + b"!!!!" + b64encode(RIGHT.encode())[8:]),
        (b"authorization", RIGHT.encode()),
        basic(RIGHT, "Bearer"),
        basic(RIGHT, "Basic Basic"),
        basic(RIGHT + "x"),
        basic(RIGHT[:-1]),
        basic(RIGHT.upper()),
        basic(f":{BASIC['password']}"),
        basic(BASIC["username"]),
        basic(":"),
        basic(b"\xff\xfe"),
        basic("ánna:pä:ss wörd".encode("latin-1")),
        basic("\x00" + RIGHT),
    ],
)
async def test_anything_else_is_401_with_a_challenge_and_leaves_nothing(
    tmp_path: Path, header: tuple[bytes, bytes] | None
):
    async with pipeline(tmp_path) as way:
        way.open(basic=BASIC)
        status, headers = await ask(way, *([header] if header else []))
        assert status == 401
        assert headers[b"www-authenticate"] == b'Basic realm="receiver", charset="UTF-8"'
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]
        assert way.refusals == [("src_generic", "HTTP Basic credentials are missing or wrong")]
        assert way.counts == {"intake_refused 401": 1}


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("::ffff:a01:203", 200),
        ("192.0.2.7", 200),
        ("2001:db8::1", 200),
        ("11.1.2.3", 403),
        ("::ffff:11.1.2.3", 403),
        ("192.0.2.8", 403),
        ("2001:db9::1", 403),
        ("fe80::1%eth0", 403),
        ("unix:", 403),
        ("", 403),
        (None, 403),
    ],
)
async def test_only_named_networks_may_call(tmp_path: Path, peer: str | None, status: int):
    async with pipeline(tmp_path) as way:
        way.open(allow=["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"])
        forged = (b"x-forwarded-for", b"10.1.2.3")
        assert (await ask(way, forged, peer=peer))[0] == status
        assert len(way.recorded) == (status == 200)
        assert len(way.refusals) == (status == 403)


async def test_a_refused_caller_is_refused_before_its_body_is_read(tmp_path: Path):
    def body() -> Any:
        raise AssertionError("the body was read")
        yield

    async with pipeline(tmp_path) as way:
        way.open(allow=["10.0.0.0/8"])
        assert (await way.ask("POST", PATH, body(), headers=JSON))[0]["status"] == 403


@pytest.mark.parametrize("given", [None, b"", b"wrong", b"s3cret ", b"Bearer", b"Bearer s3cre", b"Bearer S3CRET"])
async def test_a_wrong_secret_is_401_without_a_challenge(tmp_path: Path, given: bytes | None):
    async with pipeline(tmp_path) as way:
        way.open(secret="s3cret")
        status, headers = await ask(way, *([(b"authorization", given)] if given is not None else []))
        assert status == 401
        assert b"www-authenticate" not in headers
        assert len(way.refusals) == 1
        assert "s3cre" not in repr(way.refusals).lower()
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]


async def test_the_right_secret_passes_and_two_prove_nothing(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(secret="s3cret")
        right = (b"authorization", b"Bearer s3cret")
        assert (await ask(way, right))[0] == 200
        assert (await ask(way, right, right))[0] == 401


async def test_a_right_signature_over_an_altered_body_is_refused(tmp_path: Path):
    fixture = find("twilio.inbound-sms")
    async with pipeline(tmp_path) as way:
        way.doors.open(source_of(fixture), VENDORS["twilio"])
        request = fixture.request(way.now)
        path = request.url.removeprefix(fixture.expected.origin).partition("?")[0].encode()
        for body, status in ((request.body, 200), (request.body + b"&a=b", 401), (b"", 401)):
            sent = await way.ask(request.method, path, [whole(body)], request.query, request.headers)
            assert sent[0]["status"] == status


@pytest.mark.parametrize(
    ("coding", "status"), [(b"gzip", 415), (b"br", 415), (b"GZIP", 415), (b"", 415), (b"Identity", 200)]
)
async def test_an_encoded_body_is_refused(tmp_path: Path, coding: bytes, status: int):
    async with pipeline(tmp_path) as way:
        way.open()
        assert (await ask(way, (b"content-encoding", coding)))[0] == status
        assert len(way.recorded) == (status == 200)


async def test_a_log_line_of_a_refusal_holds_neither_secret_nor_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "receiver")
    async with pipeline(tmp_path) as way:
        way.open(secret="s3cret", basic=BASIC, allow=["10.0.0.0/8", "203.0.113.0/24"])
        await ask(way, (b"authorization", b"Bearer wr0ng"))
        await ask(way, peer="8.8.8.8")
        way.open()
        await way.tell(
            **{"from": "447700900123", "to": "447700900456", "text": "a private word", "vendor_message_id": "x"}
        )
    lines = [
        f"{record.getMessage()} {record.__dict__.get('ids')}" for record in caplog.records if record.name == "receiver"
    ]
    assert len([line for line in lines if line.startswith("request.refused")]) == 2
    assert any(line.startswith("receipt") for line in lines)
    for private in ("s3cret", "wr0ng", "pä:ss", TOKEN, "7700900", "private"):
        assert private not in "\n".join(lines)
