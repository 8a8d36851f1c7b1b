"""Messages from the command line: the inbox and its search, beside a receiver that indexes texts and without one."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.running import answered, done, inside, lines_of, refused, serving, soon


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def source(place: None) -> dict[str, str]:
    """Two inbound texts, and two reports of one outbound message."""
    made: dict[str, str] = answered("source", "add", "sendsms")
    for text in ("Mul%C8%9Bumesc", "hello+again"):
        inside(f"{made['url']}?from=40727363767&to=1898&message={text}")
    for status in ("8", "2"):
        inside(f"{made['url']}?ref=order-1&status={status}")
    return made


def test_messages_are_listed_searched_and_shown(source: dict[str, str]):
    rows = lines_of(done("messages", "list"))
    assert [row[2:] for row in rows] == [
        ["out", "– → –", "undelivered", "–"],
        ["in", "+40727363767 → 1898", "unread", "hello again"],
        ["in", "+40727363767 → 1898", "unread", "Mulțumesc"],
    ]
    assert [row[-1] for row in lines_of(done("messages", "list", "-q", "multumesc"))] == ["Mulțumesc"]
    assert [row[0] for row in lines_of(done("messages", "list", "--failed"))] == [rows[0][0]]
    assert len(lines_of(done("messages", "list", "--between", "1898", "+40727363767"))) == 2
    assert done("messages", "list", "--direction", "out", "--status", "sent") == "No messages.\n"
    assert [row[2] for row in lines_of(done("events", "list", "-q", "hel*"))] == ["message.received"]
    shown = done("messages", "show", rows[0][0])
    assert "order-1" in shown
    timeline = shown.partition("Timeline\n")[2]
    assert [row[1:3] for row in lines_of(timeline)] == [["message.status", "sent"], ["message.status", "undelivered"]]
    assert answered("messages", "show", rows[0][0])["status"] == "undelivered"
    assert "msg_none" in refused("messages", "show", "msg_none")


def test_a_batch_is_counted_and_listed():
    options = ["--option", "fields.batch_id=batch", "--option", "fields.status=status", "--option", "fields.to=to"]
    options += ["--option", "fields.vendor_message_id=id", "--option", "statuses.ok=delivered"]
    made = answered("source", "add", "generic", *options, "--option", "international=true")
    for number, status in enumerate(("ok", "ok", "else")):
        inside(f"{made['url']}?id=m{number}&to=4477009001{number}&status={status}&batch=spring/sale")
    counts, _, listed = done("batches", "spring/sale", "--limit", "2").partition("\n\n")
    assert [line.split() for line in counts.splitlines()] == [["messages", "3"], ["delivered", "2"], ["unknown", "1"]]
    assert [row[4] for row in lines_of(listed.partition("\n\n")[0])] == ["unknown", "delivered"]
    assert "More with --after" in listed
    found = answered("batches", "spring/sale", "--source", made["id"])
    assert (found["id"], found["counts"]["total"], len(found["data"])) == ("spring/sale", 3, 3)
    assert "spring%2Fsale" in refused("batches", "spring/sale", "--source", "src_none")


def test_messages_are_read_and_deleted(source: dict[str, str]):
    ids = [item["id"] for item in answered("messages", "list", "--unread")["data"]]
    assert done("messages", "read", ids[0]) == "1 marked as read.\n"
    assert [item["id"] for item in answered("messages", "list", "--read")["data"]] == ids[:1]
    assert answered("messages", "read", "--from", "+407*") == {"marked": 1}
    assert done("messages", "read", "--all") == "0 marked as read.\n"
    assert "give ids, or filters, or --all" in refused("messages", "read", code=2)
    assert "give ids, or filters, or --all" in refused("messages", "read", ids[0], "--all", code=2)
    assert done("messages", "delete", ids[0]) == "Deleted.\n"
    assert [item["id"] for item in answered("messages", "list", "--direction", "in")["data"]] == ids[1:]


def test_a_receiver_that_runs_indexes_what_was_there_and_what_comes(source: dict[str, str], tmp_path: Path):
    def indexed() -> int:
        with closing(sqlite3.connect(f"file:{tmp_path}/receiver.db?mode=ro", uri=True)) as database:
            return len(database.execute("SELECT rowid FROM texts WHERE texts MATCH 'hello'").fetchall())

    assert indexed() == 0
    with serving(tmp_path) as it:
        soon(lambda: indexed() == 1, 30)
        path = source["url"].partition("/in/")[2]
        assert it.ask("GET", f"/in/{path}?from=40727363767&to=1898&message=hello+third").status_code == 200
        assert len(answered("messages", "list", "-q", "hello")["data"]) == 2
        soon(lambda: indexed() == 2, 30)
        assert len(answered("messages", "list", "-q", "hello")["data"]) == 2
