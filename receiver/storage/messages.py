"""Messages: the things that events are about, each with its present state."""

from collections.abc import Mapping, Sequence
from typing import LiteralString

from receiver.sms.state import State
from receiver.storage.database import Reader, Transaction, Values

_COLUMNS: LiteralString = (
    "id, source_id, vendor, direction, vendor_message_id, client_reference, batch_id, channel, from_address, "
    "to_address, conversation, status, final, state_key, parts, created_at, updated_at"
)


async def states(transaction: Transaction, message_ids: Sequence[str]) -> Mapping[str, State]:
    """The present state of each outbound message that has one."""
    rows = await transaction.many(
        "WITH wanted (id) AS (",
        [(item,) for item in message_ids],
        """) SELECT messages.id, status, final, state_key, parts FROM wanted JOIN messages ON messages.id = wanted.id
             WHERE state_key IS NOT NULL""",
    )
    return {row[0]: State(status=row[1], final=bool(row[2]), key=row[3], parts=row[4]) for row in rows}


async def state(reader: Reader, message_id: str) -> State | None:
    """The present state of one outbound message, None where there is none."""
    rows = await reader.fetch(
        "SELECT status, final, state_key, parts FROM messages WHERE id = ? AND state_key IS NOT NULL", message_id
    )
    return State(rows[0][0], bool(rows[0][1]), rows[0][2], rows[0][3]) if rows else None


async def conversations(transaction: Transaction, message_ids: Sequence[str]) -> Mapping[str, str]:
    """The key of each message's conversation, fixed when the message was made."""
    if not message_ids:
        return {}
    rows = await transaction.many(
        "WITH wanted (id) AS (",
        [(item,) for item in message_ids],
        ") SELECT messages.id, conversation FROM wanted JOIN messages ON messages.id = wanted.id",
    )
    return {row[0]: row[1] for row in rows}


def save(transaction: Transaction, rows: Sequence[Values]) -> None:
    """Makes messages, or moves the state of those that are there and fills in what was not known of them."""
    transaction.later(
        f"INSERT INTO messages ({_COLUMNS})",
        rows,
        """ON CONFLICT (id) DO UPDATE SET status = excluded.status, final = excluded.final,
               state_key = excluded.state_key, parts = excluded.parts, updated_at = excluded.updated_at,
               vendor_message_id = coalesce(messages.vendor_message_id, excluded.vendor_message_id),
               client_reference = coalesce(messages.client_reference, excluded.client_reference),
               batch_id = coalesce(messages.batch_id, excluded.batch_id),
               from_address = coalesce(messages.from_address, excluded.from_address),
               to_address = coalesce(messages.to_address, excluded.to_address)""",
    )


def correct(transaction: Transaction, rows: Sequence[Values]) -> None:
    """Makes messages, or replaces what was said of those that are there; what the correction does not know stays."""
    transaction.later(
        f"INSERT INTO messages ({_COLUMNS})",
        rows,
        """ON CONFLICT (id) DO UPDATE SET status = excluded.status, final = excluded.final,
               state_key = excluded.state_key, parts = excluded.parts, updated_at = excluded.updated_at,
               vendor_message_id = coalesce(excluded.vendor_message_id, messages.vendor_message_id),
               client_reference = coalesce(excluded.client_reference, messages.client_reference),
               batch_id = coalesce(excluded.batch_id, messages.batch_id),
               channel = coalesce(excluded.channel, messages.channel),
               from_address = coalesce(excluded.from_address, messages.from_address),
               to_address = coalesce(excluded.to_address, messages.to_address)""",
    )


async def put_state(transaction: Transaction, message_id: str, state: State | None, now: int) -> None:
    """Where a report turned out to be about another message."""
    values = (None, None, None, None) if state is None else (state.status, int(state.final), state.key, state.parts)
    await transaction.fetch(
        "UPDATE messages SET status = ?, final = ?, state_key = ?, parts = ?, updated_at = ? WHERE id = ?",
        *values, now, message_id,
    )  # fmt: skip
