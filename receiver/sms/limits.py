"""What an event may hold of a vendor's values: how much (text 32 KiB, extra 8 KiB, all of it 64 KiB), and which
characters and numbers. The receipt keeps the rest.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any, Final

import orjson

from receiver.sms.drafts import Binary, Draft, InboundPart, Media, Network, Party, Price, ReportPart

MAX_TEXT = 32 * 1024
MAX_EXTRA = 8 * 1024
MAX_EVENT = 64 * 1024
MAX_WORDS = 1024
"""Characters of an error or a note."""

TRUNCATED = "truncated"
_SHORTER: Final = ((1024, 16), (32, 2))
"""For an event that is too large, one after the other: characters of a word, items of a list."""
_MOST_BYTES_A_CHARACTER: Final = 6
"""Of a text in JSON: a control character is written as an escape."""
_UNFIT = re.compile("[\x00\ud800-\udfff]")


def cleaned(draft: Draft) -> Draft:
    """The draft with each U+0000 and lone surrogate replaced by U+FFFD: not every database takes them."""
    return replace(draft, **{name: _clean(getattr(draft, name)) for name in draft.__slots__})


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean_text(value)
        case Mapping():
            return {_clean(name): _clean(item) for name, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
        case Party() | Media() | Binary() | Price() | Network() | InboundPart() | ReportPart():
            return replace(value, **{name: _clean(getattr(value, name)) for name in value.__slots__})
    return value


def clean_text(text: str) -> str:
    """Surrogates that make a pair become their character, lone ones and U+0000 become U+FFFD."""
    if not _UNFIT.search(text):
        return text
    return text.replace("\x00", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut(text: str | None, flags: list[str]) -> str | None:
    """At most 32 KiB of UTF-8; what is longer is flagged."""
    if text is None or len(text) <= MAX_TEXT // 4:
        return text
    whole = text.encode("utf-8", "replace")
    if len(whole) <= MAX_TEXT:
        return text
    flags.append(TRUNCATED)
    return whole[:MAX_TEXT].decode("utf-8", "ignore")


def bounded(extra: Mapping[str, Any], flags: list[str]) -> dict[str, Any]:
    """Vendor fields in their order up to 8 KiB of JSON; numbers that JSON readers would bend become text."""
    if not extra:
        return {}
    whole = {name: value if isinstance(value, str) else _plain(value) for name, value in extra.items()}
    if len(orjson.dumps(whole)) <= MAX_EXTRA:
        return whole
    if TRUNCATED not in flags:
        flags.append(TRUNCATED)
    sizes = accumulate(len(orjson.dumps({name: plain})) for name, plain in whole.items())
    return {name: plain for (name, plain), size in zip(whole.items(), sizes, strict=True) if size <= MAX_EXTRA - 2}


def _plain(value: Any) -> Any:
    match value:
        case bool() | None | str():
            return value
        case int():
            return value if -(2**53) < value < 2**53 else str(value)
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def encoded(event: dict[str, Any]) -> bytes:
    """The event's JSON in at most 64 KiB: where it is more, words and lists are cut, and the text to its own limit."""
    body = orjson.dumps(event)
    for characters, items in _SHORTER:
        if len(body) <= MAX_EVENT:
            break
        body = orjson.dumps({**event, "data": _shortened(event["data"], characters, items)})
    return body


def _shortened(data: Mapping[str, Any], characters: int, items: int) -> dict[str, Any]:
    short = {
        name: _fitting(value) if name == "text" and value else _short(value, characters, items)
        for name, value in data.items()
    }
    short["flags"] = [*dict.fromkeys([*data["flags"], TRUNCATED])]
    return short


def _short(value: Any, characters: int, items: int) -> Any:
    match value:
        case str():
            return value[:characters]
        case dict():
            return {name[:characters]: _short(item, characters, items) for name, item in value.items()}
        case list():
            return [_short(item, characters, items) for item in value[:items]]
    return value


def _fitting(text: str) -> str:
    """A text whose JSON is as long as a text may be."""
    return text if len(orjson.dumps(text)) <= MAX_TEXT + 2 else text[: MAX_TEXT // _MOST_BYTES_A_CHARACTER]
