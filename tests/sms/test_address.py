from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from receiver.sms.address import address, canonical
from receiver.sms.drafts import Party

KEYS = ["address", "kind", "raw", "country", "city", "region", "postal_code"]


def read(raw: str, region: str | None = None, **party: Any) -> tuple[Any, ...] | None:
    found = address(Party(raw=raw, **party), region)
    return (found["address"], found["kind"], found["country"]) if found else None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("+447700900123", ("+447700900123", "e164", "GB")),
        ("+44 (0) 7700-900123", ("+447700900123", "e164", "GB")),
        ("+44\u00a07700\u2011900123", ("+447700900123", "e164", "GB")),
        ("\u202a+44 7700 900123\u202c", ("+447700900123", "e164", "GB")),
        ("(+1) 416.555/0123", ("+14165550123", "e164", "CA")),
        ("0044 7700 900123", ("+447700900123", "e164", "GB")),
        ("00447700900123", ("+447700900123", "e164", "GB")),
        # A form decoder reads a bare plus as a blank.
        (" 447700900123", ("+447700900123", "e164", "GB")),
        (" 447700900123\n", ("+447700900123", "e164", "GB")),
        ("  447700900123", ("447700900123", "unknown", None)),
        ("\t447700900123", ("447700900123", "unknown", None)),
        (" 44 7700 900123", ("44 7700 900123", "unknown", None)),
        (" 80800", ("80800", "short_code", None)),
        # Not known to be international, so nothing is certain.
        ("447700900123", ("447700900123", "unknown", None)),
        ("07911123456", ("07911123456", "unknown", None)),
        ("+39 06 69812345", ("+390669812345", "e164", "VA")),
        ("+12345", ("+12345", "unknown", None)),
        ("+999123456789", ("+999123456789", "unknown", None)),
        ("++447700900123", ("++447700900123", "unknown", None)),
        ("44+7700900123", ("44+7700900123", "unknown", None)),
        ("+", ("+", "unknown", None)),
        ("00", ("00", "unknown", None)),
        ("+00447700900123", ("+00447700900123", "unknown", None)),
        ("+44 7700 900123 ext 5", ("+44 7700 900123 ext 5", "unknown", None)),
        ("+1-800-FLOWERS", ("+1-800-FLOWERS", "unknown", None)),
        # ITU-T E.164 ends at 15 digits, German numbers in phonenumbers do not.
        ("+491234567890123", ("+491234567890123", "e164", "DE")),
        ("+4912345678901234", ("+4912345678901234", "unknown", None)),
        ("80800", ("80800", "short_code", None)),
        ("123", ("123", "short_code", None)),
        ("12345678", ("12345678", "short_code", None)),
        ("12", ("12", "unknown", None)),
        ("123456789", ("123456789", "unknown", None)),
        ("123-45", ("123-45", "unknown", None)),
        (" AMAZON ", ("AMAZON", "alphanumeric", None)),
        ("anonymous", ("anonymous", "alphanumeric", None)),
        ("Ab 1-2", ("Ab 1-2", "alphanumeric", None)),
        ("ELEVENCHARS", ("ELEVENCHARS", "alphanumeric", None)),
        ("TWELVE CHARS", ("TWELVE CHARS", "unknown", None)),
        ("someone@example.com", ("someone@example.com", "unknown", None)),
        # Digits of other scripts and superscripts are no digits here.
        ("٤٤٧٧٠٠٩٠٠١٢٣", ("٤٤٧٧٠٠٩٠٠١٢٣", "unknown", None)),
        ("+٤٤٧٧٠٠٩٠٠١٢٣", ("+٤٤٧٧٠٠٩٠٠١٢٣", "unknown", None)),
        ("١٢٣٤٥", ("١٢٣٤٥", "unknown", None)),
        ("²²²²²", ("²²²²²", "unknown", None)),
        ("+４４７７００９００１２３", ("+４４７７００９００１２３", "unknown", None)),
        ("-", ("-", "unknown", None)),
    ],
)
def test_a_raw_party_has_the_kind_that_is_certain(raw, expected):
    assert read(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("447700900123", ("+447700900123", "e164", "GB")),
        ("4407700900123", ("+447700900123", "e164", "GB")),
        ("+447700900123", ("+447700900123", "e164", "GB")),
        ("00447700900123", ("+447700900123", "e164", "GB")),
        ("80800", ("80800", "short_code", None)),
        ("999999", ("999999", "short_code", None)),
        ("AMAZON", ("AMAZON", "alphanumeric", None)),
        ("07911123456", ("07911123456", "unknown", None)),
    ],
)
def test_digits_that_the_vendor_documents_as_international_need_no_plus(raw, expected):
    assert read(raw, international=True) == expected


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("07400 123456", "GB", ("+447400123456", "e164", "GB")),
        ("447400123456", "GB", ("+447400123456", "e164", "GB")),
        (" 07400123456", "GB", ("+447400123456", "e164", "GB")),
        ("(416) 555-0123", "US", ("+14165550123", "e164", "CA")),
        ("07700900123", "GB", ("07700900123", "unknown", None)),  # possible, not valid: Ofcom keeps it for drama
        ("07400123456", "FR", ("07400123456", "unknown", None)),
        ("07400123456", "XX", ("07400123456", "unknown", None)),
        ("011 44 7400 123456", "US", ("011 44 7400 123456", "unknown", None)),
        ("+33612345678", "GB", ("+33612345678", "e164", "FR")),
        ("0033612345678", "GB", ("+33612345678", "e164", "FR")),
        ("001", "GB", ("001", "short_code", None)),
        ("00371234567", "JP", ("00371234567", "unknown", None)),  # valid in Japan only, and 00 means abroad
        ("4000", "NU", ("4000", "short_code", None)),  # a valid number of Niue, but too short to be certain
        ("80800", "GB", ("80800", "short_code", None)),
        ("٠٧٤٠٠١٢٣٤٥٦", "GB", ("٠٧٤٠٠١٢٣٤٥٦", "unknown", None)),
        ("6111234", "IS", ("+3546111234", "e164", "IS")),
        ("GOOGLE", "GB", ("GOOGLE", "alphanumeric", None)),
    ],
)
def test_a_national_number_is_read_in_the_source_s_region_when_it_is_valid_there(raw, region, expected):
    assert read(raw, region) == expected


