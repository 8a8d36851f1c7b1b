"""What every storage driver offers, and the two ways it can fail.

SQL is one text for all engines wherever honest: `?` placeholders, TEXT ids, BIGINT unix microseconds, TEXT JSON,
RETURNING, ON CONFLICT, `WITH … (VALUES …)`. What must differ lives in the drivers and their migrations.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, LiteralString, Protocol

from receiver.storage.text_index import TextIndex

Row = tuple[Any, ...]
Values = Sequence[Any]
Engine = Literal["sqlite", "postgres"]


class StorageError(Exception):
    """The database did not do what it was asked."""


class Unavailable(StorageError):
    """For now: locked, full, read-only or overloaded. Nothing was changed; the same call may succeed later."""


class Contended(Unavailable):
    """Another process was in the way: a deadlock, a lock that did not come free. Rolled back; the same work may be done
    again at once.
    """


class Broken(StorageError):
    """For good: an I/O error, corruption, a failed sync. The process must end and recover at its next start."""


class CannotStart(StorageError):
    """The database cannot be opened as it is; the message says what is in the way and what to do."""


@dataclass(slots=True)
class Soon:
    """What a statement gave, once the next call of its transaction has come back."""

    rows: Sequence[Row] = ()


class Reader(Protocol):
    @property
    def engine(self) -> Engine:
        """For the few pieces of SQL that cannot be the same; see `locking` and `skipping`."""
        ...

    @property
    def texts(self) -> TextIndex:
        """How this engine searches the words of texts."""
        ...

    async def fetch(self, sql: LiteralString, *values: Any) -> Sequence[Row]:
        """All rows of one statement. Raises Unavailable, Broken."""
        ...


class Transaction(Reader, Protocol):
    async def many(
        self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "", *values: Any
    ) -> Sequence[Row]:
        """`before VALUES (…), (…) after` for any number of rows, in as few statements as the engine allows.

        `values` are those of the placeholders in `after`. Returns what RETURNING gives, in no particular order.
        """
        ...

    async def change(
        self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "", *values: Any
    ) -> int:
        """`many` for what is only counted: how many rows were written. Every row that comes back costs a turn of the
        interpreter's lock, so where it is usual that all were, this is the way to learn it.
        """
        ...

    def soon(self, sql: LiteralString, *values: Any) -> Soon:
        """`fetch` that goes with the next call, which raises its errors: a way there and back less."""
        ...

    def later(self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "") -> None:
        """`many` for writes whose rows nobody needs: done with the next call or COMMIT, which raises its errors."""
        ...

    async def lock(self, names: Iterable[str]) -> None:
        """Until this transaction ends no other holds any of these names; nothing to do where only one writes.

        Taken before what it guards is read: every statement sees what was committed before it began.
        """
        ...

    async def script(self, sql: str) -> None:
        """Statements of ours without values, one after the other."""
        ...


class Database(Protocol):
    def reading(self) -> AbstractAsyncContextManager[Reader]:
        """What is committed: on SQLite as it was at the first statement, on PostgreSQL as it is at each of them."""
        ...

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction: committed with full sync when the block ends well, rolled back otherwise."""
        ...

    async def close(self) -> None: ...


class Erasable(Database, Protocol):
    """A database that something may be erased from for good."""

    async def scrub(self) -> bool:
        """What was overwritten or deleted stands in no log of the engine any more, or False: something is in the way
        for now. Where the engine sees to that in its own time, nothing is to do. Raises Unavailable, Broken.
        """
        ...


class Shared(Database, Protocol):
    """A database that many processes use at once."""

    @property
    def doubts(self) -> int:
        """How many COMMITs there were of which nobody knows whether they happened."""
        ...

    def aside(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that no write of this process waits for, on a connection of its own. It does not go by the
        catalog, and gives up at once where a lock is in its way: raises Contended.
        """
        ...

    def holding(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Within the block no other process holds that name; False, at once, when one does. It ends with this process,
        however that ends. A name is held once at a time by its process.
        """
        ...

    async def time(self) -> int:
        """The server's clock, unix microseconds: what all processes go by."""
        ...

    async def listen(self, told: Callable[[str], None]) -> None:
        """Until cancelled, calls `told` with each word that another process sends to all, and with "" where some may
        have been missed.
        """
        ...


def locking(reader: Reader) -> LiteralString:
    """At the end of a SELECT: its rows are ours until the transaction ends. Where only one writes, they are anyway."""
    return " FOR UPDATE" if reader.engine == "postgres" else ""


def skipping(reader: Reader) -> LiteralString:
    """`locking` that passes over rows which another transaction has locked."""
    return " FOR UPDATE SKIP LOCKED" if reader.engine == "postgres" else ""


def unless_busy(reader: Reader, table: LiteralString) -> LiteralString:
    """A condition of an UPDATE from `v`: a row that another process is just writing is left to it. For mere notes."""
    if reader.engine == "sqlite":
        return ""
    free: LiteralString = f"SELECT t.id FROM {table} AS t WHERE t.id IN (SELECT v.id FROM v) FOR UPDATE SKIP LOCKED"
    return f" AND {table}.id IN ({free})"
