"""sendSMS asked over real HTTP: inbound messages by `last_id`, states by the classic call and by the connector."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.polling.asking import Asker, asker, until
from tests.polling.fakes import CLIENT, PASSWORD, USER, SendSms, state
from tests.polling.server import Says, json, serving

ACCOUNT = {"username": USER, "password": PASSWORD}
SECRETS = (PASSWORD, quote(PASSWORD), "pass+word%2B%26", "client-secret", "access-", "refresh-")


async def polled(it: Asker, source_id: str) -> dict[str, Any]:
    """The state of each feed by its name."""
    poll = (await it.api("GET", f"/v1/sources/{source_id}"))["poll"] or {"feeds": []}
    return {feed["feed"]: feed for feed in poll["feeds"]}


async def test_each_new_message_appears_once_in_the_order_of_their_ids(tmp_path: Path) -> None:
    vendor = SendSms()
    vendor.receive(11, "eleven")
    vendor.receive(10, "ten")
    async with serving(vendor) as fake, asker(tmp_path) as it:
        await it.source("sendsms", fake, ACCOUNT)
        await until(lambda: len(fake.asked) >= 3)
        vendor.receive(12, "twelve")
        asked = len(fake.asked)
        await until(lambda: len(fake.asked) >= asked + 3)
        assert await it.texts() == ["ten", "eleven", "twelve"]
        (first, *_) = await it.events()
        assert first["data"]["vendor_message_id"] == "10"
        assert (first["data"]["from"]["address"], first["data"]["to"]["address"]) == ("+40727363767", "1898")
        assert first["data"]["sent_at"] is None  # its zone is not known


async def test_a_time_has_the_zone_that_the_source_gives_it(tmp_path: Path) -> None:
    vendor = SendSms()
    vendor.receive(1)
    async with serving(vendor) as fake, asker(tmp_path) as it:
        await it.source("sendsms", fake, ACCOUNT, timezone="Europe/Bucharest")
        await until(it.texts)
        assert (await it.events())[0]["data"]["sent_at"] == "2026-05-03T11:07:55.000Z"


async def test_more_than_a_call_holds_is_asked_for_at_once(tmp_path: Path) -> None:
    vendor = SendSms()
    for number in range(1, 121):
        vendor.receive(number, f"text {number}")
    async with serving(vendor) as fake, asker(tmp_path) as it:
        await it.source("sendsms", fake, ACCOUNT, {"every": 3600, "last_id": 5})
        await until(lambda: len(fake.asked) >= 3)

        async def all_there() -> bool:
            return len(await it.texts()) == 115

        await until(all_there)
        assert [asked.query["last_id"] for asked in fake.asked] == ["5", "55", "105"]
        assert await it.texts() == [f"text {number}" for number in range(6, 121)]


async def test_an_answer_is_a_receipt_without_a_secret_and_nothing_new_leaves_none(tmp_path: Path) -> None:
    vendor = SendSms()
    vendor.receive(7)
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("sendsms", fake, ACCOUNT)
        await until(lambda: len(fake.asked) >= 4)
        (summary,) = (await it.api("GET", "/v1/receipts"))["data"]
        assert (summary["method"], summary["outcome"], summary["peer"]) == ("POLL", "stored", "127.0.0.1")
        receipt = await it.api("GET", f"/v1/receipts/{summary['id']}")
        assert receipt["target"] == "/in/sendsms/poll?feed=messages_get&last_id=0"
        assert '"data":"DA"' in receipt["body"]
        shown = await it.api("GET", f"/v1/sources/{source['id']}")
        assert (shown["last_error"], shown["credentials"]["password"]) == (None, "***")
        feed = shown["poll"]["feeds"][0]
        assert (feed["feed"], feed["position"], feed["failures"], feed["error"]) == (
            "messages_get", {"last_id": 7}, 0, None,
        )  # fmt: skip


async def test_wrong_credentials_are_told_and_others_are_tried_at_once(tmp_path: Path) -> None:
    vendor = SendSms()
    vendor.receive(1)
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("sendsms", fake, ACCOUNT | {"password": "wrong"}, {"every": 600})

        async def failed() -> bool:
            return bool((await polled(it, source["id"])).get("messages_get", {}).get("error"))

        await until(failed)
        shown = await it.api("GET", f"/v1/sources/{source['id']}")
        assert shown["last_error"] == "messages_get: the vendor refuses the credentials (status -8)"
        assert len(fake.asked) == 1
        await it.api("PATCH", f"/v1/sources/{source['id']}", credentials=ACCOUNT)
        await until(it.texts)
        feed = (await polled(it, source["id"]))["messages_get"]
        assert (feed["failures"], feed["error"]) == (0, None)


async def test_a_state_is_asked_for_until_it_is_final(tmp_path: Path) -> None:
    vendor = SendSms(states={"a-1": state(8), "a-2": state(1)})
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("sendsms", fake, ACCOUNT, {"feeds": []}, timezone="Europe/Bucharest")
        path = f"/v1/sources/{source['id']}/ask"
        assert await it.api("POST", path, vendor_message_ids=["a-1", "a-2", "a-2", "a-3"]) == {"waiting": 3}
        await until(lambda: len(fake.asked) >= 3)

        async def waiting() -> list[Any]:
            return [*await it.fetch("SELECT name, tries FROM lookups")]

        async def one_is_left() -> bool:
            return await waiting() == [("a-1", 1)]

        await until(one_is_left)
        found = {event["data"]["vendor_message_id"]: event["data"] for event in await it.events("message.status")}
        assert {name: (data["status"], data["final"]) for name, data in found.items()} == {
            "a-1": ("sent", False), "a-2": ("delivered", True),
        }  # fmt: skip
        assert found["a-2"]["price"] == {"amount": "0.039", "currency": None}
        assert (found["a-2"]["segments"], found["a-2"]["occurred_at"]) == (1, "2026-05-03T11:05:14.000Z")
        assert found["a-1"]["occurred_at"] is None


CONNECTOR = {"feeds": [], "connector": True}


async def test_the_connector_takes_a_token_that_is_renewed_kept_and_never_shown(tmp_path: Path) -> None:
    vendor = SendSms(states={"b-1": state(1), "b-2": state(16), "b-3": state(2)})
    credentials = CLIENT | {"refresh_token": vendor.refresh}
    async with serving(vendor) as fake:
        async with asker(tmp_path) as it:
            source = await it.source("sendsms", fake, credentials, CONNECTOR)
            await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["b-1"])
            await until(it.events)
            assert [asked.path.rpartition("/")[2] for asked in fake.asked] == ["refresh_token", "message_status"]
            vendor.access = "another"  # the vendor has forgotten ours
            await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["b-2"])

            async def two() -> bool:
                return len(await it.events()) == 2

            await until(two)
            assert vendor.grants == 3
            shown = str(await it.api("GET", f"/v1/sources/{source['id']}")) + str(
                await it.fetch("SELECT * FROM receipts")
            )
            assert not [secret for secret in SECRETS if secret in shown]
        fake.asked.clear()
        async with asker(tmp_path) as it:
            await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["b-3"])

            async def three() -> bool:
                return len(await it.events()) == 3

            await until(three)
            assert [asked.path.rpartition("/")[2] for asked in fake.asked] == ["message_status"]
            statuses = [event["data"]["status"] for event in await it.events()]
            assert statuses == ["delivered", "undelivered", "undelivered"]


async def test_without_a_refresh_token_the_client_asks_by_its_own_name(tmp_path: Path) -> None:
    vendor = SendSms(states={"c-1": state(1)})
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("sendsms", fake, CLIENT, CONNECTOR)
        await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["c-1"])
        await until(it.events)
        assert fake.asked[0].form["grant_type"] == "client_credentials"


async def test_a_refresh_token_that_is_worth_nothing_any_more_gives_way_to_the_sources_own(tmp_path: Path) -> None:
    vendor = SendSms(states={"d-1": state(1), "d-2": state(1)})
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("sendsms", fake, CLIENT | {"refresh_token": vendor.refresh}, CONNECTOR)
        await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["d-1"])
        await until(it.events)
        vendor.access, vendor.refresh = "another", "refresh-1"
        await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["d-2"])

        async def two() -> bool:
            return len(await it.events()) == 2

        await until(two)
        assert [asked.form.get("refresh_token") for asked in fake.asked if "oauth2" in asked.path] == [
            "refresh-1", "refresh-2", "refresh-1",
        ]  # fmt: skip


async def test_a_grant_without_a_new_refresh_token_leaves_the_old_one(tmp_path: Path) -> None:
    vendor = SendSms(states={"f-1": state(1), "f-2": state(1)})
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("sendsms", fake, CLIENT | {"refresh_token": "of the source"}, CONNECTOR)
        fake.next += [
            json({"access_token": "access-1", "refresh_token": "kept", "expires_in": 1}),
            json({"status": 0, "details": state(1)}),
            json({"access_token": "access-1", "expires_in": 1}),
        ]
        for name in ("f-1", "f-2"):
            before = len(await it.events())
            await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=[name])

            async def more(before: int = before) -> bool:
                return len(await it.events()) > before

            await until(more)
        assert [tuple(row) for row in await it.fetch("SELECT refresh_token FROM tokens")] == [("kept",)]
        credentials = CLIENT | {"refresh_token": "another"}
        await it.api("PATCH", f"/v1/sources/{source['id']}", credentials=credentials)
        fake.asked.clear()
        await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["f-1"])
        await until(lambda: fake.asked)
        assert fake.asked[0].form["refresh_token"] == "another"


async def test_a_client_that_gets_no_token_is_told(tmp_path: Path) -> None:
    async with serving(SendSms()) as fake, asker(tmp_path) as it:
        source = await it.source("sendsms", fake, CLIENT | {"refresh_token": "wrong"}, CONNECTOR)
        await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["a"])

        async def told() -> bool:
            found = (await polled(it, source["id"])).get("lookup", {}).get("error")
            return bool(found == "the vendor refuses client or refresh token (HTTP 400)")

        await until(told)


async def test_an_expired_token_is_renewed_before_it_is_used(tmp_path: Path) -> None:
    vendor = SendSms(states={"e-1": state(1), "e-2": state(1)})
    async with serving(vendor) as fake, asker(tmp_path) as it:
        fake.next.append(json({"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 59}))
        source = await it.source("sendsms", fake, CLIENT | {"refresh_token": "refresh-1"}, CONNECTOR)
        for name in ("e-1", "e-2"):
            before = len(await it.events())
            await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=[name])

            async def more(before: int = before) -> bool:
                return len(await it.events()) > before

            await until(more)
        assert [asked.path.rpartition("/")[2] for asked in fake.asked] == [
            "refresh_token", "message_status", "refresh_token", "message_status",
        ]  # fmt: skip


async def test_an_answer_that_is_none_is_told_and_asked_for_again(tmp_path: Path) -> None:
    vendor = SendSms()
    vendor.receive(1)
    async with serving(vendor) as fake, asker(tmp_path) as it:
        fake.next += [Says(200, b"<html>"), Says(500, b"")]
        source = await it.source("sendsms", fake, ACCOUNT)
        await until(it.texts)
        shown = await it.api("GET", f"/v1/sources/{source['id']}")
        assert shown["last_error"] == "messages_get: the vendor answered HTTP 500"
        assert len(await it.texts()) == 1
