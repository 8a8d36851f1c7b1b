"""`receiver migrate --from … --to …`: everything of one database into another, empty one, of the other engine.

Table by table in stretches of rows, each with how far it got in one transaction, so that one that was cut off goes on.
In the end both are read once more, and must have the same rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, LiteralString

from receiver.storage import deliveries, events, partitions
from receiver.storage.database import CannotStart, Database, Reader, Row, StorageError, Transaction
from receiver.storage.ids import earliest, moment

STRETCH: Final = 1_000

Progress = Callable[[str, int, int], None]
"""Hears of a table how many rows of how many are done."""

TABLES: Final[Mapping[LiteralString, tuple[LiteralString, ...]]] = {
    "sources": ("id",), "subscriptions": ("id",), "keys": ("id",), "jobs": ("id",),
    "consumers": ("id",),
    "opt_outs": ("source_id", "number", "scope", "sender"),
    "identities": ("key",), "messages": ("id",), "receipts": ("id",), "events": ("seq",), "deliveries": ("id",),
    "attempts": ("delivery_id", "number"), "long_messages": ("message_id",), "message_parts": ("message_id", "number"),
    "corrections": ("event_id",), "polls": ("source_id", "feed"), "tokens": ("source_id",),
    "lookups": ("source_id", "name"), "reconciled": ("one",), "purges": ("what",), "secrets": ("name",),
    "idempotency": ("key",), "clock": ("one",),
}  # fmt: skip
"""Every table that is moved, by what it is walked."""
OWN: Final = frozenset({"catalog", "migrations", "processes", "moves", "followers", "texts"})
"""Each database has its own: words are indexed anew from the log."""

_MOVES: LiteralString = "CREATE TABLE IF NOT EXISTS moves (name TEXT PRIMARY KEY, done BIGINT NOT NULL, position TEXT)"


class NotMoved(StorageError):
    """The message says why. What was moved stays, and the same call goes on behind it."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One table: its rows, and the hash of all of them, the same in both."""

    table: str
    rows: int
    hash: str


async def move(source: Database, target: Database, now: int, progress: Progress) -> Sequence[Moved]:
    """Raises NotMoved; CannotStart when the target holds anything else. Nobody else may be writing to either."""
    async with source.writing() as transaction:
        await transaction.fetch("DELETE FROM processes")
        await deliveries.void_leases(transaction, now)  # whoever held them there is nobody here
    columns = await _columns(source)
    await _begin(source, target, now)
    for table, key in TABLES.items():
        await _move_table(source, target, table, key, columns[table], progress)
    async with source.reading() as reader:
        last = await events.readable(reader)
    async with target.writing() as transaction:
        await _adjust(transaction, last, now)
    found = [await _compare(source, target, table, key, columns[table], progress) for table, key in TABLES.items()]
    async with target.writing() as transaction:
        await transaction.script("DROP TABLE moves")
    return found


async def _columns(source: Database) -> Mapping[str, tuple[LiteralString, ...]]:
    async with source.reading() as reader:
        names: dict[str, tuple[LiteralString, ...]] = {}
        for (table,) in await reader.fetch(_TABLES[reader.engine]):
            rows = await reader.fetch(_COLUMNS[reader.engine], table)
            names[table] = tuple(name for (name,) in rows)  # ours, by the migrations
    unknown = {name for name in names.keys() - TABLES.keys() - OWN if not name.startswith("texts_")}
    if unknown:
        raise NotMoved(f"nobody said how to move {', '.join(sorted(unknown))}")
    return names


_TABLES: Mapping[str, LiteralString] = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgres": """SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
                   AND relnamespace = current_schema()::regnamespace""",
}
_COLUMNS: Mapping[str, LiteralString] = {
    "sqlite": "SELECT name FROM pragma_table_info(?) ORDER BY name",
    "postgres": """SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0
                   AND NOT attisdropped ORDER BY attname::text COLLATE "C\"""",
}


async def _begin(source: Database, target: Database, now: int) -> None:
    """The target is empty, or was begun with; a week's rows find its part there."""
    async with target.writing() as transaction:
        begun = await _exists(transaction)
        await transaction.fetch(_MOVES)
        if not begun:
            await transaction.fetch("DELETE FROM reconciled")  # every database begins with the one row of it
            await transaction.fetch("DELETE FROM clock")
        for table in () if begun else TABLES:
            if await transaction.fetch(f"SELECT 1 FROM {table} LIMIT 1"):
                raise CannotStart(f"the target is not empty: it has {table}")
    for week in await _weeks(source, now):
        async with target.writing() as transaction:
            await partitions.prepare(transaction, week)


