"""How many segments a text takes, and what a user data header says of a segment's place (3GPP TS 23.040)."""

import re

from receiver.sms.drafts import InboundPart
from receiver.sms.gsm0338 import ESCAPE, septets, spelled_out

# 140 octets of user data; a concatenation header with its padding takes 7 septets or 6 octets (TS 23.040 9.2.3.24.1).
_GSM7_ALONE, _GSM7_JOINED = 160, 153
_UCS2_ALONE, _UCS2_JOINED = 70, 67
_HIGH_SURROGATE = "\ud800"
_SUPPLEMENTARY = re.compile("[\U00010000-\U0010ffff]")

_CONCATENATED_8_BIT, _CONCATENATED_16_BIT = 0x00, 0x08


def measure(text: str) -> tuple[str, int]:
    """The encoding a text needs (`gsm7` or `ucs2`) and its number of segments.

    160 septets or 70 UTF-16 code units fit one segment, 153 or 67 each of several; neither the two septets of an
    extension character nor a surrogate pair is split between two. An empty text takes one.
    """
    length = septets(text)
    if length is not None:
        if length <= _GSM7_ALONE:
            return "gsm7", 1
        return "gsm7", _count(spelled_out(text), ESCAPE, _GSM7_JOINED)
    units = _SUPPLEMENTARY.sub(_HIGH_SURROGATE + "\udc00", text)
    if len(units) <= _UCS2_ALONE:
        return "ucs2", 1
    return "ucs2", _count(units, _HIGH_SURROGATE, _UCS2_JOINED)


def _count(units: str, first_of_two: str, size: int) -> int:
    count, start = 1, 0
    while start + size < len(units):
        start += size
        if units[start - 1] == first_of_two:
            start -= 1
        count += 1
    return count


def concatenation(udh: str) -> InboundPart | None:
    """The place in a long message that a user data header in hex digits names; None when it names none.

    The header begins with its length. Elements 00 (8-bit reference) and 08 (16-bit reference) count, the last of
    several; one with part 0, total 0 or a part beyond the total is ignored (3GPP TS 23.040 sections 9.2.3.24,
    9.2.3.24.1 and 9.2.3.24.8). The reference is a decimal number as text.
    """
    try:
        header = bytes.fromhex(udh)
    except ValueError:
        return None
    if not header or header[0] != len(header) - 1:
        return None
    return _last_place(header)


def _last_place(header: bytes) -> InboundPart | None:
    elements = _elements(header)
    if elements is None:
        return None
    places = (_place(element[0], element[2:]) for element in elements)
    return next((place for place in reversed([*places]) if place), None)


def _elements(header: bytes) -> list[bytes] | None:
    """Each with its identifier and length; None when they do not fill the header."""
    found, position = [], 1
    while position + 1 < len(header):
        end = position + 2 + header[position + 1]
        found.append(header[position:end])
        position = end
    return found if position == len(header) else None


def without_concatenation(udh: str) -> str | None:
    """The user data header of a message that was joined: what else it says, None where that is nothing.

    One that cannot be read stays as it is.
    """
    try:
        elements = _elements(bytes.fromhex(udh))
    except ValueError:
        return udh
    if elements is None:
        return udh
    rest = b"".join(item for item in elements if item[0] not in (_CONCATENATED_8_BIT, _CONCATENATED_16_BIT))
    return f"{len(rest):02x}{rest.hex()}" if rest else None


def _place(identifier: int, body: bytes) -> InboundPart | None:
    if (identifier, len(body)) not in ((_CONCATENATED_8_BIT, 3), (_CONCATENATED_16_BIT, 4)):
        return None
    *reference, total, number = body
    if not 1 <= number <= total:
        return None
    return InboundPart(reference=str(int.from_bytes(reference, "big")), number=number, total=total)
