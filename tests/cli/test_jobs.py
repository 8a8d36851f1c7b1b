"""Jobs from the command line, beside a receiver that does them and without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Hook, answered, done, hook, inside, refused, serving, soon

LOOPBACK = {"RECEIVER_EGRESS_ALLOW": "127.0.0.0/8", "RECEIVER_RETRY_SCHEDULE": "1h"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)


@contextmanager
def subscriber(*messages: str, **given: str) -> Iterator[tuple[Hook, dict[str, Any]]]:
    """One that was paused while messages came, and is so no longer; nothing runs."""
    options = [text for name, value in given.items() for text in (f"--{name}", value)]
    with hook() as it:
        source = answered("source", "add", "sendsms")
        made = answered("subscription", "add", it.url, "--paused", *options)
        for text in messages:
            inside(f"{source['url']}?from=40727363767&to=1898&message={text}")
        done("subscription", "resume", made["id"])
        yield it, made


def texts(it: Hook) -> list[str]:
    return sorted(body.decode().partition('"text":"')[2].partition('"')[0] for _, _, _, body in it.seen)


def test_what_was_held_is_recovered_and_waited_for(tmp_path: Path):
    with subscriber("one", "two", "three") as (it, made), serving(tmp_path, **LOOPBACK):
        assert done("subscription", "recover", made["id"], "--wait") == "Done: 3 looked at, 3 to be sent.\n"
        soon(lambda: len(it.seen) == 3)
        assert texts(it) == ["one", "three", "two"]
        (job,) = answered("jobs", "list")["data"]
        assert answered("jobs", "show", job["id"]) == job
        assert (job["state"], job["released"]) == ("done", 3)
        assert "done" in refused("jobs", "cancel", job["id"])
        again = answered("subscription", "recover", made["id"], "--state", "held", "--state", "failed", "--wait")
        assert (again["state"], again["released"]) == ("done", 0)


def test_without_a_receiver_it_is_put_down_and_done_at_the_next_start(tmp_path: Path):
    with subscriber("one", "two") as (it, made):
        printed = done("subscription", "recover", made["id"], "--wait")
        assert printed.startswith("Asked for job_")
        assert "begins when the receiver is started" in printed
        (job,) = answered("jobs", "list")["data"]
        assert (job["state"], job["total"]) == ("running", 2)
        with serving(tmp_path, **LOOPBACK):
            soon(lambda: len(it.seen) == 2)
            soon(lambda: answered("jobs", "show", job["id"])["state"] == "done")


def test_events_are_replayed_one_or_those_of_a_time(tmp_path: Path):
    with subscriber("one", "two") as (it, made), serving(tmp_path, **LOOPBACK):
        one, _ = answered("events", "list", "--order", "asc")["data"]
        assert "1 looked at, 1 to be sent" in done("replay", one["id"], "--wait")
        soon(lambda: texts(it) == ["one"])
        since = ("--since", "2020-01-01T00:00:00Z")
        job = answered("replay", *since, "--until", "2020-01-02T00:00:00Z", "--wait")
        assert (job["kind"], job["total"], job["released"]) == ("replay", 0, 0)
        job = answered("replay", *since, "--type", "message.*", "--subscription", made["id"], "--wait")
        assert (job["total"], job["released"], job["subscription_id"]) == (2, 2, made["id"])
        soon(lambda: texts(it) == ["one", "one", "two"])
        assert "subscription_ids.0: no such one" in refused("replay", one["id"], "--subscription", "sub_never")
        assert refused("replay", "evt_never").startswith("Error: /v1/events/evt_never/replay: ")


def test_a_subscription_is_made_with_order_rate_and_a_start_in_the_log(tmp_path: Path):
    with subscriber("one", "two"), hook() as late:
        made = answered(
            "subscription", "add", late.url, "--ordered", "conversation", "--rate", "50", "--start", "beginning"
        )
        assert (made["ordered"], made["rate_per_second"], made["catching_up"]) == ("conversation", 50, True)
        (job,) = answered("jobs", "list", "--subscription", made["id"])["data"]
        assert (job["kind"], job["state"], job["total"]) == ("start", "running", 2)
        assert job["id"] in done("jobs", "list")
        printed = done("jobs", "cancel", job["id"])
        assert printed == f"Canceled {job['id']} after 0 looked at, 0 to be sent.\n"
        other = answered("subscription", "add", late.url, "--start", "beginning", "--description", "other")
        with serving(tmp_path, **LOOPBACK):
            soon(lambda: texts(late) == ["one", "two"])
            soon(lambda: "running" not in done("jobs", "list"))
            jobs = answered("jobs", "list", "--state", "done")["data"]
            assert [job["subscription_id"] for job in jobs] == [other["id"]]


def test_a_url_that_does_not_answer_the_handshake_is_not_subscribed(tmp_path: Path):
    with hook() as it:
        told = refused("subscription", "add", it.url, "--handshake")
        assert "url: the handshake failed" in told
        assert answered("subscription", "list")["data"] == []


def test_what_cannot_be_asked_for_is_one_line(tmp_path: Path):
    with subscriber() as (_, made):
        done("subscription", "pause", made["id"])
        assert "set its `paused` to false first" in refused("subscription", "recover", made["id"])
        assert "since: must be a time" in refused("subscription", "recover", made["id"], "--since", "yesterday")
        assert "start: there is no such event" in refused(
            "subscription", "add", "https://a.example/", "--start", "evt_01k5z2v0c3x9q8w7e6r5t4y3u2"
        )
        assert done("jobs", "list") == "No jobs.\n"
