"""Every command does the same in each of the three ways to reach a receiver: inside, over the owner's socket, by URL."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.cli.running import Hook, Serving, answered, call, done, hook, inside, lines_of, refused, serving, soon

Post = Callable[[str], None]
"""Sends a GET to a source's URL, as its vendor would."""

LOOPBACK = {"RECEIVER_EGRESS_ALLOW": "127.0.0.0/8", "RECEIVER_RETRY_SCHEDULE": "1h"}
WAYS = ("inside", "socket", "url")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("owned"), **LOOPBACK) as it:
        yield it


@pytest.fixture(params=WAYS)
def post(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    """Commands go one of the three ways; only the first ever makes a database here."""
    monkeypatch.chdir(tmp_path)
    if request.param == "inside":
        for name, value in LOOPBACK.items():
            monkeypatch.setenv(name, value)
        yield inside
        return
    it: Serving = request.getfixturevalue("running")
    if request.param == "socket":
        monkeypatch.setenv("RECEIVER_DATABASE_URL", f"sqlite:///{it.folder}/receiver.db")
    else:
        monkeypatch.setenv("RECEIVER_URL", it.url)
        monkeypatch.setenv("RECEIVER_KEY", str(it.key))
    yield lambda url: over_tcp(it, url)
    assert list(tmp_path.iterdir()) == []


def over_tcp(it: Serving, url: str) -> None:
    parts = urlsplit(url)
    assert httpx2.get(f"{it.url}{parts.path}?{parts.query}", trust_env=False).status_code == 200


@pytest.fixture
def subscriber() -> Iterator[Hook]:
    with hook() as it:
        yield it


def test_a_source_is_made_shown_turned_and_removed(post: Post):
    made = answered("source", "add", "twilio", "--name", "ours", "--credential", "auth_token=12345")
    assert made["credentials"] == {"auth_token": "***"}
    assert answered("source", "show", made["id"]) == made
    assert made["id"] in [item["id"] for item in answered("source", "list")["data"]]
    assert made["url"] in done("source", "show", made["id"])
    assert answered("source", "rotate", made["id"])["url"] != made["url"]
    assert made["id"] in done("source", "remove", made["id"])
    assert made["id"] in refused("source", "show", made["id"])


def test_a_source_takes_options_of_every_kind(post: Post):
    made = answered(
        "source", "add", "generic", "--option", "default_region=GB", "--option", "dedup_seconds=5",
        "--option", 'allow=["10.0.0.0/8"]', "--option", "fields.text=data.0.body", "--option", "statuses.0.1=delivered",
        "--option", "basic.username=u", "--option", "basic.password=0123",
    )  # fmt: skip
    options = made["options"]
    assert (options["default_region"], options["dedup_seconds"], options["allow"]) == ("GB", 5, ["10.0.0.0/8"])
    assert options["fields"] == {"text": ["data.0.body"]}
    assert options["statuses"]["0.1"]["status"] == "delivered"
    assert options["basic"] == {"username": "u", "password": "***"}


def test_what_is_wrong_with_a_source_is_named(post: Post):
    assert "credentials.auth_token: is required" in refused("source", "add", "twilio")
    assert "vendor: must be one of" in refused("source", "add", "nobody")
    told = refused("source", "add", "sendsms", "--option", "timezone=Mars/Base", "--credential", "secret=s3cr3t")
    assert "options.timezone: " in told
    assert "credentials.secret: " in told
    assert "s3cr3t" not in told


def test_a_subscription_is_made_paused_resumed_turned_and_removed(post: Post):
    made = answered(
        "subscription", "add", "https://example.com/hook", "--type", "message.*", "--vendor", "twilio",
        "--from", "+44*", "--final-only", "--header", "X-Team=billing", "--retry", "5s", "--retry", "2m",
        "--max-concurrency", "3", "--description", "billing",
    )  # fmt: skip
    assert made["secret"].startswith("whsec_")
    assert (made["types"], made["retry_schedule"], made["max_concurrency"]) == (["message.*"], [5, 120], 3)
    assert (made["filter"]["vendors"], made["filter"]["from"], made["filter"]["final_only"]) == (
        ["twilio"],
        ["+44*"],
        True,
    )
    assert made["headers"] == {"X-Team": "***"}
    done("subscription", "pause", made["id"])
    assert state_of(made["id"]) == "paused"
    done("subscription", "resume", made["id"])
    assert state_of(made["id"]) == "active"
    turned = answered("subscription", "rotate", made["id"], "--overlap", "1h")
    assert turned["secret"] not in (made["secret"], "***")
    done("subscription", "remove", made["id"])
    assert made["id"] not in [item["id"] for item in answered("subscription", "list")["data"]]


def state_of(subscription: str) -> Any:
    return {item["id"]: item["state"] for item in answered("subscription", "list")["data"]}[subscription]


def test_the_secret_of_a_subscription_is_printed_once(post: Post):
    printed = done("subscription", "add", "http://example.com/hook", "--paused")
    assert "whsec_" in printed
    assert "whsec_" not in done("subscription", "list", "--destination", "http://example.com/hook")


def test_a_subscription_is_tested(post: Post, subscriber: Hook):
    made = answered("subscription", "add", subscriber.url, "--type", "contact.*")
    assert done("subscription", "test", made["id"]).startswith("Answered 200 after ")
    assert b'"test.ping"' in subscriber.seen[0][3]
    subscriber.status = 500
    assert "status after" in refused("subscription", "test", made["id"])
    result = call("subscription", "test", made["id"], "--json")
    assert (result.exit_code, '"status": 500' in result.stdout) == (1, True)


def test_a_destination_that_must_not_be_called_is_refused(post: Post):
    assert "url: " in refused("subscription", "add", "http://169.254.169.254/latest")


def test_a_key_is_made_listed_and_revoked(post: Post):
    made = answered("keys", "create", "reports", "--scope", "read", "--scope", "write")
    assert (made["scopes"], made["key"][:4]) == (["read", "write"], "key_")
    listed = {item["id"]: item for item in answered("keys", "list")["data"]}
    assert "key" not in listed[made["id"]]
    done("keys", "revoke", made["id"])
    assert {item["id"]: item for item in answered("keys", "list")["data"]}[made["id"]]["revoked_at"]
    assert "key_" in done("keys", "create", "another")


def test_what_was_received_is_listed_and_shown(post: Post):
    source = answered("source", "add", "sendsms")
    post(f"{source['url']}?from=40727363767&to=1898&message=Hello+there")
    post(f"{source['url']}?ref=order-1&status=1")
    report, message = answered("events", "list", "--source", source["id"])["data"]
    assert (message["data"]["text"], report["data"]["status"]) == ("Hello there", "delivered")
    assert answered("events", "show", message["id"]) == message
    assert "Hello there" in done("events", "show", message["id"])
    rows = lines_of(done("events", "list", "--source", source["id"], "--order", "asc"))
    assert [row[-2:] for row in rows] == [["+40727363767 → 1898", "Hello there"], ["–", "delivered"]]
    only = answered("events", "list", "--source", source["id"], "--type", "message.status", "--status", "delivered")
    assert [event["id"] for event in only["data"]] == [report["id"]]
    assert answered("events", "list", "--source", source["id"], "--since", "2999-01-01T00:00:00Z")["data"] == []


def test_pages_follow_on(post: Post):
    source = answered("source", "add", "sendsms")
    for number in range(3):
        post(f"{source['url']}?from=40727363767&to=1898&message=number+{number}")
    first = answered("events", "list", "--source", source["id"], "--limit", "2")
    second = answered("events", "list", "--source", source["id"], "--limit", "2", "--after", first["next"])
    texts = [event["data"]["text"] for event in first["data"] + second["data"]]
    assert texts == ["number 2", "number 1", "number 0"]
    assert f"--after {first['next']}" in done("events", "list", "--source", source["id"], "--limit", "2")


def test_a_delivery_is_listed_shown_and_tried_again(post: Post, subscriber: Hook):
    subscriber.status = 500
    source = answered("source", "add", "sendsms")
    subscription = answered("subscription", "add", subscriber.url, "--source", source["id"])
    post(f"{source['url']}?from=40727363767&to=1898&message=Hello")

    def idle():
        found = answered("deliveries", "list", "--subscription", subscription["id"])["data"]
        return found if found and found[0]["state"] != "sending" else None

    (delivery,) = soon(idle)
    event = answered("events", "list", "--source", source["id"])["data"][0]
    assert answered("deliveries", "list", "--event", event["id"])["data"][0]["id"] == delivery["id"]
    retried = answered("deliveries", "retry", delivery["id"])
    assert retried["next_at"] is not None
    shown = answered("deliveries", "show", delivery["id"])
    assert shown["id"] == delivery["id"]
    assert ("Attempts" in done("deliveries", "show", delivery["id"])) == bool(shown["attempts"])
    done("subscription", "remove", subscription["id"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("source", "show"), ("source", "rotate"), ("source", "remove"), ("subscription", "test"), ("events", "show"),
        ("subscription", "pause"), ("subscription", "resume"), ("subscription", "rotate"), ("subscription", "remove"),
        ("deliveries", "show"), ("deliveries", "retry"), ("keys", "revoke"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_id_that_is_not_there_is_one_line(post: Post, arguments: tuple[str, ...]):
    done("source", "add", "sendsms")
    told = refused(*arguments, "xyz_1/../?a=b")
    assert told.startswith("Error: /v1/")
    assert told.count("\n") == 1


def test_an_empty_list_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done("migrate")
    assert "receiver source add" in done("source", "list")
    assert "receiver subscription add" in done("subscription", "list")
    assert "receiver keys create" in done("keys", "list")
    assert done("events", "list") == "No events.\n"
    assert done("deliveries", "list") == "No deliveries.\n"
