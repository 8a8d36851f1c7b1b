"""Consumers: readers of the log that cannot be called, and how far each has acknowledged what it read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import orjson

from receiver.sms.matching import Filter
from receiver.storage.database import Reader, Row, Transaction

_COLUMNS: LiteralString = (
    "id, name, types, filter, description, position, moved_at, acknowledged_at, created_at, updated_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """`position` in the log is that of the last event that need not be read again. `moved_at` is when it was put
    somewhere, at first or by a seek: cursors from before that mean nothing any more.
    """

    id: str
    name: str
    types: Sequence[str]
    filter: Filter | None
    description: str | None
    position: int
    moved_at: int
    created_at: int
    updated_at: int
    acknowledged_at: int | None = None


async def insert(transaction: Transaction, item: Consumer) -> bool:
    """False when there is one of that name."""
    rows = await transaction.fetch(
        f"""INSERT INTO consumers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (name) DO NOTHING RETURNING id""",
        item.id, item.name, *_wanted(item), item.description, item.position, item.moved_at, item.acknowledged_at,
        item.created_at, item.updated_at,
    )  # fmt: skip
    return bool(rows)


async def change(transaction: Transaction, item: Consumer) -> None:
    """What it wants and what is said of it; where it stands stays as it is."""
    await transaction.fetch(
        "UPDATE consumers SET types = ?, filter = ?, description = ?, updated_at = ? WHERE name = ?",
        *_wanted(item), item.description, item.updated_at, item.name,
    )  # fmt: skip


async def get(reader: Reader, name: str) -> Consumer | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM consumers WHERE name = ?", name)
    return _row(rows[0]) if rows else None


async def page(reader: Reader, *, before: str | None, limit: int) -> Sequence[Consumer]:
    """Newest first, from behind the id `before`."""
    sql: LiteralString = f"SELECT {_COLUMNS} FROM consumers WHERE id < ? ORDER BY id DESC LIMIT ?"
    return [_row(row) for row in await reader.fetch(sql, before or "~", limit)]


async def count(reader: Reader) -> int:
    ((number,),) = await reader.fetch("SELECT count(*) FROM consumers")
    return int(number)


async def acknowledge(transaction: Transaction, item: Consumer, position: int, now: int) -> None:
    """Forward only: what was acknowledged stays so. Nothing happens when it was moved since `item` was read."""
    await transaction.fetch(
        """UPDATE consumers SET position = CASE WHEN position < ? THEN ? ELSE position END, acknowledged_at = ?
           WHERE id = ? AND moved_at = ?""",
        position, position, now, item.id, item.moved_at,
    )  # fmt: skip


async def pass_over(transaction: Transaction, item: Consumer, position: int) -> None:
    """The same without anybody's word, over events that it does not want."""
    await transaction.fetch(
        "UPDATE consumers SET position = ? WHERE id = ? AND moved_at = ? AND position < ?",
        position, item.id, item.moved_at, position,
    )  # fmt: skip


async def move(transaction: Transaction, item: Consumer, position: int, now: int) -> None:
    """Anywhere. Cursors that it was given before are void."""
    moved_at = max(now, item.moved_at + 1)
    await transaction.fetch(
        "UPDATE consumers SET position = ?, moved_at = ?, updated_at = ? WHERE id = ?",
        position, moved_at, now, item.id,
    )  # fmt: skip


async def remove(transaction: Transaction, name: str) -> bool:
    """False when there is no such one."""
    return bool(await transaction.fetch("DELETE FROM consumers WHERE name = ? RETURNING id", name))


def _wanted(item: Consumer) -> tuple[str, str | None]:
    return orjson.dumps(list(item.types)).decode(), item.filter.model_dump_json(by_alias=True) if item.filter else None


def _row(row: Row) -> Consumer:
    identifier, name, types, wanted, description, position, moved_at, acknowledged_at, created_at, updated_at = row
    return Consumer(
        id=identifier,
        name=name,
        types=orjson.loads(types),
        filter=Filter.model_validate_json(wanted) if wanted else None,
        description=description,
        position=position,
        moved_at=moved_at,
        acknowledged_at=acknowledged_at,
        created_at=created_at,
        updated_at=updated_at,
    )
