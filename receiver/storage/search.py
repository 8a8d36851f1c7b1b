"""The index of texts: filled behind the intake, a stretch of the log at a time, with its position beside it.

What lies behind that position is committed but not indexed yet; whoever searches looks into it directly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import orjson

from receiver.sms.words import indexed
from receiver.storage.database import Reader, Transaction, Values, skipping

_TEXTS: LiteralString = "CASE WHEN type = 'message.received' THEN body END"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows for the index, and the position before and behind the stretch of the log that they are of."""

    begin: int
    end: int
    rows: Sequence[Values]


async def position(reader: Reader) -> int:
    """Up to where the log is indexed."""
    ((found,),) = await reader.fetch("SELECT position FROM followers WHERE name = 'texts'")
    return int(found)


async def next_stretch(reader: Reader, most: int) -> Stretch:
    """What comes next, of `most` events; one that ends where it begins when there is nothing."""
    begin = await position(reader)
    ((end,),) = await reader.fetch("SELECT seq FROM horizon")  # see `events.readable`
    found = await reader.fetch(
        f"SELECT seq, {_TEXTS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", begin, end, most
    )
    kept = reader.texts.kept
    rows = [(seq, kept(words)) for seq, body in found if body and (words := indexed(text_of(body)))]
    return Stretch(begin, found[-1][0] if found else begin, rows)


async def add(transaction: Transaction, stretch: Stretch) -> bool:
    """Puts a stretch into the index; False, with nothing changed, when another one was put there meanwhile, or is just
    being put there by another process: nobody waits for that.
    """
    free = "SELECT name FROM followers WHERE name = 'texts' AND position = ?" + skipping(transaction)
    moved = await transaction.fetch(
        f"UPDATE followers SET position = ? WHERE name = ({free}) RETURNING 1",
        stretch.end,
        stretch.begin,
    )
    if moved:
        transaction.later(transaction.texts.insert, stretch.rows)
    return bool(moved)


async def forget(transaction: Transaction, events: Sequence[tuple[int, str]]) -> None:
    """Takes events out of the index: (position in the log, JSON as it was when it was indexed)."""
    texts, reached = transaction.texts, await position(transaction)
    rows = [(seq, texts.kept(words)) for seq, body in events if seq <= reached and (words := indexed(text_of(body)))]
    transaction.later(texts.remove, rows, texts.removed)


def text_of(body: str) -> str:
    """The text of a `message.received`, empty where it has none."""
    data: dict[str, Any] = orjson.loads(body)["data"]
    return data.get("text") or ""
