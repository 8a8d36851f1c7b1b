"""Identities: one string for whatever must be the same only once. The intake claims them, never looking first; what is
read again looks them up.
"""

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


class Claimed(NamedTuple):
    """Whose a key was before."""

    subject_id: str
    receipt_id: str
    content: str | None


async def claim(transaction: Transaction, claims: Mapping[str, Values], now: int) -> Mapping[str, Claimed]:
    """Claims keys that are new or whose time is over; returns those that are somebody else's, usually none.

    claims   (key, subject, receipt, content, expiry) by key
    """
    changed = await transaction.change(
        "INSERT INTO identities (key, subject_id, receipt_id, content, expires_at)",
        [claims[key] for key in sorted(claims)],  # in one order: no two processes wait for each other in a circle
        """ON CONFLICT (key) DO UPDATE SET subject_id = excluded.subject_id, receipt_id = excluded.receipt_id,
               content = excluded.content, expires_at = excluded.expires_at
           WHERE identities.expires_at <= ?""",
        now,
    )
    if changed == len(claims):
        return {}
    rows = await transaction.many(
        "WITH wanted (key) AS (",
        [(key,) for key in claims],
        """) SELECT identities.key, subject_id, receipt_id, content FROM wanted
             JOIN identities ON identities.key = wanted.key""",
    )
    return {
        key: Claimed(subject, receipt, content) for key, subject, receipt, content in rows if subject != claims[key][1]
    }


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
