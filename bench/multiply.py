"""A specimen of what the receiver itself wrote, and as many copies of it as wanted, each with names of its own.

The rows of every table are read by the columns that the schema has. What names one thing in several places (ids, the
vendor's message ids, people's numbers, times) is replaced by the same new name in all of them.
"""

import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.requests import AREAS
from receiver.sms.timestamps import from_text, to_text
from receiver.storage.ids import Ids

SHARED = (
    "catalog",
    "sources",
    "subscriptions",
    "keys",
    "consumers",
    "migrations",
    "followers",
    "polls",
    "tokens",
    "reconciled",
    "clock",
)
"""What stands once in a database, however much it holds."""

_MARKS = re.compile(
    r"(?P<id>(?:evt|rcp|msg|dlv)_[0-9a-z]{26})|(?P<sid>SM[0-9a-f]{32})"
    rf"|(?P<person>1(?:{'|'.join(map(str, AREAS))})555\d{{4}})|(?P<time>\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z)"
)
_MOMENTS = 10**15
"""Integers from here on are times in microseconds."""
_END = "\x00"
_AT_ONCE = 2_000

Cell = Callable[[Sequence[str], int], object]
"""A value of a copy: from its texts, and the microseconds by which it is later than the specimen."""


@dataclass(slots=True)
class _Table:
    insert: str
    rows: list[list[Cell]]


class Specimen:
    """All rows of a small database but those of SHARED tables; `write` puts copies of them into another."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._marks: dict[str, str] = {}
        self._texts: list[str] = []
        ((self._base,),) = database.execute("SELECT max(received_at) FROM receipts")
        self._tables = [self._table(database, name) for name in tables(database) if name not in SHARED]
        self._template = _END.join(self._texts)

    def _table(self, database: sqlite3.Connection, name: str) -> _Table:
        columns = [row for row in database.execute(f"PRAGMA table_info({name})") if (row[2], row[5]) != ("INTEGER", 1)]
        names = ", ".join(row[1] for row in columns)
        rows = database.execute(f"SELECT {names} FROM {name} ORDER BY {columns[0][1]}").fetchall()
        insert = f"INSERT INTO {name} ({names}) VALUES ({', '.join('?' * len(columns))})"
        return _Table(insert, [[self._cell(value) for value in row] for row in rows])

    def _cell(self, value: object) -> Cell:
        if isinstance(value, int) and value >= _MOMENTS:
            return lambda _texts, later: value + later
        if isinstance(value, str | bytes):
            at = len(self._texts)
            self._texts.append(self._marked(value if isinstance(value, str) else value.decode("latin-1")))
            if isinstance(value, bytes):
                return lambda texts, _later: texts[at].encode("latin-1")
            return lambda texts, _later: texts[at]
        return lambda _texts, _later: value

    def _marked(self, text: str) -> str:
        """A template for `%`, with a mark for everything that is another in each copy."""
        marked, at = [], 0
        for found in _MARKS.finditer(text):
            marked += [text[at : found.start()].replace("%", "%%"), f"%({self._mark(found)})s"]
            at = found.end()
        return "".join(marked) + text[at:].replace("%", "%%")

    def _mark(self, found: re.Match[str]) -> str:
        return self._marks.setdefault(found[0], f"{found.lastgroup}{len(self._marks)}")

    def write(
        self, database: sqlite3.Connection, copies: int, *, ends: int, apart: int = 1_000, bulk: bool = False
    ) -> None:
        """Copies `apart` microseconds from each other, the last at `ends`. In `bulk` indexes are made at the end."""
        mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        database.execute(f"PRAGMA journal_mode = {'OFF' if bulk else mode}")
        for pragma in ("synchronous = OFF", "cache_size = -4000000", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        indexes = _taken_away(database) if bulk else []
        database.execute("BEGIN IMMEDIATE")
        for batch in _batches(copies):
            made = [self._copy(names, later) for names, later in self._named(batch, copies, ends, apart)]
            for number, table in enumerate(self._tables):
                database.executemany(table.insert, [row for copy in made for row in copy[number]])
        for statement in indexes:
            database.execute(statement)
        database.execute("COMMIT")
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _copy(self, names: dict[str, str], later: int) -> list[list[list[object]]]:
        texts = (self._template % names).split(_END)
        return [[[cell(texts, later) for cell in row] for row in table.rows] for table in self._tables]

    def _named(self, batch: range, copies: int, ends: int, apart: int) -> Iterator[tuple[dict[str, str], int]]:
        now = [ends]
        ids = Ids(lambda: now[0], os.urandom)
        chance = random.Random()
        kinds = {kind: sorted((old, mark) for old, mark in self._marks.items() if mark.startswith(kind))
                 for kind in ("id", "sid", "person", "time")}  # fmt: skip
        kinds["id"].sort(key=lambda item: item[0].partition("_")[2])  # as they were made
        moments = [(mark, from_text(old)) for old, mark in kinds["time"]]
        for number in batch:
            now[0] = ends - (copies - 1 - number) * apart
            later = now[0] - self._base
            names = {mark: ids.new(old[:3]) for old, mark in kinds["id"]}
            names |= {mark: f"SM{chance.getrandbits(128):032x}" for _, mark in kinds["sid"]}
            names |= {mark: f"1{chance.choice(AREAS)}555{chance.randrange(10_000):04d}" for _, mark in kinds["person"]}
            names |= {mark: to_text(moment + later) for mark, moment in moments}
            yield names, later


def tables(database: sqlite3.Connection) -> list[str]:
    """But for the index of texts, which is no table of rows."""
    rows = database.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return [name for (name,) in rows]


def clear(database: sqlite3.Connection) -> None:
    """Leaves what stands in SHARED tables alone."""
    for name in set(tables(database)) - set(SHARED):
        database.execute(f"DELETE FROM {name}")


def _batches(copies: int) -> Iterator[range]:
    for start in range(0, copies, _AT_ONCE):
        yield range(start, min(start + _AT_ONCE, copies))


def _taken_away(database: sqlite3.Connection) -> list[str]:
    """Drops the indexes that can be dropped; the statements that make them anew."""
    found = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    for name, _ in found:
        database.execute(f"DROP INDEX {name}")
    return [sql for _, sql in found]
