"""Content of every kind from a caller that is trusted: understood, or kept in quarantine, never refused and never lost."""

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.storage.receipts import Receipt
from tests.pipeline import JSON, SECOND, START, TOKEN, Pipeline, pipeline
from tests.storage.opening import names

URL = f"/in/generic/{TOKEN}"
FORM = ((b"content-type", b"application/x-www-form-urlencoded"),)
MULTIPART = ((b"content-type", b"multipart/form-data; boundary=B"),)
MESSAGE = b'{"vendor_message_id":"m1","from":"447700900123","text":"hello"}'


async def receive(
    way: Pipeline, body: bytes, headers: Any = JSON, query: bytes = b""
) -> tuple[Receipt, list[dict[str, Any]]]:
    """The receipt and the events of a request that must be answered with success."""
    answered = await way.send("POST", URL, query, headers, body)
    assert (answered.status, answered.body) == (200, b"")
    assert answered.receipt is not None
    assert await way.receipt(answered.receipt.id) == answered.receipt
    assert answered.receipt.body == body
    return answered.receipt, answered.events


def part(name: str, value: str, extra: str = "") -> bytes:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n{value}\r\n'.encode()


UNREADABLE = {
    "nothing": (JSON, b""),
    "blanks": (JSON, b" \r\n "),
    "a number": (JSON, b"7"),
    "null": (JSON, b"null"),
    "a string": (JSON, b'"text"'),
    "an empty object": (JSON, b"{}"),
    "half an object": (JSON, b'{"text":"hel'),
    "deep": (JSON, b'{"text":' + b"[" * 100_000),
    "deep and closed": (JSON, b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep objects": (JSON, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "NaN": (JSON, b'{"text":"x","extra":NaN}'),
    "Infinity": (JSON, b'{"text":"x","extra":-Infinity}'),
    "a number beyond floats": (JSON, b'{"text":"x","extra":1e999}'),
    "5,000 digits": (JSON, b'{"text":"x","extra":' + b"1" * 5_000 + b"}"),
    "UTF-16": (JSON, '{"text":"x"}'.encode("utf-16")),
    "UTF-16 without a mark": (JSON, '{"text":"x"}'.encode("utf-16-le")),
    "a text that is an object": (JSON, b'{"text":{"a":1}}'),
    "a text that is a list": (JSON, b'{"text":["a"]}'),
    "an id that is an object": (JSON, b'{"vendor_message_id":{},"text":"x"}'),
    "XML with entities": (
        ((b"content-type", b"text/xml"),),
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    ),
    "a billion laughs": (
        ((b"content-type", b"application/xml"),),
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><a>&b;&b;&b;</a>',
    ),
    "a file alone": (MULTIPART, part("text", "x", '; filename="../../../tmp/x"') + b"--B--\r\n"),
    "10,000 parts": (MULTIPART, part("text", "x") * 10_000 + b"--B--\r\n"),
    "no boundary": (((b"content-type", b"multipart/form-data"),), part("text", "x") + b"--B--\r\n"),
    "no last boundary": (MULTIPART, part("text", "x")),
    "20,000 fields": (FORM, b"text=x&" + b"a=b&" * 20_000),
    "bytes": (((b"content-type", b"application/octet-stream"),), bytes(range(256))),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_cannot_be_read_is_kept_told_once_and_answered_with_success(tmp_path: Path, name: str):
    headers, body = UNREADABLE[name]
    async with pipeline(tmp_path) as way:
        way.open()
        receipt, events = await receive(way, body, headers)
        assert receipt.outcome == "quarantined"
        assert [event["type"] for event in events] == ["receipt.quarantined"]
        assert events[0]["data"]["error"] == receipt.note
        assert receipt.note
        again, none = await receive(way, body, headers)
        assert (again.outcome, none) == ("duplicate", [])


READABLE = {
    "JSON as plain text": (((b"content-type", b"text/plain"),), MESSAGE),
    "JSON as a form": (FORM, MESSAGE),
    "JSON as nothing": ((), MESSAGE),
    "JSON as twice something": ((*FORM, *JSON), MESSAGE),
    "JSON after a mark": (JSON, b"\xef\xbb\xbf" + MESSAGE),
    "JSON after blanks": (JSON, b"\r\n\t " + MESSAGE + b"\n"),
    "a form as JSON": (JSON, b"vendor_message_id=m1&from=447700900123&text=hello"),
    "a form as nothing": ((), b"vendor_message_id=m1&from=447700900123&text=hello"),
    "a form in parts": (
        MULTIPART,
        part("vendor_message_id", "m1") + part("from", "447700900123") + part("text", "hello") + b"--B--\r\n",
    ),
    "the last of two keys": (JSON, b'{"text":"no","vendor_message_id":"m1","from":"447700900123","text":"hello"}'),
    "the first of two fields": (FORM, b"text=hello&text=no&vendor_message_id=m1&from=447700900123"),
}


@pytest.mark.parametrize("name", READABLE)
async def test_mislabelled_and_odd_forms_are_read_all_the_same(tmp_path: Path, name: str):
    headers, body = READABLE[name]
    async with pipeline(tmp_path) as way:
        way.open()
        receipt, (event,) = await receive(way, body, headers)
        data = event["data"]
        assert receipt.outcome == "stored"
        assert (data["text"], data["vendor_message_id"], data["from"]["address"]) == ("hello", "m1", "+447700900123")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"a\u0000b", "a\ufffdb"),
        (rb"a\ud800b", "a\ufffdb"),
        (rb"\udc00\ud800", "\ufffd\ufffd"),
        (rb"\ud83d\ude00", "😀"),
        (rb"\\ud800", r"\ud800"),
        ("ünï 🇬🇧👨‍👩‍👧 \u202e abc".encode(), "ünï 🇬🇧👨‍👩‍👧 \u202e abc"),
        (b"x" * 1_600, "x" * 1_600),
        (rb"\r\nX-Injected: 1", "\r\nX-Injected: 1"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (b"=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
        (b"'; DROP TABLE events; --", "'; DROP TABLE events; --"),
        (b"{{7*7}} ${jndi:ldap://x} %(x)s {0}", "{{7*7}} ${jndi:ldap://x} %(x)s {0}"),
    ],
)
async def test_a_text_is_kept_as_it_is_and_only_what_no_database_takes_is_replaced(
    tmp_path: Path, raw: bytes, text: str
):
    async with pipeline(tmp_path) as way:
        way.open()
        _, (event,) = await receive(way, b'{"vendor_message_id":"m1","text":"' + raw + b'"}')
        assert event["data"]["text"] == text
        assert event["data"]["flags"] == []


@pytest.mark.parametrize(
    ("body", "text", "flags"),
    [
        (b"text=caf%C3%A9", "café", []),
        (b"text=caf%E9", "café", ["charset_guessed"]),
        (b"text=%80%99", "€™", ["charset_guessed"]),
        (b"text=a%00b", "a\ufffdb", []),
        (b"text=a+b%2Bc", "a b+c", []),
        (b"text=100%", "100%", []),
        (b"text=", "", []),
    ],
)
async def test_a_form_is_read_in_the_charset_its_bytes_are_of(tmp_path: Path, body: bytes, text: str, flags: list[str]):
    async with pipeline(tmp_path) as way:
        way.open()
        _, (event,) = await receive(way, b"vendor_message_id=m1&" + body, FORM)
        assert (event["data"]["text"], event["data"]["flags"]) == (text, flags)


async def test_bytes_that_are_not_utf_8_in_json_are_guessed_and_flagged(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        _, (event,) = await receive(way, b'{"vendor_message_id":"m1","text":"caf\xe9"}')
        assert (event["data"]["text"], event["data"]["flags"]) == ("café", ["charset_guessed"])


@pytest.mark.parametrize("number", [2**64, 2**63, 10**20, 12345678901234567890123, -(2**70)])
async def test_large_numbers_are_kept_as_they_came(tmp_path: Path, number: int):
    async with pipeline(tmp_path) as way:
        way.open()
        body = b'{"vendor_message_id":%d,"text":"x","other":%d,"nested":{"a":[%d]}}' % (number, number, number)
        _, (event,) = await receive(way, body)
        data = event["data"]
        assert data["vendor_message_id"] == str(number)
        assert data["extra"] == {"other": str(number), "nested": {"a": [str(number)]}}
        assert await way.fetch("SELECT vendor_message_id FROM events") == [(str(number),)]


@pytest.mark.parametrize("vendor_id", ["", "0", "null", None])
async def test_a_message_without_an_id_is_kept_and_says_so(tmp_path: Path, vendor_id: str | None):
    async with pipeline(tmp_path) as way:
        way.open()
        _, (event,) = await receive(way, orjson.dumps({"vendor_message_id": vendor_id, "text": "x"}))
        assert event["data"]["flags"] == ["weak_identity"]
        assert event["data"]["vendor_message_id"] is None


async def test_a_status_nobody_knows_is_an_event_with_the_vendors_word(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        _, (event,) = await receive(way, b'{"vendor_message_id":"m1","status":"BRAND_NEW"}')
        data = event["data"]
        assert (data["status"], data["final"], data["vendor_status"], data["current_status"]) == (
            "unknown", False, "BRAND_NEW", "unknown",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "address", "kind"),
    [
        ("12345", "12345", "short_code"),
        ("AMAZON", "AMAZON", "alphanumeric"),
        ("+44 (7700) 900-123", "+447700900123", "e164"),
        (" 447700900123", "+447700900123", "e164"),
        ("00447700900123", "+447700900123", "e164"),
        ("anonymous", "anonymous", "alphanumeric"),
        ("١٢٣٤٥", "١٢٣٤٥", "unknown"),
        ("²²²²²²²²²", "²²²²²²²²²", "unknown"),
    ],
)
async def test_a_sender_of_any_kind_is_a_typed_address(tmp_path: Path, raw: str, address: str, kind: str):
    async with pipeline(tmp_path) as way:
        way.open(international=False)
        _, (event,) = await receive(way, orjson.dumps({"vendor_message_id": "m1", "from": raw, "text": "x"}))
        assert (event["data"]["from"]["address"], event["data"]["from"]["kind"]) == (address, kind)
        assert event["data"]["from"]["raw"] == raw


@pytest.mark.parametrize("raw", ["", "  "])
async def test_no_sender_is_none(tmp_path: Path, raw: str):
    async with pipeline(tmp_path) as way:
        way.open()
        _, (event,) = await receive(way, orjson.dumps({"vendor_message_id": "m1", "from": raw, "text": "x"}))
        assert event["data"]["from"] is None


@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        ("2023-11-14T22:00:00Z", "2023-11-14T22:00:00.000Z"),
        ("1699999200", "2023-11-14T22:00:00.000Z"),
        ("2023-11-14 22:00:00", None),
        ("0000-00-00 00:00:00", None),
        ("2023-02-30T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("2023-11-15T22:13:20Z", None),
        ("yesterday", None),
        ("١٦٩٩٩٩٩٢٠٠", None),
    ],
)
async def test_a_time_that_cannot_be_trusted_is_null_and_ours_stands(tmp_path: Path, raw: str, moment: str | None):
    async with pipeline(tmp_path) as way:
        way.open()
        _, (event,) = await receive(way, orjson.dumps({"vendor_message_id": "m1", "text": "x", "sent_at": raw}))
        assert event["data"]["sent_at"] == moment
        assert event["timestamp"] == moment or event["timestamp"] == event["data"]["received_at"]


@pytest.mark.parametrize("missing", ["2023-11-14 22:00:00", "99999-01-01T00:00:00Z"])
async def test_messages_whose_time_means_nothing_are_told_apart_by_the_window(tmp_path: Path, missing: str):
    document = orjson.dumps({"from": "447700900123", "text": "x", "sent_at": missing})
    async with pipeline(tmp_path) as way:
        way.open()
        for moment, outcome in ((0, "stored"), (59, "duplicate"), (60, "stored")):
            way.now = START + moment * SECOND
            assert (await receive(way, document))[0].outcome == outcome


@pytest.mark.parametrize("bad", [b"7", b"null", b"[]", b'"x"', b"{}", b'{"text":{}}', b'{"status":[]}'])
async def test_one_bad_item_of_a_thousand_spoils_no_other(tmp_path: Path, bad: bytes):
    items = [b'{"vendor_message_id":"m%d","text":"x"}' % number for number in range(1, 1_000)]
    items.insert(500, bad)
    async with pipeline(tmp_path) as way:
        way.open()
        answered = await way.send("POST", URL, b"", JSON, b"[" + b",".join(items) + b"]")
        assert answered.status == 200
        assert answered.receipt is not None
        assert (answered.receipt.outcome, len(answered.events)) == ("quarantined", 1_000)
        assert answered.receipt.note is not None
        assert answered.receipt.note.startswith("item 501:")


async def test_an_empty_list_is_knowingly_nothing(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        receipt, events = await receive(way, b"[]")
        assert (receipt.outcome, events) == ("ignored", [])


async def test_a_name_of_a_file_touches_none(tmp_path: Path):
    folder = tmp_path / "inner"
    folder.mkdir()
    body = part("text", "x", '; filename="../escaped"') + part("vendor_message_id", "1") + b"--B--\r\n"
    async with pipeline(folder) as way:
        way.open()
        await receive(way, body, MULTIPART)
        assert all(name.startswith("receiver.db") for name in names(folder))
    assert names(tmp_path) == ["inner"]


@pytest.mark.parametrize("size", [200_000, 900_000])
async def test_a_very_long_text_is_cut_in_the_event_and_whole_in_the_receipt(tmp_path: Path, size: int):
    async with pipeline(tmp_path) as way:
        way.open()
        body = b'{"vendor_message_id":"m1","text":"' + b64encode(os.urandom(size * 3 // 4)) + b'"}'
        receipt, (event,) = await receive(way, body)
        assert receipt.body == body
        assert len(event["data"]["text"]) == 32 * 1024
        assert event["data"]["flags"] == ["truncated"]
