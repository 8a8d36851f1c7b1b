"""Parts of the tables that only grow, a week each, so that what is too old goes with its part and not row by row.

Ids begin with their time: a part is a range of ids. On SQLite a table is one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, LiteralString

from receiver.observe import log
from receiver.storage.database import Contended, Database, Transaction
from receiver.storage.ids import earliest

PARTED: Final[dict[LiteralString, str]] = {"receipts": "rcp", "events": "evt", "attempts": "dlv"}
"""Tables, and the kind of the id that they are parted by."""
AHEAD: Final = 4
"""Weeks for which there are parts before they begin."""
WEEK: Final = 7 * 86_400 * 1_000_000
_MONDAY: Final = 4 * 86_400 * 1_000_000  # 1970-01-05


async def look_ahead(database: Database, now: int) -> None:
    """`prepare` in a transaction of its own, so that it takes nobody's work with it. Where it had to wait, for a dump
    that is being made, it gives up, and keeps nobody waiting behind it: the next try is soon enough.
    """
    try:
        async with database.writing() as transaction:
            made = await prepare(transaction, now)
    except Contended as error:
        log("partitions.not_made", level="warning", exc=error)
    else:
        if made:
            log("partitions.made", parts=len(made))


async def prepare(transaction: Transaction, now: int) -> Sequence[str]:
    """Makes the parts of this week and the next ones that are not there; returns their names.

    Without its part a row is kept in the table's part for everything else, and that week stays there.
    """
    if transaction.engine == "sqlite":
        return []
    await transaction.lock(["partitions"])
    there = {row[0] for row in await transaction.fetch("SELECT relname FROM pg_class WHERE relispartition")}
    await transaction.fetch("SELECT set_config('lock_timeout', '200ms', true)")
    first = week_of(now)
    wanted = [(table, first + number * WEEK) for number in range(AHEAD + 1) for table in PARTED]
    missing = [(table, start) for table, start in wanted if name_of(table, start) not in there]
    for table, start in missing:
        await _make(transaction, table, start)
    return [name_of(table, start) for table, start in missing]


def week_of(moment: int) -> int:
    """When the week of a time began."""
    return moment - (moment - _MONDAY) % WEEK


def key_of(table: str) -> LiteralString:
    """The column that it is parted by."""
    return "delivery_id" if table == "attempts" else "id"


def name_of(table: str, start: int) -> str:
    return f"{table}_{datetime.fromtimestamp(start // 1_000_000, UTC):%Y%m%d}"


async def _make(transaction: Transaction, table: LiteralString, start: int) -> None:
    """Unless rows of that week are in the part for everything else already."""
    low, high = (earliest(PARTED[table], moment) for moment in (start, start + WEEK))
    key = key_of(table)
    rows = await transaction.fetch(f"SELECT 1 FROM {table}_other WHERE {key} >= ? AND {key} < ? LIMIT 1", low, high)
    if not rows:
        bounds = f"FOR VALUES FROM ('{low}') TO ('{high}')"  # base32 of our own
        await transaction.script(f"CREATE TABLE {name_of(table, start)} PARTITION OF {table} {bounds}")
