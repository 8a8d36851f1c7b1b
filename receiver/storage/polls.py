"""How far each feed of a source was read, how that went, and the tokens that its vendor gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import LiteralString, Self

import orjson

from receiver.storage.database import Reader, Row, Transaction
from receiver.vendors.contract import Position, Source, Tokens

_COLUMNS: LiteralString = "source_id, feed, position, digest, next_at, asked_at, answered_at, failures, error"


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRow:
    """One feed. `failures` in a row, the last of them `error`; times are unix microseconds."""

    source_id: str
    feed: str
    position: Position
    digest: str | None = None
    next_at: int
    asked_at: int
    answered_at: int | None = None
    failures: int = 0
    error: str | None = None

    @classmethod
    def first(cls, source_id: str, feed: str) -> Self:
        """Of a feed that was not asked for yet."""
        return cls(source_id=source_id, feed=feed, position={}, next_at=0, asked_at=0)


async def of_sources(reader: Reader, source_ids: Sequence[str]) -> Mapping[str, Sequence[PollRow]]:
    """The feeds of each source, by name."""
    if not source_ids:
        return {}
    marks: LiteralString = ", ".join("?" * len(source_ids))
    sql: LiteralString = f"SELECT {_COLUMNS} FROM polls WHERE source_id IN ({marks}) ORDER BY source_id, feed"
    found: dict[str, list[PollRow]] = {}
    for row in map(_row, await reader.fetch(sql, *source_ids)):
        found.setdefault(row.source_id, []).append(row)
    return found


async def save(transaction: Transaction, row: PollRow) -> None:
    await transaction.fetch(
        f"""INSERT INTO polls ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (source_id, feed) DO UPDATE SET position = excluded.position, digest = excluded.digest,
                next_at = excluded.next_at, asked_at = excluded.asked_at, answered_at = excluded.answered_at,
                failures = excluded.failures, error = excluded.error""",
        row.source_id, row.feed, orjson.dumps(row.position).decode(), row.digest, row.next_at, row.asked_at,
        row.answered_at, row.failures, row.error,
    )  # fmt: skip


async def rest(transaction: Transaction, source_id: str, until: int) -> None:
    """Nothing is asked before that: the vendor wants to be left alone."""
    await transaction.fetch("UPDATE polls SET next_at = ? WHERE source_id = ? AND next_at < ?", until, source_id, until)


async def forget(transaction: Transaction, source_id: str) -> None:
    """Everything that asking left, for a source that is removed."""
    for sql in (
        "DELETE FROM polls WHERE source_id = ?",
        "DELETE FROM tokens WHERE source_id = ?",
        "DELETE FROM lookups WHERE source_id = ?",
    ):
        await transaction.fetch(sql, source_id)


async def tokens(reader: Reader, source: Source) -> Tokens | None:
    """Those that came last; None where the source's credentials are others now."""
    rows = await reader.fetch(
        "SELECT access_token, refresh_token, expires_at FROM tokens WHERE source_id = ? AND granted_for = ?",
        source.id, _granted_for(source),
    )  # fmt: skip
    return Tokens(access=rows[0][0], refresh=rows[0][1], expires_at=rows[0][2]) if rows else None


async def save_tokens(transaction: Transaction, source: Source, given: Tokens, now: int) -> None:
    await transaction.fetch(
        """INSERT INTO tokens (source_id, granted_for, access_token, refresh_token, expires_at, updated_at)
           VALUES (?, ?, ?, ?, ?, ?)
           ON CONFLICT (source_id) DO UPDATE SET access_token = excluded.access_token,
               refresh_token = excluded.refresh_token, granted_for = excluded.granted_for,
               expires_at = excluded.expires_at, updated_at = excluded.updated_at""",
        source.id, _granted_for(source), given.access, given.refresh, given.expires_at, now,
    )  # fmt: skip


def _granted_for(source: Source) -> str:
    """Where the credentials change, what they gave is worth nothing any more."""
    credentials = {name: list(values) for name, values in sorted(source.credentials.items())}
    return sha256(orjson.dumps(credentials)).hexdigest()


def _row(row: Row) -> PollRow:
    source_id, feed, position, digest, next_at, asked_at, answered_at, failures, error = row
    return PollRow(
        source_id=source_id,
        feed=feed,
        position=orjson.loads(position),
        digest=digest,
        next_at=next_at,
        asked_at=asked_at,
        answered_at=answered_at,
        failures=failures,
        error=error,
    )
