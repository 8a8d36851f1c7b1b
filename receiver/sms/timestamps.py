"""Times of the contract: unix microseconds inside, `2026-11-20T14:47:03.123Z` outside (RFC 3339, UTC, milliseconds)."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 86_400 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_2000 = 946_684_800 * SECOND
_AHEAD = 10 * MINUTE


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def to_text(micros: int) -> str:
    """Unix microseconds as text; raises OverflowError outside the years 1–9999."""
    seconds, rest = divmod(micros, SECOND)
    return f"{_second(seconds)}.{rest // 1000:03d}Z"


def from_text(text: str) -> int:
    """RFC 3339 with any offset and fraction as unix microseconds; raises ValueError without an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset, as in 2026-11-20T14:47:03Z")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def trusted(vendor_time: int | None, received_at: int) -> int | None:
    """The vendor's time when it can be true: not before 2000, at most ten minutes ahead of us."""
    if vendor_time is not None and _YEAR_2000 <= vendor_time <= received_at + _AHEAD:
        return vendor_time
    return None
