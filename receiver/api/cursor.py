"""Pages: opaque cursors, bound to one list and order, that stay right while rows arrive."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from receiver.api.inputs import Paged
from receiver.api.problem import Problem

_VERSION = b"\x01"
_SEPARATOR = "\x1f"
_ID_CHARS = 26
_SEQ_DIGITS = 18

Row = TypeVar("Row")


def encode(kind: str, position: str) -> str:
    """`kind` names the list and its order; an empty position is its start."""
    packed = _VERSION + f"{kind}{_SEPARATOR}{position}".encode()
    return urlsafe_b64encode(packed).rstrip(b"=").decode("ascii")


def decode(kind: str, cursor: str) -> str:
    """The position; raises Problem for anything but a cursor of that list and order."""
    try:
        packed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        position = packed.decode("utf-8").partition(_SEPARATOR)[2]
    except (NotBase64, UnicodeError):
        raise Problem("bad_cursor") from None
    if encode(kind, position) != cursor:
        raise Problem("bad_cursor")
    return position


def place(kind: str, cursor: str) -> int | None:
    """A position in the log, None for its start; raises Problem."""
    return number(decode(kind, cursor))


def number(text: str) -> int | None:
    """Of a cursor, None where it has none; raises Problem."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _SEQ_DIGITS):
        raise Problem("bad_cursor")
    return int(text)


def is_id(text: str, prefix: str) -> bool:
    """Whether it has the shape of an id of ours."""
    head, _, tail = text.partition("_")
    return head == prefix and len(tail) == _ID_CHARS and tail.isascii() and tail.isalnum()


@dataclass(frozen=True, slots=True)
class Turned(Generic[Row]):
    """The rows of one page, where the next begins if there is one now, and what follows on from here."""

    rows: Sequence[Row]
    next: str | None
    last: str


def position_of(query: Paged, kind: str, prefix: str) -> str | None:
    """The id behind which a newest-first list goes on, None for its start; raises Problem."""
    if query.after is None:
        return None
    position = query.after if is_id(query.after, prefix) else decode(kind, query.after)
    if position and not is_id(position, prefix):
        raise Problem("bad_cursor")
    return position or None


def turn(
    query: Paged, kind: str, found: Sequence[Row], position: Callable[[Row], str], *, upto: object = None
) -> Turned[Row]:
    """A page from `found`, which was asked for one row more than the limit. Where fewer were found, `upto` is how far
    was looked, None to the end.
    """
    rows = found[: query.limit]
    if upto is not None and len(found) <= query.limit:
        behind = encode(kind, str(upto))
        return Turned(rows, behind, behind)
    if not rows:
        return Turned(rows, None, query.after or encode(kind, ""))
    last = encode(kind, position(rows[-1]))
    return Turned(rows, last if len(found) > len(rows) else None, last)
