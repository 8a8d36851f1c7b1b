"""Trouble of our own: the database's, an adapter's, an event's that cannot be kept. Never a 500, never a lost message."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.drafts import Ignored, Item, Received, Unreadable
from receiver.storage.database import Broken, Unavailable
from receiver.storage.recording import Recorded, Recording
from receiver.vendors.contract import Answer, BadPayload, BadSignature, Source, VendorRequest
from tests.pipeline import JSON, TOKEN, Pipeline, pipeline, whole
from tests.storage.hooked import Hooked

PATH = f"/in/generic/{TOKEN}".encode()
BODY = b'{"vendor_message_id": "m1", "text": "hello"}'


class Bug(Exception):
    """Of ours, or of an adapter's author."""


def buggy(*_: Any) -> Any:
    raise Bug("with +447700900123 in it")


async def post(way: Pipeline) -> tuple[int, dict[bytes, bytes], bytes]:
    sent = await way.ask("POST", PATH, [whole(BODY)], headers=JSON)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def kept(way: Pipeline) -> list[Any]:
    return [tuple(row) for row in await way.fetch("SELECT outcome, note FROM receipts ORDER BY id")]


async def types(way: Pipeline) -> list[str]:
    return [row[0] for row in await way.fetch("SELECT type FROM events ORDER BY seq")]


@pytest.mark.parametrize("error", [Unavailable("locked"), Broken("I/O error")])
async def test_a_database_in_trouble_is_503_with_a_time_to_come_back(tmp_path: Path, error: Exception):
    hooks: list[Hooked] = []

    def hooked(database: Any) -> Hooked:
        hooks.append(Hooked(database))
        return hooks[0]

    async with pipeline(tmp_path, wrapped=hooked) as way:
        way.open()
        hooks[0].errors = [error]
        status, headers, body = await post(way)
        assert (status, headers[b"retry-after"], body) == (503, b"5", b"")
        assert await kept(way) == []
        status, _, _ = await post(way)
        if isinstance(error, Unavailable):
            assert status == 200
            assert await kept(way) == [("stored", None)]
        else:
            assert status == 503


async def test_a_commit_that_takes_too_long_is_503_and_its_retry_a_duplicate(tmp_path: Path):
    hooks: list[Hooked] = []

    def hooked(database: Any) -> Hooked:
        hooks.append(Hooked(database))
        return hooks[0]

    async with pipeline(tmp_path, wrapped=hooked, patience=0.05) as way:
        way.open()
        hooks[0].may_commit.clear()
        status, headers, _ = await asyncio.wait_for(post(way), 5)
        assert (status, headers[b"retry-after"]) == (503, b"5")
        hooks[0].may_commit.set()
        assert (await post(way))[0] == 200
        assert await kept(way) == [("stored", None), ("duplicate", None)]


async def test_a_parser_that_fails_leaves_the_request_in_quarantine_and_the_vendor_content(tmp_path: Path, caplog):
    caplog.set_level(logging.ERROR, "receiver")
    async with pipeline(tmp_path) as way:
        way.open(parse=buggy)
        assert (await post(way))[0] == 200
        ((outcome, note),) = await kept(way)
        assert outcome == "quarantined"
        assert "adapter failed" in note
        assert await types(way) == ["receipt.quarantined"]
        assert way.recorded[0].receipt.body == BODY
    assert [record.getMessage() for record in caplog.records] == ["adapter.failed"]


NO_DRAFTS: Sequence[Any] = (
    [Received(text=7)],  # type: ignore[arg-type]
    [object()],
    [Received(text="ok"), Received(extra={"x": object()})],
)


@pytest.mark.parametrize("items", NO_DRAFTS)
async def test_drafts_that_are_none_are_quarantine(tmp_path: Path, items: Sequence[Item]):
    async with pipeline(tmp_path) as way:
        way.open(parse=lambda request, source: items)
        assert (await post(way))[0] == 200
        assert [outcome for outcome, _ in await kept(way)] == ["quarantined"]
        assert await types(way) == ["receipt.quarantined"]