def test_international_digits_that_cannot_be_are_read_as_national():
    assert read("07400123456", "GB", international=True) == ("+447400123456", "e164", "GB")


@pytest.mark.parametrize(
    ("raw", "country"),
    [
        ("+447700900123", "GB"),  # of no region by its digits: the code's main one
        ("+12015550123", "US"),
        ("+14165550123", "CA"),
        ("+18765550123", "JM"),
        ("+15555550123", None),  # +1 and +7 have no main country
        ("+79123456789", "RU"),
        ("+77012345678", "KZ"),
        ("+70000000000", None),
        ("+447781123456", "GG"),
        ("+80012345678", None),  # of no country
        ("+881612345678", None),
    ],
)
def test_the_country_is_the_number_s_else_the_code_s(raw, country):
    assert read(raw) == (raw, "e164", country)


def test_what_the_vendor_says_of_a_party_wins_and_raw_stays_as_it_came():
    party = Party(raw=" +14165550123 ", country="US", city="Buffalo", region="NY", postal_code="14201")
    found = address(party)
    assert found == {
        "address": "+14165550123",
        "kind": "e164",
        "raw": " +14165550123 ",
        "country": "US",
        "city": "Buffalo",
        "region": "NY",
        "postal_code": "14201",
    }
    assert found is not None
    assert list(found) == KEYS


def test_what_the_vendor_leaves_empty_is_unknown():
    found = address(Party(raw="80800", country="", city="", region="", postal_code=""))
    assert found is not None
    assert list(found.values()) == ["80800", "short_code", "80800", None, None, None, None]


@pytest.mark.parametrize("raw", ["", " ", "\t\n\u00a0", " " * 100])
def test_a_blank_party_is_none(raw):
    assert address(Party(raw=raw)) is None
    assert canonical(Party(raw=raw)) == ""


