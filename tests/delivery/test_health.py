"""When a subscription counts as failing, and when as hopeless."""

from receiver.delivery.health import APART_MICROS, FAILING_MICROS, HEALTHY, Health, failed, is_failing, is_hopeless

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_795_000_000_000_000


def after(*moments: int, disable_after: int = 5 * DAY, health: Health = HEALTHY) -> Health:
    for moment in moments:
        health = failed(health, START + moment, error="status", status=500, disable_after=disable_after)
    return health


def test_a_failure_is_counted_with_its_time_and_cause() -> None:
    assert after(5) == Health(
        failures=1, since=START + 5, apart=1, apart_at=START + 5, last_error="status", last_status=500
    )
    assert (after(5, 9).failures, after(5, 9).since) == (2, START + 5)


def test_nobody_without_failures_is_failing_or_hopeless() -> None:
    assert not is_failing(HEALTHY, START)
    assert not is_hopeless(HEALTHY, START + 100 * DAY, 5 * DAY)


def test_ten_failures_in_a_row_are_failing() -> None:
    assert not is_failing(after(*range(9)), START + 9)
    assert is_failing(after(*range(10)), START + 10)


def test_an_hour_of_nothing_else_is_failing_but_not_one_failure_alone() -> None:
    two = after(0, FAILING_MICROS - 1)
    assert not is_failing(two, START + FAILING_MICROS - 1)
    assert is_failing(two, START + FAILING_MICROS)
    assert not is_failing(after(0), START + DAY)


def test_days_of_failures_hours_apart_are_hopeless() -> None:
    hourly = [number * APART_MICROS for number in range(120)]
    assert not is_hopeless(after(*hourly), START + 5 * DAY - 1, 5 * DAY)
    assert is_hopeless(after(*hourly), START + 5 * DAY, 5 * DAY)


def test_one_bad_hour_after_a_long_silence_is_not_hopeless() -> None:
    burst = after(0, *(6 * DAY + number for number in range(100)))
    assert not is_hopeless(burst, START + 6 * DAY + HOUR, 5 * DAY)


def test_where_the_setting_is_short_hours_are_short_too() -> None:
    assert is_hopeless(after(*range(0, 1_000_000, 100_000), disable_after=1_000_000), START + 1_000_000, 1_000_000)
