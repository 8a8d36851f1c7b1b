"""The clock of a shared server, between looks at it."""

from receiver.clock import ServerClock


def test_it_goes_on_with_the_monotonic_clock_from_what_the_server_said():
    passed = 100.0
    clock = ServerClock(lambda: passed)
    clock.set(5_000_000, asked_at=98.0)  # the answer took two seconds, so it was said one second ago
    assert clock() == 6_000_000
    passed += 1.5
    assert clock() == 7_500_000


def test_it_waits_for_what_the_server_lost_and_takes_what_it_gained():
    passed = 100.0
    clock = ServerClock(lambda: passed)
    clock.set(9_000_000, asked_at=100.0)
    assert clock() == 9_000_000
    clock.set(8_000_000, asked_at=100.0)
    assert clock() == 9_000_000
    passed += 3.0
    assert clock() == 11_000_000
    clock.set(20_000_000, asked_at=103.0)
    assert clock() == 20_000_000
