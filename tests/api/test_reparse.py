"""/v1/receipts/reparse: requests that were kept, read again when their source's options were put right."""

from pathlib import Path

import orjson
import pytest

from receiver.intake import restate
from tests.api.reparsing import (
    NAMELESS,
    dry,
    fields,
    fix,
    log,
    long_message,
    message,
    receipt,
    reparsed,
    report,
    source_of,
    states,
    tell,
    wait,
)
from tests.api.running import running_api

pytestmark = pytest.mark.usefixtures("engine")


async def test_what_was_quarantined_becomes_events_that_subscribers_hear_of(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text=None))
        await api.make_subscription(types=["message.*"])
        first = await tell(api, source, message(1))
        await tell(api, source, message(2))
        told = [event["id"] for event in await log(api)]
        await fix(api, source)
        shown = await dry(api, source=source["id"])
        assert (shown["read"], shown["next"], len(shown["data"])) == (2, None, 2)
        would = shown["data"][0]
        assert (would["receipt_id"], would["outcome"], would["becomes"]) == (first, "quarantined", "stored")
        assert (would["error"], would["skipped"]) == (None, None)
        (difference,) = would["differences"]
        assert (difference["action"], difference["before"]["id"]) == ("new", told[0])
        assert difference["after"]["data"]["text"] == "hello"
        assert await log(api) == await log(api)
        assert (await receipt(api, first))["outcome"] == "quarantined"
        made = await reparsed(api, outcome="quarantined")
        assert [(event["type"], event["supersedes"]) for event in made] == [
            ("message.received", told[0]), ("message.received", told[1]),
        ]  # fmt: skip
        assert made[0]["data"] | {"message_id": None} == difference["after"]["data"]
        after = await receipt(api, first)
        assert (after["outcome"], after["note"]) == ("stored", None)
        deliveries = (await api.client.get("/v1/deliveries")).json()["data"]
        assert [item["event_id"] for item in reversed(deliveries)] == [event["id"] for event in made]
        assert [item["state"] for item in deliveries] == ["waiting", "waiting"]
        assert api.woken
        assert await api.receive(source, orjson.dumps(message(1))) == 200
        assert api.recorded[-1].receipt.outcome == "duplicate"


async def test_a_mapping_put_right_corrects_what_it_had_wrong_and_leaves_the_rest(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text="wrong"))
        await tell(api, source, message(1, wrong="code 7", text="hello"))
        await tell(api, source, message(2, wrong="same", text="same", vendor_message_id="m2"))
        before = await log(api)
        await fix(api, source)
        made = await reparsed(api)
        (event, other) = made
        assert (event["supersedes"], event["data"]["text"]) == (before[0]["id"], "hello")
        assert event["data"]["message_id"] == before[0]["data"]["message_id"]
        assert other["data"]["extra"] == {"wrong": "same"}
        assert event["id"] > before[-1]["id"]
        assert event["data"]["received_at"] == before[0]["data"]["received_at"]
        await fix(api, source, **fields(text="wrong"))
        shown = await dry(api)
        assert shown["data"][0]["differences"][0]["fields"] == ["text", "keyword", "extra"]
        back = await reparsed(api)
        assert [event["supersedes"] for event in back] == [event["id"] for event in made]


async def test_a_status_put_right_moves_its_message_either_way(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, statuses={"ok": "delivered", "sent": "sent"})
        await tell(api, source, report("sent", sequence="1"))
        await tell(api, source, report("7", sequence="2"))
        assert await states(api) == {"out": "sent"}
        await fix(api, source, statuses={"sent": "sent", "7": "delivered"})
        (event,) = await reparsed(api)
        data = event["data"]
        assert (data["status"], data["previous_status"], data["current_status"]) == ("delivered", "sent", "delivered")
        assert (data["stale"], await states(api)) == (False, {"out": "delivered"})
        await fix(api, source, statuses={"sent": "sent", "7": {"status": "undelivered", "reason": "absent"}})
        (event,) = await reparsed(api)
        data = event["data"]
        assert (data["previous_status"], data["current_status"], data["reason"]) == (
            "delivered",
            "undelivered",
            "absent",
        )
        assert await states(api) == {"out": "undelivered"}
        await fix(api, source, statuses={"sent": "sent", "7": "accepted"})
        (event,) = await reparsed(api)
        assert (event["data"]["current_status"], event["data"]["stale"]) == ("sent", True)
        assert await states(api) == {"out": "sent"}


