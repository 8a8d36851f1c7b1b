"""The SMS Works, iSendPro and Mobtexting asked over real HTTP: what is new appears once."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from receiver.vendors.contract import VendorRequest
from receiver.vendors.polling import understood
from tests.polling.asking import Asker, asker, until
from tests.polling.fakes import ACCESS_TOKEN, JWT, KEYID, ISendPro, Mobtexting, TheSmsWorks
from tests.polling.server import serving


def ago(**given: float) -> str:
    return (datetime.now(UTC) - timedelta(**given)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def has(it: Asker, number: int, kind: str | None = None) -> Callable[[], Awaitable[bool]]:
    async def found() -> bool:
        return len(await it.events(kind)) >= number

    return found


async def error_of(it: Asker, source: Any) -> str | None:
    found: str | None = (await it.api("GET", f"/v1/sources/{source['id']}"))["last_error"]
    return found


async def test_the_sms_works_inbox_appears_once_pushed_or_asked_for(tmp_path: Path) -> None:
    vendor = TheSmsWorks()
    vendor.receive("328827210622192878142", ago(hours=5), "old")
    vendor.receive("328827210622192878143", ago(minutes=3), "Thanks, see you at 3")
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("thesmsworks", fake, {"token": JWT}, {"look_back": 7200})
        await until(has(it, 1))
        pushed = (
            b'{"messagetype":"incoming","messageid":"328827210622192878143","content":"Thanks, see you at 3",'
            b'"from":"447700900123","to":"447700900456"}'
        )
        await it.push(source, "POST", body=pushed)
        vendor.receive("328827210622192878144", ago(seconds=1), "new")
        await until(has(it, 2))
        asked = len(fake.asked)
        await until(lambda: len(fake.asked) >= asked + 2)
        assert await it.texts() == ["Thanks, see you at 3", "new"]
        outcomes = [item["outcome"] for item in (await it.api("GET", "/v1/receipts"))["data"]]
        assert "conflict" not in outcomes
        assert (fake.asked[0].json["status"], fake.asked[0].json["skip"]) == ("INCOMING", 0)


async def test_the_sms_works_many_messages_come_page_by_page(tmp_path: Path) -> None:
    vendor = TheSmsWorks()
    for number in range(450):
        vendor.receive(f"m-{number}", ago(seconds=1000 - number), f"text {number}")
    async with serving(vendor) as fake, asker(tmp_path) as it:
        await it.source("thesmsworks", fake, {"token": JWT}, {"every": 3600})
        await until(has(it, 450))
        assert [asked.json["skip"] for asked in fake.asked] == [0, 200, 400]
        assert len({asked.json["to"] for asked in fake.asked}) == 1
        assert await it.texts() == [f"text {number}" for number in range(450)]


async def test_the_sms_works_tells_the_state_of_one_message(tmp_path: Path) -> None:
    vendor = TheSmsWorks()
    vendor.sent("d87e", "UNDELIVERABLE", failurereason={"code": 5001, "details": "no such number", "permanent": True})
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("thesmsworks", fake, {"token": JWT}, {"feeds": []})
        await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["d87e", "nobody/knows"])
        await until(has(it, 1))
        await until(lambda: len(fake.asked) == 2)
        assert {asked.path for asked in fake.asked} == {"/messages/d87e", "/messages/nobody%2Fknows"}
        (event,) = await it.events()
        assert (event["data"]["status"], event["data"]["reason"]) == ("undelivered", "invalid_number")

        async def nothing_waits() -> bool:
            return not await it.fetch("SELECT 1 FROM lookups")

        await until(nothing_waits)


async def test_the_sms_works_refuses_another_token(tmp_path: Path) -> None:
    async with serving(TheSmsWorks()) as fake, asker(tmp_path) as it:
        source = await it.source("thesmsworks", fake, {"token": "JWT wrong"})

        async def told() -> bool:
            return await error_of(it, source) == "inbox: the vendor refuses the credentials (HTTP 401)"

        await until(told)


async def test_isendpro_a_campaign_becomes_reports_and_a_state_that_changed_one_more(tmp_path: Path) -> None:
    vendor = ISendPro()
    vendor.sent = [
        ["2026-11-20 14:22:07", "33601020304", "ACME", "order-1", "0"],
        ["2026-11-20 14:22:07", "33601020305", "ACME", "order-2", "1"],
        ["2026-11-20 14:22:07", "33601020306", "ACME", "", "0"],
    ]
    statuses = {"0": "delivered", "1": "sent", "2": "undelivered"}
    async with serving(vendor) as fake, asker(tmp_path) as it:
        await it.source(
            "isendpro", fake, {"keyid": KEYID}, {"feeds": ["campaign"]},
            statuses=statuses, international=True, timezone="Europe/Paris",
        )  # fmt: skip
        await until(has(it, 2))
        vendor.sent[1] = ["2026-11-20 15:00:00", "33601020305", "ACME", "order-2", "2"]
        await until(has(it, 3))
        asked = len(fake.asked)
        await until(lambda: len(fake.asked) >= asked + 2)
        events = await it.events()
        assert [(it["data"]["client_reference"], it["data"]["status"]) for it in events] == [
            ("order-1", "delivered"), ("order-2", "sent"), ("order-2", "undelivered"),
        ]  # fmt: skip
        assert len({event["data"]["message_id"] for event in events}) == 2
        assert events[0]["data"]["occurred_at"] == "2026-11-20T13:22:07.000Z"
        assert fake.asked[0].query["rapportCampagne"] == "1"
        bodies = [row[0] for row in await it.fetch("SELECT body FROM receipts ORDER BY id")]
        assert len(bodies) == 2  # the same file once more is not kept
        assert bodies[0].startswith(b"date;num;emetteur;tracker;statut\n")


async def test_isendpro_a_long_black_list_comes_in_pieces(tmp_path: Path) -> None:
    vendor = ISendPro(black_list=[f"336{number:08d}" for number in range(1, 1202)])
    async with serving(vendor) as fake, asker(tmp_path) as it:
        await it.source("isendpro", fake, {"keyid": KEYID}, {"feeds": ["black_list"]}, international=True)

        async def all_there() -> bool:
            ((number,),) = await it.fetch("SELECT count(*) FROM events WHERE type = 'contact.opted_out'")
            return bool(number == 1201)

        await until(all_there)
        assert len(await it.fetch("SELECT 1 FROM receipts")) == 3
        vendor.black_list.append("33700000001")

        async def one_more() -> bool:
            ((number,),) = await it.fetch("SELECT count(*) FROM events")
            return bool(number == 1202)

        await until(one_more)
        (data,) = [row[0] for row in await it.fetch("SELECT scope FROM opt_outs WHERE number = '+33700000001'")]
        assert data == "account"


async def test_isendpro_a_wrong_key_is_told_with_the_vendors_code(tmp_path: Path) -> None:
    async with serving(ISendPro()) as fake, asker(tmp_path) as it:
        source = await it.source("isendpro", fake, {"keyid": "wrong"}, {"feeds": ["black_list"]})

        async def told() -> bool:
            return await error_of(it, source) == "black_list: the vendor answered an error 2 (HTTP 400)"

        await until(told)


async def test_receipts_of_answers_hold_what_it_takes_to_read_them_again(tmp_path: Path) -> None:
    vendor = ISendPro(sent=[["2026-11-20 14:22:07", "33601020304", "ACME", "order-1", "0"]], black_list=["33601020304"])
    works = TheSmsWorks()
    works.sent("d87e", "DELIVERED")
    async with serving(vendor) as fake, serving(works) as other, asker(tmp_path) as it:
        await it.source("isendpro", fake, {"keyid": KEYID})
        asked = await it.source("thesmsworks", other, {"token": JWT}, {"feeds": []})
        await it.api("POST", f"/v1/sources/{asked['id']}/ask", vendor_message_ids=["d87e"])
        await until(has(it, 3))
        sources = {door.source.id: door for door in it.app.catalog.doors}
        for source_id, method, target, body, count in await it.fetch(
            """SELECT source_id, method, target, body, (SELECT count(*) FROM events WHERE receipt_id = receipts.id)
               FROM receipts"""
        ):
            door = sources[source_id]
            request = VendorRequest(
                method=method, url="", query=target.partition(b"?")[2], headers=(), body=body, peer="", received_at=0
            )
            assert len(understood(door.vendor, request, door.source)) == count == 1


async def test_mobtexting_the_log_appears_once_over_its_pages_and_days(tmp_path: Path) -> None:
    vendor = Mobtexting()
    for number in range(60):
        vendor.receive(f"v-{number}", ago(days=1, seconds=-number), f"text {number}")
    async with serving(vendor) as fake, asker(tmp_path) as it:
        await it.source("mobtexting", fake, {"access_token": ACCESS_TOKEN}, {"look_back": 172_800})
        await until(has(it, 60))
        vendor.receive("v-new", ago(seconds=1), "new")
        await until(has(it, 61))
        asked = len(fake.asked)
        await until(lambda: len(fake.asked) >= asked + 4)
        assert sorted(await it.texts()) == sorted([*(f"text {number}" for number in range(60)), "new"])
        data = (await it.events())[-1]["data"]
        assert (data["keyword"], data["network"]["name"], data["from"]["address"]) == ("OFFER", "Jio", "+918074012345")


async def test_mobtexting_states_come_by_day_and_by_id(tmp_path: Path) -> None:
    vendor = Mobtexting()
    today = ago()[:10]
    for number in range(150):
        vendor.sent(f"u:{number}", "AWAITING-DLR", submitted_at=f"{today} 00:00:01", custom=f"order-{number}")
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("mobtexting", fake, {"access_token": ACCESS_TOKEN}, {"feeds": ["sms_status"]})
        await until(has(it, 150))
        vendor.sent("u:3", "DELIVRD", submitted_at=f"{today} 00:00:01", custom="order-3")
        await until(has(it, 151))
        assert (await it.events())[-1]["data"]["client_reference"] == "order-3"
        await it.api("POST", f"/v1/sources/{source['id']}/ask", vendor_message_ids=["u:4", "u:none"])
        vendor.sent("u:4", "MOB-OFF", custom="order-4")
        await until(has(it, 152))
        last = (await it.events())[-1]["data"]
        assert (last["status"], last["reason"], last["vendor_message_id"]) == ("undelivered", "absent", "u:4")
