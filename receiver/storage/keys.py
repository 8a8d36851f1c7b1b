"""API keys, hashed at rest: the key itself is shown once and never stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import LiteralString

from receiver.storage.database import Reader, Row, Transaction

SCOPES = ("read", "write", "admin")

_COLUMNS: LiteralString = "id, name, scopes, created_at, revoked_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    id: str
    name: str
    scopes: Sequence[str]
    created_at: int
    revoked_at: int | None = None


def digest(key: str) -> str:
    """Keys carry 256 random bits, so one round of SHA-256 is enough to keep them."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


async def insert(transaction: Transaction, item: Key, key: str) -> None:
    await transaction.fetch(
        "INSERT INTO keys (id, name, hash, scopes, created_at) VALUES (?, ?, ?, ?, ?)",
        item.id, item.name, digest(key), " ".join(item.scopes), item.created_at,
    )  # fmt: skip


async def find(reader: Reader, key: str) -> Key | None:
    """The valid key of that text."""
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM keys WHERE hash = ? AND revoked_at IS NULL", digest(key))
    return _row(rows[0]) if rows else None


async def page(reader: Reader, *, before: str | None, limit: int) -> Sequence[Key]:
    """Newest first, revoked ones too, from behind `before`."""
    sql: LiteralString = f"SELECT {_COLUMNS} FROM keys WHERE id < ? ORDER BY id DESC LIMIT ?"
    return [_row(row) for row in await reader.fetch(sql, before or "~", limit)]


async def get(reader: Reader, key_id: str) -> Key | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", key_id)
    return _row(rows[0]) if rows else None


async def any_valid(reader: Reader) -> bool:
    return bool(await reader.fetch("SELECT 1 FROM keys WHERE revoked_at IS NULL LIMIT 1"))


async def revoke(transaction: Transaction, key_id: str, now: int) -> bool:
    """False when there is no such key; revoking twice is no error."""
    rows = await transaction.fetch(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING id", now, key_id
    )
    return bool(rows)


def _row(row: Row) -> Key:
    identifier, name, scopes, created_at, revoked_at = row
    return Key(id=identifier, name=name, scopes=scopes.split(), created_at=created_at, revoked_at=revoked_at)
