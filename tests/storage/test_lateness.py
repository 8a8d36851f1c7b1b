"""What is late for an hour is told of, once an hour, and how late it is at any time."""

import logging

import pytest

from receiver.sms.timestamps import HOUR, MINUTE, SECOND
from receiver.storage.lateness import TOLD_EVERY, TOLERATED, Lateness


class Passing:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def passing() -> Passing:
    return Passing()


@pytest.fixture
def lateness(passing: Passing, caplog: pytest.LogCaptureFixture) -> Lateness:
    caplog.set_level(logging.DEBUG, "receiver")
    return Lateness(passing)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    return [(record.getMessage(), record.__dict__["ids"]) for record in caplog.records]


def test_the_one_that_is_furthest_behind_counts(lateness: Lateness):
    assert lateness.seconds == 0
    lateness.note("events", 90 * SECOND)
    lateness.note("receipts", 2 * MINUTE)
    assert lateness.seconds == 120
    lateness.note("receipts", 0)
    assert lateness.seconds == 90


def test_it_is_told_after_an_hour_and_once_an_hour(lateness: Lateness, passing: Passing, caplog):
    for minute in range(0, 150, 5):
        passing.now = minute * 60.0
        lateness.note("events", 2 * HOUR)
    seconds = 2 * HOUR // SECOND
    assert told(caplog) == [("purge.behind", {"what": "events", "seconds": seconds})] * 2
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_what_catches_up_in_between_is_not_told(lateness: Lateness, passing: Passing, caplog):
    lateness.note("events", TOLERATED)
    passing.now = TOLD_EVERY / 2
    lateness.note("events", TOLERATED - 1)
    lateness.note("events", TOLERATED)
    passing.now = TOLD_EVERY
    lateness.note("events", TOLERATED)
    assert told(caplog) == []
    passing.now = TOLD_EVERY * 1.5
    lateness.note("events", TOLERATED)
    assert len(told(caplog)) == 1
