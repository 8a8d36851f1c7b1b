"""How many failures one peer may have in which time, and how many peers are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from receiver.throttle import Throttle, network_of, unlimited

ALICE, BOB = "203.0.113.7", "203.0.113.8"


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_free_and_every_interval_allows_one_more():
    time = Time()
    throttle = Throttle(time, burst=3, interval=5.0)
    assert [throttle.failed(ALICE) for _ in range(5)] == [0, 0, 0, 5.0, 5.0]
    time.now += 3
    assert throttle.failed(ALICE) == 2.0
    time.now += 2
    assert [throttle.failed(ALICE) for _ in range(2)] == [0, 5.0]
    time.now += 1000
    assert [throttle.failed(ALICE) for _ in range(4)] == [0, 0, 0, 5.0]


def test_peers_do_not_pay_for_one_another():
    throttle = Throttle(Time(), burst=1)
    assert throttle.failed(ALICE) == 0
    assert throttle.failed(ALICE) > 0
    assert throttle.failed(BOB) == 0


def test_memory_is_bounded_and_the_peer_longest_quiet_is_forgotten():
    throttle = Throttle(Time(), burst=1, peers=100)
    throttle.failed("loud")
    for number in range(150):
        throttle.failed(f"peer {number}")
        assert throttle.failed("loud") > 0
    assert len(throttle._full_at) == 100
    assert throttle.failed("peer 149") > 0
    assert throttle.failed("peer 0") == 0


@given(some.lists(some.floats(0, 20), max_size=60), some.integers(1, 10), some.floats(0.5, 10))
def test_no_stretch_of_time_has_more_than_the_burst_and_one_an_interval(gaps: list[float], burst: int, interval: float):
    time = Time()
    throttle = Throttle(time, burst=burst, interval=interval)
    free: list[float] = []
    for gap in gaps:
        time.now += gap
        wait = throttle.failed(ALICE)
        assert 0 <= wait <= interval * 1.001
        if not wait:
            free.append(time.now)
    for first in range(len(free)):
        for last in range(first, len(free)):
            assert last - first + 1 <= burst + (free[last] - free[first]) / interval + 1e-6


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("", ""),
        ("not an address", "not an address"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_customer_is_one_peer_whichever_address_it_takes(peer: str, network: str):
    assert network_of(peer) == network


def test_where_nobody_is_held_up_nobody_waits():
    assert unlimited(ALICE) == 0