async def test_a_sequence_still_decides_when_the_state_is_weighed_anew(tmp_path: Path):
    async with running_api(tmp_path) as api:
        statuses = {"one": "undelivered", "two": "expired", "x": "delivered"}
        source = await source_of(api, statuses=statuses)
        await tell(api, source, report("two", sequence="5"), report("one", sequence="3"))
        await tell(api, source, report("x", sequence="4"))
        await fix(api, source, statuses={**statuses, "x": "sent"})
        (event,) = await reparsed(api)
        assert event["data"]["current_status"] == "undelivered"


async def test_reports_of_one_request_are_weighed_together(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, statuses={"a": "delivered", "b": "delivered"})
        await tell(api, source, report("a"), report("b"))
        await fix(api, source, statuses={"a": "accepted", "b": "sent"})
        made = await reparsed(api)
        assert [event["data"]["current_status"] for event in made] == ["accepted", "sent"]
        assert [event["data"]["previous_status"] for event in made] == ["delivered", "accepted"]
        assert await states(api) == {"out": "sent"}


async def test_a_report_that_is_about_another_message_leaves_the_one_it_was_not_about(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(vendor_message_id="account"))
        await tell(api, source, report(account="acme", occurred_at="2026-01-01T00:00:00Z", vendor_message_id="o1"))
        await tell(api, source, report("sent", account="acme", vendor_message_id="o2"))
        await fix(api, source, statuses={"ok": "delivered", "sent": "sent"})
        made = await reparsed(api)
        assert [(event["data"]["vendor_message_id"], event["data"]["current_status"]) for event in made] == [
            ("o1", "delivered"), ("o2", "sent"),
        ]  # fmt: skip
        assert await states(api) == {"acme": None, "o1": "delivered", "o2": "sent"}
        await tell(api, source, report(vendor_message_id="o2"))
        assert (await log(api))[-1]["data"]["message_id"] == made[1]["data"]["message_id"]


async def test_a_message_that_was_a_report_is_superseded_by_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(status="text"))
        await tell(api, source, message(1))
        await fix(api, source)
        (event,) = await reparsed(api)
        (before, _) = await log(api)
        assert (before["type"], event["type"], event["supersedes"]) == (
            "message.status", "message.received", before["id"],
        )  # fmt: skip
        assert event["data"]["message_id"] != before["data"]["message_id"]


async def test_of_a_list_only_what_changed_is_told(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        bad = {"vendor_message_id": "m2", "from": "447700900123", "words": "second"}
        rest = {"vendor_message_id": "m4", "what": "nothing"}
        receipt_id = await tell(api, source, message(1), bad, message(3), rest)
        (_, _, told) = await log(api)
        await fix(api, source, **fields(text=None) | {"fields": fields()["fields"] | {"text": ["text", "words"]}})
        (event,) = await reparsed(api)
        assert (event["data"]["text"], event["supersedes"]) == ("second", None)
        after = await receipt(api, receipt_id)
        assert (after["outcome"], after["note"].startswith("item 4")) == ("quarantined", True)
        await fix(api, source, fields=fields()["fields"] | {"text": ["text", "words", "what"]})
        (event,) = await reparsed(api)
        assert (event["data"]["text"], event["supersedes"]) == ("nothing", told["id"])
        assert (await receipt(api, receipt_id))["outcome"] == "stored"


async def test_repeats_and_conflicts_stay_what_they_are(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(vendor_message_id="wrong"))
        first = await tell(api, source, message(1, sent="x"))
        again = await tell(api, source, message(1, sent="x"))
        await fix(api, source)
        assert await reparsed(api, ids=[again]) == []
        (event,) = await reparsed(api, ids=[first])
        assert event["data"]["vendor_message_id"] == "m1"
        assert await reparsed(api) == []
        other = await tell(api, source, message(1, text="another"))
        assert (await receipt(api, other))["outcome"] == "conflict"
        assert await reparsed(api) == []


async def test_what_was_taken_for_a_repeat_by_mistake_is_found(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(vendor_message_id="account"))
        await tell(api, source, message(1, account="acme"))
        lost = await tell(api, source, message(2, account="acme"))
        assert (await receipt(api, lost))["outcome"] == "duplicate"
        await fix(api, source)
        made = await reparsed(api)
        assert [event["data"]["vendor_message_id"] for event in made] == ["m1", "m2"]
        assert [event["supersedes"] is None for event in made] == [False, True]
        after = await receipt(api, lost)
        assert (after["outcome"], after["duplicate_of"]) == ("stored", None)


async def test_quarantined_repeats_of_what_came_through_are_duplicates_and_nothing_is_ignored(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text="words"))
        first = await tell(api, source, message(1))
        await fix(api, source)
        second = await tell(api, source, message(1, extra="once more"))
        assert await reparsed(api) == []
        after = await receipt(api, first)
        assert (after["outcome"], after["duplicate_of"]) == ("duplicate", second)


