"""What one request, or many at once, leave in the log: identities, messages and their states, receipts."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.storage import receipts
from tests.pipeline import JSON, SECOND, START, TOKEN, Pipeline, pipeline, whole, without_our_ids
from tests.storage.hooked import Hooked
from tests.storage.making import a_source, a_subscription, saved

DAY = 86_400 * SECOND
HELLO = {"vendor_message_id": "m1", "from": "447700900123", "to": "447700900456", "text": "hello"}
SENT = {"vendor_message_id": "o1", "to": "447700900123", "status": "out", "sequence": "1"}
DELIVERED = SENT | {"status": "ok", "sequence": "2"}


async def at_once(way: Pipeline, *documents: Any) -> list[int]:
    """All of them in one transaction; the statuses of the answers."""
    path = f"/in/generic/{TOKEN}".encode()
    sent = await asyncio.gather(
        *(way.ask("POST", path, [whole(orjson.dumps(document))], headers=JSON) for document in documents)
    )
    return [messages[0]["status"] for messages in sent]


def outcomes(way: Pipeline) -> list[str]:
    return [recorded.receipt.outcome for recorded in way.recorded]


async def log(way: Pipeline) -> list[dict[str, Any]]:
    return [orjson.loads(body) for (body,) in await way.fetch("SELECT body FROM events ORDER BY seq")]


async def types(way: Pipeline) -> list[str]:
    return [event["type"] for event in await log(way)]


async def test_fifty_identical_requests_at_once_are_one_event_and_all_succeed(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await saved(way.database, a_subscription("sub_1"), a_subscription("sub_2"))
        assert await at_once(way, *[HELLO] * 50) == [200] * 50
        assert await types(way) == ["message.received"]
        rows = await way.fetch("SELECT subscription_id FROM deliveries ORDER BY 1")
        assert rows == [("sub_1",), ("sub_2",)]
        kept = await way.fetch("SELECT id, outcome, duplicate_of FROM receipts ORDER BY id")
        assert kept[0][1:] == ("stored", None)
        assert [row[1:] for row in kept[1:]] == [("duplicate", kept[0][0])] * 49


async def test_a_repeat_later_is_a_duplicate_and_answered_alike(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        first = await way.tell(**HELLO)
        way.now += 400 * DAY
        again = await way.tell(**HELLO, segments=2)
        assert (again.status, again.body) == (first.status, first.body)
        assert first.receipt is not None
        assert again.receipt is not None
        assert (again.receipt.outcome, again.receipt.duplicate_of) == ("duplicate", first.receipt.id)
        assert len(await log(way)) == 1


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_id_with_another_text_is_a_conflict_that_is_told_once(tmp_path: Path, together: bool):
    other = HELLO | {"text": "something else"}
    async with pipeline(tmp_path) as way:
        way.open()
        documents = [HELLO, other, other]
        statuses = (
            await at_once(way, *documents) if together else [(await way.tell(**item)).status for item in documents]
        )
        assert statuses == [200] * 3
        assert outcomes(way) == ["stored", "conflict", "conflict"]
        first, second, _ = (recorded.receipt for recorded in way.recorded)
        assert [recorded.receipt.duplicate_of for recorded in way.recorded] == [None, first.id, first.id]
        events = await log(way)
        assert [event["type"] for event in events] == ["message.received", "receipt.quarantined"]
        assert events[0]["data"]["text"] == "hello"
        assert events[1]["data"]["receipt_id"] == second.id


async def test_without_id_and_time_a_repeat_within_the_window_counted_from_the_first_is_a_duplicate(tmp_path: Path):
    nameless = {name: value for name, value in HELLO.items() if name != "vendor_message_id"}
    async with pipeline(tmp_path) as way:
        way.open(dedup_seconds=60)
        for moment in (0, 50, 59, 60, 110, 120):
            way.now = START + moment * SECOND
            await way.tell(**nameless)
        assert outcomes(way) == ["stored", "duplicate", "duplicate", "stored", "duplicate", "stored"]
        messages = {event["data"]["message_id"] for event in await log(way)}
        assert len(messages) == 3
        assert {tuple(event["data"]["flags"]) for event in await log(way)} == {("weak_identity",)}


async def test_a_window_of_nothing_keeps_every_message(tmp_path: Path):
    nameless = {name: value for name, value in HELLO.items() if name != "vendor_message_id"}
    async with pipeline(tmp_path) as way:
        way.open(dedup_seconds=0)
        await at_once(way, nameless, nameless)
        await way.tell(**nameless)
        assert outcomes(way) == ["stored"] * 3


async def test_a_reference_names_the_same_message_for_some_days_after_its_first_report(tmp_path: Path):
    referred = {"client_reference": "order-7", "to": "447700900123"}
    async with pipeline(tmp_path) as way:
        way.open(reference_days=7)
        for days, status in ((0, "out"), (6, "ok"), (7, "out"), (8, "ok")):
            way.now = START + days * DAY
            await way.tell(**referred, status=status, sequence=str(days))
        named = [event["data"]["message_id"] for event in await log(way)]
        assert named[0] == named[1] != named[2] == named[3]
        assert await way.fetch("SELECT status FROM messages ORDER BY id") == [("delivered",), ("delivered",)]


async def test_the_same_report_of_the_next_message_by_that_reference_is_news(tmp_path: Path):
    report = {"client_reference": "order-7", "to": "447700900123", "status": "ok"}
    async with pipeline(tmp_path) as way:
        way.open(reference_days=7)
        await way.tell(**report)
        await way.tell(**report)
        way.now += 7 * DAY
        await way.tell(**report)
        assert outcomes(way) == ["stored", "duplicate", "stored"]


REPORTS = (
    SENT,
    DELIVERED,
    SENT | {"status": "no", "sequence": "3"},
    SENT | {"status": "never heard", "sequence": "0"},
)


@pytest.mark.parametrize("order", list(itertools.permutations(REPORTS))[::5])
@pytest.mark.parametrize("together", [True, False])
async def test_reports_in_any_order_all_become_events_and_lead_to_one_state(
    tmp_path: Path, order: Sequence[dict[str, Any]], together: bool
):
    async with pipeline(tmp_path) as way:
        way.open()
        if together:
            await at_once(way, *order)
        else:
            for report in order:
                await way.tell(**report)
        events = await log(way)
        assert [event["data"]["vendor_status"] for event in events] == [report["status"] for report in order]
        assert len({event["data"]["message_id"] for event in events}) == 1
        chain = [(event["data"]["previous_status"], event["data"]["current_status"]) for event in events]
        assert [before for before, _ in chain] == [None, *[after for _, after in chain[:-1]]]
        assert chain[-1][1] == "delivered"
        rows = await way.fetch("SELECT id, status, final, direction, vendor_message_id, to_address FROM messages")
        assert rows == [(events[0]["data"]["message_id"], "delivered", 1, "out", "o1", "+447700900123")]


async def test_the_state_of_a_message_is_what_its_last_event_says(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        for report in (SENT, SENT | {"status": "no", "sequence": "5"}, DELIVERED, SENT | {"sequence": "9"}):
            answered = await way.tell(**report)
            data = answered.events[0]["data"]
            assert await way.fetch("SELECT status FROM messages") == [(data["current_status"],)]
        assert [event["data"]["stale"] for event in await log(way)] == [False, False, False, True]


async def test_what_is_looked_up_is_cut_for_its_index_however_much_a_vendor_sends(tmp_path: Path):
    long = "x" * 100_000
    async with pipeline(tmp_path) as way:
        way.open()
        named = {"vendor_message_id": long, "client_reference": long, "batch_id": long, "from": long, "to": long}
        await way.tell(**named, text="STOP")
        await way.tell(**named, status="sent")
        for table, columns in (
            ("events", "vendor_message_id, client_reference, from_address, to_address"),
            ("messages", "vendor_message_id, client_reference, batch_id, from_address, to_address, conversation"),
            ("opt_outs", "number, sender"),
            ("identities", "key"),
        ):
            rows = await way.fetch(f"SELECT {columns} FROM {table}")
            assert rows
            assert max(len(value) for row in rows for value in row if value) <= 512, table


async def test_parts_make_a_message_delivered_once_all_are(tmp_path: Path):
    part = {"vendor_message_id": "o1", "status": "ok", "part_total": 3}
    async with pipeline(tmp_path) as way:
        way.open()
        for number in (2, 2, 1, 3):
            await way.tell(**part, part_number=number)
        assert outcomes(way) == ["stored", "duplicate", "stored", "stored"]
        assert [event["data"]["current_status"] for event in await log(way)] == ["sent", "sent", "delivered"]


async def test_what_one_report_does_not_know_of_its_message_the_next_may_tell(tmp_path: Path):
    bare = {"vendor_message_id": "o1", "status": "out"}
    full = {
        **bare,
        "status": "ok",
        "client_reference": "ref",
        "batch_id": "b",
        "from": "447700900456",
        "to": "447700900123",
    }
    sql = "SELECT vendor_message_id, client_reference, batch_id, from_address, to_address FROM messages"
    expected = [("o1", "ref", "b", "+447700900456", "+447700900123")]
    for name, together in (("apart", False), ("together", True)):
        folder = tmp_path / name
        folder.mkdir()
        async with pipeline(folder) as way:
            way.open()
            if together:
                await at_once(way, bare, full, bare | {"status": "other", "to": "447700900999"})
            else:
                await way.tell(**bare)
                await way.tell(**full)
            assert await way.fetch(sql) == expected


async def test_an_inbound_message_has_a_row_without_a_state(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        answered = await way.tell(**HELLO)
        ((identifier, direction, status, conversation),) = await way.fetch(
            "SELECT id, direction, status, conversation FROM messages"
        )
        assert identifier == answered.events[0]["data"]["message_id"]
        assert (direction, status, conversation) == ("in", None, "+447700900123\x1f+447700900456")


async def test_where_a_number_is_missing_the_message_is_its_own_conversation(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        await way.tell(**SENT)
        ((identifier, conversation),) = await way.fetch("SELECT id, conversation FROM messages")
        assert conversation == identifier


async def test_event_ids_grow_in_the_order_of_the_log_whatever_a_batch_holds(tmp_path: Path):
    stop = HELLO | {"text": "STOP"}
    async with pipeline(tmp_path) as way:
        way.open()
        await at_once(
            way, HELLO | {"vendor_message_id": "a", "text": "STOP"}, SENT, {"unreadable": 1}, HELLO, HELLO | {"text": "no"},
            [SENT | {"status": "stop", "to": "447700900777"}, {"bad": 1}, stop | {"vendor_message_id": "b", "from": "33612345678"}],
        )  # fmt: skip
        await way.tell(**HELLO, keyword="x")
        await way.tell(**(HELLO | {"vendor_message_id": "c", "text": "START"}))
        rows = await way.fetch("SELECT id FROM events ORDER BY seq")
        assert rows == sorted(rows)
        assert len(rows) == len(set(rows)) == 13
        assert (await types(way)).count("receipt.quarantined") == 3
        follow = [
            (one, other) for one, other in itertools.pairwise(await log(way)) if other["type"].startswith("contact.")
        ]
        assert len(follow) == 4
        assert all(one["data"]["message_id"] == other["data"]["message_id"] for one, other in follow)


async def test_a_list_with_one_new_item_is_stored_and_one_of_repeats_a_duplicate(tmp_path: Path):
    other = HELLO | {"vendor_message_id": "m2"}
    async with pipeline(tmp_path) as way:
        way.open()
        assert await at_once(way, [HELLO]) == [200]
        await at_once(way, [HELLO, other])
        await at_once(way, [HELLO, other])
        await at_once(way, [HELLO, HELLO | {"vendor_message_id": "m3"}, HELLO | {"vendor_message_id": "m3"}])
        first = way.recorded[0].receipt.id
        kept = [(item.receipt.outcome, item.receipt.duplicate_of) for item in way.recorded]
        assert kept == [("stored", None), ("stored", None), ("duplicate", first), ("stored", None)]
        assert len(await log(way)) == 3


async def test_a_list_with_a_bad_item_keeps_the_good_ones_and_is_told_once(tmp_path: Path):
    batch = [HELLO, {"nothing": 1}, DELIVERED]
    async with pipeline(tmp_path) as way:
        way.open()
        await at_once(way, batch, batch)
        await at_once(way, [HELLO, {"nothing": 2}])
        assert sorted(await types(way)) == [
            "message.received", "message.status", "receipt.quarantined", "receipt.quarantined",
        ]  # fmt: skip
        assert outcomes(way) == ["quarantined", "duplicate", "quarantined"]
        assert [item.receipt.duplicate_of for item in way.recorded] == [None, way.recorded[0].receipt.id, None]


async def test_an_unreadable_request_that_its_vendor_retries_is_one_event_a_day(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        for hours in (0, 1, 23, 24, 25):
            way.now = START + hours * 3_600 * SECOND
            assert (await way.tell(nothing="known")).status == 200
        assert outcomes(way) == ["quarantined", "duplicate", "duplicate", "quarantined", "duplicate"]
        assert await types(way) == ["receipt.quarantined"] * 2


async def test_a_receipt_is_the_request_byte_for_byte(tmp_path: Path):
    body = b'\xef\xbb\xbf {"text":"\xff\x00\\u0000", "from": "447700900123" }\r\n'
    headers = [(b"content-type", b"text/plain"), (b"x-odd", b"\xe9 \xff"), (b"x-odd", b"twice")]
    query = b"a=%zz&b=%00&b=+"
    async with pipeline(tmp_path) as way:
        way.open()
        answered = await way.send("PUT", f"//in//generic/{TOKEN}/", query, headers, body)
        assert answered.receipt is not None
        kept = await way.receipt(answered.receipt.id)
        assert kept is not None
        assert kept == answered.receipt
        assert (kept.method, kept.peer, kept.body) == ("PUT", "203.0.113.9", body)
        assert kept.target == f"//in//generic/{TOKEN}/?".encode() + query
        assert kept.headers == b"content-type: text/plain\r\nx-odd: \xe9 \xff\r\nx-odd: twice"


async def test_receipts_are_listed_newest_first_by_what_is_asked(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        for number in range(3):
            way.now = START + number * SECOND
            await way.tell(**HELLO)

        async def ids(**given: Any) -> list[str]:
            wanted = {"source": None, "outcome": None, "since": None, "before": None, "limit": 10} | given
            async with way.database.reading() as reader:
                return [item.id for item in await receipts.page(reader, **wanted)]

        newest = [item.receipt.id for item in reversed(way.recorded)]
        assert await ids() == newest
        assert await ids(limit=1) == newest[:1]
        assert await ids(before=newest[0]) == newest[1:]
        assert await ids(outcome="duplicate") == newest[:2]
        assert await ids(since=START + SECOND) == newest[:2]
        assert await ids(source="src_other") == []
        assert await way.receipt("rcp_nowhere") is None


async def test_a_source_is_seen_at_most_once_a_second(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        await saved(way.database, a_source("src_generic"))
        way.open()
        for moment, seen in ((0, 0), (500_000, 0), (1_000_000, 1_000_000), (1_999_999, 1_000_000)):
            way.now = START + moment
            await way.tell(**HELLO)
            assert await way.fetch("SELECT last_seen_at FROM sources") == [(START + seen,)]


async def everything(way: Pipeline) -> list[Any]:
    """What is in the database, ids aside."""
    events = [without_our_ids(event) for event in await log(way)]
    kept = await way.fetch("SELECT outcome, note, duplicate_of IS NULL, body FROM receipts ORDER BY id")
    messages = await way.fetch(
        "SELECT direction, status, final, state_key, parts, to_address FROM messages ORDER BY 1, 2, 6"
    )
    owed = await way.fetch("SELECT subscription_id, state FROM deliveries ORDER BY id")
    out = await way.fetch("SELECT number, scope, sender, opted_out, via FROM opt_outs ORDER BY number")
    seen = await way.fetch("SELECT last_seen_at FROM sources")
    told = [
        (recorded.receipt.outcome, recorded.receipt.note, len(recorded.events), len(recorded.outgoing.leased))
        for recorded in way.recorded
    ]
    return [events, kept, messages, owed, out, seen, told]


BATCH: Sequence[Any] = (
    HELLO, HELLO, HELLO | {"text": "another"}, HELLO | {"vendor_message_id": "m2", "text": "STOP"}, DELIVERED, SENT,
    [SENT, DELIVERED, {"bad": 1}], {"unreadable": 1}, {"opt_out": "yes", "from": "447700900123", "to": "1"},
    SENT | {"status": "no", "sequence": "7", "client_reference": "r"},
)  # fmt: skip


async def test_a_batch_that_is_rolled_back_and_done_again_item_by_item_ends_as_at_the_first_try(tmp_path: Path):
    found: list[Any] = []
    for name, failing in (("smooth", []), ("rough", [ValueError("a bad item")])):
        folder = tmp_path / name
        folder.mkdir()
        hooks: list[Hooked] = []

        def hooked(database: Any, hooks: list[Hooked] = hooks) -> Hooked:
            hooks.append(Hooked(database))
            return hooks[0]

        async with pipeline(folder, wrapped=hooked) as way:
            await saved(way.database, a_source("src_generic"), a_subscription())
            way.open()
            hooks[0].errors = [*failing]
            before = hooks[0].commits
            assert await at_once(way, *BATCH) == [200] * len(BATCH)
            assert hooks[0].commits - before == (1 if not failing else len(BATCH))
            found.append(await everything(way))
    assert found[0] == found[1]
    assert len(found[0][0]) == 10
