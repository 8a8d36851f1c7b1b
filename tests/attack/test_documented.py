"""The limits that the page for operators names are those of the code."""

import re
from pathlib import Path

from receiver import connections, protocol, throttle
from receiver.api.inputs import MAX_BODY_BYTES
from receiver.intake.http import DISCARD_BYTES, DISCARD_SECONDS
from receiver.intake.receive import BODY_SECONDS

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text("utf-8")
KIB = 1024


def limits() -> dict[str, str]:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", PAGE.partition("## Under attack")[2], re.MULTILINE)
    return dict(rows)


def test_the_page_names_the_limits_of_the_code():
    told = limits()
    assert told["a request's head"] == (
        f"{protocol.HEAD_BYTES // KIB} KiB, {protocol.HEAD_FIELDS} fields, {protocol.HEAD_SECONDS:.0f} s"
    )
    assert told["a body at `/in/`"].endswith(f", {BODY_SECONDS:.0f} s")
    assert told["a body at `/v1`"] == f"{MAX_BODY_BYTES // KIB} KiB, {protocol.BODY_SECONDS:.0f} s"
    unwanted = told["a body that nobody wants any more"]
    assert unwanted.startswith(f"{DISCARD_BYTES // KIB // KIB} MiB, {DISCARD_SECONDS:.0f} s after")
    assert f"; {protocol.HEAD_SECONDS:.0f} s after" in unwanted
    assert told["an answer that is not read"] == (
        f"{protocol.WRITE_BYTES // KIB} KiB in {protocol.WRITE_SECONDS:.0f} s at least"
    )
    assert told["requests sent before the answers to earlier ones"] == str(protocol.AHEAD)
    assert told["connections at once"].startswith(f"{connections.MOST:,},")
    assert told["failures of one peer"] == f"{throttle.BURST}, then one every {throttle.INTERVAL:.0f} s"
    assert f"keeps {connections.SPARE} and" in PAGE