def test_no_party_is_none():
    assert address(None) is None
    assert canonical(None) == ""


def test_an_address_of_absurd_length_is_unknown_and_trimmed():
    assert read(" " + "1" * 100_000) == ("1" * 100_000, "unknown", None)
    assert canonical(Party(raw=" " * 100 + "80800")) == "80800"


def test_every_call_gives_a_new_dict():
    one, other = address(Party(raw="+447700900123")), address(Party(raw="+447700900123"))
    assert one == other
    assert one is not other


def test_the_same_raw_form_reads_differently_by_source():
    assert canonical(Party(raw="447700900123")) == "447700900123"
    assert canonical(Party(raw="447700900123", international=True)) == "+447700900123"
    assert canonical(Party(raw="07400123456")) == "07400123456"
    assert canonical(Party(raw="07400123456"), "GB") == "+447400123456"


def plainly(raw: str) -> tuple[Any, ...] | None:
    """What a plain reading by phonenumbers says within our bounds of 7 to 15 digits: the Address's parts, or None."""
    if len(raw) < 8:
        return None
    try:
        number = phonenumbers.parse(raw, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    text = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if len(text) > 16:
        return None
    country = phonenumbers.region_code_for_number(number)
    assert number.country_code is not None
    if country is None and number.country_code not in (1, 7):
        country = phonenumbers.region_code_for_country_code(number.country_code)
    return text, "e164", None if country == "001" else country


def examples() -> list[str]:
    regions = sorted(phonenumbers.SUPPORTED_REGIONS)
    found = [
        phonenumbers.example_number_for_type(region, kind) for region in regions for kind in PhoneNumberType.values()
    ]
    found += [
        phonenumbers.example_number_for_non_geo_entity(code) for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS
    ]
    return [phonenumbers.format_number(number, PhoneNumberFormat.E164) for number in found if number is not None]


EXAMPLES = examples()


def is_as_plain(raw: str) -> None:
    expected = plainly(raw)
    if expected is None:
        found = read(raw)
        assert found is None or found[1] != "e164"
    else:
        assert read(raw) == expected


def test_the_quick_path_reads_the_example_numbers_of_all_regions_as_phonenumbers_does():
    assert len(EXAMPLES) > 1000
    for raw in EXAMPLES:
        is_as_plain(raw)


@given(st.sampled_from(EXAMPLES), st.data())
def test_the_quick_path_reads_numbers_near_the_examples_as_phonenumbers_does(raw, data):
    place = data.draw(st.integers(2, len(raw)))
    put = data.draw(st.text(alphabet="0123456789", max_size=3))
    near = raw[:place] + put + raw[place + data.draw(st.integers(0, 2)) :]
    is_as_plain(near[:16])


@given(
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
    | st.sampled_from([1, 7, 39, 44, 61, 262, 290, 599]),
    st.text(alphabet="0123456789", min_size=6, max_size=12),
)
def test_the_quick_path_reads_random_numbers_as_phonenumbers_does(code, national):
    is_as_plain(f"+{code}{national}"[:16])


@given(st.text(alphabet="0123456789", min_size=7, max_size=15))
def test_the_quick_path_reads_random_digits_as_phonenumbers_does(digits):
    is_as_plain(f"+{digits}")


@given(
    st.text(max_size=30) | st.text(alphabet="+0123456789 ()-.", max_size=20),
    st.booleans(),
    st.sampled_from([None, "GB", "US", "IT", "IN"]),
)
def test_every_raw_form_has_an_address_or_is_blank(raw, international, region):
    party = Party(raw=raw, international=international)
    found = address(party, region)
    assert (found is None) == (not raw.strip())
    assert canonical(party, region) == (found["address"] if found else "")
    if found and found["kind"] == "e164":
        assert found["address"][0] == "+"
        assert found["address"][1:].isascii()
        assert 5 <= len(found["address"][1:]) <= 15
        assert sum(c in "0123456789" for c in raw) >= 7