async def test_an_event_that_cannot_be_recorded_is_quarantine(tmp_path: Path):
    """`2**70` segments pass `compose` and fail in the transaction, and take no other request with them."""
    bad = Received(vendor_message_id="m1", text="x", segments=2**70)
    async with pipeline(tmp_path) as way:
        way.open(parse=lambda request, source: [bad])
        failing = asyncio.create_task(post(way))
        await asyncio.sleep(0)
        way.open()
        good = asyncio.create_task(way.ask("POST", PATH, [whole(b'{"text": "other"}')], headers=JSON))
        assert (await failing)[0] == 200
        assert (await good)[0]["status"] == 200
        assert sorted(outcome for outcome, _ in await kept(way)) == ["quarantined", "stored"]
        assert sorted(await types(way)) == ["message.received", "receipt.quarantined"]
        notes = [note for outcome, note in await kept(way) if outcome == "quarantined"]
        assert "could not be recorded" in notes[0]


async def test_a_request_that_cannot_be_recorded_at_all_is_503(tmp_path: Path):
    async def record(recording: Recording) -> Recorded:
        raise Bug

    async with pipeline(tmp_path, record=record) as way:
        way.open()
        status, headers, _ = await post(way)
        assert (status, headers[b"retry-after"]) == (503, b"5")


async def test_a_check_that_fails_by_a_bug_neither_trusts_nor_refuses(tmp_path: Path, caplog):
    async with pipeline(tmp_path) as way:
        way.open(verify=buggy)
        status, headers, _ = await post(way)
        assert (status, headers[b"retry-after"]) == (503, b"5")
        assert await kept(way) == []
        assert way.refusals == []


async def test_an_answer_that_cannot_be_made_is_a_plain_success(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(answer=buggy)
        status, headers, body = await post(way)
        assert (status, body, headers) == (200, b"", {b"content-length": b"0"})
        assert await kept(way) == [("stored", None)]


async def test_the_vendors_own_answer_is_given_after_the_commit(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(answer=lambda request, items: Answer(status=201, body=b"<ok/>", content_type="text/xml"))
        status, headers, body = await post(way)
        assert (status, body) == (201, b"<ok/>")
        assert headers == {b"content-length": b"5", b"content-type": b"text/xml"}


async def test_a_handshake_is_answered_and_kept_without_an_event(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(handshake=lambda request, source: Answer(body=b"challenge"))
        assert (await post(way))[2] == b"challenge"
        assert await kept(way) == [("handshake", None)]
        assert await types(way) == []


async def test_a_request_that_is_no_handshake_is_a_message(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        for handshake in (lambda request, source: None, buggy):
            way.open(handshake=handshake)
            assert (await post(way))[0] == 200
        assert await kept(way) == [("stored", None), ("duplicate", None)]


async def test_a_handshake_without_its_proof_is_401(tmp_path: Path):
    def unproven(request: VendorRequest, source: Source) -> Answer | None:
        raise BadSignature("authorization: missing")

    async with pipeline(tmp_path) as way:
        way.open(handshake=unproven)
        assert (await post(way))[0] == 401
        assert way.refusals == [("src_generic", "authorization: missing")]


async def test_what_is_knowingly_ignored_is_a_receipt_with_its_name(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        for items in ([Ignored(what="call")], [], [Ignored(what="\x00" + "x" * 3_000)]):
            way.open(parse=lambda request, source, items=items: items)
            assert (await post(way))[0] == 200
        assert await kept(way) == [("ignored", "call"), ("ignored", None), ("ignored", "\ufffd" + "x" * 1_023)]
        assert await types(way) == []


def endless(request: VendorRequest, source: Source) -> Sequence[Item]:
    raise BadPayload("\x00" + "x" * 100_000)


@pytest.mark.parametrize(
    "parse", [endless, lambda request, source: [Unreadable(error=f"\x00{'x' * 50}") for _ in range(5_000)]]
)
async def test_the_note_of_a_receipt_is_bounded_and_clean(tmp_path: Path, parse: Any):
    async with pipeline(tmp_path) as way:
        way.open(parse=parse)
        assert (await post(way))[0] == 200
        ((outcome, note),) = await kept(way)
        assert (outcome, len(note), note[0]) == ("quarantined", 1_024, "\ufffd")


async def test_what_is_counted_names_vendor_and_outcome(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        for _ in range(2):
            await post(way)
        assert way.counts == {"receipts stored generic": 1, "receipts duplicate generic": 1}
