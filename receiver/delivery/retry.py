"""What follows an attempt: done, again in a while, or given up. Pure: jitter and the time are handed in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, assert_never

from receiver.delivery.outcome import Delivered, Forbidden, Gone, Outcome, Refused, Unreachable

Verdict = Literal["succeeded", "retry", "dead", "forbidden"]

JITTER = 0.1
MAX_RETRY_AFTER = 86_400.0
SLOW_DOWN = frozenset({429, 502, 503, 504})
"""The statuses by which a subscriber, or the proxy before it, says that it has too much to do."""
NO_ANSWER = frozenset({"timeout", "connect"})
"""What it looks like when it cannot even say so."""
SPARE = 86_400.0
"""Seconds that a delivery may live longer than its schedule, for what else keeps it waiting."""

_DIGITS = re.compile(r"[0-9]+")
_MAX_DATE_CHARS = 64


@dataclass(frozen=True, slots=True)
class Next:
    """`after`: seconds to wait, 0 unless the verdict is `retry`. `slow_down`: the lane should send less. `disable`: the
    subscriber wants no more, by a 410 or by the word `disable` of its answer.
    """

    verdict: Verdict
    after: float = 0.0
    slow_down: bool = False
    disable: Literal["gone", "answer"] | None = None


_SUCCEEDED, _FORBIDDEN = Next("succeeded"), Next("forbidden")
_GONE, _LAST = Next("dead", disable="gone"), Next("succeeded", disable="answer")


def life(schedule: Sequence[float]) -> float:
    """Seconds from its making until a delivery that fails is given up, however few attempts were made."""
    return sum(schedule) + SPARE


def decide(
    outcome: Outcome, tries: int, age: float, schedule: Sequence[float], jitter: float, retry_after: float | None
) -> Next:
    """The verdict on an attempt.

    `tries` counts this attempt; `schedule` holds the seconds to wait after each failure, so a delivery is tried once
    more often than the schedule is long. `age` is that of the delivery in seconds. `jitter` is in [0, 1) and adds up
    to a tenth of the delay. `retry_after` is what the subscriber asked for, in seconds: never earlier than the
    schedule, at most 24 h, and not beyond the delivery's life.
    """
    match outcome:
        case Delivered():
            return _LAST if outcome.control == "disable" else _SUCCEEDED
        case Forbidden():
            return _FORBIDDEN
        case Gone():
            return _GONE
        case Refused(control="disable"):
            return Next("dead", disable="answer")
        case Refused(control="abort-message"):
            return Next("dead")
        case Refused() | Unreachable():
            slow_down = outcome.status in SLOW_DOWN or outcome.error in NO_ANSWER
            left = life(schedule) - age
            if tries > len(schedule) or left <= 0:
                return Next("dead", slow_down=slow_down)
            due = schedule[tries - 1] * (1 + JITTER * jitter)
            return Next("retry", max(due, min(retry_after or 0.0, MAX_RETRY_AFTER, left)), slow_down)
        case _:
            assert_never(outcome)


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds from `now` (unix seconds) that a Retry-After header asks for; None when it cannot be read.

    Whole seconds or an HTTP-date in any of its three forms (RFC 9110 sections 10.2.3 and 5.6.7); a past date is 0.
    """
    text = value.strip()
    if _DIGITS.fullmatch(text):
        return float(text[:300])
    if len(text) > _MAX_DATE_CHARS:
        return None
    try:
        moment = parsedate_to_datetime(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # asctime-date names no zone and means GMT
        return max(0.0, aware.timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
