"""What the API and the command line say of vendors that are asked, and what they refuse."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from receiver.vendors import VENDORS
from tests.api.running import Api, pointers, problem, running_api
from tests.cli.running import answered, call, done, refused

ACCOUNT = {"username": "u", "password": "p"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def made(api: Api, vendor: str = "sendsms", **body: Any) -> Any:
    return await api.client.post("/v1/sources", json={"vendor": vendor, **body})


@pytest.mark.parametrize(
    ("vendor", "body", "pointer"),
    [
        ("sendsms", {"options": {"poll": {}}}, ["/credentials/username", "/credentials/password"]),
        ("sendsms", {"options": {"poll": {"connector": True, "feeds": []}}}, ["/credentials/client_id", "/credentials/client_secret"]),
        ("thesmsworks", {"options": {"poll": {}}}, ["/credentials/token"]),
        ("isendpro", {"options": {"poll": {}}}, ["/credentials/keyid"]),
        ("mobtexting", {"options": {"poll": {}}}, ["/credentials/access_token"]),
        ("sendsms", {"credentials": ACCOUNT, "options": {"poll": {"every": 0}}}, ["/options/poll/every"]),
        ("sendsms", {"credentials": ACCOUNT, "options": {"poll": {"feeds": ["inbox"]}}}, ["/options/poll/feeds/0"]),
        ("sendsms", {"credentials": ACCOUNT, "options": {"poll": {"base_url": "ftp://x"}}}, ["/options/poll/base_url"]),
        ("sendsms", {"credentials": ACCOUNT, "options": {"poll": {"base_url": "https://u:p@x"}}}, ["/options/poll/base_url"]),
        ("sendsms", {"credentials": ACCOUNT, "options": {"poll": {"evry": 5}}}, ["/options/poll/evry"]),
        ("twilio", {"credentials": {"auth_token": "t"}, "options": {"poll": {}}}, ["/options/poll"]),
        ("generic", {"options": {"reconcile": {}}}, ["/options/reconcile/close_after"]),
        ("isendpro", {"credentials": {"keyid": "k"}, "options": {"poll": {}, "reconcile": {}}}, ["/options/reconcile/close_after"]),
        ("generic", {"options": {"reconcile": {"close_after": 604_800}}}, ["/options"]),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, vendor: str, body: Any, pointer: list[str]):
    async with running_api(tmp_path) as api:
        assert pointers(await made(api, vendor, **body)) == pointer


async def test_asking_is_off_until_it_is_wanted(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = (await made(api)).json()
        assert (source["options"]["poll"], source["poll"]) == (None, None)
        path = f"/v1/sources/{source['id']}/ask"
        wanted = {"vendor_message_ids": ["a"]}
        assert problem(await api.client.post(path, json=wanted)) == (409, "conflict")
        assert problem(await api.client.post("/v1/sources/src_none/ask", json=wanted)) == (404, "not_found")
        changed = {"credentials": ACCOUNT, "options": {"poll": {}}}
        setup = (await api.client.patch(f"/v1/sources/{source['id']}", json=changed)).json()["setup"]
        assert setup["asks"] == "https://api.sendsms.ro every 60 s for messages_get"
        assert setup["report_url"] == source["setup"]["report_url"]
        assert (await api.client.post(path, json=wanted)).json() == {"waiting": 1}
        assert pointers(await api.client.post(path, json={"vendor_message_ids": []})) == ["/vendor_message_ids"]
        shown = (await api.client.get(f"/v1/sources/{source['id']}")).json()
        assert shown["poll"] == {"feeds": [], "waiting": 1}
        assert (await api.client.get("/v1/sources")).json()["data"][0]["poll"]["waiting"] == 1
        await api.client.delete(f"/v1/sources/{source['id']}")
        async with api.database.reading() as reader:
            assert await reader.fetch("SELECT 1 FROM lookups") == []


async def test_a_source_that_this_version_cannot_read_asks_for_nothing(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = (await made(api, credentials=ACCOUNT, options={"poll": {}})).json()
        async with api.database.writing() as transaction:
            await transaction.fetch("UPDATE sources SET options = ?", '{"poll": {"of_the_future": 1}}')
        path = f"/v1/sources/{source['id']}/ask"
        assert problem(await api.client.post(path, json={"vendor_message_ids": ["a"]})) == (409, "conflict")


async def test_a_source_that_only_asks_is_warned_that_nothing_proves_a_push(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = (await made(api, credentials=ACCOUNT)).json()
        assert [warning[:29] for warning in source["warnings"]] == ["Only the secret in the URL pr"]
        proven = (await made(api, "mobtexting", credentials={"secret": "s", "access_token": "a"})).json()
        assert proven["warnings"] == []


async def test_the_manifest_says_how_a_vendor_is_asked(tmp_path: Path):
    async with running_api(tmp_path) as api:
        found = {item["name"]: item for item in (await api.client.get("/v1/vendors")).json()["data"]}
    assert found["sendsms"]["poll"].pop("help").startswith("where the API key")
    assert found["sendsms"]["poll"] == {
        "base_url": "https://api.sendsms.ro",
        "per_minute": 10,
        "feeds": {"messages_get": "inbound messages"},
        "lookup": True,
    }
    assert found["twilio"]["poll"] is None
    for name, vendor in VENDORS.items():
        asked = vendor.poll is not None
        assert ("poll" in found[name]["capabilities"]) == asked
        assert ("lookup" in found[name]["capabilities"]) == bool(vendor.poll and vendor.poll.lookup)
        assert vendor.poll is None or vendor.poll.base_url.startswith("https://")


def test_the_commands_make_show_and_ask(here: Path):
    source = answered(
        "source", "add", "sendsms", "--credential", "username=u", "--credential", "password=s3cr3t",
        "--option", "poll.every=30", "--option", "poll.feeds=[]",
    )  # fmt: skip
    assert done("source", "ask", source["id"], "a", "b") == "Final reports that are waited for: 2.\n"
    assert answered("source", "ask", source["id"], "c") == {"waiting": 3}
    shown = done("source", "show", source["id"])
    assert "poll.waiting" in shown
    connection = sqlite3.connect(here / "receiver.db")
    connection.execute(
        "INSERT INTO polls VALUES (?, 'messages_get', '{\"last_id\": 7}', NULL, 0, 0, NULL, 3, 'no answer')",
        (source["id"],),
    )
    connection.commit()
    connection.close()
    lines = {line.split()[0]: line.split()[1] for line in done("source", "show", source["id"]).splitlines()}
    assert (lines["poll.messages_get.position.last_id"], lines["poll.messages_get.failures"]) == ("7", "3")
    assert "s3cr3t" not in shown
    plain = answered("source", "add", "generic")
    assert "options.poll" in refused("source", "ask", plain["id"], "a")


def test_check_tells_what_goes_wrong_with_asking(here: Path):
    source = answered(
        "source",
        "add",
        "sendsms",
        "--credential",
        "username=u",
        "--credential",
        "password=p",
        "--option",
        "poll.every=30",
    )
    connection = sqlite3.connect(here / "receiver.db")
    connection.execute(
        "INSERT INTO polls VALUES (?, 'messages_get', '{}', NULL, 0, 0, 1700000000000000, 3, 'the vendor refuses')",
        (source["id"],),
    )
    connection.execute('UPDATE sources SET credentials = \'{"username": ["u"]}\'')
    connection.commit()
    connection.close()
    checked = call("check")
    assert checked.exit_code == 1
    assert (
        "asking for messages_get failed 3 times, for the last time answered 2023-11-14T22:13:20.000Z: the vendor refuses"
        in checked.output
    )
    assert "credentials.password is required where the vendor is asked (options.poll)" in checked.output
    connection = sqlite3.connect(here / "receiver.db")
    connection.execute("UPDATE sources SET options = '{}'")
    connection.commit()
    connection.close()
    assert call("check").exit_code == 0  # what is not asked for any more fails no more
