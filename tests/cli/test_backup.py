"""`receiver backup` and `receiver restore` as one calls them: beside a running receiver, elsewhere, and when they fail."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.cli.running import (
    PROGRAM,
    Hook,
    answered,
    done,
    environment,
    free_port,
    hook,
    inside,
    program,
    refused,
    serving,
    soon,
)
from tests.storage.copying import a_database, contents, damage, ids, large
from tests.storage.opening import NAME

LOOPBACK = {"RECEIVER_EGRESS_ALLOW": "127.0.0.0/8", "RECEIVER_RETRY_SCHEDULE": "1s,1h"}


def folders(place: Path, *names: str) -> list[Path]:
    for name in names:
        (place / name).mkdir()
    return [place / name for name in names]


def test_a_backup_of_a_running_receiver_is_restored_elsewhere_and_sends_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first, quiet, asked = folders(tmp_path, "first", "quiet", "asked")
    for name, value in {**LOOPBACK, "RECEIVER_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)
    with hook() as subscriber:
        subscriber.status = 500
        with serving(first, **LOOPBACK, RECEIVER_PORT=os.environ["RECEIVER_PORT"]):
            monkeypatch.chdir(first)
            source = answered("source", "add", "sendsms")
            answered("subscription", "add", subscriber.url)
            done("trigger", "sendsms.message", "--to", source["url"])
            soon(lambda: subscriber.seen)
            made = answered("backup", "../copy.db")
            assert (made["file"], made["bytes"]) == ("../copy.db", (tmp_path / "copy.db").stat().st_size)
            assert made["events"] == 1
            assert made["seconds"] > 0
        (event,) = answered("events", "list")["data"]
        subscriber.status, before = 200, len(subscriber.seen)

        monkeypatch.chdir(quiet)
        assert answered("restore", "../copy.db") == {
            "database": NAME, "events": 1, "held": 1, "jobs_canceled": 0, "kept": None,
        }  # fmt: skip
        with serving(quiet, **LOOPBACK, RECEIVER_PORT=os.environ["RECEIVER_PORT"]):
            (held,) = answered("deliveries", "list", "--state", "held")["data"]
            assert held["event_id"] == event["id"]
            url = f"{source['url']}?from=40727363767&to=1898&message=after"
            assert httpx2.get(url, trust_env=False).status_code == 200
            assert soon(lambda: heard_since(subscriber, before))  # a new one goes out, and the held one stays
            assert event["id"] not in heard_since(subscriber, before)
            done("deliveries", "retry", held["id"])
            assert soon(lambda: event["id"] in heard_since(subscriber, before))

        before = len(subscriber.seen)
        monkeypatch.chdir(asked)
        assert "1 events" in done("restore", "../copy.db", "--send")
        with serving(asked, **LOOPBACK):
            assert soon(lambda: event["id"] in heard_since(subscriber, before))


def heard_since(subscriber: Hook, count: int) -> list[str]:
    return [headers["webhook-id"] for _, _, headers, _ in subscriber.seen[count:]]


def test_what_is_said_of_a_stopped_receivers_backup_and_its_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    url = answered("source", "add", "sendsms")["url"]
    inside(f"{url}?from=40727363767&to=1898&message=Hello")
    said = done("backup", "copy.db")
    assert said.startswith(f"copy.db: 1 events, {(tmp_path / 'copy.db').stat().st_size} bytes, ")
    assert refused("backup", "copy.db") == "Error: copy.db: is there already; --force overwrites it\n"
    done("backup", "copy.db", "--force")
    assert refused("restore", "copy.db") == f"Error: {NAME}: is there already; --force puts it aside\n"
    before = done("events", "list")
    lines = done("restore", "copy.db", "--force").splitlines()
    assert lines[0] == f"{NAME}: 1 events from copy.db"
    aside = Path(lines[1].removeprefix("The database before is "))
    assert ids(tmp_path / aside.name) == ids(tmp_path / NAME)
    assert done("events", "list") == before
    assert "Held, not sent: 0" not in "\n".join(lines)


def test_a_running_receiver_is_named_and_its_database_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECEIVER_LOCK_WAIT", "0")
    with serving(tmp_path) as it:
        done("backup", "copy.db")
        told = refused("restore", "copy.db", "--force", code=3)
        assert told == f"Error: {NAME}.lock: the database is in use by process {it.process.pid}\n"
        assert it.ask("GET", "/v1/sources").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (("backup", "copy.db"), "no database there", 3),
        (("backup",), "FILE", 2),
        (("backup", "."), "directory", 2),
        (("restore", "copy.db"), "copy.db: no such file", 1),
        (("restore",), "FILE", 2),
        (("restore", "copy.db", "--force", "--sned"), "--send", 2),
    ],
)
def test_where_nothing_is_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str, code: int
):
    monkeypatch.chdir(tmp_path)
    assert told in refused(*arguments, code=code)
    assert contents(tmp_path) == {}


def test_a_damaged_file_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    damage(a_database(tmp_path, events=3000)).rename("copy.db")
    told = refused("restore", "copy.db")
    assert told.startswith("Error: copy.db: is damaged (")
    assert told.count("\n") == 1


def limited(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command on a disk that takes files of a megabyte and no larger ones."""
    return subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 1024 && exec "$@"', "sh", *PROGRAM, *arguments],
        check=False, cwd=folder, env=environment(), capture_output=True, text=True, timeout=40,
    )  # fmt: skip


def test_a_backup_to_a_full_disk_leaves_nothing_behind(tmp_path: Path):
    large(tmp_path)
    before = contents(tmp_path)
    failed = limited(tmp_path, "backup", "copy.db")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("Error: copy.db.partial: the copy was not finished (")
    assert failed.stderr.count("\n") == 1
    after = contents(tmp_path)
    assert after.keys() - before.keys() <= {f"{NAME}-wal", f"{NAME}-shm"}
    assert after[NAME] == before[NAME]
    assert program(tmp_path, "backup", "copy.db").returncode == 0


def test_a_restore_to_a_full_disk_leaves_the_old_one(tmp_path: Path):
    large(tmp_path / "copies").rename(tmp_path / "copy.db")
    a_database(tmp_path / "data", events=3)
    before = contents(tmp_path / "data")
    failed = limited(tmp_path / "data", "restore", "../copy.db", "--force")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith(f"Error: {NAME}.restoring: the copy was not finished (")
    assert contents(tmp_path / "data") == before


PATIENT = """
import sys
from receiver.cli import main
sys.modules["receiver.cli.backup"].SHOWN_AFTER = {}
main()
"""


def on_a_terminal(folder: Path, *arguments: str, shown_after: float) -> str:
    """What a person sees who calls a command that lasts."""
    code = PATIENT.format(shown_after)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=folder, env={**environment(), "TERM": "xterm"},
        stdout=subprocess.PIPE, stderr=theirs,
    ) as child:  # fmt: skip
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
        assert child.stdout is not None
        json.loads(child.stdout.read())
        assert child.wait(40) == 0
    return seen.decode()


def test_a_bar_is_shown_on_a_terminal_only_when_it_lasts(tmp_path: Path):
    large(tmp_path)
    shown = on_a_terminal(tmp_path, "backup", "copy.db", "--json", shown_after=-1.0)
    assert "Copying" in shown
    assert "100%" in shown
    assert on_a_terminal(tmp_path, "backup", "other.db", "--json", shown_after=1e9) == ""
    unseen = subprocess.run(
        [sys.executable, "-c", PATIENT.format(-1.0), "backup", "third.db", "--json"],
        check=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    assert unseen.stderr == ""
