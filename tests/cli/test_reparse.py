"""Requests read again from the command line."""

from pathlib import Path

import pytest

from tests.cli.running import answered, done, inside, refused, serving, soon


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_would_come_is_shown_and_then_made(tmp_path: Path):
    source = answered("source", "add", "generic", "--option", "fields.from=who")
    for number in range(2):
        inside(f"{source['url']}?who=447700900123&words=hello{number}")
    inside(f"{source['url']}?who=447700900123")
    assert "No" not in done("reparse", "--outcome", "quarantined", "--dry-run")
    with serving(tmp_path) as it:
        options = {"fields": {"text": "words", "from": "who"}}
        assert it.ask("PATCH", f"/v1/sources/{source['id']}", json={"options": options}).status_code == 200
        shown = done("reparse", "--outcome", "quarantined", "--dry-run")
        lines = shown.splitlines()
        assert lines[0].split() == ["RECEIPT", "OUTCOME", "BECOMES", "EVENT", "SUPERSEDES", "WHAT"]
        assert [line.split()[1:4] + line.split()[5:] for line in lines[1:3]] == [
            ["quarantined", "stored", "message.received", "new"]
        ] * 2
        assert lines[3] == "3 read; 2 would change or cannot be read."
        document = answered("reparse", "--source", source["id"], "--dry-run")
        assert (document["read"], len(document["data"])) == (3, 2)
        assert done("reparse", "--outcome", "quarantined", "--wait") == "Done: 3 looked at, 2 events made.\n"
        assert (
            done("reparse", document["data"][0]["receipt_id"], "--dry-run")
            == "1 read; 0 would change or cannot be read.\n"
        )
        again = answered("reparse", "--since", "2026-01-01T00:00:00Z", "--wait")
        assert (again["kind"], again["released"]) == ("reparse", 0)
        types = [event["type"] for event in answered("events", "list")["data"]]
        assert types.count("message.received") == 2


def test_corrections_name_what_they_correct(tmp_path: Path):
    source = answered("source", "add", "generic", "--option", "fields.from=who", "--option", "fields.text=a")
    inside(f"{source['url']}?who=447700900123&a=one&b=two")
    with serving(tmp_path) as it:
        for fields, what in (({"text": "b", "from": "who"}, "corrected: text"), ({"from": "who"}, "no longer found")):
            it.ask("PATCH", f"/v1/sources/{source['id']}", json={"options": {"fields": fields}})
            assert what in done("reparse", "--source", source["id"], "--dry-run")
        it.ask("DELETE", f"/v1/sources/{source['id']}")
        assert "no_source" in done("reparse", "--outcome", "stored", "--dry-run")


def test_without_a_receiver_it_is_put_down_and_done_at_the_next_start(tmp_path: Path):
    source = answered("source", "add", "generic")
    inside(f"{source['url']}?text=x")
    assert "begins when the receiver is started" in done("reparse", "--source", source["id"])
    with serving(tmp_path):
        soon(lambda: answered("jobs", "list", "--state", "done")["data"])


def test_everything_at_once_or_two_things_at_once_is_wrong_usage():
    assert "--outcome" in refused("reparse", code=2)
    assert "--dry-run only looks" in refused("reparse", "rcp_1", "--dry-run", "--wait", code=2)
