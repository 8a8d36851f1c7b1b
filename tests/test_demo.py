"""The demo: every vendor's events arrive, signed, or it says which did not; and it leaves nothing behind."""

import asyncio
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest
import uvloop
from standardwebhooks.webhooks import Webhook

from receiver.delivery.signing import format_secret
from receiver.demo import KINDS, Awaited, Subscriber, cases, demonstrate, is_genuine, line, subscriber
from receiver.fixtures import load_all
from receiver.vendors import VENDORS
from tests.cli.running import environment

SECRET = format_secret(b"s" * 32)
BODY = b'{"type": "test.ping"}'
NOW = 1_795_000_000


def signed(**changed: str) -> dict[str, str]:
    """By the standard's own library."""
    made = Webhook(SECRET).sign("evt_1", datetime.fromtimestamp(NOW, UTC), BODY.decode())
    return {"webhook-id": "evt_1", "webhook-timestamp": str(NOW), "webhook-signature": made, **changed}


def test_its_subscriber_believes_what_the_standards_own_library_signs():
    assert is_genuine(SECRET, signed(), BODY, NOW)
    old = f"v1,AAAA {signed()['webhook-signature']}"
    assert is_genuine(SECRET, signed(**{"webhook-signature": old}), BODY, NOW + 300)


@pytest.mark.parametrize(
    ("secret", "headers", "body", "now"),
    [
        (format_secret(b"x" * 32), signed(), BODY, NOW),
        (SECRET, signed(), BODY + b" ", NOW),
        (SECRET, signed(**{"webhook-id": "evt_2"}), BODY, NOW),
        (SECRET, signed(**{"webhook-timestamp": str(NOW + 1)}), BODY, NOW),
        (SECRET, signed(**{"webhook-timestamp": "soon"}), BODY, NOW),
        (SECRET, signed(**{"webhook-signature": "v1,é"}), BODY, NOW),
        (SECRET, signed(), BODY, NOW + 301),
        (SECRET, {}, BODY, NOW),
    ],
)
def test_its_subscriber_believes_nothing_else(secret: str, headers: dict[str, str], body: bytes, now: float):
    assert not is_genuine(secret, headers, body, now)


def test_every_vendor_shows_each_kind_of_event_that_its_fixtures_have():
    chosen = {(fixture.vendor, event["type"]) for fixture in cases() for event in fixture.expected.events}
    stored = [it for it in load_all() if it.expected.outcome == "stored"]
    there = {(it.vendor, event["type"]) for it in stored for event in it.expected.events if event["type"] in KINDS}
    assert chosen == there
    assert {vendor for vendor, _ in chosen} == set(VENDORS)


async def test_its_subscriber_answers_and_tells_over_a_real_connection():
    heard = []
    async with subscriber(lambda event, genuine: heard.append((event, genuine))) as it:
        it.secret = SECRET
        stamp = int(time.time())
        made = Webhook(SECRET).sign("evt_1", datetime.fromtimestamp(stamp, UTC), BODY.decode())
        answers = [await posted(it, made, stamp), await posted(it, "v1,AAAA", stamp)]
    assert answers == [b"HTTP/1.1 200 OK", b"HTTP/1.1 401 Unauthorized"]
    assert heard == [({"type": "test.ping"}, True), ({"type": "test.ping"}, False)]


async def posted(it: Subscriber, signature: str, stamp: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(it.url.rsplit(":")[-1].partition("/")[0]))
    head = (
        f"POST /hook HTTP/1.1\r\nwebhook-id: evt_1\r\nwebhook-timestamp: {stamp}\r\nwebhook-signature: {signature}\r\n"
    )
    writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n")[0]


async def test_what_is_missing_or_forged_is_named():
    fixture = next(it for it in cases() if it.name == "twilio.inbound-stop" or len(it.expected.events) == 2)
    first, second = fixture.expected.events
    said: list[str] = []
    awaited = Awaited([fixture], said.append)
    awaited.hear(first, True)
    awaited.hear(second, False)
    assert (list(awaited.problems()), awaited.complete.is_set()) == (
        [f"missing: {line(second)}", "1 with a bad signature"],
        False,
    )
    awaited.hear(second, True)
    assert (list(awaited.problems()), awaited.complete.is_set()) == (["1 with a bad signature"], True)
    assert [text.startswith("  signature ok") for text in said] == [True, False, True]


def test_once_shows_every_event_and_is_0():
    said: list[str] = []
    assert uvloop.run(demonstrate(said.append, once=True)) == 0
    expected = [line(event) for fixture in cases() for event in fixture.expected.events]
    shown = [text.partition("signature ok ")[2].strip() for text in said if "signature ok" in text]
    assert sorted(shown) == sorted(map(str.strip, expected))


def test_it_is_1_and_names_what_is_missing_when_nothing_arrives():
    nowhere = httpx2.MockTransport(lambda request: httpx2.Response(200))
    said: list[str] = []
    assert uvloop.run(demonstrate(said.append, once=True, patience=0.2, transport=nowhere)) == 1
    missing = said[-1].strip().splitlines()
    assert len(missing) == len({line(event) for fixture in cases() for event in fixture.expected.events})
    assert all(text.startswith("missing") for text in missing)


@pytest.fixture
def running() -> Iterator["tuple[subprocess.Popen[str], str, Path]"]:
    """The demo as a process that goes on serving, all that it printed until then, and where it puts its files: nearer
    than `tmp_path`, for the owner's socket.
    """
    with TemporaryDirectory() as short:
        yield from _running(Path(short))


def _running(tmp_path: Path) -> Iterator["tuple[subprocess.Popen[str], str, Path]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", "demo"], cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    printed = ""
    while "Ctrl-C ends it" not in printed:
        read = process.stdout.readline()
        assert read, process.communicate()[1]
        printed += read
    yield process, printed, tmp_path
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_what_it_offers_to_try_works_and_ctrl_c_removes_everything(running):
    process, printed, folder = running
    tried = [text.strip() for text in printed.splitlines() if text.startswith("  ") and "signature" not in text]
    assert len(tried) == 5
    for command in tried:
        assert works(command), command
    by_curl, by_trigger = process.stdout.readline(), process.stdout.readline()
    assert ("sendsms" in by_curl, by_curl.rstrip().endswith("Hello")) == (True, True)
    assert ("signature ok" in by_trigger, "twilio" in by_trigger) == (True, True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert list(folder.iterdir()) == []


def test_it_runs_where_a_path_is_too_long_for_the_owners_socket(tmp_path: Path):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "demo", "--once"], check=False, capture_output=True, text=True, timeout=50,
        env=environment(TMPDIR=str(folder)),
    )  # fmt: skip
    assert (done.returncode, "events arrived" in done.stdout) == (0, True), done.stderr


def works(command: str) -> bool:
    """A line as one would type it into a shell; what curl is told, httpx2 is told."""
    first, *words = shlex.split(command)
    if first == "curl":
        headers = dict([words[words.index("-H") + 1].split(": ", 1)]) if "-H" in words else {}
        return httpx2.get(words[-1], headers=headers, trust_env=False).is_success
    done = subprocess.run([first, *words], check=False, capture_output=True, env=environment(), timeout=20)
    return done.returncode == 0
