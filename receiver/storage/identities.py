"""Identities as they are looked up by what is read again; the intake claims them, see `receiver.storage.record`."""

from collections.abc import Mapping, Sequence
from typing import LiteralString, NamedTuple

from receiver.storage.database import Reader, Transaction, Values

_AT_ONCE = 500


class Identity(NamedTuple):
    """Whose a key is: an event's, or a message's; and which request claimed it."""

    key: str
    subject_id: str
    receipt_id: str
    expires_at: int | None


async def find(reader: Reader, keys: Sequence[str]) -> Mapping[str, Identity]:
    found: dict[str, Identity] = {}
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        places: LiteralString = ", ".join(["?"] * len(some))
        rows = await reader.fetch(
            f"SELECT key, subject_id, receipt_id, expires_at FROM identities WHERE key IN ({places})", *some
        )
        found |= {row[0]: Identity(*row) for row in rows}
    return found


def put(transaction: Transaction, rows: Sequence[Values]) -> None:
    """(key, subject, receipt, content, expiry), whoever's they were before."""
    transaction.later(
        "INSERT INTO identities (key, subject_id, receipt_id, content, expires_at)",
        rows,
        """ON CONFLICT (key) DO UPDATE SET subject_id = excluded.subject_id, receipt_id = excluded.receipt_id,
               content = excluded.content, expires_at = excluded.expires_at""",
    )
