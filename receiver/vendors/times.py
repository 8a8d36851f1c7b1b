"""Vendor times to unix microseconds. Anything doubtful is None: our own time stands in, the receipt keeps theirs."""

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d\d:?\d\d|[+-]\d\d)?",
    re.ASCII,
)
_DIGITS = re.compile(r"[0-9]{1,16}")
_JS_DATE = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d?) (\d{4}) (\d\d):(\d\d):(\d\d) GMT([+-]\d{4})(?: \(.*\))?", re.ASCII
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """An aware datetime as unix microseconds, without a float on the way."""
    return (moment - _EPOCH) // _MICROSECOND


def iso(text: str | None, zone: ZoneInfo | None = None) -> int | None:
    """ISO 8601 with `T` or a blank, any fraction, `Z`, `+00:00`, `+0000` or `+00`.

    Without an offset, `zone` says where; without `zone` the time is not known.
    A wall time that a zone's clock change skips or repeats is not known either.
    """
    match = _ISO.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        naive = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0),
                         int((fraction or "0").ljust(6, "0")[:6]))  # fmt: skip
        return _in_zone(naive, offset, zone)
    except (ValueError, OverflowError):
        return None


def unix(text: str | None) -> int | None:
    """Whole unix seconds in ASCII digits."""
    return int(text) * 1_000_000 if text and len(text) <= 11 and _DIGITS.fullmatch(text) else None


def unix_ms(text: str | None) -> int | None:
    """Whole unix milliseconds in ASCII digits."""
    return int(text) * 1_000 if text and len(text) <= 14 and _DIGITS.fullmatch(text) else None


def js_date(text: str | None) -> int | None:
    """ECMAScript's Date.toString(): `Wed Jul 19 2017 20:53:45 GMT+0100 (BST)`."""
    match = _JS_DATE.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    month, day, year, hour, minute, second, offset = match.groups()
    try:
        naive = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second))
        return _in_zone(naive, offset, None)
    except (ValueError, KeyError, OverflowError):
        return None


def pattern(text: str | None, form: str, zone: ZoneInfo | None) -> int | None:
    """By a strptime pattern of the source's options; `zone` where the pattern has no %z.

    strptime takes the digits of any script, we take only ASCII's.
    """
    if not text or not text.isascii():
        return None
    try:
        moment = datetime.strptime(text.strip(), form)  # noqa: DTZ007 — the zone follows
        if moment.tzinfo is not None:
            return micros(moment)
        return _in_zone(moment, None, zone)
    except (ValueError, OverflowError, re.error):  # re.error: strptime's answer to a directive that comes twice
        return None


def _in_zone(naive: datetime, offset: str | None, zone: ZoneInfo | None) -> int | None:
    if offset is not None:
        return micros(naive.replace(tzinfo=_offset(offset)))
    if zone is None:
        return None
    earlier, later = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    if earlier.utcoffset() != later.utcoffset():
        return None
    return micros(earlier.astimezone(UTC))


def _offset(text: str) -> timezone:
    if text in ("Z", "z"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    delta = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-delta if text[0] == "-" else delta)
