"""What was heard of one message, and who was told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from receiver.storage.database import Reader


@dataclass(frozen=True, slots=True)
class Heard:
    event_id: str
    body: str


@dataclass(frozen=True, slots=True)
class Told:
    """A delivery with its last attempt; `status` and `error` are None where there was none."""

    delivery_id: str
    subscription_id: str
    state: str
    attempts: int
    updated_at: int
    status: int | None
    error: str | None


async def heard(reader: Reader, message_id: str, limit: int) -> Sequence[Heard]:
    """Events, oldest first."""
    rows = await reader.fetch(
        "SELECT id, body FROM events WHERE message_id = ? ORDER BY seq LIMIT ?", message_id, limit
    )
    return [Heard(*row) for row in rows]


async def told(reader: Reader, event_ids: Sequence[str], most: int) -> Mapping[str, Sequence[Told]]:
    """The first `most` deliveries of each event."""
    return {event_id: await _told(reader, event_id, most) for event_id in event_ids}


_COLUMNS: LiteralString = "deliveries.id, subscription_id, state, attempts, updated_at, attempts.status, attempts.error"


async def _told(reader: Reader, event_id: str, most: int) -> Sequence[Told]:
    rows = await reader.fetch(
        f"""SELECT {_COLUMNS} FROM deliveries LEFT JOIN attempts
                ON attempts.delivery_id = deliveries.id AND attempts.number = deliveries.attempts
            WHERE event_id = ? ORDER BY subscription_id LIMIT ?""",
        event_id, most,
    )  # fmt: skip
    return [Told(*row) for row in rows]
