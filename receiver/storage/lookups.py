"""Outbound messages whose final report is waited for: when their vendor is asked, and when nobody waits any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString, NamedTuple

from receiver.storage.database import Reader, Row, Transaction

_COLUMNS: LiteralString = "source_id, name, vendor_message_id, message_id, since, tries, ask_at, close_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupRow:
    """`name` is the vendor's id of the message, else ours; `since` is when its first report came, or it was asked for.

    `ask_at`, `close_at`: when it is due, None for never (unix microseconds).
    """

    source_id: str
    name: str
    vendor_message_id: str | None
    message_id: str | None
    since: int
    tries: int = 0
    ask_at: int | None
    close_at: int | None


class OpenOne(NamedTuple):
    """A message without a final report, as the log has it."""

    source_id: str
    message_id: str
    vendor_message_id: str | None
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A message of which no final report came, as its closing tells of it."""

    lookup: LookupRow
    client_reference: str | None
    batch_id: str | None
    channel: str | None
    sender: str | None
    receiver: str | None
    status: str


def add(transaction: Transaction, rows: Sequence[LookupRow]) -> None:
    """One that is waited for already stays as it is, but for what was not known of it."""
    transaction.later(
        f"INSERT INTO lookups ({_COLUMNS})",
        [(it.source_id, it.name, it.vendor_message_id, it.message_id, it.since, it.tries, it.ask_at, it.close_at)
         for it in {(row.source_id, row.name): row for row in rows}.values()],
        """ON CONFLICT (source_id, name) DO UPDATE SET message_id = coalesce(lookups.message_id, excluded.message_id),
               ask_at = coalesce(lookups.ask_at, excluded.ask_at),
               close_at = coalesce(lookups.close_at, excluded.close_at)""",
    )  # fmt: skip


async def due(reader: Reader, source_id: str, now: int) -> LookupRow | None:
    """The one to ask for that has been due the longest."""
    rows = await reader.fetch(
        f"SELECT {_COLUMNS} FROM lookups WHERE source_id = ? AND ask_at IS NOT NULL AND ask_at <= ? "
        "ORDER BY ask_at LIMIT 1",
        source_id, now,
    )  # fmt: skip
    return _row(rows[0]) if rows else None


async def waiting(reader: Reader, source_ids: Sequence[str]) -> Mapping[str, int]:
    """How many messages are waited for, by source."""
    if not source_ids:
        return {}
    marks: LiteralString = ", ".join("?" * len(source_ids))
    rows = await reader.fetch(
        f"SELECT source_id, count(*) FROM lookups WHERE source_id IN ({marks}) GROUP BY source_id", *source_ids
    )
    return {row[0]: row[1] for row in rows}


async def settled(reader: Reader, message_id: str) -> bool:
    """Whether there is nothing to wait for any more: the message has its final report, was deleted, or is gone."""
    return not await reader.fetch(
        "SELECT 1 FROM messages WHERE id = ? AND final = 0 AND deleted_at IS NULL", message_id
    )


async def end(transaction: Transaction, row: LookupRow) -> None:
    await transaction.fetch("DELETE FROM lookups WHERE source_id = ? AND name = ?", row.source_id, row.name)


async def put_off(transaction: Transaction, row: LookupRow, ask_at: int | None) -> None:
    """Asked once more, later or never; what is neither asked for nor closed some day is given up."""
    if ask_at is None and row.close_at is None:
        await end(transaction, row)
        return
    await transaction.fetch(
        "UPDATE lookups SET tries = tries + 1, ask_at = ? WHERE source_id = ? AND name = ?",
        ask_at, row.source_id, row.name,
    )  # fmt: skip


async def to_close(reader: Reader, now: int, limit: int) -> tuple[Sequence[Open], Sequence[LookupRow]]:
    """Those that nobody waits for any more, the oldest first: with their messages, and without one that is open."""
    rows = await reader.fetch(
        """SELECT l.source_id, l.name, l.vendor_message_id, l.message_id, l.since, l.tries, l.ask_at, l.close_at,
                  m.vendor_message_id, m.client_reference, m.batch_id, m.channel, m.from_address, m.to_address, m.status
           FROM lookups AS l
               LEFT JOIN messages AS m ON m.id = l.message_id AND m.final = 0 AND m.deleted_at IS NULL
           WHERE l.close_at IS NOT NULL AND l.close_at <= ? ORDER BY l.close_at LIMIT ?""",
        now, limit,
    )  # fmt: skip
    found = [(_row(row[:8]), row[8:]) for row in rows]
    return [_open(lookup, rest) for lookup, rest in found if rest[6]], [it for it, rest in found if not rest[6]]


async def reconciled(reader: Reader) -> str:
    """The message up to which open ones were looked for."""
    ((message_id,),) = await reader.fetch("SELECT message_id FROM reconciled")
    return str(message_id)


async def walk(transaction: Transaction, behind: str, before: str, limit: int) -> tuple[str, Sequence[OpenOne]]:
    """The next `limit` messages between two ids: the last of them, and of those that are outbound, have a name and no
    final report, and were not deleted, the source, our id, the vendor's id, and when the first report came.
    """
    rows = await transaction.fetch(
        """SELECT id, source_id, vendor_message_id, created_at, direction, final, client_reference, deleted_at
           FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?""",
        behind, before, limit,
    )  # fmt: skip
    reached = rows[-1][0] if len(rows) == limit else before
    await transaction.fetch("UPDATE reconciled SET message_id = ?", reached)
    return reached, [
        OpenOne(source_id, message_id, vendor_id, since)
        for message_id, source_id, vendor_id, since, direction, final, reference, deleted_at in rows
        if direction == "out" and final == 0 and deleted_at is None and (vendor_id or reference)
    ]


async def names(reader: Reader, key: str, message_id: str, now: int) -> bool:
    """Whether that identity still names that message."""
    rows = await reader.fetch(
        "SELECT 1 FROM identities WHERE key = ? AND subject_id = ? AND (expires_at IS NULL OR expires_at > ?)",
        key, message_id, now,
    )  # fmt: skip
    return bool(rows)


def _row(row: Row) -> LookupRow:
    source_id, name, vendor_message_id, message_id, since, tries, ask_at, close_at = row
    return LookupRow(
        source_id=source_id,
        name=name,
        vendor_message_id=vendor_message_id,
        message_id=message_id,
        since=since,
        tries=tries,
        ask_at=ask_at,
        close_at=close_at,
    )


def _open(lookup: LookupRow, row: Row) -> Open:
    _, client_reference, batch_id, channel, sender, receiver, status = row
    return Open(
        lookup=lookup,
        client_reference=client_reference,
        batch_id=batch_id,
        channel=channel,
        sender=sender,
        receiver=receiver,
        status=status,
    )
