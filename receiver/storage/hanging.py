"""What hangs on rows that go with their part, and has no part that goes with them: found and removed row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from receiver.storage import purges
from receiver.storage.database import Reader, Row, Transaction, Values
from receiver.storage.partitions import Part
from receiver.storage.purge import UNDER_WAY, keep_standing
from receiver.storage.retention import OWED


class Needed(Exception):
    """Something in the part is to stay, for now at least."""


class Walk(Protocol):
    """Through what hangs on a part. A row begins with what rows are ordered by; `start` is before the first one's."""

    start: ClassVar[Values]

    async def look(self, reader: Reader, part: Part, after: Values, limit: int) -> Sequence[Row]: ...

    async def remove(self, transaction: Transaction, rows: Sequence[Row]) -> None: ...


@dataclass(frozen=True, slots=True)
class Deliveries(Walk):
    """Of events, unless one of the event is owed; with their attempts, but those that go with parts of their own."""

    start: ClassVar[Values] = ("", "")
    going: Sequence[Part]

    async def look(self, reader: Reader, part: Part, after: Values, limit: int) -> Sequence[Row]:
        return await reader.fetch(
            """SELECT event_id, subscription_id FROM deliveries
               WHERE (event_id, subscription_id) > (?, ?) AND event_id >= ? AND event_id < ?
               ORDER BY event_id, subscription_id LIMIT ?""",
            *after, part.low, part.high, limit,
        )  # fmt: skip

    async def remove(self, transaction: Transaction, rows: Sequence[Row]) -> None:
        """Raises Needed while a job goes through the log."""
        if await transaction.fetch(f"SELECT 1 WHERE {UNDER_WAY}"):
            raise Needed
        event_ids = sorted({row[0] for row in rows})
        await keep_standing(transaction, event_ids)
        removed = await transaction.many(
            "WITH v (id) AS (", [(event_id,) for event_id in event_ids],
            f""") DELETE FROM deliveries WHERE event_id IN (SELECT id FROM v) AND NOT EXISTS (
                    SELECT 1 FROM deliveries AS other
                    WHERE other.event_id = deliveries.event_id AND other.state IN {OWED})
                RETURNING id""",
        )  # fmt: skip
        staying = [row for row in removed if not any(item.low <= row[0] < item.high for item in self.going)]
        transaction.later(
            "WITH v (id) AS (", staying,
            ") DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM v)",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attempts(Walk):
    """Of deliveries that are gone."""

    start: ClassVar[Values] = ("", 0)

    async def look(self, reader: Reader, part: Part, after: Values, limit: int) -> Sequence[Row]:
        return await reader.fetch(
            """SELECT delivery_id, number, EXISTS (SELECT 1 FROM deliveries WHERE deliveries.id = a.delivery_id)
               FROM attempts AS a WHERE (delivery_id, number) > (?, ?) AND delivery_id >= ? AND delivery_id < ?
               ORDER BY delivery_id, number LIMIT ?""",
            *after, part.low, part.high, limit,
        )  # fmt: skip

    async def remove(self, transaction: Transaction, rows: Sequence[Row]) -> None:
        transaction.later(
            "WITH v (delivery_id, number) AS (", [row[:2] for row in rows if not row[2]],
            ") DELETE FROM attempts WHERE (delivery_id, number) IN (SELECT delivery_id, number FROM v)",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words(Walk):
    """Of texts whose event is gone. They lead to nothing, so it makes no difference which part it was of."""

    start: ClassVar[Values] = (-1,)

    async def look(self, reader: Reader, part: Part, after: Values, limit: int) -> Sequence[Row]:  # noqa: ARG002 — of `Walk`
        gone = await purges.gone(reader, "events")
        return await reader.fetch(
            """SELECT seq, EXISTS (SELECT 1 FROM events WHERE events.seq = texts.seq) FROM texts
               WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?""",
            *after, gone.seq, limit,
        )  # fmt: skip

    async def remove(self, transaction: Transaction, rows: Sequence[Row]) -> None:
        transaction.later(
            "WITH v (seq) AS (", [row[:1] for row in rows if not row[1]],
            ") DELETE FROM texts WHERE seq IN (SELECT seq FROM v)",
        )  # fmt: skip
