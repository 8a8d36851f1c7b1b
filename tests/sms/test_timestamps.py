"""Times of the contract: their one form, and which of a vendor's times are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from receiver.sms.timestamps import DAY, MINUTE, SECOND, from_text, to_text, trusted

NOW = from_text("2026-11-20T14:47:03.123Z")
FIRST_OF_2000 = from_text("2000-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.000Z"),
        (999_999, "1970-01-01T00:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_795_186_023_123_456, "2026-11-20T14:47:03.123Z"),
    ],
)
def test_every_time_is_written_in_utc_with_three_digits_cut_not_rounded(micros: int, text: str):
    assert to_text(micros) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T15:47:03.123+01:00",
        "2026-11-20T14:47:03.123456Z",
        "2026-11-20 14:47:03.123Z",
        "20261120T144703.123Z",
    ],
)
def test_any_offset_and_fraction_is_read(text: str):
    assert from_text(text) // 1000 == NOW // 1000


@pytest.mark.parametrize("text", ["2026-11-20T14:47:03", "2026-11-20", "now", "", "14:47Z", "2026-02-30T00:00:00Z"])
def test_what_is_no_moment_is_refused(text: str):
    with pytest.raises(ValueError):
        from_text(text)


@given(some.integers(FIRST_OF_2000, from_text("9999-12-31T23:59:59Z")))
def test_what_is_written_is_read_again_to_the_millisecond(micros: int):
    assert from_text(to_text(micros)) == micros // 1000 * 1000


def test_years_beyond_9999_are_an_error_not_a_wrong_time():
    with pytest.raises(OverflowError):
        to_text(300_000_000_000 * SECOND)


@pytest.mark.parametrize(
    ("vendor_time", "believed"),
    [
        (None, False),
        (FIRST_OF_2000, True),
        (FIRST_OF_2000 - 1, False),
        (0, False),
        (-1, False),
        (NOW - 400 * DAY, True),
        (NOW, True),
        (NOW + 10 * MINUTE, True),
        (NOW + 10 * MINUTE + 1, False),
        (NOW + DAY, False),
    ],
)
def test_a_vendors_time_is_believed_from_2000_until_ten_minutes_ahead_of_us(vendor_time: int | None, believed: bool):
    assert trusted(vendor_time, NOW) == (vendor_time if believed else None)
