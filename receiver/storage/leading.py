"""Which index a page is read by: of the filters that one serves, the one with the fewest rows leads.

SQLite without statistics would take one at random. What no filter narrows down enough is read along in its order, a
window of rows at a time, so that no page takes long whatever it is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, LiteralString, TypeVar

from receiver.storage.database import Reader, Row

Item = TypeVar("Item")

MANY = 2_000
"""Rows up to which the rows of a filter are counted, and may be put in order."""
WINDOW = 5_000
"""Rows that one look goes through at most."""


def unindexed(column: LiteralString) -> LiteralString:
    """The same value, which no index serves: an expression is none of its columns. A `+` would be enough for SQLite."""
    return "coalesce(" + column + ", " + column + ")"


@dataclass(frozen=True, slots=True)
class Condition:
    """`column` is set where an index may serve it, `rare` where that is so without counting, `in_order` where that
    index then gives the rows in the order of the page; `counted` stands behind FROM to count them, where that is not
    the table with the condition; `walked` is the whole order of that index, if all its rows lie together.
    """

    sql: LiteralString
    values: Sequence[str | int]
    column: LiteralString = ""
    rare: bool = False
    in_order: bool = False
    counted: LiteralString = ""
    walked: LiteralString = ""

    def aside(self) -> "Condition":
        """The same, not to be looked up in an index."""
        if not self.column:
            return self
        return Condition(self.sql.replace(self.column, unindexed(self.column)), self.values)


@dataclass(frozen=True, slots=True)
class Lead:
    """The condition whose index leads, None where the table itself is read along; `few` where its rows were counted
    and are not many; `planned` where the engine plans by its statistics.
    """

    condition: Condition | None = None
    few: bool = False
    planned: bool = False

    def order(self, key: LiteralString) -> LiteralString:
        """The column to order by: where the few rows of an index are put in order, no other index may spare that."""
        if self.condition is None or self.condition.column == key:
            return key
        if self.planned and key in _APART:
            return _APART[key]
        return unindexed(key) if self.few and not self.condition.in_order else key


_APART: Mapping[LiteralString, LiteralString] = {"seq": "(seq + 0)", "id": "(id || '')"}
"""PostgreSQL takes rows to lie evenly in a table, and would go through all of it backwards, to spare an order, for the
first rows of a filter that all lie at its beginning, or to count them. So the indexes that lead have the order as an
expression, which no other index gives.
"""

IN_LOG: LiteralString = ", " + _APART["seq"]
"""Behind the column of an index of events: the rest of its order."""
BY_ID: LiteralString = _APART["id"]


def together(conditions: Sequence[Condition]) -> tuple[LiteralString, Sequence[str | int]]:
    """` WHERE …` and its values."""
    where: LiteralString = " WHERE " + " AND ".join([item.sql for item in conditions]) if conditions else ""
    return where, [value for item in conditions for value in item.values]


async def leading(reader: Reader, table: LiteralString, conditions: Sequence[Condition], many: int = MANY) -> Lead:
    """The first rare one; else the one with the fewest rows, if those are not many; else the first in order."""
    best, fewest, planned = None, many, reader.engine == "postgres"
    for item in conditions:
        if item.rare:
            return Lead(item, planned=planned)
        if item.column:
            source: LiteralString = item.counted or table + " WHERE " + item.sql
            order: LiteralString = " ORDER BY " + item.walked if planned and item.walked else ""
            ((number,),) = await reader.fetch(
                "SELECT count(*) FROM (SELECT 1 FROM " + source + order + " LIMIT ?) AS found", *item.values, many
            )
            if number < fewest:
                best, fewest = item, number
    if best is not None:
        return Lead(best, few=True, planned=planned)
    return Lead(next((item for item in conditions if item.in_order), None), planned=planned)


def pattern(column: LiteralString, asked: str) -> Condition:
    """Events, exactly or by a prefix as a half-open range, which an index can serve whatever the prefix holds."""
    walked: LiteralString = column + IN_LOG
    if asked.endswith("*"):
        low = asked[:-1]
        sql: LiteralString = column + " >= ? AND " + column + " < ?"
        return Condition(sql, (low, low + "\U0010ffff"), column, walked=walked)
    return Condition(column + " = ?", (asked,), column, in_order=True, walked=walked)


@dataclass(frozen=True, slots=True)
class Found(Generic[Item]):
    """What one look found: all rows that were asked for, or fewer. Behind `upto` there may be more of them, None where
    there is nothing more to look at.
    """

    rows: Sequence[Item]
    upto: str | None = None


async def newest_first(
    reader: Reader, table: LiteralString, columns: LiteralString, key: LiteralString, *, leads: Sequence[Condition],
    filters: Sequence[Condition], low: str, high: str, limit: int, many: int, window: int,
) -> Found[Row]:  # fmt: skip
    """Rows from `low` and below `high`, of a table whose ids of the column `key` grow with time: by the index of one of
    `leads`, or along the table; through `window` rows at most, where not all of them are wanted.
    """
    lead = await leading(reader, table, leads, many)
    chosen = [lead.condition] if lead.condition else []
    order = lead.order(key)
    ground = [Condition(order + " >= ?", (low,)), Condition(order + " < ?", (high,))]
    end = None
    if filters and not lead.few:
        where, values = together([*chosen, *ground])
        sql: LiteralString = (
            "SELECT " + key + " FROM " + table + where + " ORDER BY " + order + " DESC LIMIT 1 OFFSET ?"
        )
        last = await reader.fetch(sql, *values, window - 1)
        end = last[0][0] if last else None
    if end is not None:
        ground[0] = Condition(order + " >= ?", (end,))
    where, values = together([*chosen, *(item.aside() for item in filters), *ground])
    sql = "SELECT " + columns + " FROM " + table + where + " ORDER BY " + order + " DESC LIMIT ?"
    rows = await reader.fetch(sql, *values, limit)
    return Found(rows, end if len(rows) < limit else None)
