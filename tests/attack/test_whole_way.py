"""Hostile requests the whole way: over a socket, through the server and the intake, to what is on disk afterwards."""

import asyncio
import gzip
import tracemalloc
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.delivery.dispatching import until
from tests.storage.opening import names
from tests.wire import BODY, MOST, Wire, held, raw, wire

LIMIT = 10 * 1024 * 1024


async def outcomes(it: Wire) -> Counter[str]:
    return Counter(row[0] for row in await it.fetch("SELECT outcome FROM receipts"))


async def test_an_empty_body_is_quarantine_and_a_probe_by_head_nothing(tmp_path: Path):
    async with wire(tmp_path) as it:
        probe = await it.say(raw("HEAD", it.path))
        status, headers, _ = await probe.answer("HEAD")
        assert (status, headers["content-length"]) == (200, "0")
        assert await outcomes(it) == {}
        assert await (await it.say(it.request(b""))).status() == 200
        assert await outcomes(it) == {"quarantined": 1}


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"])
async def test_a_method_that_no_vendor_uses_is_405_with_those_that_are(tmp_path: Path, method: str):
    async with wire(tmp_path) as it:
        status, headers, _ = await (await it.say(raw(method, it.path, "Content-Length: 0"))).answer()
        assert (status, headers["allow"]) == (405, "GET, POST, PUT, HEAD")
        assert await outcomes(it) == {}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
async def test_a_wrong_content_type_does_not_cost_a_message(tmp_path: Path, kind: str):
    async with wire(tmp_path) as it:
        assert await (await it.say(it.request(BODY, f"Content-Type: {kind}"))).status() == 200
        assert await it.fetch("SELECT type FROM events") == [("message.received",)]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_an_inflating_body_is_415_and_costs_no_memory(tmp_path: Path, coding: str):
    bomb = gzip.compress(bytes(100 * 1024 * 1024), 9)
    assert len(bomb) < MOST
    async with wire(tmp_path) as it:
        request = it.request(bomb, f"Content-Encoding: {coding}")
        tracemalloc.start()
        status = await (await it.say(request)).status()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert status == 415
        assert peak < LIMIT
        assert await outcomes(it) == {}


async def test_the_same_request_in_turn_and_fifty_times_at_once_is_one_event(tmp_path: Path):
    async with wire(tmp_path) as it:
        for _ in range(2):
            assert await (await it.say(it.request())).status() == 200
        at_once = [await it.connect() for _ in range(50)]
        await asyncio.gather(*(connection.send(it.request(b'{"text": "again"}')) for connection in at_once))
        assert [await connection.status() for connection in at_once] == [200] * 50
        assert await outcomes(it) == {"stored": 2, "duplicate": 50}
        assert await it.fetch("SELECT count(*) FROM events") == [(2,)]


@pytest.mark.parametrize("size", [0, 1, 1000])
async def test_a_batch_is_taken_whole_but_for_what_is_bad_in_it(tmp_path: Path, size: int):
    items: list[object] = [{"text": f"number {number}"} for number in range(size)]
    if size > 1:
        items.insert(size // 2, "no object")
    async with wire(tmp_path) as it:
        assert await (await it.say(it.request(orjson.dumps(items)))).status() == 200
        expected = Counter({"message.received": size} if size else {})
        expected += Counter({"receipt.quarantined": int(size > 1)})
        assert Counter(row[0] for row in await it.fetch("SELECT type FROM events")) == expected


PART = b'--B\r\nContent-Disposition: form-data; name="text"; filename="../../x"\r\n\r\nhello\r\n'
FORMS: dict[str, tuple[str, bytes]] = {
    "10,000 parts": (
        "multipart/form-data; boundary=B",
        PART.replace(b'; filename="../../x"', b"") * 10_000 + b"--B--\r\n",
    ),
    "a file with a path": ("multipart/form-data; boundary=B", PART + b"--B--\r\n"),
    "no boundary": ("multipart/form-data", PART + b"--B--\r\n"),
    "20,000 fields": ("application/x-www-form-urlencoded", b"a=b&" * 20_000 + b"text=hello"),
}


@pytest.mark.parametrize("case", FORMS)
async def test_a_hostile_form_is_quarantine_and_touches_no_file(tmp_path: Path, case: str):
    kind, body = FORMS[case]
    (tmp_path / "inner").mkdir()
    async with wire(tmp_path / "inner", max_body_bytes=2_000_000) as it:
        assert await (await it.say(it.request(body, f"Content-Type: {kind}"))).status() == 200
        assert await outcomes(it) == {"quarantined": 1}
    assert names(tmp_path) == ["inner"]
    assert all(name.startswith("receiver.db") for name in names(tmp_path / "inner"))


async def test_a_token_is_right_to_the_letter_or_not_at_all(tmp_path: Path):
    async with wire(tmp_path) as it:
        vendor, _, token = it.path.rpartition("/")
        first = f"%{ord(token[0]):02x}{token[1:]}"
        wrong = (token[:-1], token + "A", token.swapcase(), first, token + "%00", "..%2f" + token, "", token + "/more")
        for text in wrong:
            assert await (await it.say(it.request(target=f"{vendor}/{text}"))).status() == 404, text
        assert await outcomes(it) == {}
        for path in (it.path + "/", it.path.replace("/in/", "//in//"), it.path + "//"):
            status, headers, _ = await (await it.say(it.request(target=path))).answer()
            assert (status, "location" in headers) == (200, False)
        assert await outcomes(it) == {"stored": 1, "duplicate": 2}


@pytest.mark.parametrize(
    ("trusted", "forwarded", "peer"),
    [
        ("", "1.2.3.4", "127.0.0.1"),
        ("10.0.0.0/8", "1.2.3.4", "127.0.0.1"),
        ("127.0.0.0/8", "1.2.3.4, evil", "127.0.0.1"),
        ("127.0.0.0/8", "[::1]:80", "::1"),
        ("127.0.0.0/8", ", ".join(["127.0.0.2"] * 100), "127.0.0.2"),
        ("127.0.0.0/8", "6.6.6.6, 1.2.3.4, 127.0.0.9", "1.2.3.4"),
    ],
)
async def test_a_forged_forwarded_for_follows_the_rule_of_trusted_proxies(
    tmp_path: Path, trusted: str, forwarded: str, peer: str
):
    async with wire(tmp_path, trusted_proxies=trusted) as it:
        assert await (await it.say(it.request(BODY, f"X-Forwarded-For: {forwarded}"))).status() == 200
        assert await it.fetch("SELECT peer FROM receipts") == [(peer,)]


async def test_what_is_committed_after_its_client_left_stays_and_its_retry_is_a_duplicate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with wire(tmp_path) as it:
        async with held(it.app):
            leaving = await it.say(it.request())
            await until(lambda: it.app.batch.waiting == 1)
            leaving.writer.transport.abort()
            await asyncio.sleep(0.05)
        await until(lambda: it.app.batch.waiting == 0)
        assert await (await it.say(it.request())).status() == 200
        assert await outcomes(it) == {"stored": 1, "duplicate": 1}
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