async def test_messages_without_an_id_are_told_apart_by_the_time_they_came(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, dedup_seconds=1, **fields(text=None, vendor_message_id=None))
        for number, pause in ((0, 0), (1, 1200), (2, 1200)):  # the bytes differ, or only one would be told of
            await tell(api, source, {**NAMELESS, "n": number})
            wait(api, pause)
        await fix(api, source, dedup_seconds=1, **fields(vendor_message_id=None))
        made = await reparsed(api)
        assert [event["data"]["extra"]["n"] for event in made] == [0, 2]
        assert len({event["data"]["message_id"] for event in made}) == 2


async def test_one_that_came_later_with_the_same_words_is_not_the_one_before_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, dedup_seconds=1, **fields(text=None, vendor_message_id=None))
        await tell(api, source, NAMELESS)
        await fix(api, source, dedup_seconds=1, **fields(vendor_message_id=None))
        wait(api, 2500)
        later = await tell(api, source, NAMELESS)
        assert (await receipt(api, later))["outcome"] == "stored"
        (event,) = await reparsed(api)
        assert event["data"]["receipt_id"] != later
        await tell(api, source, NAMELESS)
        assert api.recorded[-1].receipt.duplicate_of == later


async def test_an_opt_out_that_is_found_late_counts_unless_something_was_said_since(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text=None))
        await tell(api, source, message(1, text="STOP"))
        await tell(api, source, message(2, text="STOP", **{"from": "447700900124"}))
        await fix(api, source)
        await tell(api, source, message(3, text="START", **{"from": "447700900124"}))
        made = await reparsed(api, outcome="quarantined")
        assert [event["type"] for event in made] == ["message.received", "contact.opted_out", "message.received"]
        assert made[1]["data"]["number"]["address"] == "+447700900123"
        async with api.database.reading() as reader:
            rows = await reader.fetch("SELECT number, opted_out FROM opt_outs ORDER BY number")
        assert rows == [("+447700900123", 1), ("+447700900124", 0)]


async def test_a_notice_of_consent_is_corrected_too(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, fields=fields()["fields"] | {"from": "whom"})
        await tell(api, source, {"opt_out": "yes", "whom": "447700900123", "from": "447700900124"})
        await fix(api, source)
        (event,) = await reparsed(api)
        assert (event["type"], event["data"]["number"]["address"]) == ("contact.opted_out", "+447700900124")
        assert event["supersedes"] == (await log(api))[0]["id"]


