import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.drafts import InboundPart
from receiver.sms.gsm0338 import BASIC, EXTENSION, septets
from receiver.sms.segments import concatenation, measure, without_concatenation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("gsm7", 1)),
        ("a" * 160, ("gsm7", 1)),
        ("a" * 161, ("gsm7", 2)),
        ("a" * 306, ("gsm7", 2)),
        ("a" * 307, ("gsm7", 3)),
        ("€" * 80, ("gsm7", 1)),
        ("€" * 81, ("gsm7", 2)),
        # 153 is odd: a pair begun at the end of a segment moves over, so two segments hold 152 pairs, not 153.
        ("€" * 152, ("gsm7", 2)),
        ("€" * 153, ("gsm7", 3)),
        ("a" + "€" * 152, ("gsm7", 2)),
        ("a" * 152 + "€" + "a" * 152, ("gsm7", 3)),
        ("a" * 153 + "€" + "a" * 151, ("gsm7", 2)),
        ("ț" * 70, ("ucs2", 1)),
        ("ț" * 71, ("ucs2", 2)),
        ("ț" * 134, ("ucs2", 2)),
        ("ț" * 135, ("ucs2", 3)),
        ("😀" * 35, ("ucs2", 1)),
        ("😀" * 36, ("ucs2", 2)),
        # 67 is odd as well.
        ("😀" * 66, ("ucs2", 2)),
        ("😀" * 67, ("ucs2", 3)),
        ("ț" + "😀" * 66, ("ucs2", 2)),
        ("ț" * 66 + "😀" + "ț" * 66, ("ucs2", 3)),
        ("a" * 159 + "ç", ("ucs2", 3)),
    ],
)
def test_a_text_takes_as_many_segments_as_handsets_receive(text, expected):
    assert measure(text) == expected


def test_a_lone_surrogate_is_one_unit_and_no_error():
    assert measure("\ud83d" * 70) == ("ucs2", 1)


def packed(widths: list[int], alone: int, joined: int) -> int:
    """The count by the plain rule: a character goes into the segment as a whole or into the next."""
    if sum(widths) <= alone:
        return 1
    segments, room = 1, joined
    for width in widths:
        if width > room:
            segments, room = segments + 1, joined
        room -= width
    return segments


@given(st.text(alphabet="aé{€|", max_size=700))
def test_gsm7_counts_agree_with_packing_character_by_character(text):
    widths = [2 if c in EXTENSION.values() else 1 for c in text]
    assert measure(text) == ("gsm7", packed(widths, 160, 153))


@given(st.text(alphabet="aț😀€", min_size=1, max_size=300).filter(lambda text: septets(text) is None))
def test_ucs2_counts_agree_with_packing_character_by_character(text):
    widths = [2 if ord(c) > 0xFFFF else 1 for c in text]
    assert measure(text) == ("ucs2", packed(widths, 70, 67))


@given(st.text(max_size=400))
def test_every_text_can_be_measured(text):
    encoding, segments = measure(text)
    assert encoding == ("gsm7" if all(c in BASIC or c in EXTENSION.values() for c in text) else "ucs2")
    assert segments >= 1


@pytest.mark.parametrize(
    ("udh", "expected"),
    [
        ("050003CC0201", InboundPart(reference="204", number=1, total=2)),
        ("050003cc0202", InboundPart(reference="204", number=2, total=2)),
        ("060804A1B20303", InboundPart(reference="41394", number=3, total=3)),
        ("0500030002FF", None),  # part beyond the total
        ("050003CCFFFF", InboundPart(reference="204", number=255, total=255)),
        # Application ports (05) before and after.
        ("0B05040B8423F00003CC0201", InboundPart(reference="204", number=1, total=2)),
        ("0B0003CC020105040B8423F0", InboundPart(reference="204", number=1, total=2)),
        # An element without data after it.
        ("070003CC02012400", InboundPart(reference="204", number=1, total=2)),
        # Of several the last counts; one that is to be ignored is none.
        ("0B0003CC02010804000A0303", InboundPart(reference="10", number=3, total=3)),
        ("0A0003CC02010003CD0200", InboundPart(reference="204", number=1, total=2)),
    ],
)
def test_a_user_data_header_names_the_place_of_a_segment(udh, expected):
    assert concatenation(udh) == expected


@pytest.mark.parametrize(
    "udh",
    [
        "",
        "0",
        "zz",
        "00",
        "٠٥",
        "050003CC02",  # shorter than it says
        "050003CC020100",  # longer than it says
        "050003CC02010000",
        "050003CC0200",  # part 0
        "050003CC0001",  # total 0
        "050003CC0000",
        "050003CC0203",  # part beyond the total
        "0100",  # an element without its length
        "050004CC0201",  # the element is longer than the header
        "060004CC020100",  # 8-bit element of four octets
        "050803CC0201",  # 16-bit element of three octets
        "0605040B8423F0",  # no concatenation
    ],
)
def test_a_header_that_is_malformed_or_names_no_place_is_none(udh):
    assert concatenation(udh) is None


@given(st.binary(max_size=40).map(bytes.hex) | st.text(max_size=20))
def test_no_header_raises_and_every_place_found_is_in_its_total(udh):
    found = concatenation(udh)
    assert found is None or 1 <= found.number <= found.total <= 255


@given(st.integers(0, 0xFFFF), st.integers(1, 255), st.data())
def test_both_reference_sizes_are_read_back(reference, total, data):
    number = data.draw(st.integers(1, total))
    expected = InboundPart(reference=str(reference), number=number, total=total)
    assert concatenation(f"060804{reference:04x}{total:02x}{number:02x}") == expected
    if reference <= 0xFF:
        assert concatenation(f"050003{reference:02x}{total:02x}{number:02x}") == expected


@pytest.mark.parametrize(
    ("udh", "expected"),
    [
        ("050003CC0201", None),
        ("0B0003CC020105040B8423F0", "0605040b8423f0"),
        ("0605040B8423F0", "0605040b8423f0"),
        ("060804A1B20303", None),
        ("not hex", "not hex"),
        ("050003CC02", "050003CC02"),
        ("0500FFCC0201", "0500FFCC0201"),
    ],
)
def test_the_header_of_a_joined_message_has_no_place_in_it(udh: str, expected: str | None):
    assert without_concatenation(udh) == expected
