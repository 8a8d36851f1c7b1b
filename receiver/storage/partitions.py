"""Parts of the tables that only grow, so that what is too old goes with its part and not row by row.

Ids begin with their time: a part is a range of ids, of a day or a week. On SQLite a table is one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, LiteralString

from receiver.observe import log
from receiver.sms.timestamps import DAY
from receiver.storage.database import Contended, Database, Reader, Transaction
from receiver.storage.ids import earliest, moment
from receiver.storage.retention import Retention

PARTED: Final[dict[LiteralString, str]] = {"receipts": "rcp", "events": "evt", "attempts": "dlv"}
"""Tables, and the kind of the id that they are parted by."""
AHEAD: Final = 4
"""Weeks for which there are parts before they begin."""
DAYS_AHEAD: Final = 8
"""Likewise days, of parts of a day."""
WEEK: Final = 7 * DAY
LOCK: Final = ("partitions",)
"""Whoever makes or drops a part is alone in it."""
_MONDAY: Final = 4 * DAY  # 1970-01-05
_WIDTHS: Final = {100 * DAY: WEEK, 7 * DAY: DAY}


@dataclass(frozen=True, slots=True)
class Part:
    """Of a table, with the ids from `low` to below `high`."""

    table: str
    name: str
    low: str
    high: str


def widths(retention: Retention) -> Mapping[str, int]:
    """How long the parts of a table are, where they are what goes: so short that nothing is kept much longer than it
    is to be. What is kept for less than a week, or for ever, is not in it.
    """
    kept = {"receipts": retention.receipts, "events": retention.events, "attempts": retention.events}
    return {table: width for table, keep in kept.items() if keep is not None and (width := _width(keep)) is not None}


def _width(keep: int) -> int | None:
    return next((width for least, width in _WIDTHS.items() if keep >= least), None)


def begin_of(now: int, width: int) -> int:
    """When the part of that moment begins."""
    return now - (now - _MONDAY) % width


async def look_ahead(database: Database, now: int, lengths: Mapping[str, int]) -> None:
    """`prepare` in a transaction of its own, so that it takes nobody's work with it. Where it had to wait, for a dump
    that is being made, it gives up, and keeps nobody waiting behind it: the next try is soon enough.
    """
    try:
        async with database.writing() as transaction:
            made = await prepare(transaction, now, lengths)
    except Contended as error:
        log("partitions.not_made", level="warning", exc=error)
    else:
        if made:
            log("partitions.made", parts=len(made))


async def prepare(transaction: Transaction, now: int, lengths: Mapping[str, int] | None = None) -> Sequence[str]:
    """Makes the parts of this moment and the next ones that are not there; returns their names. They are as long as
    `lengths` says, else a week; what is there already, of whatever length, stays as it is.

    Without its part a row is kept in the table's part for everything else, and that time stays there.
    """
    if transaction.engine == "sqlite":
        return []
    await transaction.lock(LOCK)
    there = {table: await parts(transaction, table) for table in PARTED}
    await transaction.fetch("SELECT set_config('lock_timeout', '200ms', true)")
    wanted = [
        Part(table, "", earliest(kind, start), earliest(kind, start + width))
        for table, kind in PARTED.items()
        for start, width in _ahead(now, (lengths or {}).get(table, WEEK))
    ]
    missing = [free for part in wanted if (free := _free(part, there[part.table])) is not None]
    for part in missing:
        await _make(transaction, part)
    return [part.name for part in missing]


async def parts(reader: Reader, table: str) -> Sequence[Part]:
    """Those with bounds, the oldest first. One that is being dropped at this moment may have none any more."""
    rows = await reader.fetch(
        """SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits AS i
           JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(?)""",
        table,
    )
    found = [Part(table, name, *bounds) for name, text in rows if len(bounds := _QUOTED.findall(text or "")) == 2]
    return sorted(found, key=lambda part: part.low)


_QUOTED: Final = re.compile("'([a-z0-9_]+)'")


def week_of(moment: int) -> int:
    """When the week of a time began."""
    return begin_of(moment, WEEK)


def key_of(table: str) -> LiteralString:
    """The column that it is parted by."""
    return "delivery_id" if table == "attempts" else "id"


def name_of(table: str, start: int) -> str:
    return f"{table}_{datetime.fromtimestamp(start // 1_000_000, UTC):%Y%m%d}"


def _ahead(now: int, width: int) -> Sequence[tuple[int, int]]:
    first, number = begin_of(now, width), AHEAD if width == WEEK else DAYS_AHEAD
    return [(first + width * step, width) for step in range(number + 1)]


def _free(part: Part, there: Sequence[Part]) -> Part | None:
    """What of it lies behind those that are there already; None where nothing does."""
    low = max([part.low, *(other.high for other in there if other.low < part.high and other.high > part.low)])
    return Part(part.table, name_of(part.table, moment(low) * 1000), low, part.high) if low < part.high else None


async def _make(transaction: Transaction, part: Part) -> None:
    """Unless rows of that time are in the part for everything else already."""
    key = key_of(part.table)
    rows = await transaction.fetch(
        f"SELECT 1 FROM {part.table}_other WHERE {key} >= ? AND {key} < ? LIMIT 1", part.low, part.high
    )
    if not rows:
        bounds = f"FOR VALUES FROM ('{part.low}') TO ('{part.high}')"  # base32 of our own
        await transaction.script(f"CREATE TABLE {part.name} PARTITION OF {part.table} {bounds}")