async def test_what_is_no_longer_found_stands(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        receipt_id = await tell(api, source, message(1))
        await fix(api, source, **fields(text=None))
        shown = (await dry(api))["data"]
        assert [(item["action"], item["after"]) for item in shown[0]["differences"]] == [("stands", None)]
        assert shown[0]["error"]
        assert await reparsed(api) == []
        assert (await receipt(api, receipt_id))["outcome"] == "stored"


async def test_what_cannot_or_must_not_be_read_again_is_passed_over(tmp_path: Path):
    async with running_api(tmp_path) as api:
        gone = await source_of(api)
        await tell(api, gone, message(1))
        await api.client.delete(f"/v1/sources/{gone['id']}")
        source = await source_of(api)
        await tell(api, source, message(1))
        async with api.database.writing() as transaction:
            await transaction.fetch(
                'UPDATE events SET body = replace(body, \'"flags":[]\', \'"flags":["erased"]\') WHERE source_id = ?',
                source["id"],
            )
        await fix(api, source, **fields(vendor_message_id=None))
        assert [item["skipped"] for item in (await dry(api))["data"]] == ["no_source", "erased"]
        assert await reparsed(api) == []


async def test_parts_of_quarantined_requests_wait_for_the_others(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text=None))
        for number in (1, 2):
            part = {"part_reference": "7", "part_number": number, "part_total": 2}
            await tell(api, source, message(number, text=f"{number}", **part))
        await fix(api, source)
        assert [item["differences"][0]["action"] for item in (await dry(api))["data"]] == ["part", "part"]
        assert await reparsed(api) == []
        assert api.rung.count("part") == 2
        async with api.database.reading() as reader:
            assert await reader.fetch("SELECT total, due_at FROM long_messages") == [(2, 0)]
            assert await reader.fetch("SELECT number FROM message_parts ORDER BY number") == [(1,), (2,)]
        assert {item["outcome"] for item in (await api.client.get("/v1/receipts")).json()["data"]} == {"stored"}


async def test_a_long_message_is_read_again_as_a_whole(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text="a"))
        second, first = await long_message(api, source)
        (before,) = await log(api)
        assert before["data"]["text"] == "hello"
        assert await reparsed(api) == []
        await fix(api, source, **fields(text="b"))
        assert await reparsed(api, ids=[second]) == []
        (event,) = await reparsed(api, ids=[first])
        assert (event["supersedes"], event["data"]["text"]) == (before["id"], "HELLO")
        assert event["data"]["message_id"] == before["data"]["message_id"]
        assert await reparsed(api) == []


@pytest.mark.parametrize("changed", [{"part_number": None}, {"part_total": None, "vendor_message_id": None}])
async def test_parts_that_were_put_together_stay_so(tmp_path: Path, changed: dict[str, str | None]):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text="a"))
        await long_message(api, source)
        await fix(api, source, **fields(text="b", **changed))
        assert (await dry(api))["data"] == []
        assert await reparsed(api) == []


async def test_a_message_named_by_its_reference_stays_that_message(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        nameless = {"client_reference": "order 7", "to": "447700900123"}
        await tell(api, source, {**nameless, "status": "x"})
        (before,) = await log(api)
        await fix(api, source, statuses={"x": "delivered"})
        (event,) = await reparsed(api)
        assert event["data"]["message_id"] == before["data"]["message_id"]
        await tell(api, source, {**nameless, "status": "late"})
        assert (await log(api))[-1]["data"]["message_id"] == before["data"]["message_id"]


async def test_a_handshake_is_not_read_as_anything_else(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text=None))
        receipt_id = await tell(api, source, message(1))
        async with api.database.writing() as transaction:
            await transaction.fetch("UPDATE receipts SET outcome = 'handshake' WHERE id = ?", receipt_id)
        await fix(api, source)
        assert await reparsed(api) == []


async def test_a_message_with_very_many_reports_only_moves_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(restate, "MOST", 1)
    async with running_api(tmp_path) as api:
        source = await source_of(api, statuses={"x": "delivered", "y": "sent"})
        await tell(api, source, report("x"))
        await tell(api, source, report("y"))
        await fix(api, source, statuses={"x": "accepted", "y": "sent"})
        (event,) = await reparsed(api)
        assert (event["data"]["status"], event["data"]["current_status"]) == ("accepted", "delivered")


async def test_a_receipt_that_is_gone_is_weighed_by_what_its_event_says(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, statuses={"x": "delivered", "y": "undelivered", "z": "expired"})
        old = await tell(api, source, report("y", occurred_at="2026-01-01T00:00:00Z"))
        await tell(api, source, report("z", occurred_at="2026-01-02T00:00:00Z"))
        await tell(api, source, report("x"))
        async with api.database.writing() as transaction:
            await transaction.fetch("DELETE FROM receipts WHERE id = ?", old)
        await fix(api, source, statuses={"x": "sent", "y": "undelivered", "z": "expired"})
        (event,) = await reparsed(api)
        assert event["data"]["current_status"] == "undelivered"
