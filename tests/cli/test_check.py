"""`receiver check` finds every problem at once, and says nothing is wrong when nothing is."""

import json
import os
import socketserver
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.cli.check import public_url_findings, source_findings, subscription_findings
from receiver.egress import Guard
from receiver.settings import Settings
from receiver.storage.migrate import published
from receiver.storage.ownership import Ownership
from receiver.storage.sources import SourceRow
from receiver.storage.subscriptions import Subscription
from tests.cli.running import answered, call, done, serving

PUBLIC = Settings(public_url="https://sms.example.com")
TWILIO = SourceRow(
    id="src_1", vendor="twilio", name="ours", token="t", credentials={"auth_token": ["x"]}, options={}, created_at=0,
    updated_at=0,
)  # fmt: skip
HOOK = Subscription(
    id="sub_1", url="https://example.com/hook", types=["*"], filter=None, format="standard", secrets=[],
    max_concurrency=1, retry_schedule=None, state="active", description=None, created_at=0, updated_at=0,
)  # fmt: skip


def of_source(row: SourceRow, settings: Settings = PUBLIC):
    return [(finding.level, finding.text.removeprefix("ours: ")[:40]) for finding in source_findings(row, settings)]


def test_a_source_is_judged():
    assert of_source(TWILIO) == [("ok", "ours (twilio)")]
    assert of_source(TWILIO, Settings()) == [("warning", "Twilio signs the URL that it calls: set ")]
    assert of_source(replace(TWILIO, credentials={}))[0] == ("error", "the credential auth_token is missing: th")
    assert of_source(replace(TWILIO, vendor="nobody")) == [("error", "this version does not know the vendor no")]
    assert of_source(replace(TWILIO, options={"color": "red"})) == [
        ("error", "options that this version does not take,")
    ]
    bare = replace(TWILIO, vendor="sendsms", credentials={})
    assert of_source(bare) == [("warning", "only the secret in its URL proves a requ")]
    assert of_source(replace(bare, options={"allow": ["10.0.0.0/8"]})) == [("ok", "ours (sendsms)")]


def of_subscription(row: Subscription):
    return [(finding.level, finding.text[:30]) for finding in subscription_findings([row], Guard())]


def test_a_subscription_is_judged():
    assert of_subscription(HOOK) == [("ok", "active")]
    assert of_subscription(replace(HOOK, state="paused")) == [("ok", "paused")]
    [disabled] = subscription_findings([replace(HOOK, state="disabled")], Guard())
    assert disabled.text == (
        "is disabled: receiver subscription resume sub_1; what is held: receiver subscription recover sub_1"
    )
    assert of_subscription(replace(HOOK, url="http://10.0.0.1/")) == [
        ("error", "nothing can be delivered with "),
        ("warning", "its URL is http: whoever is on"),
    ]


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        (Settings(), ["warning"]),
        (Settings(public_url="http://sms.example.com"), ["warning"]),
        (Settings(public_url="https://sms.example.com"), ["ok"]),
        (Settings(public_url="https://example.com/sms"), ["ok", "ok"]),
    ],
)
def test_the_public_url_is_judged(settings: Settings, levels: list[str]):
    assert [finding.level for finding in public_url_findings(settings)] == levels


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECEIVER_PUBLIC_URL", "https://sms.example.com")
    return tmp_path


def errors() -> list[str]:
    result = call("check", "--json")
    found = [item["text"] for item in json.loads(result.stdout)["data"] if item["level"] == "error"]
    assert result.exit_code == (1 if found else 0)
    return found


def test_before_the_first_start_nothing_is_wrong(here: Path):
    assert "none yet" in done("check")
    assert list(here.iterdir()) == []


def test_problems_of_every_place_come_at_once(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECEIVER_EGRESS_ALLOW", "127.0.0.0/8")
    answered("subscription", "add", "http://127.0.0.1:9/hook")
    source = answered("source", "add", "twilio", "--credential", "auth_token=x")
    with sqlite3.connect("receiver.db") as connection:
        connection.execute("UPDATE sources SET credentials = '{}' WHERE id = ?", [source["id"]])
    connection.close()
    assert len(errors()) == 1
    monkeypatch.delenv("RECEIVER_EGRESS_ALLOW")
    missing, forbidden = errors()
    assert "auth_token is missing" in missing
    assert "127.0.0.1 is not on the public internet" in forbidden


def test_bad_settings_are_all_told(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECEIVER_PORT", "eighty")
    monkeypatch.setenv("RECEIVER_PROT", "80")
    assert [text.partition(":")[0] for text in errors()] == ["RECEIVER_PROT", "RECEIVER_PORT"]


def test_what_is_no_database_of_ours_is_told(here: Path):
    (here / "receiver.db").write_text("notes")
    assert errors() == ["receiver.db: is not a SQLite database; nothing was changed"]


def test_a_folder_that_is_not_there_is_told(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECEIVER_DATABASE_URL", "sqlite:///nowhere/receiver.db")
    assert errors() == ["nowhere: no such directory for the database"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "DELETE FROM migrations WHERE number > 1",
            f"the schema is behind by {len(published()) - 1}: receiver migrate",
        ),
        ("INSERT INTO migrations VALUES (9999, 'later', '', 0)", "has migration 9999 of a newer version"),
    ],
)
def test_a_schema_of_another_version_is_told(here: Path, sql: str, said: str):
    done("migrate")
    with sqlite3.connect("receiver.db") as connection:
        connection.execute(sql)
    connection.close()
    (told,) = errors()
    assert said in told


def test_a_damaged_file_is_told(here: Path):
    done("migrate")
    path = here / "receiver.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    (told,) = errors()
    assert "receiver.db: " in told


def test_an_owner_is_told_how_it_is(here: Path):
    with serving(here) as it:
        assert f"process {it.process.pid} runs and is ready" in done("check")
    done("migrate")
    with Ownership(here / "receiver.db"):
        assert "owns the database, but does not listen" in done("check")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            b'HTTP/1.1 503 Service Unavailable\r\ncontent-length: 23\r\n\r\n{"causes":["database"]}',
            "not ready: database",
        ),
        (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", "not ready: answered 500"),
        (b"", "does not answer"),
    ],
)
def test_an_owner_that_is_not_well_is_told(here: Path, answer: bytes, said: str):
    done("migrate")
    with Ownership(here / "receiver.db"), on_the_socket(here / "receiver.db.sock", answer):
        (told,) = errors()
    assert said in told
    assert f"process {os.getpid()}" in told


@contextmanager
def on_the_socket(path: Path, answer: bytes) -> Iterator[None]:
    """Whoever connects gets this answer."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_a_large_file_is_not_read_through(here: Path):
    done("migrate")
    os.truncate(here / "receiver.db", (1 << 30) + 4096)
    assert "too large for a quick look" in done("check")
