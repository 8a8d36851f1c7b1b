"""Rows as columns: what a driver needs that passes many rows in as one array a column, each with its type."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from receiver.storage.database import Values

_HEAD: Final = re.compile(r"\s*(?:INSERT\s+INTO\s+(\w+)|WITH\s+\w+)\s*\(([^()]*)\)", re.IGNORECASE)
_OF_VALUES: Final[Mapping[type, str]] = {
    str: "text",
    int: "bigint",
    bool: "bigint",
    float: "double precision",
    bytes: "bytea",
}


@lru_cache(maxsize=1024)
def columns_of(before: str) -> tuple[str, tuple[str, ...]]:
    """`INSERT INTO table (a, b)` → table and columns; `WITH name (a, b) AS (` → no table, and columns."""
    match = _HEAD.match(before)
    if match is None:
        raise ValueError(f"names no columns: {before!r}")
    return match[1] or "", tuple(name.strip() for name in match[2].split(","))


def column_types(
    tables: Mapping[str, Mapping[str, str]], table: str, names: Sequence[str], rows: Sequence[Values]
) -> tuple[str, ...]:
    """A type a column: that of the table's, else of the first value, else what columns of that name are everywhere."""
    known = tables.get(table, {}) if table else {}
    return tuple(known.get(name) or _type(tables, name, index, rows) for index, name in enumerate(names))


def rows_as_arrays(rows: Sequence[Values]) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)]


@lru_cache(maxsize=1024)
def numbered(sql: str, first: int = 1) -> str:
    """`?` becomes `$1` and so on. No text of ours has a question mark in a string."""
    head, *rest = sql.split("?")
    return head + "".join(f"${number}{piece}" for number, piece in enumerate(rest, first))


@lru_cache(maxsize=1024)
def with_arrays(before: str, types: tuple[str, ...], after: str) -> str:
    """One statement for any number of rows: a column is one value, an array."""
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    return f"{before} SELECT * FROM unnest({arrays}) {numbered(after, len(types) + 1)}"


def _type(tables: Mapping[str, Mapping[str, str]], name: str, index: int, rows: Sequence[Values]) -> str:
    for row in rows:
        if row[index] is not None:
            return _OF_VALUES[type(row[index])]
    everywhere = {columns[name] for columns in tables.values() if name in columns}
    return everywhere.pop() if len(everywhere) == 1 else "text"
