"""Untrusted input, tamed: query strings, forms, multipart and JSON read by name.

Every error is a `BadPayload` that names the field and never repeats its value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from email.message import Message
from typing import Any, Self
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from receiver.vendors.contract import BadPayload, VendorRequest

MAX_FIELDS = 1_000
CHARSET_GUESSED = "charset_guessed"

_BOM = b"\xef\xbb\xbf"
_HUGE_EXPONENT = re.compile(rb"[0-9][eE]\+?[0-9]{3}")
_SURROGATE_PAIR = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")

Pairs = list[tuple[str, str]]


class Fields(Mapping[str, Any]):
    """Named values of one request or of one object inside it. A repeated form field means its first value."""

    __slots__ = ("_values", "flags", "pairs")

    def __init__(self, values: Mapping[str, Any], *, flags: tuple[str, ...] = (), pairs: Pairs | None = None) -> None:
        self._values = values
        self.flags = flags
        """Remarks for the event: `charset_guessed` where bytes were not valid in the declared charset."""
        self.pairs: Pairs = pairs if pairs is not None else []
        """Form fields in order of arrival, repeats included."""

    @classmethod
    def from_query(cls, request: VendorRequest) -> Self:
        return cls._from_pairs(*parse_form(request.query))

    @classmethod
    def from_body(cls, request: VendorRequest) -> Self:
        """A JSON object, form or multipart body, told apart by its first byte before its declared type."""
        return cls._from_document(*parse_body(request))

    @classmethod
    def merged(cls, request: VendorRequest) -> Self:
        """Query and body together; where both have a name, the body's value stands."""
        query = cls.from_query(request)
        if not request.body.strip():
            return query
        body = cls.from_body(request)
        flags = tuple(dict.fromkeys(query.flags + body.flags))
        return cls({**query, **body}, flags=flags, pairs=query.pairs + body.pairs)

    @classmethod
    def _from_document(cls, document: object, flags: tuple[str, ...]) -> Self:
        if isinstance(document, FormDocument):
            return cls._from_pairs(document.pairs, flags)
        if not isinstance(document, dict):
            raise BadPayload(f"body: an object is due, {_kind(document)} came")
        return cls(document, flags=flags)

    @classmethod
    def _from_pairs(cls, pairs: Pairs, flags: tuple[str, ...]) -> Self:
        values: dict[str, str] = {}
        for name, value in pairs:
            values.setdefault(name, value)
        return cls(values, flags=flags, pairs=pairs)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def words(self, name: str) -> str | None:
        """The value as text, blanks kept and an empty string told from an absent one: for message texts."""
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        return _scalar(name, value)

    def text(self, *names: str) -> str | None:
        """The first value among `names` that is not empty, trimmed; numbers as they would be written."""
        for name in names:
            value = self.words(name)
            if value is not None and (value := value.strip()):
                return value
        return None

    def require(self, *names: str) -> str:
        value = self.text(*names)
        if value is None:
            raise BadPayload(f"{' or '.join(names)}: missing or empty")
        return value

    def integer(self, name: str) -> int | None:
        """A whole number in ASCII digits, at most 18 of them; None when absent or empty."""
        value = self.text(name)
        if value is None:
            return None
        if not _INTEGER.fullmatch(value):
            raise BadPayload(f"{name}: a whole number is due")
        return int(value)

    def boolean(self, name: str) -> bool | None:
        value = self.text(name)
        if value is None:
            return None
        match value.lower():
            case "true" | "1" | "yes":
                return True
            case "false" | "0" | "no":
                return False
        raise BadPayload(f"{name}: true or false is due")

    def object(self, name: str) -> "Fields | None":
        """A nested object; None when absent or null."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise BadPayload(f"{name}: an object is due, {_kind(value)} came")
        return Fields(value, flags=self.flags)

    def items_of(self, name: str) -> Sequence[Any]:
        """A nested list; empty when absent or null."""
        value = self._values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise BadPayload(f"{name}: a list is due, {_kind(value)} came")
        return value

    def find(self, name: str) -> Any:
        """The value under `name` taken literally, else as a dotted path (`data.0.id`); None when absent."""
        if name in self._values:
            return self._values[name]
        here: Any = self._values
        for step in name.split("."):
            if isinstance(here, Mapping) and step in here:
                here = here[step]
            elif isinstance(here, list) and step.isascii() and step.isdigit() and int(step) < len(here):
                here = here[int(step)]
            else:
                return None
        return here

    def rest(self, known: Iterable[str]) -> dict[str, Any]:
        """What the adapter did not use and is not empty: the event's `extra`."""
        skip = known if isinstance(known, (set, frozenset)) else frozenset(known)
        return {name: value for name, value in self._values.items() if name not in skip and value not in (None, "")}


