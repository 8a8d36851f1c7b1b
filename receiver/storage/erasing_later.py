"""What comes later: parts that wait for others, what is made of requests afterwards, and what vendors are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from receiver.sms.subject import is_erased
from receiver.storage.database import Reader, Row, Transaction
from receiver.storage.erasing import Erasure, Events, Look, bound, empty_receipts, in_events, says


@dataclass(frozen=True, slots=True)
class Parts:
    """Of long messages: those that wait and are from or to the number or name it, with the requests that they came in;
    and the hashes of those that an erased event tells of. What the parts had in common is a hash that can be guessed.
    """

    name: str

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        message_id, _, number = position.partition(" ")
        rows = await reader.fetch(
            """SELECT p.message_id, p.number, p.receipt_id, p.content, p.part, e.body
               FROM (SELECT message_id, number, receipt_id, content, part FROM message_parts
                     WHERE (message_id, number) > (?, ?) ORDER BY message_id, number LIMIT ?) AS p
               LEFT JOIN long_messages AS l ON l.message_id = p.message_id
               LEFT JOIN events AS e ON e.id = l.event_id AND e.body LIKE '%"erased"%'
               ORDER BY p.message_id, p.number""",
            message_id, int(number or 0), limit,
        )  # fmt: skip
        found = [
            (row[0], row[1], row[2])
            for row in rows
            if row[2] < bound("rcp", erasure) and row[3] and _is_of(erasure, row[4], row[5])
        ]
        reached = f"{rows[-1][0]} {rows[-1][1]}" if rows else position
        return Look(found, reached, len(rows), end=len(rows) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        transaction.later(
            "WITH v (message_id, number) AS (",
            [row[:2] for row in rows],
            """) UPDATE message_parts SET part = NULL, content = ''
                 WHERE (message_id, number) IN (SELECT message_id, number FROM v)""",
        )
        transaction.later(
            "WITH v (message_id) AS (",
            [row[:1] for row in rows],
            ") UPDATE long_messages SET key = NULL WHERE message_id IN (SELECT message_id FROM v)",
        )
        return len(rows) + await empty_receipts(transaction, sorted({row[2] for row in rows}))


def _is_of(erasure: Erasure, part: str | None, told: str | None) -> bool:
    """A part that waits, or what was told of it, is the person's."""
    if part is not None and erasure.subject.is_in_event(part.encode()):
        return True
    return told is not None and is_erased(orjson.loads(told))


@dataclass(frozen=True, slots=True)
class Amended(Events):
    """Events that were made after the erasure was asked for, of requests that came before: parts that were joined,
    requests that were read again.
    """

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        rows = await reader.fetch(
            """SELECT e.seq, e.id, e.receipt_id, e.body, m.from_address, m.to_address, m.conversation
               FROM (SELECT event_id FROM corrections WHERE event_id > ? AND receipt_id < ?
                     ORDER BY event_id LIMIT ?) AS c
               JOIN events AS e ON e.id = c.event_id LEFT JOIN messages AS m ON m.id = e.message_id ORDER BY e.id""",
            position, bound("rcp", erasure), limit,
        )  # fmt: skip
        return Look(in_events(erasure, rows), rows[-1][1] if rows else position, len(rows), end=len(rows) < limit)


@dataclass(frozen=True, slots=True)
class Lookups:
    """Messages that are waited for by a name that holds the number: nobody asks for them any more."""

    name: str = "lookups"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        source_id, _, name = position.partition(" ")
        rows = await reader.fetch(
            """SELECT source_id, name, vendor_message_id FROM lookups WHERE (source_id, name) > (?, ?)
               ORDER BY source_id, name LIMIT ?""",
            source_id, name, limit,
        )  # fmt: skip
        found = [row[:2] for row in rows if any(says(erasure, text) for text in row[1:])]
        reached = f"{rows[-1][0]} {rows[-1][1]}" if rows else position
        return Look(found, reached, len(rows), end=len(rows) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        transaction.later(
            "WITH v (source_id, name) AS (",
            rows,
            ") DELETE FROM lookups WHERE (source_id, name) IN (SELECT source_id, name FROM v)",
        )
        return len(rows)


@dataclass(frozen=True, slots=True)
class PollErrors:
    """What a vendor answered that could not be read."""

    name: str = "polls"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:  # noqa: ARG002 — of `Place`
        rows = await reader.fetch("SELECT source_id, feed, error FROM polls WHERE error IS NOT NULL")
        return Look([row[:2] for row in rows if says(erasure, row[2])], position, len(rows), end=True)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        transaction.later(
            "WITH v (source_id, feed) AS (",
            rows,
            """) UPDATE polls SET error = NULL WHERE (source_id, feed) IN (SELECT source_id, feed FROM v)""",
        )
        return len(rows)
