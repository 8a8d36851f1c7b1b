"""The README, word for word: what it tells to type is typed, and what it shows is what comes."""

import json
import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks
from tests.docs.running import at_hand, free_port, serving, shell

PAGE = (ROOT / "README.md").read_text("utf-8")
START, KEY, SUBSCRIBER, *REST = (block.text for block in blocks(PAGE, "bash"))
# What a person who types takes for granted: that one thing is done before the next begins.
LISTENS = "until curl -so /dev/null http://127.0.0.1:9000/; do sleep 0.1; done"
DELIVERED = "until receiver deliveries list --state succeeded | grep -c dlv_ | grep -q 2; do sleep 0.1; done; kill $!"


HEARD = "heard.txt"


def elsewhere(script: str, ports: dict[str, str]) -> str:
    """The script with its ports exchanged for free ones, and the subscriber's words in a file: on the terminal of all
    they would come in the middle of somebody else's line. The rest is word for word.
    """
    script = script.replace("<<'EOF' &", f"<<'EOF' > {HEARD} &")
    for port, free in ports.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        script = script.replace(f'("127.0.0.1", {port})', f'("127.0.0.1", {free})')
    return script


def test_the_quick_start_leads_from_nothing_to_events_at_a_subscriber(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    if not at_hand("curl", capsys, "README.md's quick start"):
        return
    ports = {"8080": str(free_port()), "9000": str(free_port())}
    with serving(START, tmp_path, RECEIVER_PORT=ports["8080"]) as served:
        script = elsewhere("\n".join([KEY, SUBSCRIBER, LISTENS, *REST, DELIVERED]), ports)
        said = shell(script, tmp_path, given=f"{served.key}\n").splitlines()
    assert "shown only now" in served.output
    assert any('"secret":"whsec_' in line for line in said)
    assert "twilio.report-delivered: 200, 0 bytes" in said
    heard = [json.loads(line) for line in (tmp_path / HEARD).read_text("utf-8").splitlines()]
    assert [event["type"] for event in heard] == ["message.received", "message.status"]
    message, report = heard
    assert (message["data"]["text"], message["data"]["from"]["address"]) == ("Is the shop open?", "+447700900123")
    assert (report["data"]["vendor"], report["data"]["status"]) == ("twilio", "delivered")
    (page,) = [json.loads(line) for line in said if line.startswith('{"data":[')]
    assert page["data"] == [message]
    listed = [line.split()[0] for line in said if line.startswith("evt_")]
    assert listed == [report["id"], message["id"]]


def test_a_second_start_shows_no_key(tmp_path: Path):
    port = str(free_port())
    with serving(START, tmp_path, RECEIVER_PORT=port):
        pass
    with serving(START, tmp_path, first=False, RECEIVER_PORT=port) as again:
        pass
    assert "listens on" in again.output
    assert "key_" not in again.output


def test_what_the_demo_shows_is_what_the_readme_shows(tmp_path: Path):
    (shown,) = blocks(PAGE, "text")
    said = shell("receiver demo --once", tmp_path).splitlines()
    lines = [line for line in shown.text.splitlines() if line.strip()]
    assert len(lines) >= 4
    assert [line for line in lines if line not in said] == []


def test_every_target_of_make_that_the_docs_name_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {name for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
             for name in re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text("utf-8"))}  # fmt: skip
    assert {"demo", "test", "serve", "docs", "fixtures"} <= named
    assert named <= targets
