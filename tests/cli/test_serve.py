"""`receiver serve` as a process: its first start, its end, and what keeps it from starting."""

import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from receiver.storage.migrate import published
from tests.cli.running import answered, done, hook, program, refused, serving, soon


def test_a_first_start_without_settings_serves_and_shows_its_key_once(tmp_path: Path):
    with serving(tmp_path) as it:
        assert httpx2.get(f"{it.url}/livez", trust_env=False).json() == {"status": "alive"}
        key = it.key
        assert key is not None
        assert it.ask("GET", "/v1/sources").json()["data"] == []
        assert httpx2.get(f"{it.url}/v1/sources", trust_env=False).status_code == 401
        mode = (tmp_path / "receiver.db.sock").stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
        code, errors = it.end()
        assert (code, key in errors) == (0, False)
    assert not (tmp_path / "receiver.db.sock").exists()
    with serving(tmp_path) as again:
        assert again.key is None
        assert key not in again.greeting
        headers = {"authorization": f"Bearer {key}"}
        assert httpx2.get(f"{again.url}/v1/sources", headers=headers, trust_env=False).status_code == 200
        assert again.end(signal.SIGINT)[0] == 0


def test_a_key_of_the_settings_is_never_shown(tmp_path: Path):
    with serving(tmp_path, RECEIVER_API_KEY="sixteen-characters-and-more") as it:
        assert "sixteen" not in it.greeting
        assert it.key is None


def test_a_message_goes_from_a_vendor_to_a_subscriber(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with hook() as subscriber, serving(tmp_path, RECEIVER_EGRESS_ALLOW="127.0.0.0/8") as it:
        port = it.url.rpartition(":")[2]
        monkeypatch.setenv("RECEIVER_PORT", port)
        source = answered("source", "add", "twilio", "--credential", "auth_token=a-token-of-ours")
        answered("subscription", "add", subscriber.url)
        unsigned = refused("trigger", "twilio.inbound-sms", "--to", source["url"])
        assert "--sign" in unsigned
        done(
            "trigger",
            "twilio.inbound-sms",
            "--to",
            source["url"],
            "--sign",
            "--credential",
            "auth_token=a-token-of-ours",
        )
        _, _, headers, body = soon(lambda: subscriber.seen)[0]
        (event,) = answered("events", "list")["data"]
        assert headers["webhook-id"] == event["id"]
        assert b"see you at 3pm" in body
        assert soon(lambda: answered("deliveries", "list", "--state", "succeeded")["data"])


def test_a_second_receiver_on_the_same_database_names_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(tmp_path) as it:
        started = time.monotonic()
        second = program(tmp_path, "serve", RECEIVER_PORT="0", RECEIVER_LOCK_WAIT="0")
        assert time.monotonic() - started < 30
        assert (second.returncode, second.stdout) == (3, "")
        assert second.stderr == f"Error: receiver.db.lock: the database is in use by process {it.process.pid}\n"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RECEIVER_LOCK_WAIT", "0")
        assert f"in use by process {it.process.pid}" in refused("migrate", code=3)
        assert it.ask("GET", "/v1/sources").status_code == 200


def test_a_port_that_is_taken_is_named_and_the_key_not_lost(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        failed = program(tmp_path, "serve", RECEIVER_PORT=port)
    assert failed.returncode == 3
    assert failed.stderr == f"Error: 127.0.0.1:{port}: cannot be listened on (Address already in use)\n"
    key = failed.stdout.split()[2]
    with serving(tmp_path) as it:
        headers = {"authorization": f"Bearer {key}"}
        assert httpx2.get(f"{it.url}/v1/keys", headers=headers, trust_env=False).status_code == 200


def test_every_bad_setting_is_told_at_once(tmp_path: Path):
    failed = program(tmp_path, "serve", RECEIVER_PORT="eighty", RECEIVER_HOST="a b", RECEIVER_PROT="1")
    assert (failed.returncode, failed.stdout) == (3, "")
    assert "RECEIVER_PROT: no such setting; did you mean RECEIVER_PORT?" in failed.stderr
    assert [name in failed.stderr for name in ("RECEIVER_PORT: ", "RECEIVER_HOST: ")] == [True, True]
    assert failed.stderr.count("\n") == 3
    assert list(tmp_path.iterdir()) == []


def a_folder(path: Path) -> None:
    path.mkdir()


def notes(path: Path) -> None:
    path.write_bytes(b"not a database, but somebody's notes" * 10)


@pytest.mark.parametrize("in_the_way", [a_folder, notes])
@pytest.mark.parametrize("command", ["serve", "migrate", "source list"])
def test_what_is_in_the_databases_way_is_said_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_the_way: Callable[[Path], None], command: str
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "receiver.db"
    in_the_way(path)
    before = path.is_dir() or path.read_bytes()
    told = refused(*command.split(), code=3)
    assert told.startswith("Error: receiver.db: ")
    assert told.count("\n") == 1
    assert (path.is_dir() or path.read_bytes()) == before


def test_a_second_signal_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with hook(held=True) as silent, serving(tmp_path, RECEIVER_EGRESS_ALLOW="127.0.0.0/8") as it:
        monkeypatch.setenv("RECEIVER_PORT", it.url.rpartition(":")[2])
        answered("subscription", "add", silent.url)
        done("trigger", "sendsms.message", "--to", answered("source", "add", "sendsms")["url"])
        soon(lambda: silent.seen)
        it.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert it.process.poll() is None, "it did not wait for the delivery under way"
        asked = time.monotonic()
        code, _ = it.end()
        assert code == 128 + signal.SIGTERM
        assert time.monotonic() - asked < 10  # the delivery has 20 s


def test_a_path_too_long_for_a_socket_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    name = "a" * 120 + ".db"
    monkeypatch.setenv("RECEIVER_DATABASE_URL", f"sqlite:///{name}")
    monkeypatch.setenv("RECEIVER_LOCK_WAIT", "0")
    with serving(tmp_path, RECEIVER_DATABASE_URL=f"sqlite:///{name}") as it:
        assert it.ask("GET", "/v1/sources").status_code == 200
        assert "its path would be too long" in it.greeting
        assert answered("source", "list")["data"] == []
        assert "--url and --key" in refused("source", "add", "sendsms", code=3)
        done("source", "add", "sendsms", "--url", it.url, "--key", str(it.key))
        code, errors = it.end()
    assert (code, "owner_socket.path_too_long" in errors) == (0, True)


def test_migrate_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert done("migrate") == "".join(f"receiver.db: applied {it.number:04d} {it.name}\n" for it in published())
    assert done("migrate") == "receiver.db: is up to date\n"
