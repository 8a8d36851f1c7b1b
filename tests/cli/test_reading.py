"""Reading the log from the command line: as it comes, handed on, by a consumer, and as a file."""

import csv
import json
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from receiver.delivery.signing import parse_secret, sign
from tests.cli.running import (
    PROGRAM,
    Hook,
    Serving,
    answered,
    done,
    environment,
    free_port,
    hook,
    inside,
    refused,
    serving,
    soon,
)  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Printing:
    """A command that goes on, and the lines that it has printed."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.lines: list[str] = []
        self.notices: list[str] = []
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments], cwd=folder, env={**environment(), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, ""))),  # type: ignore[union-attr]  # it is a pipe
            threading.Thread(target=lambda: self.notices.extend(iter(self.process.stderr.readline, ""))),  # type: ignore[union-attr]  # likewise
        ]
        for reader in self._readers:
            reader.start()

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


@contextmanager
def printing(folder: Path, *arguments: str) -> Iterator[Printing]:
    it = Printing(folder, *arguments)
    try:
        yield it
    finally:
        it.end(signal.SIGKILL)


def source() -> str:
    return str(answered("source", "add", "sendsms")["url"])


def send(url: str, it: Serving, text: str) -> None:
    path = url.partition("/in/")[2]
    answer = httpx2.get(f"{it.url}/in/{path}?from=40727363767&to=1898&message={text}", trust_env=False)
    assert answer.status_code == 200


def logged(*texts: str) -> None:
    """Without a receiver."""
    url = source()
    for text in texts:
        inside(f"{url}?from=40727363767&to=1898&message={text}")


def test_tail_shows_what_was_there_and_what_comes_and_ends_well(tmp_path: Path):
    with serving(tmp_path) as it:
        url = source()
        for text in ("one", "two", "three"):
            send(url, it, text)
        with printing(tmp_path, "events", "tail", "--last", "2", "--from", "+4072*") as tail:
            soon(lambda: len(tail.lines) == 2)
            time.sleep(0.3)  # it listens now, or soon
            send(url, it, "four")
            soon(lambda: len(tail.lines) == 3)
            assert [line.split()[-1] for line in tail.lines] == ["two", "three", "four"]
            assert tail.lines[0].startswith("evt_")
            assert tail.end() == 0


def test_tail_comes_back_after_the_receiver_did_and_misses_nothing(tmp_path: Path):
    port = str(free_port())
    with serving(tmp_path, RECEIVER_PORT=port) as it:
        url = source()
        send(url, it, "one")
        tail = Printing(tmp_path, "events", "tail", "--json")
        soon(lambda: len(tail.lines) == 1)
        time.sleep(0.5)
        assert it.end()[0] == 0
    try:
        inside(f"{url}?from=40727363767&to=1898&message=two")
        with serving(tmp_path, RECEIVER_PORT=port) as it:
            soon(lambda: len(tail.lines) == 2, patience=15)
            send(url, it, "three")
            soon(lambda: len(tail.lines) == 3)
            assert [json.loads(line)["data"]["text"] for line in tail.lines] == ["one", "two", "three"]
            assert any("Cut off" in notice for notice in tail.notices)
            assert any("Connected again" in notice for notice in tail.notices)
    finally:
        assert tail.end() == 0


def test_tail_and_listen_need_a_receiver_that_runs_and_a_place_that_is_one(tmp_path: Path):
    source()
    assert "none runs on" in refused("events", "tail")
    assert "none runs on" in refused("listen", "--forward-to", "http://127.0.0.1:9/")
    with serving(tmp_path):
        assert "`after` is neither a cursor" in refused("events", "tail", "--after", "nonsense")


def signed(it: Hook, secret: str) -> list[Any]:
    """What came, its signatures checked."""
    found = []
    for method, _, headers, body in it.seen:
        assert method == "POST"
        expected = sign([parse_secret(secret)], headers["webhook-id"], int(headers["webhook-timestamp"]), body)
        assert headers["webhook-signature"] == expected
        event = json.loads(body)
        assert event["id"] == headers["webhook-id"]
        found.append(event)
    return found


def test_listen_hands_events_to_a_local_url_signed_with_the_secret_that_it_shows(tmp_path: Path):
    with serving(tmp_path) as it, hook() as local:
        url = source()
        with printing(tmp_path, "listen", "--forward-to", local.url, "--type", "message.received") as listen:
            soon(lambda: listen.lines)
            secret = next(word for word in listen.lines[0].split() if word.startswith("whsec_"))
            time.sleep(1)
            send(url, it, "one")
            soon(lambda: len(listen.lines) == 2)
            local.status = 500
            send(url, it, "two")
            soon(lambda: len(listen.lines) == 3)
            assert [event["data"]["text"] for event in signed(local, secret)] == ["one", "two"]
            assert "→  200 after" in listen.lines[1]
            assert "→  500 after" in listen.lines[2]
            assert listen.end() == 0


def test_listen_goes_on_when_nobody_takes_an_event_and_begins_where_it_is_told(tmp_path: Path):
    with serving(tmp_path) as it:
        url = source()
        for text in ("one", "two", "three"):
            send(url, it, text)
        first = answered("events", "list", "--order", "asc", "--limit", "1")["data"][0]["id"]
        closed = f"http://127.0.0.1:{free_port()}/"
        with printing(tmp_path, "listen", "--forward-to", closed, "--after", first) as listen:
            soon(lambda: len(listen.lines) == 3)
            assert all("not taken" in line for line in listen.lines[1:])


def test_a_consumer_is_made_read_acknowledged_moved_and_removed():
    logged("one", "two")
    made = answered("consumer", "add", "billing", "--type", "message.*", "--from", "+4072*", "--start", "beginning")
    assert (made["behind"], made["filter"]["from"]) == (2, ["+4072*"])
    assert "billing" in done("consumer", "list")
    printed = done("consumer", "read", "billing", "--limit", "1")
    assert "one" in printed
    assert "two" not in printed
    cursor = printed.split()[-1]
    assert f"receiver consumer ack billing {cursor}" in printed
    assert answered("consumer", "ack", "billing", cursor)["behind"] == 1
    assert "two" in done("consumer", "read", "billing", "--ack")
    assert done("consumer", "read", "billing") == "No events now.\n"
    assert answered("consumer", "seek", "billing", "beginning")["behind"] == 2
    assert len(answered("consumer", "read", "billing")["data"]) == 2
    assert "billing" in done("consumer", "show", "billing")
    assert "moved" in refused("consumer", "ack", "billing", cursor)
    assert done("consumer", "remove", "billing") == "Removed billing.\n"
    assert "billing" in refused("consumer", "show", "billing")


@pytest.mark.parametrize("running", [False, True], ids=["inside", "socket"])
def test_the_log_is_a_file_of_either_kind(tmp_path: Path, running: bool):
    logged("one", "two", "=three")
    if running:
        with serving(tmp_path):
            files()
    else:
        files()


def files() -> None:
    assert "events.ndjson: " in done("events", "export", "events.ndjson")
    events = [json.loads(line) for line in Path("events.ndjson").read_text().splitlines()]
    assert [event["data"]["text"] for event in events] == ["one", "two", "=three"]
    done("events", "export", "events.csv", "--after", events[0]["id"])
    with Path("events.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["two", "'=three"]
    done("events", "export", "all.zip", "--format", "csv", "--zip")
    with zipfile.ZipFile("all.zip") as zipped:
        assert zipped.namelist() == ["events.csv"]
        assert zipped.testzip() is None
    assert "is there already" in refused("events", "export", "events.csv")
    done("events", "export", "events.csv", "--force", "--type", "message.status")
    assert len(Path("events.csv").read_text().splitlines()) == 1
    assert "since: must be a time" in refused("events", "export", "other", "--since", "yesterday")
    assert "No such file" in refused("events", "export", "nowhere/other")
    assert not list(Path().glob("*.part"))
    assert not Path("other").exists()


def test_a_campaign_report_is_a_file_too():
    url = source()
    inside(f"{url}?ref=7&status=1")
    inside(f"{url}?ref=8&status=2")
    period = ("--since", "2020-01-01T00:00:00Z", "--until", "2999-01-01T00:00:00Z")
    done("campaign", "c.csv", *period)
    with Path("c.csv").open(newline="") as file:
        assert [row["tracker"] for row in csv.DictReader(file)] == ["7", "8"]
    done("campaign", "c.zip", *period, "--zip")
    assert zipfile.ZipFile("c.zip").namelist() == ["campaign.csv"]
    assert "must be later than since" in refused("campaign", "d.csv", period[0], period[3], period[2], period[1])
