"""Calls of the API that were made under an Idempotency-Key: what was asked, and what was answered.

The row is written in the transaction of the call's own effect: what is here was carried out, what is not was not.
"""

from dataclasses import dataclass

from receiver.storage.database import Reader, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A call that was carried out. `request` tells calls apart, `answer` is sealed; None where the answer was lost."""

    key: str
    request: str
    answer: bytes | None
    expires_at: int


async def find(reader: Reader, key: str, now: int) -> Kept | None:
    rows = await reader.fetch(
        "SELECT key, request, answer, expires_at FROM idempotency WHERE key = ? AND expires_at > ?", key, now
    )
    return Kept(key=rows[0][0], request=rows[0][1], answer=rows[0][2], expires_at=rows[0][3]) if rows else None


async def keep(transaction: Transaction, item: Kept) -> None:
    """In place of what stands there, which is of the same call or has expired."""
    await transaction.fetch(
        """INSERT INTO idempotency (key, request, answer, expires_at) VALUES (?, ?, ?, ?)
           ON CONFLICT (key) DO UPDATE SET request = excluded.request, answer = excluded.answer,
               expires_at = excluded.expires_at""",
        item.key, item.request, item.answer, item.expires_at,
    )  # fmt: skip
