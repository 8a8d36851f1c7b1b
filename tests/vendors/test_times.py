"""A vendor's time is exact or not known: nothing in between."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.vendors import times

LONDON = ZoneInfo("Europe/London")
NOON = 1_780_315_200_000_000  # 2026-06-01T12:00:00Z


def test_microseconds_are_counted_without_a_float():
    moment = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert times.micros(moment) == 253_402_300_799_999_999
    assert times.micros(datetime(1970, 1, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))) == 0


@pytest.mark.parametrize(
    ("text", "after_noon"),
    [
        ("2026-06-01T12:00:00Z", 0),
        ("2026-06-01 12:00:00z", 0),
        (" 2026-06-01T12:00Z ", 0),
        ("2026-06-01T14:00:00+02:00", 0),
        ("2026-06-01T14:00:00 +0200", 0),
        ("2026-06-01T07:00:00-05", 0),
        ("2026-06-01T12:00:00.5Z", 500_000),
        ("2026-06-01T12:00:00,123Z", 123_000),
        ("2026-06-01T12:00:00.123456789+00:00", 123_456),
    ],
)
def test_iso_8601_with_an_offset(text, after_noon):
    assert times.iso(text) == NOON + after_noon


DOUBTFUL = [
    None,
    "",
    "yesterday",
    "0000-00-00 00:00:00",
    "0000-00-00T00:00:00Z",
    "2026-02-30T12:00:00Z",
    "2026-13-01T12:00:00Z",
    "2026-06-01T24:00:00Z",
    "2026-06-01T12:00:60Z",
    "2026-06-01T12:00:00+99:99",
    "2026-06-01",
    "26-06-01T12:00:00Z",
    "٢٠٢٦-06-01T12:00:00Z",
    "2026-06-01T12:00:00ZZ",
    "1780315200",
]


@pytest.mark.parametrize("text", DOUBTFUL)
def test_a_doubtful_iso_time_is_not_known(text):
    assert times.iso(text, LONDON) is None


def test_a_wall_time_needs_its_zone():
    assert times.iso("2026-06-01 13:00:00") is None
    assert times.iso("2026-06-01 13:00:00", LONDON) == NOON
    assert times.iso("2026-06-01 12:00:00Z", LONDON) == NOON


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-03-29 01:30:00", LONDON),
        ("2026-10-25 01:30:00", LONDON),
        ("2026-03-08 02:30:00", ZoneInfo("America/New_York")),
    ],
)
def test_a_wall_time_that_the_clock_change_skips_or_repeats_is_not_known(text, zone):
    assert times.iso(text, zone) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_the_ends_of_the_calendar_are_no_error(text):
    for zone in (ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")):
        times.iso(text, zone)
        times.iso(text + "+14:00")
        times.iso(text + "-12:00")
        times.pattern(text, "%Y-%m-%dT%H:%M:%S", zone)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1780315200", NOON),
        ("0", 0),
        ("1780315200000", None),
        ("1780315200.5", None),
        ("-1", None),
        ("١٧٨٠", None),
        ("9" * 5_000, None),
        ("", None),
        (None, None),
    ],
)
def test_unix_seconds(text, found):
    assert times.unix(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("1780315200123", NOON + 123_000), ("1780315200123456", None), ("1e12", None), ("²", None), (None, None)],
)
def test_unix_milliseconds(text, found):
    assert times.unix_ms(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "Mon Jun 01 2026 13:00:00 GMT+0100 (British Summer Time)",
        "Mon Jun 1 2026 13:00:00 GMT+0100 (BST)",
        " Mon Jun 01 2026 12:00:00 GMT+0000",
        "Mon Jun 01 2026 08:00:00 GMT-0400 (EDT)",
    ],
)
def test_javascript_dates(text):
    assert times.js_date(text) == NOON


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "Invalid Date",
        "Mon Foo 01 2026 13:00:00 GMT+0100",
        "Mon Feb 30 2026 13:00:00 GMT+0100",
        "Mon Jun 01 2026 13:00:00",
        "Mon Jun 01 2026 13:00:00 GMT+9999",
        "2026-06-01T12:00:00Z",
    ],
)
def test_a_doubtful_javascript_date_is_not_known(text):
    assert times.js_date(text) is None


@pytest.mark.parametrize(
    ("text", "form", "zone", "found"),
    [
        ("01/06/2026 13:00", "%d/%m/%Y %H:%M", LONDON, NOON),
        (" 01/06/2026 13:00 ", "%d/%m/%Y %H:%M", LONDON, NOON),
        ("01/06/2026 14:00 +0200", "%d/%m/%Y %H:%M %z", None, NOON),
        ("01/06/2026 13:00", "%d/%m/%Y %H:%M", None, None),
        ("25/10/2026 01:30", "%d/%m/%Y %H:%M", LONDON, None),
        ("2026-06-01", "%d/%m/%Y %H:%M", LONDON, None),
        ("01/06/٢٠٢٦ 13:00", "%d/%m/%Y %H:%M", LONDON, None),
        ("01/06/2026", "%d/%m/%Y %", LONDON, None),
        ("01/06/2026", "%d/%m/%Y %q", LONDON, None),
        ("2026 2026", "%Y %Y", LONDON, None),
        ("", "%Y", LONDON, None),
        (None, "%Y", LONDON, None),
    ],
)
def test_a_pattern_of_the_options(text, form, zone, found):
    assert times.pattern(text, form, zone) == found


@given(
    st.datetimes(*(datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (1970, 2100))),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_every_spelling_of_a_moment_is_that_moment(moment, minutes):
    aware = moment.replace(tzinfo=UTC)
    local = moment + timedelta(minutes=minutes)
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    offset = f"{sign}{size // 60:02}:{size % 60:02}"
    assert times.iso(f"{local:%Y-%m-%dT%H:%M:%S.%f}{offset}") == times.micros(aware)
    second = times.micros(aware.replace(microsecond=0))
    assert times.js_date(f"{local:%a %b %d %Y %H:%M:%S} GMT{offset.replace(':', '')} (X)") == second
    assert times.unix(str(second // 1_000_000)) == second


@given(st.text(max_size=40) | st.from_regex(r"[0-9T :.,+Zz-]{0,40}", fullmatch=True))
def test_any_text_is_a_time_or_not_known(text):
    for read in (times.iso, times.unix, times.unix_ms, times.js_date):
        read(text)
    times.iso(text, LONDON)
    times.pattern(text, "%Y-%m-%dT%H:%M:%S%z", LONDON)
