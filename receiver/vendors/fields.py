"""Untrusted values, tamed: queries, forms and objects read by name.

Every error is a `BadPayload` that names the field and never repeats its value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from receiver.vendors.bodies import parse_body, parse_form
from receiver.vendors.contract import BadPayload, Form, Pairs, VendorRequest

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_INDEX = re.compile(r"[0-9]{1,6}")
_TRUTHS: Mapping[str, bool] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


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
        pairs, flags = parse_form(request.query)
        return cls.of(Form(pairs), flags)

    @classmethod
    def from_body(cls, request: VendorRequest) -> Self:
        """A JSON object, form or multipart body, told apart by its first byte before its declared type."""
        return cls.of(*parse_body(request))

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
    def of(cls, document: object, flags: tuple[str, ...] = ()) -> Self:
        """What `parse_body` found, or one item of it: an object or a form."""
        if isinstance(document, Form):
            return cls(document.values, flags=flags, pairs=document.pairs)
        if not isinstance(document, dict):
            raise BadPayload(f"body: an object is due, {_kind(document)} came")
        return cls(document, flags=flags)

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
            value = self._values.get(name)
            if value is None:
                continue
            trimmed: str = (value if isinstance(value, str) else _scalar(name, value)).strip()
            if trimmed:
                return trimmed
        return None

    def texts(self) -> dict[str, str]:
        """Every field that is text or a number and not empty, trimmed: for adapters that read many."""
        if self.pairs:  # of a form, all is text
            return {name: text for name, value in self._values.items() if (text := value.strip())}
        found = {}
        for name, value in self._values.items():
            if isinstance(value, str):
                trimmed = value.strip()
            elif value is None or isinstance(value, (dict, list)):
                continue
            else:
                trimmed = _scalar(name, value)
            if trimmed:
                found[name] = trimmed
        return found

    def require(self, *names: str) -> str:
        value = self.text(*names)
        if value is None:
            raise BadPayload(f"{' or '.join(names)}: missing or empty")
        return value

    def integer(self, name: str) -> int | None:
        """A whole number in ASCII digits, at most 18 of them; None for anything else: a count decides nothing."""
        text = self._aside(name)
        return int(text) if _INTEGER.fullmatch(text) else None

    def boolean(self, name: str) -> bool | None:
        """True or false in one of the usual spellings; None for anything else."""
        return _TRUTHS.get(self._aside(name).lower())

    def _aside(self, name: str) -> str:
        """A value that no message or report is to be lost for: as text, empty where it has none."""
        value = self._values.get(name)
        return "" if value is None or isinstance(value, (dict, list)) else _scalar(name, value).strip()

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
            elif isinstance(here, list) and _INDEX.fullmatch(step) and int(step) < len(here):
                here = here[int(step)]
            else:
                return None
        return here

    def rest(self, known: Iterable[str]) -> dict[str, Any]:
        """What the adapter did not use and is not empty: the event's `extra`."""
        skip = known if isinstance(known, (set, frozenset)) else frozenset(known)
        return {name: value for name, value in self._values.items() if name not in skip and value not in (None, "")}


def _scalar(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
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
