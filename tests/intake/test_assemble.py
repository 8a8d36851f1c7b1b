"""Long messages whose parts come apart: one event each, or one that says what is missing; whatever the order."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.storage import parts
from tests.pipeline import JSON, SECOND, TOKEN, Pipeline, pipeline
from tests.storage.making import a_subscription, saved
from tests.storage.opening import opened

pytestmark = pytest.mark.usefixtures("engine")

WAIT = 60
DAY = 86_400


async def send(way: Pipeline, number: int, text: str, total: int = 3, **given: Any) -> Any:
    """One part; the receipt's outcome and note, and the id that it repeats."""
    fields: dict[str, Any] = {"vendor_message_id": f"m{number}", "from": "447700900123", "to": "447700900999"}
    fields |= {"part_reference": "77", "part_number": number, "part_total": total, "text": text, **given}
    answered = await way.tell(**{name: value for name, value in fields.items() if value is not None})
    assert (answered.status, answered.events) == (200, [])
    receipt = answered.receipt
    assert receipt is not None
    return receipt


def later(way: Pipeline, seconds: int) -> None:
    way.now += seconds * SECOND


def shown(events: list[dict[str, Any]]) -> list[Any]:
    """Type, text and what is missing of each."""
    return [
        (event["data"]["text"], event["data"]["part"] and event["data"]["part"]["missing"]) for event in events
    ]  # fmt: skip


async def kept(way: Pipeline) -> list[str]:
    """The texts of parts that are still in store."""
    rows = await way.fetch("SELECT part FROM message_parts WHERE part IS NOT NULL ORDER BY message_id, number")
    return [orjson.loads(row[0])["data"]["text"] for row in rows]


