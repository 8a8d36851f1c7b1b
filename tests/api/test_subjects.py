"""DELETE /v1/subjects/{number}: nothing of a person is found afterwards, and the log stands."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.events import EVENT_MODELS
from receiver.storage import jobs, pseudonyms
from receiver.storage.database import Transaction
from receiver.storage.places import OF_EVENTS, places
from tests.api.erasing import (
    OTHER,
    PERSON,
    SECRET,
    WORDS,
    answers,
    ask,
    change,
    erased,
    eraser,
    fetch,
    files,
    forms,
    lived,
    message,
    stopped_after_each_look,
)
from tests.api.running import Api, pointers, problem, running_api


async def test_nothing_of_a_person_is_found_and_the_log_stands(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await lived(api)
        sought = forms("+" + PERSON, PERSON, PERSON[2:], "07700 900123")
        before, stood = files(tmp_path), (await api.client.get("/v1/events?limit=500")).json()["data"]
        assert all(any(form in content for content in before.values()) for form in forms("+" + PERSON))
        job = await erased(api)
        assert (job["state"], job["kind"], job["error"]) == ("done", "erase", None)
        assert job["released"] > 20
        told = await answers(api)
        for name, content in {**files(tmp_path), "the API": told}.items():
            assert [form for form in sought if form in content] == [], name
        left = (await api.client.get("/v1/events?limit=500")).json()["data"]
        kept = ("id", "type", "timestamp")
        assert [[event[name] for name in kept] for event in left] == [[event[name] for name in kept] for event in stood]
        for old, new in zip(stood, left, strict=True):
            EVENT_MODELS[new["type"]].model_validate(new)
            stays = {name for name in old["data"] if name in STAYS}
            assert {name: old["data"][name] for name in stays} == {name: new["data"][name] for name in stays}


STAYS = (
    "message_id", "vendor", "source_id", "receipt_id", "vendor_message_id", "channel", "status", "final", "received_at",
    "current_status", "stale", "previous_status", "vendor_status", "scope", "via", "intent",
)  # fmt: skip


async def test_nothing_of_what_was_said_is_found_when_nobody_else_said_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await lived(api)
        await erased(api, "+" + OTHER)
        assert any(form in content for form in forms(*WORDS) for content in files(tmp_path).values())
        await erased(api)
        told = await answers(api)
        for name, content in {**files(tmp_path), "the API": told}.items():
            assert [form for form in forms(*WORDS) if form in content] == [], name


async def test_others_keep_what_is_theirs(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await lived(api)
        about = "SELECT body FROM events WHERE from_address = ? OR to_address = ? ORDER BY seq"
        before = await fetch(api, about, "+" + OTHER, "+" + OTHER)
        await erased(api)
        after = await fetch(api, about, "+" + OTHER, "+" + OTHER)
        assert after == before[:-1]  # but for the one that tells the number
        assert len(before) == 7
        texts = [event["data"]["text"] for event in await of_type(api, "message.received")]
        assert (texts.count(None), texts.count(SECRET)) == (4, 2)


async def of_type(api: Api, name: str) -> Sequence[Any]:
    return list((await api.client.get(f"/v1/events?type={name}&limit=500")).json()["data"])


async def test_an_unknown_number_gets_the_same_answer_by_the_same_way(tmp_path: Path):
    """Nothing looks whether it is known before the answer is given."""
    async with running_api(tmp_path) as api:
        await lived(api)
        before = await fetch(api, "SELECT * FROM events ORDER BY seq")
        known = await api.client.delete(f"/v1/subjects/%2B{PERSON}")
        unknown = await api.client.delete("/v1/subjects/%2B447700900999")
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (204, b"")
        assert {name for name, _ in known.headers.items()} == {name for name, _ in unknown.headers.items()}
        assert await fetch(api, "SELECT * FROM events ORDER BY seq") == before
        (one, other) = await fetch(api, "SELECT kind, state, position, done, total FROM jobs WHERE kind = 'erase'")
        assert one == other == ("erase", "running", "", 0, 0)


async def test_erasing_whom_nobody_knows_changes_nothing(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await lived(api)
        before = {table: await fetch(api, f"SELECT * FROM {table}") for table in ("events", "receipts", "messages")}
        job = await erased(api, "+447700900999")
        assert (job["state"], job["released"]) == ("done", 0)
        assert {table: await fetch(api, f"SELECT * FROM {table}") for table in before} == before


@pytest.mark.parametrize("number", [" 447700900123", "+44 7700 900123", "00447700900123", PERSON])
async def test_the_number_may_be_written_in_any_international_form(tmp_path: Path, number):
    async with running_api(tmp_path) as api:
        await api.receive(await api.mapped_source(), message(1))
        await erased(api, number)
        (event,) = (await api.client.get("/v1/events")).json()["data"]
        assert (event["data"]["from"], event["data"]["flags"]) == (None, ["erased"])


@pytest.mark.parametrize("number", ["%20", "1" * 65, "%0A447700900123", "%00"])
async def test_what_is_no_number_is_refused_without_repeating_it(tmp_path: Path, number):
    async with running_api(tmp_path) as api:
        answer = await api.client.delete(f"/v1/subjects/{number}")
        assert pointers(answer) == [""]
        assert "447700900123" not in answer.text


async def test_it_needs_an_admin(tmp_path: Path):
    async with running_api(tmp_path) as api:
        key = (await api.make_key("write"))["key"]
        answer = await api.ask("DELETE", f"/v1/subjects/{PERSON}", headers={"authorization": f"Bearer {key}"})
        assert problem(answer) == (403, "forbidden_scope")


async def test_the_audit_lines_hold_no_number(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG", "receiver")
    async with running_api(tmp_path) as api:
        await lived(api)
        caplog.clear()
        job = await erased(api)
    lines = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name == "receiver"]
    for word in ("erasure.asked", "erasure.done"):
        (line,) = [line for line in lines if word in line]
        assert job["id"] in line
    assert not [line for line in lines if PERSON[2:] in line]


async def test_an_erasure_is_not_canceled(tmp_path: Path):
    async with running_api(tmp_path) as api:
        job = await ask(api)
        assert problem(await api.client.post(f"/v1/jobs/{job['id']}/cancel")) == (409, "conflict")
        await api.work()  # and other jobs go on beside it
        assert (await api.client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "running"


async def test_a_running_job_about_the_number_is_canceled(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await api.make_subscription()
        await api.receive(await api.mapped_source(), message(1))
        asked = await api.client.post("/v1/events/replay", json={"filter": {"from": ["+" + PERSON]}})
        other = await api.client.post("/v1/events/replay", json={"filter": {"from": ["+" + OTHER]}})
        await erased(api)
        found = await api.client.get(f"/v1/jobs/{asked.json()['job']['id']}")
        assert (found.json()["state"], PERSON in found.text) == ("canceled", False)
        assert (await api.client.get(f"/v1/jobs/{other.json()['job']['id']}")).json()["state"] == "running"


async def test_the_opt_out_list_goes_on_under_a_pseudonym(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(1, text="STOP"))
        await erased(api)
        async with api.database.reading() as reader:
            _, hidden = await pseudonyms.names(reader, "+" + PERSON)
        assert await fetch(api, "SELECT number, opted_out FROM opt_outs") == [(hidden, 1)]
        await api.receive(source, message(2, text="START"))  # they come back, and ask for it once more
        assert len(await fetch(api, "SELECT 1 FROM opt_outs")) == 2
        await erased(api)
        assert await fetch(api, "SELECT number, opted_out FROM opt_outs") == [(hidden, 0)]


async def opted_out(api: Api) -> tuple[bool, int]:
    """Whether the person is, by every way of asking, and how many lines say so."""
    (one, listed) = [
        (await api.client.get(path)).json()
        for path in (f"/v1/opt-outs/%2B{PERSON}", f"/v1/opt-outs?number=%2B{PERSON}")
    ]
    assert one["number"] == "+" + PERSON
    assert one["opted_out"] == bool(listed["data"])
    return one["opted_out"], len(one["lines"])


async def test_who_is_erased_is_still_opted_out_for_those_who_ask(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(1, text="STOP"))
        assert await opted_out(api) == (True, 1)
        await erased(api)
        assert await opted_out(api) == (True, 1)
        (line,) = (await api.client.get("/v1/opt-outs")).json()["data"]
        assert line["number"].startswith("erased:")
        exported = await api.client.get("/v1/opt-outs/export")
        assert (PERSON in exported.text, "erased:" in exported.text) == (False, True)
        assert problem(await api.client.get(f"/v1/opt-outs/%2B{OTHER}")) == (404, "not_found")
        assert (await api.client.get(f"/v1/opt-outs?number=%2B{OTHER}")).json()["data"] == []
        await api.receive(source, message(2, text="START"))
        assert await opted_out(api) == (False, 1)
        await erased(api)
        assert await opted_out(api) == (False, 1)


async def test_who_is_erased_can_be_opted_in_again_by_their_number(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await api.receive(await api.mapped_source(), message(1, text="STOP"))
        await erased(api)
        assert (await api.client.delete(f"/v1/opt-outs/%2B{PERSON}")).status_code == 204
        assert await opted_out(api) == (False, 1)


async def test_a_repeat_of_an_erased_message_is_still_one(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(1))
        await erased(api)
        await api.receive(source, message(1))
        await api.receive(source, message(1, text="another"))  # and nothing is known of what it said
        assert len((await api.client.get("/v1/events")).json()["data"]) == 1
        assert await fetch(api, "SELECT content FROM identities") == [(None,)]


async def test_what_comes_in_after_it_was_asked_is_new_and_stays_whole(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(1))
        await ask(api)
        await api.receive(source, message(2, vendor_message_id=None))
        replay = await api.client.post("/v1/events/replay", json={"filter": {"from": ["+" + PERSON]}})
        assert await eraser(api).once()
        texts = [event["data"]["text"] for event in await of_type(api, "message.received")]
        assert texts == [None, SECRET]
        await api.receive(source, message(2, vendor_message_id=None))
        assert (await fetch(api, "SELECT outcome, length(body) > 0 FROM receipts ORDER BY id")) == [
            ("stored", 0), ("stored", 1), ("duplicate", 1),
        ]  # fmt: skip
        job = (await api.client.get(f"/v1/jobs/{replay.json()['job']['id']}")).json()
        assert job["state"] == "running"


async def test_it_goes_on_after_a_restart_and_ends_once_nobody_reads_an_old_state(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await lived(api)
        job = await ask(api)
        steps = 0
        while (await fetch(api, "SELECT position FROM jobs WHERE id = ?", job["id"]))[0] != ("index",):
            await stopped_after_each_look(api).once()
            steps += 1
        assert steps > 40
        (request,) = (await fetch(api, "SELECT request FROM jobs WHERE id = ?", job["id"]))[0]
        assert PERSON not in request
        async with api.database.reading() as old:
            await old.fetch("SELECT 1 FROM events")
            await change(api, "UPDATE sources SET name = 'x'")
            waiting = asyncio.create_task(eraser(api).once())
            await asyncio.wait({waiting}, timeout=0.4)
            assert not waiting.done()
            row = (await api.client.get(f"/v1/jobs/{job['id']}")).json()
            assert row["state"] == "running"
        await asyncio.wait_for(waiting, 10)
        row = (await api.client.get(f"/v1/jobs/{job['id']}")).json()
        assert (row["state"], row["done"]) == ("done", row["total"])
        assert not [form for form in forms(PERSON) for content in files(tmp_path).values() if form in content]


async def test_deliveries_in_memory_are_told_before_and_after(tmp_path: Path):
    told: list[tuple[set[str], bool]] = []
    async with running_api(tmp_path) as api:
        await api.make_subscription(ordered="conversation")
        await api.receive(await api.mapped_source(), message(1))
        ((event_id, key),) = await fetch(api, "SELECT event_id, conversation FROM deliveries")

        def revise(bodies: Mapping[str, bytes], renamed: Callable[[str], str]) -> None:
            if bodies:
                told.append((set(bodies), SECRET.encode() in b"".join(bodies.values())))
                names.append(renamed(key))

        names: list[str] = []
        await erased(api, revise=revise)
        assert told == [({event_id}, False)] * 2
        assert await fetch(api, "SELECT conversation FROM deliveries") == [(names[0],)]
        assert await fetch(api, "SELECT conversation FROM messages") == [(names[0],)]
        assert names[0].startswith("erased_")


async def test_what_follows_from_events_hears_of_them_while_they_are_whole(tmp_path: Path):
    heard: list[Any] = []

    async def trace(transaction: Transaction, event_ids: Sequence[str]) -> None:
        for event_id in event_ids:
            heard.extend(await transaction.fetch("SELECT id, body FROM events WHERE id = ?", event_id))

    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(1))
        await api.receive(source, message(2, OTHER))
        await erased(api, traces=[trace])
        assert [SECRET in body for _, body in heard] == [True]


async def test_another_erasure_of_the_same_number_finds_nothing_more(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await lived(api)
        assert (await erased(api))["released"] > 0
        assert (await erased(api))["released"] == 0
        assert not await eraser(api).once()


async def test_every_table_is_gone_through_or_holds_nothing_of_a_person(tmp_path: Path):
    """A new table has to be decided on: a place in `erasing`, or a line here."""
    index = {"texts", "texts_config", "texts_data", "texts_docsize", "texts_idx"}
    with_events = {"deliveries", "sqlite_sequence"} | index
    nothing = {
        "catalog": "a number of changes", "migrations": "names of files", "purges": "ids", "secrets": "random",
        "idempotency": "hashes, and answers that only their caller can open",
        "keys": "what the operator called them", "subscriptions": "what the operator wrote",
        "consumers": "what the operator wrote", "followers": "positions",
        "corrections": "ids", "long_messages": "ids, and a hash that goes with its parts", "reconciled": "an id",
        "tokens": "of vendors", "processes": "numbers and times", "clock": "a span of time",
    }  # fmt: skip
    async with running_api(tmp_path) as api:
        tables = {row[0] for row in await fetch(api, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == with_events | nothing.keys() | {place.name for place in places()} - {*OF_EVENTS, "parts"} | {
        "events"
    }


async def test_a_failure_is_not_the_end_of_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await lived(api)
        job = await ask(api)
        failures = iter([OSError("?"), ValueError("?")])

        async def failing(_transaction: Transaction, _ids: Sequence[str]) -> None:
            for error in failures:
                raise error

        one = eraser(api, traces=[failing])
        running = asyncio.create_task(one.run())
        await ended(api, job)
        later = await ask(api, "+" + OTHER)
        one.wake()
        await ended(api, later)
        one.stop()
        await asyncio.wait_for(running, 5)


async def ended(api: Api, job: Mapping[str, Any]) -> None:
    for _ in range(1000):
        await asyncio.sleep(0.02)
        if (await api.client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "done":
            return
    raise AssertionError("it does not end")


async def test_the_job_forgets_whom_it_was_about(tmp_path: Path):
    async with running_api(tmp_path) as api:
        job = await erased(api)
        async with api.database.reading() as reader:
            row = await jobs.get(reader, job["id"])
        assert row is not None
        assert (row.request.subject, row.request.salt) == (None, None)
        assert replace(row.request, wishes=[]) == row.request
