"""One object's values by our names, for `mapping.py`: which vendor name serves, and what is left over."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from receiver.vendors.fields import Fields
from receiver.vendors.mapping_options import Names

_NO: tuple[object, ...] = (False, "", "0", "false", "no", [], {})
_BOOLEAN = re.compile(r"true|false|yes|no|1|0", re.IGNORECASE)
_SMALL_NUMBER = re.compile(r"[0-9]{1,3}")


class Named:
    """One object's values by our names; remembers which of the vendor's names served."""

    __slots__ = ("_fields", "_names", "_used")

    def __init__(self, fields: Fields, names: Mapping[str, Names]) -> None:
        self._fields = fields
        self._names = names
        self._used: dict[str, str] = {}

    @property
    def flags(self) -> tuple[str, ...]:
        return self._fields.flags

    def has(self, ours: str) -> bool:
        return any(self._fields.find(name) is not None for name in self._names.get(ours, ()))

    def says_yes(self, ours: str) -> bool:
        """Present and not empty, nor a plain no."""
        name, value = self._first(ours)
        if isinstance(value, str):
            value = value.strip().lower()
        return name is not None and value not in _NO

    def words(self, ours: str, *, besides: str | None = None) -> str | None:
        """The value as it came; not from the name that `besides` was read from."""
        name, value = self._first(ours, self._used.get(besides) if besides else None)
        return None if name is None else Fields({name: value}).words(name)

    def text(self, ours: str) -> str | None:
        value = self.words(ours)
        return value.strip() or None if value is not None else None

    def aside(self, ours: str) -> str | None:
        """The text of what decides nothing; an object or a list there counts as not used."""
        name, value = self._first(ours)
        if name is None or isinstance(value, (dict, list)):
            self.unread(ours)
            return None
        return self.text(ours)

    def texts(self, ours: str) -> Sequence[str]:
        """Each text of a JSON list, or the one text there is."""
        name, value = self._first(ours)
        if name is None:
            return ()
        values = value if isinstance(value, list) else [value]
        return [text for one in values if (text := Fields({name: one}).text(name)) is not None]

    def matching(self, ours: str, pattern: re.Pattern[str]) -> str | None:
        """The text when it has that form; else it counts as not used."""
        text = self.aside(ours)
        if text is None or pattern.fullmatch(text):
            return text
        self.unread(ours)
        return None

    def number(self, ours: str) -> int | None:
        text = self.matching(ours, _SMALL_NUMBER)
        return int(text) or None if text is not None else None

    def boolean(self, ours: str) -> bool | None:
        text = self.matching(ours, _BOOLEAN)
        return None if text is None else text.lower() in ("true", "yes", "1")

    def vendor_name(self, ours: str) -> str:
        """The vendor's name that was read for ours; ours where none was."""
        return self._used.get(ours, ours)

    def unread(self, *ours: str) -> None:
        for name in ours:
            self._used.pop(name, None)

    def rest(self) -> dict[str, Any]:
        """What no name of ours asked for and is not empty, under the vendor's names."""
        used = frozenset(self._used.values())
        rest: Any = self._fields.rest(used)
        for name in used:
            if name not in self._fields:
                rest = _without(rest, name.split("."))
        found: dict[str, Any] = rest
        return found

    def _first(self, ours: str, besides: str | None = None) -> tuple[str | None, Any]:
        for name in self._names.get(ours, ()):
            value = self._fields.find(name) if name != besides else None
            if value is not None and value != "":
                self._used[ours] = name
                return name, value
        return None, None


def _without(value: Any, steps: Sequence[str]) -> Any:
    """Nested JSON without the value at `steps`, nor an object that is empty without it."""
    step, *below = steps
    if isinstance(value, list):
        index = int(step)
        inner = _without(value[index], below) if below else None
        kept = [*value[:index], inner, *value[index + 1 :]]
        return kept if any(kept) else []
    if step not in value:
        return value
    inner = _without(value[step], below) if below else None
    if inner in (None, {}, []):
        return {name: item for name, item in value.items() if name != step}
    return {name: inner if name == step else item for name, item in value.items()}
