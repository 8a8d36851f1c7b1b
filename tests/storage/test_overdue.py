"""What is late for an hour is told of, once an hour, and how late it is at any time."""

import logging

import pytest

from receiver.sms.timestamps import HOUR, MINUTE, SECOND
from receiver.storage.overdue import TOLD_EVERY, TOLERATED, Overdue


class Passing:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def passing() -> Passing:
    return Passing()


@pytest.fixture
def overdue(passing: Passing, caplog: pytest.LogCaptureFixture) -> Overdue:
    caplog.set_level(logging.DEBUG, "receiver")
    return Overdue(passing)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    return [(record.getMessage(), record.__dict__["ids"]) for record in caplog.records]


def test_the_one_that_is_furthest_behind_counts(overdue: Overdue):
    assert overdue.seconds == 0
    overdue.note("events", 90 * SECOND)
    overdue.note("receipts", 2 * MINUTE)
    assert overdue.seconds == 120
    overdue.note("receipts", 0)
    assert overdue.seconds == 90


def test_it_is_told_after_an_hour_and_once_an_hour(overdue: Overdue, passing: Passing, caplog):
    for minute in range(0, 150, 5):
        passing.now = minute * 60.0
        overdue.note("events", 2 * HOUR)
    seconds = 2 * HOUR // SECOND
    assert told(caplog) == [("purge.behind", {"what": "events", "seconds": seconds})] * 2
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_what_catches_up_in_between_is_not_told(overdue: Overdue, passing: Passing, caplog):
    overdue.note("events", TOLERATED)
    passing.now = TOLD_EVERY / 2
    overdue.note("events", TOLERATED - 1)
    overdue.note("events", TOLERATED)
    passing.now = TOLD_EVERY
    overdue.note("events", TOLERATED)
    assert told(caplog) == []
    passing.now = TOLD_EVERY * 1.5
    overdue.note("events", TOLERATED)
    assert len(told(caplog)) == 1
