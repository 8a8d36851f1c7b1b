"""What a subscriber can ask for: each format turns a stored event into headers and a body. Pure."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from receiver.formats import standard

Format = Callable[[bytes], tuple[list[tuple[bytes, bytes]], bytes]]
"""The event's JSON, as stored, to the headers (names in lower case) and the body of its delivery."""

FORMATS: Mapping[str, Format] = MappingProxyType({"standard": standard.render})