class FormDocument:
    """The pairs of a urlencoded or multipart body."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


def parse_body(request: VendorRequest) -> tuple[object, tuple[str, ...]]:
    """The body's document (what JSON holds, or a FormDocument) and the flags its bytes earned.

    What the bytes look like beats what Content-Type says: vendors mislabel.
    """
    content_type = request.header("content-type") or ""
    if content_type[:19].lower() == "multipart/form-data":
        pairs, flags = parse_multipart(request.body, content_type)
        return FormDocument(pairs), flags
    body = request.body.removeprefix(_BOM)
    start = body[:64].lstrip()[:1] or body.lstrip()[:1]
    if start in (b"{", b"["):
        return parse_json(body)
    if not start:
        raise BadPayload("body: empty")
    if "json" in content_type and b"=" not in body:
        return parse_json(body)
    pairs, flags = parse_form(body, declared_charset(content_type))
    return FormDocument(pairs), flags


def parse_json(body: bytes) -> tuple[object, tuple[str, ...]]:
    """A JSON document (RFC 8259): no NaN, no infinities, bounded depth; the last of duplicate keys wins.

    A lone surrogate escape becomes U+FFFD; bytes that are not UTF-8 are read as Windows-1252 and flagged.
    """
    flags: tuple[str, ...] = ()
    if _HUGE_EXPONENT.search(body):
        raise BadPayload("body: a number is out of range")
    if _ESCAPED_SURROGATE.search(body):
        body = _SURROGATE_PAIR.sub(lambda match: match[1] or rb"\ufffd", body)
    try:
        body.decode()
    except UnicodeDecodeError:
        if b"\x00" in body:
            raise BadPayload("body: JSON must be UTF-8") from None
        body, flags = body.decode("cp1252", "replace").encode(), (CHARSET_GUESSED,)
    try:
        return from_json(body, allow_inf_nan=False), flags
    except ValueError as error:
        raise BadPayload(f"body: not JSON ({error})") from None


def parse_form(data: bytes, charset: str | None = None) -> tuple[Pairs, tuple[str, ...]]:
    """An application/x-www-form-urlencoded query or body (WHATWG URL, section 5) as pairs in order.

    Bytes are read in the declared charset, else as UTF-8, else as Windows-1252 with a flag.
    A stray percent sign stands for itself.
    """
    if not data:
        return [], ()
    if data.count(b"&") >= MAX_FIELDS:
        raise BadPayload(f"body: more than {MAX_FIELDS} form fields")
    pieces = data.replace(b"+", b" ").split(b"&")
    decoded: Pairs = []
    guessed = False
    for piece in pieces:
        if not piece:
            continue
        name, _, value = piece.partition(b"=")
        if b"%" in piece:
            name, value = unquote_to_bytes(name), unquote_to_bytes(value)
        try:
            if charset is None:
                decoded.append((name.decode(), value.decode()))
            else:
                decoded.append((name.decode(charset), value.decode(charset)))
        except UnicodeDecodeError:
            guessed = True
            decoded.append((_guess(name), _guess(value)))
    return decoded, (CHARSET_GUESSED,) if guessed else ()


def parse_multipart(body: bytes, content_type: str) -> tuple[Pairs, tuple[str, ...]]:
    """The text fields of a multipart/form-data body (RFC 7578); files are passed over, nothing touches a disk."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise BadPayload("content-type: multipart without a boundary")
    collector = _MultipartFields()
    parser = MultipartParser(boundary, collector.callbacks())
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise BadPayload("body: not multipart/form-data") from None
    if not collector.ended:
        raise BadPayload("body: multipart without its closing boundary")
    return collector.pairs, (CHARSET_GUESSED,) if collector.guessed else ()


class _MultipartFields:
    def __init__(self) -> None:
        self.pairs: Pairs = []
        self.guessed = False
        self.ended = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = bytearray()
        self._name = b""
        self._is_field = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._disposition.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_part_data": lambda data, start, end: self._value.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.pairs) >= MAX_FIELDS:
            raise BadPayload(f"body: more than {MAX_FIELDS} form fields")
        self._value.clear()
        self._name = b""
        self._is_field = False

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            options = parse_options_header(bytes(self._disposition))[1]
            self._name = options.get(b"name", b"")
            self._is_field = b"filename" not in options
        self._header.clear()
        self._disposition.clear()

    def _end(self) -> None:
        if self._is_field:
            try:
                self.pairs.append((self._name.decode(), self._value.decode()))
            except UnicodeDecodeError:
                self.guessed = True
                self.pairs.append((_guess(self._name), _guess(bytes(self._value))))

    def _finish(self) -> None:
        self.ended = True


def declared_charset(content_type: str) -> str | None:
    """The charset parameter when Python can decode it and it is not UTF-8; else None."""
    if "charset" not in content_type.lower():
        return None
    header = Message()
    header["content-type"] = content_type
    name = header.get_content_charset() or ""
    if name in ("utf-8", "utf8"):
        return None
    try:
        b"".decode(name)
    except (LookupError, ValueError):
        return None
    return name


def _guess(data: bytes) -> str:
    return data.decode("cp1252", "replace")


def _scalar(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise BadPayload(f"{name}: text is due, {_kind(value)} came")


def _kind(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case None:
            return "null"
        case str():
            return "text"
        case bool():
            return "a boolean"
        case _:
            return "a number"
