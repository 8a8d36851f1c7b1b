"""Sources: configured accounts of vendors, each with the token of its URL, credentials and options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import orjson
from pydantic import ValidationError

from receiver.storage import polls
from receiver.storage.database import Reader, Row, Transaction, skipping, unless_busy
from receiver.vendors.contract import Source, Vendor

_COLUMNS: LiteralString = (
    "id, vendor, name, token, credentials, options, created_at, updated_at, last_seen_at, last_error, last_error_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """As it is stored: `credentials` name → values, `options` as the vendor's options model dumps them."""

    id: str
    vendor: str
    name: str
    token: str
    credentials: Mapping[str, Sequence[str]]
    options: Mapping[str, Any]
    created_at: int
    updated_at: int
    last_seen_at: int | None = None
    last_error: str | None = None
    last_error_at: int | None = None

    def readable(self, vendor: Vendor) -> Source | None:
        """None where it was made by a version whose options were others."""
        try:
            return self.source(vendor)
        except ValidationError:
            return None

    def source(self, vendor: Vendor) -> Source:
        return Source(
            id=self.id,
            vendor=self.vendor,
            name=self.name,
            credentials={name: tuple(values) for name, values in self.credentials.items()},
            options=vendor.options.model_validate(self.options),
        )


async def active(reader: Reader) -> Sequence[SourceRow]:
    return [_row(row) for row in await reader.fetch(f"SELECT {_COLUMNS} FROM sources WHERE removed_at IS NULL")]


async def page(reader: Reader, *, before: str | None, limit: int) -> Sequence[SourceRow]:
    """Newest first, from behind `before`."""
    sql: LiteralString = f"SELECT {_COLUMNS} FROM sources WHERE removed_at IS NULL AND id < ? ORDER BY id DESC LIMIT ?"
    return [_row(row) for row in await reader.fetch(sql, before or "~", limit)]


async def get(reader: Reader, source_id: str) -> SourceRow | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM sources WHERE id = ? AND removed_at IS NULL", source_id)
    return _row(rows[0]) if rows else None


async def count(reader: Reader) -> int:
    ((number,),) = await reader.fetch("SELECT count(*) FROM sources WHERE removed_at IS NULL")
    return int(number)


async def known(reader: Reader, source_id: str) -> bool:
    """Whether there is, or ever was, a source of that id."""
    return bool(await reader.fetch("SELECT 1 FROM sources WHERE id = ?", source_id))


async def save(transaction: Transaction, row: SourceRow) -> None:
    """Makes the source, or replaces what can be changed of it: name, token, credentials, options."""
    await transaction.fetch(
        """INSERT INTO sources (id, vendor, name, token, credentials, options, created_at, updated_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET name = excluded.name, token = excluded.token,
               credentials = excluded.credentials, options = excluded.options, updated_at = excluded.updated_at""",
        row.id, row.vendor, row.name, row.token, _json(row.credentials), _json(row.options), row.created_at,
        row.updated_at,
    )  # fmt: skip
    await changed(transaction, row.updated_at)


async def remove(transaction: Transaction, source_id: str, now: int) -> bool:
    """Its URL answers 404 from now on; its events stay. False when there is no such source."""
    rows = await transaction.fetch(
        "UPDATE sources SET removed_at = ?, credentials = '{}' WHERE id = ? AND removed_at IS NULL RETURNING id",
        now, source_id,
    )  # fmt: skip
    await polls.forget(transaction, source_id)
    await changed(transaction, now)
    return bool(rows)


def seen(transaction: Transaction, moments: Mapping[str, int]) -> None:
    """Notes when each source was last heard of."""
    transaction.later(
        "WITH v (id, moment) AS (",
        list(moments.items()),
        ") UPDATE sources SET last_seen_at = v.moment FROM v WHERE sources.id = v.id"
        + unless_busy(transaction, "sources"),
    )


async def failed(transaction: Transaction, source_id: str, error: str, now: int) -> None:
    """Notes the last refusal or unreadable request, for whoever looks why nothing arrives. Where another process just
    notes something, that is enough.
    """
    await transaction.fetch(
        "UPDATE sources SET last_error = ?, last_error_at = ? WHERE id = (SELECT id FROM sources WHERE id = ?"
        + skipping(transaction)
        + ")",
        error, now, source_id,
    )  # fmt: skip


async def changed(transaction: Transaction, now: int) -> None:
    """Tells every catalog that sources or subscriptions are not what they were.

    The version is the time of the change rather than a count: a catalog that read the change of a transaction that
    was then rolled back must not take the next one's for it.
    """
    await transaction.fetch("UPDATE catalog SET version = CASE WHEN version < ? THEN ? ELSE version + 1 END", now, now)


def _json(value: object) -> str:
    return orjson.dumps(value, default=list).decode()


def _row(row: Row) -> SourceRow:
    (identifier, vendor, name, token, credentials, options, created_at, updated_at, seen_at, error, error_at) = row
    return SourceRow(
        id=identifier,
        vendor=vendor,
        name=name,
        token=token,
        credentials=orjson.loads(credentials),
        options=orjson.loads(options),
        created_at=created_at,
        updated_at=updated_at,
        last_seen_at=seen_at,
        last_error=error,
        last_error_at=error_at,
    )
