"""The index of texts: filled behind the intake, a stretch of the log at a time, with its position beside it.

What lies behind that position is committed but not indexed yet; whoever searches looks into it directly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import orjson

from receiver.sms.words import indexed
from receiver.storage.database import Reader, Transaction, Values, skipping

_POSITION: LiteralString = "SELECT position FROM followers WHERE name = 'texts'"
_TEXTS: LiteralString = "CASE WHEN type = 'message.received' THEN body END"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows for the index, and the position before and behind the stretch of the log that they are of; `forgotten` is
    how often something behind the position was forgotten until they were read.
    """

    begin: int
    end: int
    rows: Sequence[Values]
    forgotten: int


async def position(reader: Reader) -> int:
    """Up to where the log is indexed."""
    ((found,),) = await reader.fetch(_POSITION)
    return int(found)


async def next_stretch(reader: Reader, most: int) -> Stretch:
    """What comes next, of `most` events; one that ends where it begins when there is nothing."""
    ((begin, forgotten),) = await reader.fetch("SELECT position, forgotten FROM followers WHERE name = 'texts'")
    ((end,),) = await reader.fetch("SELECT seq FROM horizon")  # see `events.readable`
    found = await reader.fetch(
        f"SELECT seq, {_TEXTS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", begin, end, most
    )
    kept = reader.texts.kept
    rows = [(seq, kept(words)) for seq, body in found if body and (words := indexed(text_of(body)))]
    return Stretch(begin, found[-1][0] if found else begin, rows, forgotten)


async def add(transaction: Transaction, stretch: Stretch) -> bool:
    """Puts a stretch into the index; False, with nothing changed, when another one was put there meanwhile, or is just
    being put there by another process, which nobody waits for, or some of it was forgotten.
    """
    free = "SELECT name FROM followers WHERE name = 'texts' AND position = ? AND forgotten = ?" + skipping(transaction)
    moved = await transaction.fetch(
        f"UPDATE followers SET position = ? WHERE name = ({free}) RETURNING 1",
        stretch.end,
        stretch.begin,
        stretch.forgotten,
    )
    if moved:
        transaction.later(transaction.texts.insert, stretch.rows)
    return bool(moved)


async def forget(transaction: Transaction, event_ids: Sequence[str]) -> None:
    """Takes events out of the index, while their bodies are still what was indexed. A stretch that was read before and
    is to be put there yet is void.
    """
    if not event_ids:
        return
    texts, asked = transaction.texts, transaction.soon(_POSITION)
    found = await transaction.many(
        "WITH v (id) AS (", [(item,) for item in event_ids],
        ") SELECT seq, body FROM v JOIN events ON events.id = v.id WHERE type = 'message.received'",
    )  # fmt: skip
    ((reached,),) = asked.rows
    rows = [(seq, texts.kept(words)) for seq, body in found if seq <= reached and (words := indexed(text_of(body)))]
    transaction.later(texts.remove, rows, texts.removed)
    if any(seq > reached for seq, _ in found):
        await transaction.fetch("UPDATE followers SET forgotten = forgotten + 1 WHERE name = 'texts'")


_PAGES = 16
"""Of the index, that are rewritten in one step: some milliseconds."""


async def compact(transaction: Transaction, *, begin: bool, pages: int = _PAGES) -> bool:
    """A step of writing the index anew, after which nothing stands there of what was taken out before the first one;
    False when it is done.
    """
    texts = transaction.texts
    if not texts.merge:
        return False
    if begin:
        await transaction.fetch(texts.merge, *texts.begin)
    ((before,),) = await transaction.fetch(texts.changes)
    await transaction.fetch(texts.merge, "merge", -pages if begin else pages)
    ((after,),) = await transaction.fetch(texts.changes)
    return bool(after - before >= 2)


def text_of(body: str) -> str:
    """The text of a `message.received`, empty where it has none."""
    data: dict[str, Any] = orjson.loads(body)["data"]
    return data.get("text") or ""
