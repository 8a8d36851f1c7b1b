"""What one delivery goes through: it is signed, sent, judged and recorded, again and again until it has its end."""

import json
from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.delivery.lanes import Pace
from receiver.delivery.signing import format_secret
from receiver.egress import ForbiddenDestination, NameNotResolved, TLSFailed
from receiver.storage import deliveries
from receiver.storage.deliveries import Attempt
from receiver.storage.subscriptions import Secret
from tests.delivery.dispatching import (
    PACE,
    SECOND,
    SECRET,
    USER_AGENT,
    Behaviour,
    Clock,
    Gate,
    Sent,
    Ticking,
    answers,
    fails,
    in_turn,
    quiet,
    until,
    way_out,
)


async def test_a_committed_delivery_is_sent_once_signed_and_with_its_headers(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        await it.subscribe("a", headers={"X-Team": "billing"})
        (event_id,) = await it.record()
        await it.until(succeeded=1)
        await quiet()
        (sent,) = it.subscribers.sent
        ((body,),) = await it.fetch("SELECT body FROM events WHERE id = ?", event_id)
        assert sent.body == body.encode()
        assert sent.url == "https://a.example/hook"
        assert Webhook(SECRET).verify(sent.body, dict(sent.headers))["id"] == event_id
        assert {**sent.headers, "webhook-signature": ""} == {
            "host": "a.example",
            "content-length": str(len(body)),
            "content-type": "application/json",
            "x-team": "billing",
            "user-agent": USER_AGENT,
            "webhook-id": event_id,
            "webhook-timestamp": str(it.clock() // SECOND),
            "webhook-signature": "",
        }


async def test_a_success_leaves_one_attempt_with_what_was_answered_and_how_long_it_took(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:

        async def slowly(sent: Sent) -> httpx2.Response:
            it.clock.advance(0.25)
            return await answers(202, b"thanks")(sent)

        it.subscribers.behaviours["a"] = slowly
        await it.subscribe("a")
        began = it.clock()
        (event_id,) = await it.record()
        await it.until(succeeded=1)
        assert await it.attempts(event_id) == [
            Attempt(number=1, started_at=began, duration_ms=250, status=202, error=None, detail=None, answer=b"thanks")
        ]
        row = await it.delivery(event_id)
        assert (row.attempts, row.next_at) == (1, None)
        assert it.counts["attempts succeeded"] == 1


async def test_the_last_success_is_noted_on_the_subscription(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        await it.subscribe("a")
        it.subscribers.behaviours["b"] = answers(500)
        await it.subscribe("b")
        await it.record()
        await it.until(succeeded=1)
        await it.until("b", retrying=1)
        rows = await it.fetch("SELECT id, last_success_at FROM subscriptions WHERE id <> 'sub_alarm' ORDER BY id")
        assert rows == [("sub_a", it.clock()), ("sub_b", None)]


FAILURES: dict[str, tuple[Behaviour, tuple[int | None, str]]] = {
    "500": (answers(500), (500, "status")),
    "a redirect, which is not followed": (answers(302, location="https://elsewhere.example/"), (302, "status")),
    "404": (answers(404), (404, "status")),
    "no connection": (fails(httpx2.ConnectError("no connection: refused")), (None, "connect")),
    "no name": (fails(NameNotResolved("no address")), (None, "dns")),
    "no TLS": (fails(TLSFailed("certificate not accepted")), (None, "tls")),
    "no HTTP": (fails(httpx2.RemoteProtocolError("not valid HTTP")), (None, "protocol")),
    "no answer in time": (fails(httpx2.ReadTimeout("no whole answer")), (None, "timeout")),
    "a bug of the transport": (fails(RuntimeError("https://a.example/secret")), (None, "protocol")),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_is_tried_again_when_the_schedule_says(tmp_path: Path, failure: str) -> None:
    behaviour, expected = FAILURES[failure]
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = in_turn(behaviour, answers(200))
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(retrying=1)
        assert (await it.delivery(event_id)).next_at == it.clock() + 5 * SECOND
        (attempt,) = await it.attempts(event_id)
        assert (attempt.status, attempt.error) == expected
        assert "secret" not in str(attempt)
        await it.reach(4.9)
        await quiet()
        assert len(it.subscribers.sent) == 1
        await it.reach(0.1)
        await it.until(succeeded=1)
        assert it.subscribers.events("a") == [event_id, event_id]


async def test_a_retry_comes_by_itself_when_its_time_has_come(tmp_path: Path) -> None:
    async with way_out(tmp_path, clock=Ticking(), pace=replace(PACE, schedule=(0.05, 0.1))) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500), answers(500), answers(200))
        await it.subscribe("a")
        await it.record()
        await it.until(succeeded=1)
        first, second, third = [sent.at for sent in it.subscribers.sent]
        assert second - first >= 50_000
        assert third - second >= 100_000


async def test_jitter_is_only_added(tmp_path: Path) -> None:
    async with way_out(tmp_path, chance=0.5) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(retrying=1)
        assert (await it.delivery(event_id)).next_at == it.clock() + round(5.25 * SECOND)


async def test_the_delay_counts_from_the_failure_not_from_the_start_of_the_attempt(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:

        async def hangs(_sent: Sent) -> httpx2.Response:
            it.clock.advance(20)
            raise httpx2.ReadTimeout("no whole answer within 20 s")

        it.subscribers.behaviours["a"] = hangs
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(retrying=1)
        assert (await it.delivery(event_id)).next_at == it.clock() + 5 * SECOND


async def test_when_the_schedule_is_used_up_the_delivery_is_dead_and_its_attempts_are_kept(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = answers(503, b"x" * 5000)
        await it.subscribe("a")
        (event_id,) = await it.record()
        for times, delay in ((1, 5), (2, 300)):
            await it.until_tried(event_id, times)
            await it.reach(delay)
        await it.until(dead=1)
        attempts = await it.attempts(event_id)
        assert [attempt.number for attempt in attempts] == [1, 2, 3]
        assert [attempt.started_at for attempt in attempts] == [sent.at for sent in it.subscribers.sent]
        assert {(attempt.status, attempt.error, attempt.answer) for attempt in attempts} == {
            (503, "status", b"x" * 4096)
        }
        row = await it.delivery(event_id)
        assert (row.attempts, row.next_at) == (3, None)
        await it.reach(1_000_000)
        await quiet()
        assert len(it.subscribers.sent) == 3


async def test_every_attempt_has_the_event_s_id_and_its_own_time_and_signature(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500), answers(200))
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(retrying=1)
        await it.reach(5)
        await it.until(succeeded=1)
        first, second = it.subscribers.sent
        assert first.event_id == second.event_id == event_id
        assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 5
        assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
        assert Webhook(SECRET).verify(second.body, dict(second.headers))


async def test_a_subscription_s_own_schedule_goes_before_the_settings(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a", retry_schedule=[40.0])
        (event_id,) = await it.record()
        await it.until(retrying=1)
        assert (await it.delivery(event_id)).next_at == it.clock() + 40 * SECOND
        await it.reach(40)
        await it.until(dead=1)


@pytest.mark.parametrize(
    ("asked", "waits"), [("120", 120), ("2", 5), ("999999999", 86_400), ("in a while", 5), ("", 5)]
)
async def test_retry_after_is_obeyed_but_never_earlier_than_the_schedule_and_a_day_at_most(
    tmp_path: Path, asked: str, waits: int
) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = answers(429, retry_after=asked)
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(retrying=1)
        assert (await it.delivery(event_id)).next_at == it.clock() + waits * SECOND


async def test_a_date_in_retry_after_is_read_against_the_time_of_the_answer(tmp_path: Path) -> None:
    clock = Clock(1_795_000_000 * SECOND)
    async with way_out(tmp_path, clock=clock) as it:

        async def later(sent: Sent) -> httpx2.Response:
            clock.advance(10)
            return await answers(503, retry_after=formatdate(1_795_000_100, usegmt=True))(sent)

        it.subscribers.behaviours["a"] = later
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(retrying=1)
        assert (await it.delivery(event_id)).next_at == 1_795_000_100 * SECOND


async def test_a_forbidden_address_ends_the_delivery_and_says_what_would_allow_it(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = fails(ForbiddenDestination("10.0.0.1 is private; EGRESS_ALLOW 10.0.0.0/8"))
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(forbidden=1)
        (attempt,) = await it.attempts(event_id)
        assert (attempt.status, attempt.error) == (None, "forbidden")
        assert attempt.detail == "10.0.0.1 is private; EGRESS_ALLOW 10.0.0.0/8"


async def test_a_whole_attempt_has_a_deadline(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=Pace(schedule=(5.0,), timeout=0.05)) as it:
        it.subscribers.behaviours["a"] = Gate()
        await it.subscribe("a")
        (event_id,) = await it.record()
        await it.until(retrying=1)
        (attempt,) = await it.attempts(event_id)
        assert attempt.error == "timeout"


async def test_410_disables_the_subscription_and_holds_what_waits_and_what_comes(tmp_path: Path) -> None:
    async with way_out(tmp_path, pace=replace(PACE, lane=4)) as it:
        gate = Gate(answers(410))
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=1)
        gone, *_ = await it.record(10)  # one under way, some queued, the rest in store
        await it.until_sent(1)
        gate.opened.set()
        await it.until(dead=1, held=9)
        assert (await it.delivery(gone)).state == "dead"
        assert await it.fetch("SELECT state FROM subscriptions WHERE id = 'sub_a'") == [("disabled",)]
        await it.record()
        await quiet()
        assert await it.states() == {"dead": 1, "held": 10}
        assert len(it.subscribers.sent) == 1


async def test_an_attempt_under_way_that_fails_after_a_410_is_held_like_the_rest(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        slow = Gate(answers(500))
        it.subscribers.behaviours["a"] = in_turn(slow, answers(410))
        await it.subscribe("a")
        first, second = await it.record(2)
        await it.until(sending=1, dead=1)
        slow.opened.set()
        await it.until(held=1, dead=1)
        assert [(await it.delivery(event)).state for event in (first, second)] == ["held", "dead"]
        assert [attempt.status for attempt in await it.attempts(first)] == [500]


async def test_during_an_overlap_both_secrets_sign_and_afterwards_the_new_one_alone(tmp_path: Path) -> None:
    new = format_secret(b"n" * 32)
    async with way_out(tmp_path) as it:
        await it.subscribe("a")
        ends = it.clock() + 60 * SECOND
        await it.change("sub_a", secrets=[Secret(new), Secret(SECRET, ends)])
        await it.record()
        await it.until(succeeded=1)
        it.clock.advance(61)
        await it.record()
        await it.until(succeeded=2)
        during, after = it.subscribers.sent
        assert [signed_by(during, secret) for secret in (new, SECRET)] == [True, True]
        assert [signed_by(after, secret) for secret in (new, SECRET)] == [True, False]


def signed_by(sent: Sent, secret: str) -> bool:
    try:
        return bool(Webhook(secret).verify(sent.body, dict(sent.headers)))
    except WebhookVerificationError:
        return False


async def test_a_ping_is_one_signed_attempt_outside_of_log_and_queue(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        subscription = await it.subscribe("a", headers={"X-Team": "billing"})
        it.subscribers.behaviours["a"] = answers(500, b"no")
        attempt = await it.dispatcher.ping(subscription, "evt_ping")
        assert (attempt.number, attempt.status, attempt.error, attempt.answer) == (1, 500, "status", b"no")
        (sent,) = it.subscribers.sent
        assert Webhook(SECRET).verify(sent.body, dict(sent.headers))
        event = json.loads(sent.body)
        assert (event["id"], event["type"], event["data"]["subscription_id"]) == ("evt_ping", "test.ping", "sub_a")
        assert (sent.event_id, sent.headers["x-team"]) == ("evt_ping", "billing")
        assert await it.states() == {}


async def test_a_ping_reaches_a_subscription_that_is_paused_and_never_disables_it(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        subscription = await it.subscribe("a", state="paused")
        it.subscribers.behaviours["a"] = answers(410)
        assert (await it.dispatcher.ping(subscription, "evt_ping")).status == 410
        assert await it.fetch("SELECT state FROM subscriptions WHERE id = 'sub_a'") == [("paused",)]


async def test_a_delivery_that_is_asked_for_again_is_sent_again_as_one_more_attempt(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500), answers(500), answers(500), answers(200))
        await it.subscribe("a")
        (event_id,) = await it.record()
        for times, delay in ((1, 5), (2, 300)):
            await it.until_tried(event_id, times)
            await it.reach(delay)
        await it.until(dead=1)
        row = await it.delivery(event_id)
        await it.batch.write(lambda transaction: deliveries.reopen(transaction, [row.id], it.clock()))
        it.dispatcher.wake("sub_a")
        await it.until(succeeded=1)
        assert statuses(await it.attempts(event_id)) == [(1, 500), (2, 500), (3, 500), (4, 200)]


def statuses(attempts: Sequence[Attempt]) -> list[tuple[int, int | None]]:
    return [(attempt.number, attempt.status) for attempt in attempts]


async def test_outcomes_of_many_attempts_share_commits(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await it.subscribe("a", max_concurrency=30)
        await it.record(30)
        await it.until_sent(30)
        before = it.database.commits
        gate.opened.set()
        await it.until(succeeded=30)
        assert it.database.commits - before < 6


async def test_an_unknown_subscription_has_no_room_and_cannot_be_woken(tmp_path: Path) -> None:
    async with way_out(tmp_path) as it:
        assert it.lanes.room("sub_nobody", urgent=False) == 0
        it.dispatcher.wake("sub_nobody")
        await it.subscribe("a")
        await until(lambda: it.lanes.room("sub_a", urgent=False) == PACE.lane)
