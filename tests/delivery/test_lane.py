"""One subscription's way out: how much it may have at once, what is asked of the database, what is signed and sent."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from receiver.delivery.health import Health
from receiver.delivery.lane import URGENT_MOST, Lane
from receiver.delivery.pacing import OPENS_AFTER, PROBE_EVERY
from receiver.egress import Destination
from receiver.storage.deliveries import Due, Leased
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


def lane(capacity: int = 10, share: int = 100, **given: Any) -> Lane:
    return Lane(
        subscription(**given), capacity=capacity, share=share, user_agent=b"receiver/test", origin=b"us.example"
    )


def leased(number: int = 1, attempts: int = 0, **given: Any) -> Leased:
    return Leased(f"dlv_{number}", "sub_1", f"evt_{number}", b"{}", NOW, attempts, attempts, **given)


def picked(it: Lane, now: float = 0.0, **given: Any) -> str | None:
    item = it.pick(now, **given)
    return None if item is None else item.delivery_id


def test_room_is_what_is_neither_queued_nor_under_way() -> None:
    it = lane(10)
    it.put([leased(1), leased(2), leased(3)])
    assert picked(it) == "dlv_1"
    assert it.room(urgent=False) == 7
    assert it.holds == 3


def test_there_is_no_room_before_those_that_wait_in_the_database_but_for_opt_outs() -> None:
    it = lane()
    it.overflow = True
    assert it.room(urgent=False) == 0
    assert it.room(urgent=True) == URGENT_MOST


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_a_stopped_lane_has_no_room_starts_nothing_and_wants_nothing(state: str) -> None:
    it = lane(state=state)
    it.put([leased(1), leased(2, urgent=True), leased(3, attempts=1)])
    it.expect(fresh=NOW, retried=NOW)
    assert (it.room(urgent=False), it.room(urgent=True), it.room_for_retried()) == (0, 0, 0)
    assert (it.wait(0.0), picked(it), it.wants(NOW)) == (None, None, (0, 0))
    assert [item.delivery_id for item in it.empty()] == ["dlv_2", "dlv_1", "dlv_3"]
    assert it.holds == 0


def test_it_starts_up_to_its_limit_and_only_what_is_queued() -> None:
    it = lane(max_concurrency=2)
    assert (it.wait(0.0), picked(it)) == (None, None)
    it.put([leased(1), leased(2), leased(3)])
    assert [picked(it), picked(it), picked(it)] == ["dlv_1", "dlv_2", None]
    assert it.wait(0.0) is None


def test_its_share_of_all_places_is_the_most_it_gets() -> None:
    assert lane(max_concurrency=50, share=8).most == 8


def test_opt_outs_go_first_and_what_was_never_tried_before_what_was() -> None:
    it = lane()
    it.put([leased(1, attempts=1), leased(2), leased(3, urgent=True), leased(4)])
    assert [picked(it) for _ in range(4)] == ["dlv_3", "dlv_2", "dlv_4", "dlv_1"]


def test_a_retry_has_its_turn_after_three_others() -> None:
    it = lane(max_concurrency=8)
    it.put([leased(9, attempts=1), *(leased(number) for number in range(1, 7))])
    assert [picked(it) for _ in range(7)] == ["dlv_1", "dlv_2", "dlv_3", "dlv_9", "dlv_4", "dlv_5", "dlv_6"]


def test_retries_are_kept_back_where_it_is_said() -> None:
    it = lane()
    it.put([leased(1, attempts=1)])
    assert picked(it, retried=False) is None
    assert it.running == 0
    assert picked(it) == "dlv_1"


@pytest.mark.parametrize(
    ("capacity", "queued", "running", "fresh"), [(10, 3, 2, 5), (10, 3, 3, 0), (1, 0, 0, 1), (1, 1, 0, 0)]
)
def test_it_asks_the_database_again_when_half_of_it_is_free(
    capacity: int, queued: int, running: int, fresh: int
) -> None:
    it = lane(capacity)
    it.put(leased(number) for number in range(queued))
    it.running = running
    it.expect(fresh=NOW)
    assert it.wants(NOW) == (fresh, 0)


def test_retries_have_a_quarter_of_it_for_themselves() -> None:
    it = lane(40)
    it.put(leased(number) for number in range(40))
    it.expect(fresh=NOW, retried=NOW)
    assert it.wants(NOW) == (0, 10)
    it.put(leased(number, attempts=1) for number in range(6))
    assert it.wants(NOW) == (0, 0)


def test_the_smallest_lane_still_takes_retries() -> None:
    it = lane(1)
    it.expect(retried=NOW)
    assert it.wants(NOW) == (0, 1)
    it.put([leased(attempts=1)])
    assert it.wants(NOW) == (0, 0)


def test_it_asks_only_for_what_is_due_and_once_at_a_time() -> None:
    it = lane()
    assert it.wants(NOW) == (0, 0)
    it.expect(fresh=NOW + 1)
    assert it.wants(NOW) == (0, 0)
    assert it.wants(NOW + 1) == (10, 0)
    it.taking = True
    assert it.wants(NOW + 1) == (0, 0)


def test_of_two_times_it_expects_the_earlier() -> None:
    it = lane()
    it.expect(fresh=NOW + 5, retried=NOW + 6)
    it.expect(fresh=NOW + 9)
    it.expect(fresh=NOW + 2, retried=NOW + 7)
    assert it.due == Due(NOW + 2, NOW + 6)


def test_slowing_down_halves_the_limit_and_leaves_one() -> None:
    it = lane(max_concurrency=8)
    seen = []
    for _ in range(5):
        it.failed(0.0, slow_down=True)
        seen.append(it.limit)
    assert seen == [4, 2, 1, 1, 1]
    other = lane(max_concurrency=8)
    other.failed(0.0, slow_down=False)
    assert other.limit == 8


def test_successes_let_the_limit_grow_by_one_a_round_and_never_beyond_what_was_set() -> None:
    it = lane(max_concurrency=8)
    it.failed(0.0, slow_down=True)
    for _ in range(4):
        it.succeeded()
    assert 4.8 < it.limit < 5
    for _ in range(100):
        it.succeeded()
    assert it.limit == 8


def test_after_twenty_failures_it_tries_one_at_a_time_half_a_minute_apart() -> None:
    it = lane(max_concurrency=8)
    it.put(leased(number) for number in range(8))
    for _ in range(OPENS_AFTER):
        it.failed(100.0, slow_down=False)
    assert (it.wait(100.0), picked(it, 100.0)) == (PROBE_EVERY, None)
    assert picked(it, 100.0 + PROBE_EVERY) == "dlv_0"
    assert (it.wait(200.0), picked(it, 200.0)) == (None, None)  # one at a time


def test_an_opt_out_passes_an_open_breaker() -> None:
    it = lane()
    for _ in range(OPENS_AFTER):
        it.failed(100.0, slow_down=False)
    it.put([leased(1), leased(2, urgent=True)])
    assert it.wait(100.0) == 0.0
    assert [picked(it, 100.0), picked(it, 100.0)] == ["dlv_2", None]


def test_whoever_comes_back_is_met_by_one_attempt_at_first() -> None:
    it = lane(max_concurrency=8)
    for _ in range(OPENS_AFTER):
        it.failed(0.0, slow_down=False)
    it.succeeded()
    assert (it.breaker.is_open, it.limit) == (False, 1)


def test_what_failed_before_a_restart_is_remembered_and_forgotten_when_it_is_set_to_work_anew() -> None:
    failing = Health(failures=OPENS_AFTER)
    it = lane(health=failing, state="disabled")
    assert (it.breaker.is_open, it.limit) == (True, 1)
    it.adopt(subscription(health=Health(), state="active"))
    assert not it.breaker.is_open


def test_the_lesser_of_its_own_rate_and_the_url_s_holds() -> None:
    it = lane(rate_per_second=5.0, allowed_per_minute=60)
    it.put([leased(1), leased(2)])
    assert [picked(it), picked(it)] == ["dlv_1", None]
    assert it.wait(0.0) == pytest.approx(1.0)


def test_another_change_does_not_fill_its_bucket_again() -> None:
    it = lane(rate_per_second=1.0)
    it.put([leased(1), leased(2)])
    assert picked(it) == "dlv_1"
    it.adopt(subscription(rate_per_second=1.0, description="new"))
    assert picked(it) is None
    it.adopt(subscription(rate_per_second=2.0))
    assert picked(it) == "dlv_2"


def test_a_slow_lane_stays_slow_when_its_subscription_changes_otherwise() -> None:
    it = lane(max_concurrency=8)
    it.failed(0.0, slow_down=True)
    it.adopt(subscription(max_concurrency=8, last_success_at=NOW, description="new"))
    assert it.limit == 4
    it.adopt(subscription(max_concurrency=6))
    assert it.limit == 6


def test_what_is_sent_has_the_format_s_our_own_and_the_signature_headers() -> None:
    it = lane(headers={"X-Team": "billing"})
    headers, body = it.signed(replace(leased(), body=b'{"id":"evt_1"}'), NOW)
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
    headers, body = lane(secrets=secrets).signed(leased(), NOW)
    signatures = dict(headers)[b"webhook-signature"].decode().split(" ")
    moment = datetime.fromtimestamp(NOW // 1_000_000, UTC)
    assert signatures == [Webhook(secret).sign("evt_1", moment, body.decode()) for secret in (SECRET, old)]


def test_a_changed_url_is_where_the_next_one_goes() -> None:
    it = lane()
    it.adopt(replace(it.subscription, url="https://b.example/new?sig=%2F"))
    assert isinstance(it.destination, Destination)
    assert it.destination.host == b"b.example"
    assert it.destination.extensions["target"] == b"/new?sig=%2F"


def test_whoever_was_asked_for_consent_is_told_again_who_calls() -> None:
    assert (b"webhook-request-origin", b"us.example") in lane(handshake=True).signed(leased(), NOW)[0]
    assert b"webhook-request-origin" not in dict(lane().signed(leased(), NOW)[0])


def test_what_was_given_up_before_it_is_named_to_the_subscriber() -> None:
    headers, _ = lane().signed(leased(missed="evt_a,evt_b"), NOW)
    assert (b"receiver-missed", b"evt_a,evt_b") in headers
