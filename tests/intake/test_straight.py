"""The short way of a request that is all there: the same answers and the same rows as by ASGI, and back to it at need."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from receiver.fixtures import Fixture, load_all
from receiver.intake.http import Whole
from receiver.sms.drafts import Received
from receiver.sms.timestamps import from_text
from receiver.storage.database import Broken, Unavailable
from receiver.storage.recording import Recorded, Recording
from receiver.vendors import VENDORS
from receiver.vendors.contract import EMPTY_200, Answer
from tests.pipeline import JSON, TOKEN, Pipeline, pipeline, source_of
from tests.storage.hooked import Hooked

PATH = f"/in/generic/{TOKEN}".encode()
BODY = b'{"vendor_message_id": "m1", "text": "hello"}'
BY_VENDOR = [next(item for item in load_all() if item.vendor == name) for name in VENDORS]
UNAVAILABLE = (Answer(status=503), ((b"retry-after", b"5"),))
TOLD = "id, source_id, vendor, received_at, outcome, note, peer, method, target, headers, body"


def request(body: bytes = BODY, path: bytes = PATH, **given: Any) -> Whole:
    made = Whole(method="POST", path=path, query=b"", headers=JSON, body=body, peer="203.0.113.9")
    for name, value in given.items():
        setattr(made, name, value)
    return made


async def straight(way: Pipeline, whole: Whole) -> tuple[Answer, Any] | None:
    """What was answered; None when it has to go the long way."""
    answered: asyncio.Future[tuple[Answer, Any]] = asyncio.get_running_loop().create_future()
    if not way.intake.straight(whole, lambda answer, headers: answered.set_result((answer, headers))):
        return None
    async with asyncio.timeout(10):
        return await answered


@pytest.mark.parametrize("fixture", BY_VENDOR, ids=lambda item: item.name)
async def test_both_ways_answer_and_keep_the_same(tmp_path: Path, fixture: Fixture):
    (tmp_path / "long").mkdir()
    (tmp_path / "short").mkdir()
    async with pipeline(tmp_path / "long") as way:
        by_asgi = await way.post(fixture)
        rows = await way.fetch(f"SELECT {TOLD} FROM receipts")
    async with pipeline(tmp_path / "short") as way:
        way.now = from_text(fixture.expected.received_at)
        way.doors.open(source_of(fixture), VENDORS[fixture.vendor])
        sent = fixture.request(way.now)
        path = sent.url.removeprefix(fixture.expected.origin).partition("?")[0].encode()
        told = await straight(way, Whole(sent.method, path, sent.query, sent.headers, sent.body, "203.0.113.9"))
        assert told is not None
        answer, headers = told
        assert (answer.status, answer.body, headers) == (by_asgi.status, by_asgi.body, ())
        assert by_asgi.headers.get("content-type") == answer.content_type
        assert await way.fetch(f"SELECT {TOLD} FROM receipts") == rows
        ((kept,),) = await way.fetch("SELECT count(*) FROM events")
        assert kept == len(by_asgi.events)


@pytest.mark.parametrize(
    "whole",
    [
        request(path=b"/in/generic/another-token"),
        request(path=b"/v1/events"),
        request(method="HEAD"),
        request(method="DELETE"),
        request(body=b"x" * (1024 * 1024 + 1)),
        request(headers=[*JSON, (b"content-encoding", b"gzip")]),
    ],
    ids=["token", "path", "head", "method", "size", "encoding"],
)
async def test_whatever_is_not_plain_goes_the_long_way_and_nothing_is_done(tmp_path: Path, whole: Whole):
    async with pipeline(tmp_path) as way:
        way.open()
        assert await straight(way, whole) is None
        assert not way.counts
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]


async def test_a_request_without_its_proof_is_refused_as_by_asgi(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open(secret="right")
        told = await straight(way, request(headers=[*JSON, (b"authorization", b"Bearer wrong")]))
        assert told is not None
        assert told[0].status == 401
        assert len(way.refusals) == way.counts["intake_refused 401"] == 1
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]
        told = await straight(way, request(headers=[*JSON, (b"authorization", b"Bearer right")]))
        assert told == (EMPTY_200, ())


async def test_a_queue_that_is_full_is_503_with_a_time_to_come_back(tmp_path: Path):
    async with pipeline(tmp_path) as way:
        way.open()
        way.batch.close()
        assert await straight(way, request()) == UNAVAILABLE
        assert way.counts["intake_refused 503"] == 1


@pytest.mark.parametrize("error", [Unavailable("locked"), Broken("I/O error")])
async def test_a_database_in_trouble_is_503_with_a_time_to_come_back(tmp_path: Path, error: Exception):
    hooks: list[Hooked] = []

    def hooked(database: Any) -> Hooked:
        hooks.append(Hooked(database))
        return hooks[0]

    async with pipeline(tmp_path, wrapped=hooked) as way:
        way.open()
        hooks[0].errors = [error]
        assert await straight(way, request()) == UNAVAILABLE
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]
        assert way.counts["intake_refused 503"] == 1


async def test_nothing_is_answered_before_the_commit(tmp_path: Path):
    hooks: list[Hooked] = []

    def hooked(database: Any) -> Hooked:
        hooks.append(Hooked(database))
        return hooks[0]

    async with pipeline(tmp_path, wrapped=hooked) as way:
        way.open()
        hooks[0].may_commit.clear()
        answering = asyncio.create_task(straight(way, request()))
        await hooks[0].at_commit.wait()
        await asyncio.sleep(0.05)
        assert not answering.done()
        hooks[0].may_commit.set()
        assert await answering == (EMPTY_200, ())


async def test_an_event_that_cannot_be_recorded_is_quarantine(tmp_path: Path):
    bad = Received(vendor_message_id="m1", text="x", segments=2**70)
    async with pipeline(tmp_path) as way:
        way.open(parse=lambda request, source: [bad])
        assert await straight(way, request()) == (EMPTY_200, ())
        ((outcome, note),) = await way.fetch("SELECT outcome, note FROM receipts")
        assert outcome == "quarantined"
        assert "could not be recorded" in note


async def test_a_request_that_cannot_be_recorded_at_all_is_503(tmp_path: Path):
    tries: list[Recording] = []

    async def record(recording: Recording) -> Recorded:
        tries.append(recording)
        raise ValueError("a bug")

    async with pipeline(tmp_path, record=record) as way:
        way.open()
        assert await straight(way, request()) == UNAVAILABLE
        assert len(tries) == 2


async def test_a_queue_that_fills_before_the_second_try_is_503(tmp_path: Path):
    def record(recording: Recording) -> Any:
        if recording.outcome == "quarantined":
            raise Unavailable("too many writes are waiting")

        async def fail() -> Recorded:
            raise ValueError("a bug")

        return fail()

    async with pipeline(tmp_path, record=record) as way:
        way.open()
        assert await straight(way, request()) == UNAVAILABLE
