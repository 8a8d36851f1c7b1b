"""docs/verify.md: what it says about signatures is so, in every language whose runtime is at hand."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from receiver.delivery.signing import format_secret, parse_secret, sign
from tests.docs.markdown import DOCS, blocks
from tests.docs.running import at_hand
from tests.docs.verifiers import RUNTIMES, Delivery

PAGE = (DOCS / "verify.md").read_text("utf-8")
CODE: Mapping[str, str] = {block.language: block.text for block in blocks(PAGE, *RUNTIMES)}

SECRET, OLD = format_secret(bytes(range(32))), format_secret(bytes(range(100, 132)))
ID = "evt_01k5z2v0c3x9q8w7e6r5t4y3u5"
BODY = '{"id":"evt_01k5z2v0c3x9q8w7e6r5t4y3u5","data":{"text":"Zażółć 😀 \\u0000"}}'.encode()


def delivery(*signed_with: str, age: int = 0, read_with: str = SECRET, body: bytes = BODY, **headers: str) -> Delivery:
    """Signed as this receiver signs; `body` and `headers` are what becomes of them on the way."""
    sent = int(time.time()) - age
    signature = sign([parse_secret(secret) for secret in signed_with or (SECRET,)], ID, sent, BODY)
    sound = {"webhook-id": ID, "webhook-timestamp": str(sent), "webhook-signature": signature}
    return Delivery(read_with, {**sound, **{f"webhook-{name}": value for name, value in headers.items()}}, body)


def cases() -> Mapping[str, tuple[bool, Delivery]]:
    good = delivery()
    signature = good.headers["webhook-signature"]
    without_signature = {name: value for name, value in good.headers.items() if name != "webhook-signature"}
    return {
        "as it was sent": (True, good),
        "four minutes old": (True, delivery(age=240)),
        "four minutes ahead": (True, delivery(age=-240)),
        "rotated, read with the new secret": (True, delivery(SECRET, OLD)),
        "rotated, read with the old secret": (True, delivery(SECRET, OLD, read_with=OLD)),
        "the secret without its padding": (True, delivery(read_with=SECRET.rstrip("="))),
        "an unknown kind of signature beside it": (True, delivery(signature="v2,abc " + signature)),
        "another secret": (False, delivery(OLD)),
        "a changed body": (False, delivery(body=BODY.replace(b"Za", b"ZA"))),
        "a blank behind the body": (False, delivery(body=BODY + b" ")),
        "another id": (False, delivery(id="evt_01k5z2v0c3x9q8w7e6r5t4y3u6")),
        "another time": (False, delivery(timestamp=str(int(time.time()) + 1))),
        "ten minutes old": (False, delivery(age=600)),
        "ten minutes ahead": (False, delivery(age=-600)),
        "a time that is none": (False, delivery(timestamp="soon")),
        "a time without end": (False, delivery(timestamp="9" * 5_000)),
        "a time below zero": (False, delivery(timestamp="-9223372036854775808")),
        "an empty signature": (False, delivery(signature="")),
        "a signature outside ASCII": (False, delivery(signature="v1,ÄÖÜ")),
        "a signature of another kind": (False, delivery(signature=signature.replace("v1,", "v2,"))),
        "no signature": (False, Delivery(SECRET, without_signature, BODY)),
        "no headers at all": (False, Delivery(SECRET, {}, BODY)),
    }


def test_every_language_has_its_function():
    assert set(CODE) == set(RUNTIMES)


@pytest.mark.timeout(180)  # compilers, on their first run
def test_the_functions_tell_genuine_deliveries_from_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    present = [language for language, runtime in RUNTIMES.items() if runtime.here]
    with capsys.disabled():
        absent = ", ".join(sorted(RUNTIMES.keys() - present)) or "none"
        sys.stdout.write(f"\ndocs/verify.md was run in {', '.join(present)}; without a runtime here: {absent}\n")
    assert "python" in present
    for language in present:
        folder = tmp_path / language
        folder.mkdir()
        expected = cases()
        found = RUNTIMES[language].run(CODE[language], [item for _, item in expected.values()], folder)
        told = dict(zip(expected, found, strict=True))
        assert told == {name: genuine for name, (genuine, _) in expected.items()}, language


def test_the_check_by_hand_finds_the_signature(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (by_hand,) = blocks(PAGE, "bash")
    if not at_hand("openssl", capsys, "docs/verify.md's check by hand"):
        return
    (tmp_path / "body").write_bytes(BODY)
    values = {"SECRET": SECRET, "ID": ID, "TIMESTAMP": "1795000000"}
    done = subprocess.run(
        ["sh", "-c", by_hand.text],
        cwd=tmp_path,
        env={**os.environ, **values},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"v1,{done.stdout.strip()}" == sign([parse_secret(SECRET)], ID, 1_795_000_000, BODY)
