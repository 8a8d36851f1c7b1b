"""Whether a purge falls behind: for how long what is still there should have been gone."""

from collections.abc import Callable

from receiver.observe import log
from receiver.sms.timestamps import MINUTE, SECOND

TOLERATED = 10 * MINUTE
"""The next look is a minute away, and a job that goes through the log keeps events for as long as it takes."""
TOLD_EVERY = 3600.0


class Overdue:
    """Of each kind of rows, in microseconds. What was late for an hour is told of, and once an hour from then on."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._late: dict[str, int] = {}
        self._since: dict[str, float] = {}

    @property
    def seconds(self) -> int:
        """Of the one that is furthest behind."""
        return max(self._late.values(), default=0) // SECOND

    def note(self, what: str, late: int) -> None:
        self._late[what] = late
        if late < TOLERATED:
            self._since.pop(what, None)
            return
        now = self._monotonic()
        if now - self._since.setdefault(what, now) >= TOLD_EVERY:
            self._since[what] = now
            log("purge.behind", level="warning", what=what, seconds=late // SECOND)
