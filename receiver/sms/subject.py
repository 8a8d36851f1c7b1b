"""A person whose data is to be erased: where their number stands, however it is written, and what is left of an event.

Pure. What is erased, and what stays, is said by the event contract (`docs/events.md`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson
import phonenumbers

from receiver.sms.address import address
from receiver.sms.drafts import Party

ERASED: Final = "erased"

_NULL = ("from", "to", "number", "text", "binary", "keyword", "client_reference", "vendor_description", "price")
_EMPTY: Mapping[str, Any] = {"cc": [], "media": [], "extra": {}}
_LEAST_DIGITS = 7
"""Fewer are no person's number, and stand by chance in anything; such an address is only found as one."""
_LEAST_NATIONAL = 9
"""Fewer, without a trunk prefix or calling code before them, may be anything else."""
_PUNCTUATION = b" \t-./()[]~+"
_NO_DIGITS = _PUNCTUATION + bytes(range(0x80, 0x100))
# What people put between digits: ASCII, and the blanks, dashes and marks that UTF-8 writes with these first bytes.
_GAP = rb"(?:[ \t\-./()\[\]~+]|\xc2[\xa0\xad]|\xe2[\x80\x81\x88][\x80-\xbf]){0,3}"
_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_SEPARATOR = "\x1f"
_MOST_ENCODED = 3
"""How often over a text may have been percent-encoded."""


class Subject:
    """`address` is the number as events have it."""

    __slots__ = ("_digits", "_named", "_pattern", "address")

    def __init__(self, number: str) -> None:
        """`number` in any form; one that is not international is taken as it is. Raises ValueError for a blank."""
        found = address(Party(raw=number, international=True))
        if found is None:
            raise ValueError("must not be blank")
        self.address: str = found["address"]
        self._named = b'"address":' + orjson.dumps(self.address)
        self._digits, self._pattern = _written(self.address, found["kind"])

    def is_in(self, content: bytes) -> bool:
        """Whether the number stands there: plain or with gaps, as JSON or percent-encoding write it, with its calling
        code, or with or without a trunk prefix. Only numbers of persons are looked for in this way.
        """
        return self._pattern is not None and any(self._stands(plain) for plain in _readings(content))

    def is_in_event(self, body: bytes) -> bool:
        """Whether the event is from, to or about it, or names it."""
        return self._named in body or self.is_in(body)

    def is_key(self, key: str | None) -> bool:
        """Whether it is one of the parts of an identity or of a conversation's key."""
        return key is not None and (self.address in key.split(_SEPARATOR) or self.is_in(key.encode()))

    def _stands(self, content: bytes) -> bool:
        """The first look is quick, for nearly everything is about somebody else."""
        assert self._pattern is not None
        return self._digits in content.translate(None, _NO_DIGITS) and self._pattern.search(content) is not None


def erased(event: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """The event without what was said and by whom; its ids, types, statuses and times stay."""
    data = dict(event["data"])
    data |= {name: None for name in _NULL if name in data}
    data |= {name: empty for name, empty in _EMPTY.items() if name in data}
    if "flags" in data:
        data["flags"] = [*dict.fromkeys([*data["flags"], ERASED])]
    for name, value in data.items():
        if isinstance(value, str) and subject.is_in(value.encode()):
            data[name] = "" if name == "error" else None
        elif isinstance(value, dict):
            data[name] = _without(value, subject) if subject.address != value.get("address") else None
    return {**event, "data": data}


def _without(value: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    return {
        name: "" if isinstance(item, str) and subject.is_in(item.encode()) else item for name, item in value.items()
    }


def is_erased(event: Mapping[str, Any]) -> bool:
    return ERASED in event["data"].get("flags", ())


def _readings(content: bytes) -> Iterator[bytes]:
    """As it is, percent-decoded, with JSON's escapes read, one inside the other, and as UTF-16."""
    yield content
    plain = content
    for _ in range(_MOST_ENCODED):
        if b"%" not in plain:
            break
        plain = unquote_to_bytes(plain)
        yield plain
    if b"\\u" in plain:
        yield _ESCAPE.sub(lambda found: chr(int(found[1], 16)).encode("utf-8", "replace"), plain)
    if b"\x00" in content:
        yield content.replace(b"\x00", b"")


def _written(number: str, kind: str) -> tuple[bytes, re.Pattern[bytes] | None]:
    """Digits that stand in every way to write it, and all those ways; no ways for what is no person's number."""
    if kind != "e164":
        digits = number.encode().translate(None, _PUNCTUATION)
        if not (digits.isdigit() and len(digits) >= _LEAST_DIGITS):
            return b"", None
        return digits, re.compile(rb"(?<![0-9])" + _spaced(digits) + rb"(?![0-9])")
    code = str(phonenumbers.parse(number).country_code).encode()
    national = number.encode()[1 + len(code) :]
    before = rb"(?:(?:00|\+)?" + _GAP + _spaced(code) + _GAP + rb"(?:0" + _GAP + rb")?|0" + _GAP + rb")"
    optional = rb"?" if len(national) >= _LEAST_NATIONAL else rb""
    return national, re.compile(rb"(?<![0-9])" + before + optional + _spaced(national) + rb"(?![0-9])")


def _spaced(digits: bytes) -> bytes:
    return _GAP.join([bytes([digit]) for digit in digits])
