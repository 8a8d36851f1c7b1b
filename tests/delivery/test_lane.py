"""One subscription's way out: how much it may have at once, what is asked of the database, what is signed and sent."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from receiver.delivery.lane import Job, Lane
from receiver.storage.subscriptions import Secret, Subscription

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_795_000_000_000_000


def subscription(**given: Any) -> Subscription:
    return Subscription(
        **{
            "id": "sub_1", "url": "https://a.example/hook", "types": ["*"], "filter": None, "format": "standard",
            "secrets": [Secret(SECRET)], "headers": {}, "max_concurrency": 8, "retry_schedule": None,
            "state": "active", "description": None, "created_at": NOW, "updated_at": NOW,
        } | given
    )  # fmt: skip


def lane(capacity: int = 10, **given: Any) -> Lane:
    return Lane(subscription(**given), capacity, b"receiver/test")


def job(number: int = 1) -> Job:
    return Job(f"dlv_{number}", f"evt_{number}", 0, b"{}")


def test_room_is_what_is_neither_queued_nor_under_way() -> None:
    it = lane(10)
    it.queue.extend([job(1), job(2)])
    it.running = 3
    assert it.room == 5


def test_there_is_no_room_before_those_that_wait_in_the_database() -> None:
    it = lane()
    it.in_store = True
    assert it.room == 0


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_a_stopped_lane_has_no_room_starts_nothing_and_wants_nothing(state: str) -> None:
    it = lane(state=state)
    it.queue.append(job())
    it.due = NOW
    assert (it.active, it.room, it.can_start, it.wants(NOW)) == (False, 0, False, False)


def test_it_starts_up_to_its_limit_and_only_what_is_queued() -> None:
    it = lane(max_concurrency=2)
    assert not it.can_start
    it.queue.append(job())
    assert it.can_start
    it.running = 2
    assert not it.can_start


@pytest.mark.parametrize(
    ("capacity", "queued", "running", "wants"), [(10, 3, 2, True), (10, 3, 3, False), (1, 0, 0, True), (1, 1, 0, False)]
)
def test_it_asks_the_database_again_when_half_of_it_is_free(
    capacity: int, queued: int, running: int, wants: bool
) -> None:
    it = lane(capacity)
    it.queue.extend(job(number) for number in range(queued))
    it.running, it.due = running, NOW
    assert it.wants(NOW) is wants


def test_it_asks_only_for_what_is_due_and_once_at_a_time() -> None:
    it = lane()
    assert not it.wants(NOW)
    it.expect(NOW + 1)
    assert not it.wants(NOW)
    assert it.wants(NOW + 1)
    it.taking = True
    assert not it.wants(NOW + 1)


def test_of_two_times_it_expects_the_earlier() -> None:
    it = lane()
    it.expect(NOW + 5)
    it.expect(NOW + 9)
    assert it.due == NOW + 5
    it.expect(NOW + 2)
    assert it.due == NOW + 2


def test_slowing_down_halves_the_limit_and_leaves_one() -> None:
    it = lane(max_concurrency=8)
    seen = []
    for _ in range(5):
        it.slow_down()
        seen.append(it.limit)
    assert seen == [4, 2, 1, 1, 1]


def test_successes_let_the_limit_grow_by_one_a_round_and_never_beyond_what_was_set() -> None:
    it = lane(max_concurrency=8)
    it.slow_down()
    for _ in range(4):
        it.speed_up()
    assert 4.8 < it.limit < 5
    for _ in range(100):
        it.speed_up()
    assert it.limit == 8


def test_a_slow_lane_stays_slow_when_its_subscription_changes_otherwise() -> None:
    it = lane(max_concurrency=8)
    it.slow_down()
    it.adopt(subscription(max_concurrency=8, last_success_at=NOW, description="new"))
    assert it.limit == 4
    it.adopt(subscription(max_concurrency=6))
    assert it.limit == 6


def test_what_is_sent_has_the_format_s_our_own_and_the_signature_headers() -> None:
    it = lane(headers={"X-Team": "billing"})
    headers, body = it.signed("evt_1", b'{"id":"evt_1"}', NOW)
    named = dict(headers)
    assert len(named) == len(headers)
    assert body == b'{"id":"evt_1"}'
    assert {name: value for name, value in named.items() if name != b"webhook-signature"} == {
        b"content-type": b"application/json",
        b"x-team": b"billing",
        b"user-agent": b"receiver/test",
        b"webhook-id": b"evt_1",
        b"webhook-timestamp": b"1795000000",
    }


def test_each_secret_that_has_not_ended_signs_the_newest_first() -> None:
    old, ended = "whsec_" + "b2xk" * 8, "whsec_" + "ZW5k" * 8
    secrets = [Secret(SECRET), Secret(old, NOW + 1), Secret(ended, NOW)]
    headers, body = lane(secrets=secrets).signed("evt_1", b"{}", NOW)
    signatures = dict(headers)[b"webhook-signature"].decode().split(" ")
    moment = datetime.fromtimestamp(NOW // 1_000_000, UTC)
    assert signatures == [Webhook(secret).sign("evt_1", moment, body.decode()) for secret in (SECRET, old)]


def test_a_changed_url_is_where_the_next_one_goes() -> None:
    it = lane()
    it.adopt(replace(it.subscription, url="https://b.example/new?sig=%2F"))
    assert it.destination.host == b"b.example"
    assert it.destination.extensions["target"] == b"/new?sig=%2F"
