"""Events that were made later of a request that was kept, and which earlier event each of them corrects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import orjson

from receiver.storage.database import Reader, Transaction, Values

_COLUMNS: LiteralString = "events.id, events.type, events.body"


@dataclass(frozen=True, slots=True)
class Standing:
    """An event that nothing has superseded; `event` is its JSON."""

    id: str
    type: str
    event: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.event["data"]
        return data


def insert(transaction: Transaction, rows: Sequence[Values]) -> None:
    """(event, receipt, superseded event or None)"""
    transaction.later("INSERT INTO corrections (event_id, receipt_id, supersedes)", rows)


async def standing(reader: Reader, receipt_id: str, received_at: int) -> Sequence[Standing]:
    """The events of a request as they stand, in the order of the log.

    Those made at once bear its time of acceptance, for which there is an index; later ones are noted here.
    """
    rows = await reader.fetch(
        f"""SELECT events.seq, {_COLUMNS} FROM events WHERE accepted_at = ? AND receipt_id = ?
            UNION SELECT events.seq, {_COLUMNS} FROM corrections JOIN events ON events.id = corrections.event_id
            WHERE corrections.receipt_id = ?""",
        received_at, receipt_id, receipt_id,
    )  # fmt: skip
    superseded = await reader.fetch(
        "SELECT supersedes FROM corrections WHERE receipt_id = ? AND supersedes IS NOT NULL", receipt_id
    )
    gone = {row[0] for row in superseded}
    return [Standing(row[1], row[2], orjson.loads(row[3])) for row in sorted(rows) if row[1] not in gone]


async def one(reader: Reader, event_id: str) -> Standing | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM events WHERE id = ?", event_id)
    return Standing(rows[0][0], rows[0][1], orjson.loads(rows[0][2])) if rows else None


async def reports(reader: Reader, message_id: str, limit: int) -> Sequence[Standing]:
    """The reports about a message as they stand, in the order of the log."""
    rows = await reader.fetch(
        f"""SELECT {_COLUMNS} FROM events WHERE message_id = ? AND type = 'message.status'
                AND NOT EXISTS (SELECT 1 FROM corrections WHERE corrections.supersedes = events.id)
            ORDER BY seq LIMIT ?""",
        message_id, limit,
    )  # fmt: skip
    return [Standing(row[0], row[1], orjson.loads(row[2])) for row in rows]
