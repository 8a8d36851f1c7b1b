"""`receiver erase`, beside a receiver that does it and without one; and what is left in the files of a real one."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.running import answered, call, done, hook, inside, refused, serving, soon

PERSON = "40727363767"
LOOPBACK = {"RECEIVER_EGRESS_ALLOW": "127.0.0.0/8"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)


def heard(**texts: str) -> None:
    """By a receiver that does not run: texts by the last digit of who wrote them."""
    source = answered("source", "add", "sendsms")
    for digit, text in (texts | {"_7": "quixotic words of hers"}).items():
        inside(f"{source['url']}?from={PERSON[:-1]}{digit[1:]}&to=1898&message={text.replace(' ', '%20')}")


def is_indexed(folder: Path, events: int) -> bool:
    """Whether the index of texts is up with the log."""
    with closing(sqlite3.connect(f"file:{folder}/receiver.db?mode=ro", uri=True)) as database:
        ((position,),) = database.execute("SELECT position FROM followers WHERE name = 'texts'")
    return bool(position == events)


def in_files(folder: Path, *words: str) -> list[tuple[str, str]]:
    """Sockets aside."""
    return [
        (path.name, word)
        for path in folder.iterdir()
        if path.is_file()
        for word in words
        if word.encode() in path.read_bytes()
    ]


def test_nothing_is_left_in_the_files_of_a_running_receiver(tmp_path: Path):
    heard(_8="words of his")
    sought = (PERSON, "words of hers", "words%20of%20hers", "quixotic")
    with hook() as it, serving(tmp_path, **LOOPBACK) as server:
        answered("subscription", "add", it.url, "--start", "beginning")
        soon(lambda: len(it.seen) == 2)
        soon(lambda: is_indexed(tmp_path, 2))
        (message,) = answered("messages", "list", "-q", "quixotic")["data"]
        it.body = f"thanks, {PERSON}".encode()
        assert in_files(tmp_path, *sought)
        printed = done("erase", f"+{PERSON}", "--yes", "--wait")
        assert printed.startswith("Done: ")
        assert "erased" in printed
        assert in_files(tmp_path, *sought) == []
        assert in_files(tmp_path, "words of his")
        left = answered("events", "list", "--order", "asc")["data"]
        assert [event["data"]["text"] for event in left] == ["words of his", None]
        assert answered("messages", "list", "-q", "quixotic")["data"] == []
        assert len(answered("messages", "list", "-q", "words his")["data"]) == 1
        erased = answered("messages", "show", message["id"])
        assert (erased["from"], erased["to"], erased["text"]) == (None, None, None)
        (job,) = [item for item in answered("jobs", "list")["data"] if item["kind"] == "erase"]
        assert (job["state"], PERSON in str(job)) == ("done", False)
        code, errors = server.end()
    assert code == 0
    assert "erasure.asked" in errors
    assert "erasure.done" in errors
    assert PERSON not in errors
    assert in_files(tmp_path, *sought) == []


def test_without_a_receiver_it_is_put_down_and_done_at_the_next_start(tmp_path: Path):
    heard()
    printed = done("erase", PERSON, "--yes")
    assert "begins when the receiver is started" in printed
    (job,) = answered("jobs", "list")["data"]
    assert job["state"] == "running"
    with serving(tmp_path, **LOOPBACK):
        soon(lambda: answered("jobs", "show", job["id"])["state"] == "done")
    assert in_files(tmp_path, PERSON) == []


@pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy
def test_killed_again_and_again_it_goes_on_and_nothing_is_left(tmp_path: Path):
    heard(**{f"_{digit}": f"words of number {digit}" for digit in range(10)})
    done("erase", PERSON, "--yes")
    (job,) = answered("jobs", "list")["data"]
    for _ in range(4):
        with serving(tmp_path, **LOOPBACK) as server:
            server.end(signal.SIGKILL)
    with serving(tmp_path, **LOOPBACK):
        soon(lambda: answered("jobs", "show", job["id"])["state"] == "done")
        assert in_files(tmp_path, PERSON, "words of hers") == []
        texts = [event["data"]["text"] for event in answered("events", "list")["data"]]
        assert (len(texts), texts.count(None)) == (10, 1)


def test_it_asks_before_it_does_and_a_no_changes_nothing():
    heard()
    result = call("erase", PERSON, input="n\n")
    assert result.exit_code == 1
    assert "cannot be undone" in result.stderr
    assert answered("jobs", "list")["data"] == []
    assert call("erase", PERSON, input="y\n").exit_code == 0
    assert len(answered("jobs", "list")["data"]) == 1


def test_the_number_is_read_from_standard_input_where_it_is_not_to_be_in_the_history_of_a_shell():
    result = call("erase", "-", "--json", input=f"+{PERSON}\n")
    assert result.exit_code == 0
    assert '"kind": "erase"' in result.stdout
    assert PERSON not in result.output
    assert "no number" in refused("erase", "-", code=2)
    assert "no number" in refused("erase", " ", "--yes", code=2)