async def test_a_message_is_told_of_when_its_last_part_is_there_and_not_before(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await saved(way.database, a_subscription("sub_all"))
        first = await send(way, 3, "c")
        await send(way, 1, "a")
        assert (first.outcome, first.note) == ("stored", "part 3 of 3")
        assert await way.assemble() == []
        later(way, 5)
        await send(way, 2, "b")
        (event,) = await way.assemble()
        assert (event["type"], event["supersedes"], shown([event])) == ("message.received", None, [("abc", None)])
        data = event["data"]
        assert (data["vendor_message_id"], data["segments"]) == ("m1", 3)
        ((made, conversation),) = await way.fetch("SELECT id, conversation FROM messages")
        assert made == data["message_id"]
        assert conversation == "+447700900123\x1f+447700900999"
        assert await way.fetch("SELECT event_id FROM deliveries") == [(event["id"],)]
        assert [leased.event_id for outgoing in way.handed for leased in outgoing.leased] == [event["id"]]
        ((accepted_at,),) = await way.fetch("SELECT accepted_at FROM events")
        assert accepted_at == way.now
        assert await kept(way) == []
        assert await way.assemble() == []


async def test_parts_that_come_as_a_list_are_one_message_at_once(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        parts = [{"vendor_message_id": "m", "text": text, "part_reference": "x", "part_number": number, "part_total": 2}
                 for number, text in ((2, "b"), (1, "a"), (2, "b"))]  # fmt: skip
        answered = await way.send("POST", f"/in/generic/{TOKEN}", headers=JSON, body=orjson.dumps(parts))
        assert answered.events == []
        assert shown(await way.assemble()) == [("ab", None)]


async def test_what_is_given_up_says_what_is_missing_and_late_parts_correct_it(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await send(way, 2, "b", 4)
        later(way, WAIT - 1)
        assert await way.assemble() == []
        later(way, 1)
        (given_up,) = await way.assemble()
        assert given_up["data"]["part"] == {"reference": "77", "number": 2, "total": 4, "missing": [1, 3, 4]}
        later(way, 3600)
        await send(way, 4, "d", 4)
        assert await way.assemble() == []
        later(way, WAIT)
        (better,) = await way.assemble()
        assert (better["supersedes"], shown([better])) == (given_up["id"], [("bd", [1, 3])])
        await send(way, 1, "a", 4)
        await send(way, 3, "c", 4)
        (whole,) = await way.assemble()
        assert (whole["supersedes"], shown([whole])) == (better["id"], [("abcd", None)])
        assert len({event["data"]["message_id"] for event in (given_up, better, whole)}) == 1
        assert await way.fetch("SELECT vendor_message_id FROM messages") == [("m1",)]
        assert await way.fetch("SELECT event_id, supersedes FROM corrections ORDER BY event_id") == [
            (given_up["id"], None), (better["id"], given_up["id"]), (whole["id"], better["id"]),
        ]  # fmt: skip


async def test_one_that_is_never_completed_is_one_event_after_its_time(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(assemble_after=5)
        for number in (255, 7, 1):
            await send(way, number, f"{number} ", 255)
        later(way, 5)
        (event,) = await way.assemble()
        assert event["data"]["text"] == "1 7 255 "
        assert event["data"]["part"]["missing"] == [number for number in range(1, 256) if number not in (1, 7, 255)]


@pytest.mark.parametrize(("number", "total"), [(0, 3), (0, 0), (1, 0), (4, 3), (1, 256)])
async def test_an_impossible_part_is_told_of_at_once(tmp_path: Path, number: int, total: int):
    async with pipeline(tmp_path) as way:
        way.open()
        answered = await way.tell(text="x", part_reference="7", part_number=number, part_total=total)
        assert shown(answered.events) == [("x", None)]


async def test_a_source_that_does_not_want_parts_joined_gets_each_as_it_comes(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(assemble_after=0)
        answered = await way.tell(text="x", part_reference="7", part_number=1, part_total=2)
        assert shown(answered.events) == [("x", [2])]


async def test_repeats_are_duplicates_by_id_and_by_words(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        first = await send(way, 1, "a", 2)
        for given in ({}, {"vendor_message_id": "another"}):
            again = await send(way, 1, "a", 2, **given)
            assert (again.outcome, again.duplicate_of) == ("duplicate", first.id)
        await send(way, 2, "b", 2)
        assert shown(await way.assemble()) == [("ab", None)]


async def test_a_reference_that_is_used_again_is_another_message(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        for number, text in ((1, "a"), (2, "b")):
            await send(way, number, text, 2)
        assert shown(await way.assemble()) == [("ab", None)]
        for number, text in ((2, "B"), (1, "a")):
            await send(way, number, text, 2, vendor_message_id=f"second {number}")
        assert shown(await way.assemble()) == [("aB", None)]


async def test_a_new_message_ends_the_wait_of_the_one_before_it(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await send(way, 1, "a", 2)
        await send(way, 1, "A", 2, vendor_message_id="second 1")
        assert shown(await way.assemble()) == [("a", [2])]
        await send(way, 2, "B", 2, vendor_message_id="second 2")
        assert shown(await way.assemble()) == [("AB", None)]
        assert await kept(way) == []


async def test_two_that_begin_in_one_request_are_two(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        parts = [{"vendor_message_id": text, "text": text, "part_reference": "x", "part_number": 1, "part_total": 2}
                 for text in ("a", "A")]  # fmt: skip
        await way.send("POST", f"/in/generic/{TOKEN}", headers=JSON, body=orjson.dumps(parts))
        assert shown(await way.assemble()) == [("a", [2])]
        later(way, WAIT)
        assert shown(await way.assemble()) == [("A", [2])]


async def test_after_a_day_no_part_is_taken_and_no_text_kept(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await send(way, 1, "a", 2)
        later(way, WAIT)
        (first,) = await way.assemble()
        assert await kept(way) == ["a"]
        later(way, DAY)
        await way.assemble()
        assert await kept(way) == []
        await send(way, 2, "b", 2)
        later(way, WAIT)
        (second,) = await way.assemble()
        assert (second["supersedes"], shown([second])) == (None, [("b", [1])])
        assert second["data"]["message_id"] != first["data"]["message_id"]
        later(way, DAY)
        await send(way, 1, "z", 2, vendor_message_id="z")  # before anybody looked after the old one
        assert await kept(way) == ["z"]


async def test_a_stop_in_two_parts_opts_out_once(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await send(way, 1, "ST", 2)
        await send(way, 2, "OP", 2)
        message, opt_out = await way.assemble()
        assert (message["data"]["intent"], opt_out["type"]) == ("opt_out", "contact.opted_out")
        assert opt_out["data"]["message_id"] == message["data"]["message_id"]
        assert message["id"] < opt_out["id"]
        await send(way, 1, "ST", 2, vendor_message_id="again 1")
        await send(way, 2, "OP", 2, vendor_message_id="again 2")
        assert [event["type"] for event in await way.assemble()] == ["message.received"]


async def test_an_opt_out_that_is_completed_late_does_not_undo_what_was_said_since(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await send(way, 1, "ST", 2)
        await send(way, 2, "OP", 2)
        later(way, 10)
        await way.tell(vendor_message_id="n", **{"from": "447700900123", "to": "447700900999"}, text="STOP")
        later(way, 10)
        await way.tell(vendor_message_id="o", **{"from": "447700900123", "to": "447700900999"}, text="START")
        assert [event["type"] for event in await way.assemble()] == ["message.received"]
        assert await way.fetch("SELECT opted_out FROM opt_outs") == [(0,)]


async def test_one_that_cannot_be_joined_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async with pipeline(tmp_path) as way:
        way.open()
        for reference in ("bad", "good"):
            for number in (1, 2):
                await send(
                    way, number, reference, 2, part_reference=reference, vendor_message_id=f"{reference}{number}"
                )
        await way.batch.write(
            lambda transaction: transaction.fetch("UPDATE message_parts SET part = '{}' WHERE receipt_id = ?",
                                                  way.recorded[0].receipt.id)
        )  # fmt: skip
        assert shown(await way.assemble()) == [("goodgood", None)]
        assert "parts.postponed" in caplog.text
        assert await way.assemble() == []
        later(way, 3600)
        assert not (await way.assembler.step()).more
        assert caplog.text.count("parts.postponed") == 2


async def test_one_whose_parts_were_erased_is_no_event(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await send(way, 1, "a", 2)
        await send(way, 1, "b", 2, part_reference="78", vendor_message_id="other")
        ((key,),) = await way.fetch("SELECT key FROM long_messages LIMIT 1")
        assert "4477" not in key
        await way.batch.write(
            lambda transaction: transaction.fetch(
                "UPDATE message_parts SET part = NULL WHERE receipt_id = ?", way.recorded[0].receipt.id
            )
        )
        later(way, WAIT)
        assert shown(await way.assemble()) == [("b", [2])]
        await send(way, 2, "c", 2)
        later(way, WAIT)
        assert shown(await way.assemble()) == [("c", [1])]


async def test_parts_under_a_vendors_own_names_are_joined(tmp_path: Path):
    """As Vonage names them: https://developer.vonage.com/en/messaging/sms/guides/inbound-sms"""
    names = {"text": "text", "from": "msisdn", "to": "to", "vendor_message_id": "messageId",
             "part_reference": "concat-ref", "part_number": "concat-part", "part_total": "concat-total"}  # fmt: skip
    async with pipeline(tmp_path) as way:
        way.open(fields=names)
        for number, text in ((2, "world"), (1, "hello+")):
            query = f"msisdn=447700900123&to=447700900999&messageId=0A{number}&text={text}&concat=true"
            query += f"&concat-ref=192&concat-total=2&concat-part={number}"
            answered = await way.send("GET", f"/in/generic/{TOKEN}", query.encode())
            assert (answered.status, answered.events) == (200, [])
        assert shown(await way.assemble()) == [("hello world", None)]


async def test_a_database_that_does_not_answer_is_asked_again(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.batch.close()
        step = await way.assembler.step()
        assert (step.more, step.next_due) == (True, None)


async def test_it_runs_until_it_is_stopped_and_waits_for_the_time_of_each(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(assemble_after=1)
        running = asyncio.create_task(way.assembler.run())
        await send(way, 1, "a", 2)
        way.assembler.wake()
        for number in (1, 2):
            await send(way, number, "x", 2, part_reference="other", vendor_message_id=f"o{number}")
        way.assembler.wake()

        async def logged(many: int) -> list[Any]:
            for _ in range(3000):
                events = await way.events()
                if len(events) >= many:
                    return shown(events)
                await asyncio.sleep(0.01)
            raise AssertionError("it never came")

        assert await logged(1) == [("xx", None)]
        later(way, 1)
        assert await logged(2) == [("xx", None), ("a", [2])]
        await way.assembler.stop()
        await running


async def test_the_run_ends_with_the_database(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        running = asyncio.create_task(way.assembler.run())
        way.batch.close()
        await way.assembler.stop()
        await running


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
async def test_what_another_process_is_just_telling_of_is_not_looked_at_all_the_time(tmp_path: Path):
    async with pipeline(tmp_path) as way, opened(tmp_path) as other:
        way.open()
        await send(way, 1, "a")
        later(way, WAIT)
        looks = 0

        def clock() -> int:
            nonlocal looks
            looks += 1
            return way.now

        way.assembler._clock = clock
        async with other.writing() as transaction:
            assert await parts.due(transaction, way.now, 1)
            running = asyncio.create_task(way.assembler.run())
            await asyncio.sleep(0.4)
        assert looks < 30
        async with asyncio.timeout(20):
            while not await way.events():  # noqa: ASYNC110 — what it waits for is in the database
                await asyncio.sleep(0.01)
        await way.assembler.stop()
        await running
