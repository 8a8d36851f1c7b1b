from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.gsm0338 import BASIC, ESCAPE, EXTENSION, septets, spelled_out

# Code points of 3GPP TS 23.038 section 6.2.1, written out a second time so that a slip in the table shows.
GREEK = {
    0x10: 0x0394,
    0x12: 0x03A6,
    0x13: 0x0393,
    0x14: 0x039B,
    0x15: 0x03A9,
    0x16: 0x03A0,
    0x17: 0x03A8,
    0x18: 0x03A3,
    0x19: 0x0398,
    0x1A: 0x039E,
}
LATIN = {0x00: 0x40, 0x01: 0xA3, 0x02: 0x24, 0x03: 0xA5, 0x04: 0xE8, 0x05: 0xE9, 0x06: 0xF9, 0x07: 0xEC, 0x08: 0xF2, 0x09: 0xC7, 0x0A: 0x0A, 0x0B: 0xD8, 0x0C: 0xF8, 0x0D: 0x0D, 0x0E: 0xC5, 0x0F: 0xE5, 0x11: 0x5F, 0x1C: 0xC6, 0x1D: 0xE6, 0x1E: 0xDF, 0x1F: 0xC9, 0x24: 0xA4, 0x40: 0xA1, 0x5B: 0xC4, 0x5C: 0xD6, 0x5D: 0xD1, 0x5E: 0xDC, 0x5F: 0xA7, 0x60: 0xBF, 0x7B: 0xE4, 0x7C: 0xF6, 0x7D: 0xF1, 0x7E: 0xFC, 0x7F: 0xE0}  # fmt: skip


def test_the_default_alphabet_has_the_standard_s_characters_at_their_codes():
    with_escape = BASIC[:0x1B] + ESCAPE + BASIC[0x1B:]
    assert len(with_escape) == 128 == len(set(with_escape))
    ascii_again = {code: code for code in range(0x20, 0x7B) if code not in LATIN}
    expected = GREEK | LATIN | ascii_again | {0x1B: 0x1B}
    assert {code: ord(character) for code, character in enumerate(with_escape)} == expected


def test_the_extension_table_shares_nothing_with_the_default_alphabet():
    assert not set(EXTENSION.values()) & set(BASIC)
    assert {code: ord(character) for code, character in EXTENSION.items()} == {
        0x0A: 0x0C, 0x14: 0x5E, 0x28: 0x7B, 0x29: 0x7D, 0x2F: 0x5C, 0x3C: 0x5B, 0x3D: 0x7E, 0x3E: 0x5D, 0x40: 0x7C, 0x65: 0x20AC,
    }  # fmt: skip


def test_each_character_takes_one_septet_and_an_extension_character_two():
    assert septets("") == 0
    assert septets("Straße à Ñandú"[:-1]) == 13
    assert septets(BASIC) == 127
    assert septets("".join(EXTENSION.values())) == 20
    assert septets("10 € {a}") == 8 + 3


def test_a_text_with_one_foreign_character_does_not_fit():
    for foreign in ("ç", "`", "ț", "’", "😀", "\t", "\x1b", "\x00", "\ud800", "à\u0300", "ú"):
        assert septets(f"abc{foreign}") is None
        assert septets(f"€{foreign}") is None


def test_spelling_out_puts_the_code_of_the_extension_character_after_the_escape():
    assert spelled_out("a€") == "a\x1be"
    assert spelled_out("[^\f]") == "\x1b<\x1bΛ\x1b\n\x1b>"


@given(st.text(alphabet=BASIC + "".join(EXTENSION.values())))
def test_a_text_spelled_out_is_as_long_as_its_septets(text):
    assert septets(text) == len(spelled_out(text)) == sum(2 if c in EXTENSION.values() else 1 for c in text)


@given(st.text())
def test_what_fits_is_exactly_what_the_tables_hold(text):
    assert (septets(text) is not None) == all(c in BASIC or c in EXTENSION.values() for c in text)
