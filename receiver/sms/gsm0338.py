"""The GSM 03.38 alphabet (3GPP TS 23.038): which texts fit seven bits, and how many septets they take."""

import re

ESCAPE = "\x1b"
"""Code 1B, which announces a character of the extension table; no character of its own, so no text contains it."""

# 3GPP TS 23.038 section 6.2.1, by code from 00 to 7F without 1B; 09 is Ç, as the standard has it.
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)

# 3GPP TS 23.038 section 6.2.1.1: character by the code that follows the escape.
EXTENSION = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}

_EXTENDED = "".join(EXTENSION.values())
_ALL_BASIC = re.compile(f"[{re.escape(BASIC)}]*")
_ALL_KNOWN = re.compile(f"[{re.escape(BASIC + _EXTENDED)}]*")
_SPELLED_OUT = {ord(character): ESCAPE + BASIC[code - (code > ord(ESCAPE))] for code, character in EXTENSION.items()}


def septets(text: str) -> int | None:
    """How many septets the text takes, two for a character of the extension table; None when it does not fit."""
    if _ALL_BASIC.fullmatch(text):
        return len(text)
    if _ALL_KNOWN.fullmatch(text):
        return len(text.translate(_SPELLED_OUT))
    return None


def spelled_out(text: str) -> str:
    """A text that fits with one character a septet: each of the extension table as ESCAPE and one more."""
    return text.translate(_SPELLED_OUT)