async def _weeks(source: Database, now: int) -> Sequence[int]:
    """The present one, and all before that a row is of: one that found no part of its week would stay in the part for
    everything else, which is looked through for each week that is made later.
    """
    found = {partitions.week_of(now)}
    async with source.reading() as reader:
        for table, kind in partitions.PARTED.items():
            key, week = partitions.key_of(table), -partitions.WEEK
            while week < now:
                low = earliest(kind, week + partitions.WEEK)
                ((first,),) = await reader.fetch(f"SELECT min({key}) FROM {table} WHERE {key} >= ?", low)
                if first is None:
                    break
                found.add(week := partitions.week_of(moment(first) * 1000))
    return sorted(week for week in found if week <= now)


async def _exists(transaction: Transaction) -> bool:
    found = await transaction.fetch(_TABLES[transaction.engine])
    return ("moves",) in found


async def _move_table(
    source: Database, target: Database, table: LiteralString, key: Sequence[LiteralString],
    columns: Sequence[LiteralString], progress: Progress,
) -> None:  # fmt: skip
    async with source.reading() as reader:
        ((total,),) = await reader.fetch(f"SELECT count(*) FROM {table}")
        ((begun, done),) = await _place(target, table)
        last = await _last(reader, table, key, done) if begun else None
    listed: LiteralString = ", ".join(columns)
    while True:
        async with source.reading() as reader:
            rows = await _stretch(reader, table, key, listed, last)
        if not rows:
            return
        done += len(rows)
        last = _key(rows[-1], key, columns)
        async with target.writing() as transaction:
            transaction.later(f"INSERT INTO {table} ({listed})", rows)
            await transaction.fetch("UPDATE moves SET done = ? WHERE name = ?", done, table)
        progress(table, done, total)


async def _place(target: Database, table: str) -> Sequence[Row]:
    async with target.writing() as transaction:
        await transaction.fetch("INSERT INTO moves (name, done) VALUES (?, 0) ON CONFLICT (name) DO NOTHING", table)
        return await transaction.fetch("SELECT done > 0, done FROM moves WHERE name = ?", table)


async def _last(reader: Reader, table: LiteralString, key: Sequence[LiteralString], done: int) -> Row:
    listed: LiteralString = ", ".join(key)
    (row,) = await reader.fetch(f"SELECT {listed} FROM {table} ORDER BY {listed} LIMIT 1 OFFSET ?", done - 1)
    return row


async def _stretch(
    reader: Reader, table: LiteralString, key: Sequence[LiteralString], listed: LiteralString, last: Row | None
) -> Sequence[Row]:
    order: LiteralString = ", ".join(key)
    if last is None:
        return await reader.fetch(f"SELECT {listed} FROM {table} ORDER BY {order} LIMIT ?", STRETCH)
    marks: LiteralString = ", ".join(["?"] * len(key))
    return await reader.fetch(
        f"SELECT {listed} FROM {table} WHERE ({order}) > ({marks}) ORDER BY {order} LIMIT ?", *last, STRETCH
    )


def _key(row: Row, key: Sequence[str], columns: Sequence[str]) -> Row:
    return tuple(row[columns.index(name)] for name in key)


async def _adjust(transaction: Transaction, last: int, now: int) -> None:
    """Positions go on behind the last one, though its event may be purged: else whoever read up to there would take
    the next ones for old. And whoever has looked at the catalog looks again.
    """
    if transaction.engine == "postgres" and last > 0:
        await transaction.fetch("SELECT setval('events_seq', ?)", last)
    await transaction.fetch("UPDATE catalog SET version = CASE WHEN version < ? THEN ? ELSE version + 1 END", now, now)


async def _compare(
    source: Database, target: Database, table: LiteralString, key: Sequence[LiteralString],
    columns: Sequence[LiteralString], progress: Progress,
) -> Moved:  # fmt: skip
    async with source.reading() as reader:
        ((rows,),) = await reader.fetch(f"SELECT count(*) FROM {table}")
    ours = await _hash(source, table, key, columns, lambda done: progress(f"{table}, checked", done, 2 * rows))
    theirs = await _hash(target, table, key, columns, lambda done: progress(f"{table}, checked", rows + done, 2 * rows))
    if ours != theirs:
        raise NotMoved(f"{table}: {theirs.rows} rows are not the {ours.rows} that there were; was something writing?")
    return ours


async def _hash(
    database: Database, table: LiteralString, key: Sequence[LiteralString], columns: Sequence[LiteralString],
    read: Callable[[int], None],
) -> Moved:  # fmt: skip
    listed: LiteralString = ", ".join(columns)
    digest, done, last = blake2b(digest_size=16), 0, None
    while True:
        async with database.reading() as reader:
            rows = await _stretch(reader, table, key, listed, last)
        if not rows:
            return Moved(table, done, digest.hexdigest())
        for row in rows:
            digest.update(repr(row).encode("utf-8", "surrogatepass"))
        done, last = done + len(rows), _key(rows[-1], key, columns)
        read(done)
