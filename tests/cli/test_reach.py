"""Who is asked: the URL that was given, the owner's socket, or nobody but this process; and who writes the file."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from receiver.app import create_app
from receiver.settings import load
from receiver.storage.ownership import Ownership
from tests.cli.running import Serving, answered, done, environment, hook, inside, refused, serving, soon

COMMANDS: Sequence[Sequence[str]] = (
    ("source", "add", "sendsms"),
    ("source", "list"),
    ("subscription", "add", "https://example.com/hook"),
    ("subscription", "list"),
    ("keys", "create", "one"),
    ("keys", "list"),
    ("settings",),
    ("events", "list"),
    ("deliveries", "list"),
    ("check",),  # the last: it alone looks inside by itself
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("owned")) as it:
        yield it


ONE_AFTER_ANOTHER = """
import json, sys
from receiver.cli import receiver
for arguments in json.loads(sys.argv[1]):
    receiver(arguments, standalone_mode=False)
"""
AUDITED = """
import sys
def heard(event, given):
    if event in ("sqlite3.connect", "open") and "receiver.db" in str(given[0]) and "receiver.db." not in str(given[0]):
        print("OPENED", *given, file=sys.stderr)
sys.addaudithook(heard)
"""


def all_of(commands: Sequence[Sequence[str]], *before: str, script: str = "") -> list[str]:
    """A process that runs these commands; `before` runs it."""
    return [*before, sys.executable, "-c", script + ONE_AFTER_ANOTHER, json.dumps(commands)]


def errors_of(folder: Path, command: Sequence[str]) -> str:
    result = subprocess.run(
        command, check=False, cwd=folder, env=environment(), capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def opened(folder: Path, commands: Sequence[Sequence[str]]) -> list[str]:
    """How the commands opened the database, by Python's own audit events (PEP 578)."""
    errors = errors_of(folder, all_of(commands, script=AUDITED))
    return [line for line in errors.splitlines() if line.startswith("OPENED")]


def test_no_command_opens_an_owned_database_for_writing(running: Serving):
    assert opened(running.folder, COMMANDS[:-1]) == []
    look = opened(running.folder, COMMANDS[-1:])
    assert look
    assert all("mode=ro" in line or " r " in line or " rb " in line for line in look), look


def test_the_same_command_opens_a_database_that_nobody_owns(tmp_path: Path):
    found = opened(tmp_path, COMMANDS[:1])
    assert any("mode=ro" not in line for line in found), found


@pytest.mark.parametrize("strace", [path for path in [shutil.which("strace")] if path])
def test_the_kernel_says_the_same(running: Serving, tmp_path: Path, strace: str):
    trace = tmp_path / "trace"
    follow = [strace, "-f", "-qq", "-e", "trace=open,openat,openat2,creat", "-o", str(trace)]
    errors_of(running.folder, all_of(COMMANDS, *follow))
    found = [line for line in trace.read_text().splitlines() if 'receiver.db"' in line]
    assert found
    assert all("O_RDONLY" in line for line in found), found


def test_reading_takes_no_lock_and_changing_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECEIVER_LOCK_WAIT", "0")
    made = answered("source", "add", "sendsms")
    with Ownership(tmp_path / "receiver.db"):
        assert [item["id"] for item in answered("source", "list")["data"]] == [made["id"]]
        done("check")
        told = refused("source", "remove", made["id"], code=3)
    assert f"in use by process {os.getpid()}" in told
    assert "--url and --key" in told


def test_a_change_waits_for_a_short_lived_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done("migrate")
    lock = Ownership(tmp_path / "receiver.db")
    threading.Timer(0.2, lock.close).start()
    monkeypatch.setenv("RECEIVER_LOCK_WAIT", "10s")
    assert answered("source", "add", "sendsms")["vendor"] == "sendsms"


def test_a_socket_that_a_killed_owner_left_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path) as it:
        made = answered("source", "add", "sendsms")
        it.end(signal.SIGKILL)
    assert (tmp_path / "receiver.db.sock").exists()
    assert [item["id"] for item in answered("source", "list")["data"]] == [made["id"]]
    done("source", "remove", made["id"])
    with serving(tmp_path):
        assert answered("source", "list")["data"] == []


async def a_long_change() -> None:
    async with create_app(load(None, os.environ)).lifespan(dispatch=False):
        await asyncio.sleep(0.4)


def test_a_command_neither_sends_deliveries_nor_makes_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECEIVER_EGRESS_ALLOW", "127.0.0.0/8")
    with hook() as subscriber:
        answered("subscription", "add", subscriber.url)
        inside(f"{answered('source', 'add', 'sendsms')['url']}?from=40727363767&to=1898&message=Hello")
        (delivery,) = answered("deliveries", "list")["data"]
        answered("deliveries", "retry", delivery["id"])
        asyncio.run(a_long_change())
        assert answered("keys", "list")["data"] == []
        assert subscriber.seen == []
        with serving(tmp_path, RECEIVER_EGRESS_ALLOW="127.0.0.0/8"):
            assert b"Hello" in soon(lambda: subscriber.seen)[0][3]


def test_reading_without_a_database_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert refused("source", "list", code=3) == "Error: receiver.db: no database there\n"
    assert list(tmp_path.iterdir()) == []


async def test_what_only_reads_answers_503_to_a_change_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    app = create_app(load(None, {}))
    async with app.lifespan(dispatch=False):
        pass
    reader = create_app(load(None, {}))
    async with reader.reading(), httpx2.AsyncClient(
        transport=httpx2.ASGITransport(reader.owner), base_url="http://receiver"
    ) as client:  # fmt: skip
        async with asyncio.timeout(5):
            answer = await client.post("/v1/sources", json={"vendor": "sendsms"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await client.get("/v1/sources")).json()["data"] == []


def test_an_id_cannot_lead_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done("migrate")
    assert refused("source", "show", "../keys").startswith("Error: /v1/sources/..%2Fkeys: ")


def test_reading_an_older_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done("migrate")
    with sqlite3.connect("receiver.db") as connection:
        connection.execute("DELETE FROM migrations")
    connection.close()
    assert "the schema is behind" in refused("events", "list", code=3)


def test_a_wrong_key_and_a_wrong_address_are_one_line(running: Serving):
    wrong = refused("source", "list", "--url", running.url, "--key", "key_wrong")
    assert wrong == "Error: The API key is not valid.\n"
    nobody = refused("source", "list", "--url", "http://127.0.0.1:9", "--key", "key_wrong")
    assert nobody.startswith("Error: the receiver cannot be reached: ")
    assert nobody.count("\n") == 1
    elsewhere = refused("source", "list", "--url", f"{running.url}/livez/", "--key", "key_wrong")
    assert "Error: " in elsewhere


def test_something_that_is_no_receiver_is_one_line():
    with hook() as it:
        empty = refused("source", "add", "x", "--url", it.url, "--key", "key_x")
        it.status = 500
        told = refused("source", "list", "--url", it.url, "--key", "key_x")
    assert empty == "Error: the answer is not that of a receiver; is this its URL?\n"
    assert told == "Error: answered 500 Internal Server Error; is this the URL of a receiver?\n"


def test_settings_come_from_a_file_named_before_or_after_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "receiver.toml").write_text('database_url = "sqlite:///other.db"\n')
    assert done("--config", "receiver.toml", "migrate").startswith("other.db: applied 0001 begin\n")
    assert done("migrate", "--config", "receiver.toml") == "other.db: is up to date\n"
