import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.delivery.outcome import Delivered, Forbidden, Gone, Refused, Unreachable
from receiver.delivery.retry import Next, decide, life, parse_retry_after

SCHEDULE = (5.0, 300.0, 1800.0)
SILENT = Unreachable(error="timeout", detail="no whole answer within 20 s", duration_ms=20_000)
NOW = datetime(1994, 11, 6, 8, 49, 30, tzinfo=UTC).timestamp()


def refused(status: int) -> Refused:
    return Refused(status=status, answer=b"", duration_ms=1)


def test_success_ends_it():
    assert decide(Delivered(status=204, answer=b"", duration_ms=1), 1, 0.0, SCHEDULE, 0.0, 99.0) == Next("succeeded")


def test_410_asks_for_the_end_of_the_subscription():
    assert decide(Gone(answer=b"", duration_ms=1), 1, 0.0, SCHEDULE, 0.0, None) == Next("dead", disable="gone")


def test_a_forbidden_address_is_not_tried_again():
    assert decide(Forbidden(detail="10.0.0.1 …", duration_ms=1), 1, 0.0, SCHEDULE, 0.0, None) == Next("forbidden")


@pytest.mark.parametrize(("made", "after"), [(1, 5.0), (2, 300.0), (3, 1800.0)])
@pytest.mark.parametrize("outcome", [refused(500), refused(301), refused(404), SILENT])
def test_each_failure_waits_its_own_delay(outcome, made, after):
    decided = decide(outcome, made, 0.0, SCHEDULE, 0.0, None)
    assert (decided.verdict, decided.after, decided.disable) == ("retry", after, None)


@pytest.mark.parametrize("made", [4, 5, 100])
def test_after_the_last_delay_it_is_dead(made):
    assert decide(SILENT, made, 0.0, SCHEDULE, 0.5, 10.0).verdict == "dead"


def test_an_empty_schedule_means_one_attempt():
    assert decide(refused(500), 1, 0.0, (), 0.0, None) == Next("dead")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_subscriber_is_slowed_down(status):
    assert decide(refused(status), 1, 0.0, SCHEDULE, 0.0, None).slow_down
    assert decide(refused(status), 4, 0.0, SCHEDULE, 0.0, None) == Next("dead", slow_down=True)


@pytest.mark.parametrize("status", [400, 408, 500, 501, 505, 301])
def test_other_refusals_do_not_slow_down(status):
    assert not decide(refused(status), 1, 0.0, SCHEDULE, 0.0, None).slow_down


@pytest.mark.parametrize(("error", "slow"), [("timeout", True), ("connect", True), ("dns", False), ("tls", False)])
def test_a_subscriber_that_does_not_answer_is_slowed_down(error, slow):
    outcome = Unreachable(error=error, detail="", duration_ms=1)
    assert decide(outcome, 1, 0.0, SCHEDULE, 0.0, None).slow_down is slow


def test_an_answer_may_ask_for_no_more_whatever_its_status():
    delivered = Delivered(status=200, answer=b"", duration_ms=1, control="disable")
    assert decide(delivered, 1, 0.0, SCHEDULE, 0.0, None) == Next("succeeded", disable="answer")
    failed = Refused(status=500, answer=b"", duration_ms=1, control="disable")
    assert decide(failed, 1, 0.0, SCHEDULE, 0.0, None) == Next("dead", disable="answer")


def test_an_answer_may_give_up_its_message_which_a_success_need_not():
    failed = Refused(status=503, answer=b"", duration_ms=1, control="abort-message")
    assert decide(failed, 1, 0.0, SCHEDULE, 0.0, 5.0) == Next("dead")
    delivered = Delivered(status=200, answer=b"", duration_ms=1, control="abort-message")
    assert decide(delivered, 1, 0.0, SCHEDULE, 0.0, None) == Next("succeeded")


def test_a_delivery_lives_a_day_longer_than_its_schedule_however_few_attempts_were_made():
    assert life(SCHEDULE) == 2105.0 + 86_400.0
    assert decide(refused(500), 1, life(SCHEDULE) - 1, SCHEDULE, 0.0, None) == Next("retry", 5.0)
    assert decide(refused(500), 1, life(SCHEDULE), SCHEDULE, 0.0, None) == Next("dead")


def test_retry_after_does_not_reach_beyond_the_life_of_a_delivery():
    assert decide(refused(429), 1, life(SCHEDULE) - 60, SCHEDULE, 0.0, 3600.0).after == 60.0
    assert decide(refused(429), 2, life(SCHEDULE) - 60, SCHEDULE, 0.0, 3600.0).after == 300.0


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 3), st.none() | st.floats(0, 1e12))
def test_jitter_and_retry_after_only_ever_add(jitter, made, wish):
    due = decide(refused(503), made, 0.0, SCHEDULE, jitter, wish).after
    base = SCHEDULE[made - 1]
    assert due >= base
    assert due <= max(base * 1.1, min(wish or 0.0, 86_400.0))


@pytest.mark.parametrize(
    ("wish", "after"),
    [(None, 300.0), (0.0, 300.0), (1.0, 300.0), (301.0, 301.0), (86_400.0, 86_400.0), (315_360_000.0, 86_400.0)],
)
def test_retry_after_is_obeyed_between_the_schedule_and_a_day(wish, after):
    assert decide(refused(429), 2, 0.0, SCHEDULE, 0.0, wish).after == after


def test_jitter_reaches_a_tenth():
    assert decide(SILENT, 2, 0.0, SCHEDULE, 0.5, None).after == pytest.approx(315.0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("315360000", 315_360_000.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 7.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 7.0),
        ("Sun Nov  6 08:49:37 1994", 7.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() - NOW),
    ],
)
def test_retry_after_as_seconds_and_as_each_form_of_date(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


def test_a_date_without_zone_is_gmt_wherever_we_are(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as away:
        away.setenv("TZ", "America/New_York")
        time.tzset()
        seconds = parse_retry_after("Sun Nov  6 08:49:37 1994", NOW)
    time.tzset()
    assert seconds == 7.0


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-5", "1.5", "٣", "1,2", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT", "Mon",
     "0001-01-01", "x" * 8000, "Sun, 06 Nov 1994 08:49:37 +999999"],
)  # fmt: skip
def test_an_unreadable_retry_after_is_none(value):
    assert parse_retry_after(value, NOW) is None


def test_a_retry_after_of_five_thousand_digits_is_a_long_time():
    assert (parse_retry_after("9" * 5000, NOW) or 0) > 1e12


@given(st.text(max_size=80))
def test_no_retry_after_header_breaks_the_reader(value):
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0
