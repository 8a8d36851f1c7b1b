"""docs/deliveries.md: the figures that it gives are those of the code."""

import inspect
import re

import pytest

from receiver.delivery import health, pacing, retry
from receiver.delivery.lanes import Pace
from receiver.egress import ANSWER_BYTES, Transport
from receiver.settings import Settings
from tests.docs.markdown import DOCS

PAGE = " ".join((DOCS / "deliveries.md").read_text("utf-8").split())
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}


def spoken(seconds: float) -> str:
    """`5 min`, `2 h`: the largest unit that leaves no rest."""
    for unit, size in (("h", 3_600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def test_the_schedule_is_the_default():
    *others, last = map(spoken, DEFAULTS["retry_schedule"])
    assert f"tried again after {', '.join(others)} and {last}" in PAGE
    assert retry.JITTER == 0.1
    assert "each up to a tenth later, never earlier" in PAGE


@pytest.mark.parametrize(
    "said",
    [
        f"After {pacing.OPENS_AFTER} failures in a row the subscription is tried with one delivery",
        f"one delivery every {pacing.PROBE_EVERY:g} seconds",
        f"| {health.FAILING_AFTER} failures in a row, or an hour of nothing else |",
        f"| {DEFAULTS['disable_after'] / 86_400:g} days of nothing but failures",
        f"never earlier than the schedule, at most {retry.MAX_RETRY_AFTER / 3_600:g} hours",
        f"the whole attempt {DEFAULTS['delivery_timeout']:g} (`RECEIVER_DELIVERY_TIMEOUT`)",
        f"Of the answer {ANSWER_BYTES // 1024} KiB are read",
    ],
)
def test_a_figure_is_the_code_s(said: str):
    assert said in PAGE


def test_an_hour_and_a_day_are_what_is_meant():
    assert health.FAILING_MICROS == 3_600 * 1_000_000
    assert retry.SPARE == 86_400.0
    assert "is given up a day after its schedule would have ended" in PAGE
    assert Pace(schedule=()).timeout == DEFAULTS["delivery_timeout"]


def test_the_statuses_that_slow_a_subscription_down_are_those_of_the_page():
    (row,) = re.findall(r"\| ([0-9, ]+), no answer in time, no connection \|", PAGE)
    assert {int(status) for status in row.split(",")} == retry.SLOW_DOWN
    assert {"timeout", "connect"} == retry.NO_ANSWER


def test_connecting_has_the_time_that_the_page_says():
    default = inspect.signature(Transport).parameters["connect_timeout"].default
    assert f"Connecting may take {default:g} seconds" in PAGE
