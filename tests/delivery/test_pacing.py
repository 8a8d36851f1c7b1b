"""What keeps a lane from sending: the rate that was set, and a row of failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.delivery.pacing import OPENS_AFTER, PROBE_EVERY, Breaker, Bucket


def spend(bucket: Bucket, now: float, times: int) -> None:
    for _ in range(times):
        assert bucket.wait(now) == 0.0
        bucket.take()


def test_without_a_rate_there_is_no_waiting() -> None:
    spend(Bucket(None), 5.0, 10_000)


def test_a_second_s_worth_may_go_at_once_and_then_one_by_one() -> None:
    bucket = Bucket(4.0)
    spend(bucket, 100.0, 4)
    assert bucket.wait(100.0) == pytest.approx(0.25)
    assert bucket.wait(100.1) == pytest.approx(0.15)
    spend(bucket, 100.25, 1)
    assert bucket.wait(100.25) == pytest.approx(0.25)


def test_a_rate_below_one_lets_one_go_at_first() -> None:
    bucket = Bucket(0.1)
    spend(bucket, 0.0, 1)
    assert bucket.wait(0.0) == pytest.approx(10.0)


def test_a_long_rest_saves_up_no_more_than_a_second() -> None:
    bucket = Bucket(3.0)
    spend(bucket, 0.0, 3)
    spend(bucket, 86_400.0, 3)
    assert bucket.wait(86_400.0) > 0


@given(st.floats(0.05, 500), st.lists(st.floats(0, 3), max_size=200))
def test_over_any_time_no_more_go_than_the_rate_and_one_second_s_worth(rate: float, pauses: list[float]) -> None:
    bucket, now, gone = Bucket(rate), 1_000.0, 0
    for pause in pauses:
        now += pause
        while bucket.wait(now) == 0.0:
            bucket.take()
            gone += 1
    assert gone <= (now - 1_000.0) * rate + max(1.0, rate) + 1e-6


def test_the_breaker_opens_after_twenty_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(OPENS_AFTER - 1):
        breaker.failed(7.0)
    assert (breaker.is_open, breaker.wait(7.0)) == (False, 0.0)
    breaker.failed(7.0)
    assert (breaker.is_open, breaker.wait(7.0)) == (True, PROBE_EVERY)
    assert breaker.wait(7.0 + PROBE_EVERY) == 0.0


def test_each_failed_probe_waits_half_a_minute_more_and_a_success_closes_it() -> None:
    breaker = Breaker(failures=OPENS_AFTER)
    assert breaker.wait(1.0) == 0.0  # of an earlier process: nobody knows when
    breaker.failed(1.0)
    assert breaker.wait(2.0) == PROBE_EVERY - 1
    breaker.succeeded()
    assert (breaker.is_open, breaker.wait(2.0)) == (False, 0.0)


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(OPENS_AFTER - 1):
            breaker.failed(0.0)
        breaker.succeeded()
    assert not breaker.is_open
