"""What every storage driver offers, and the two ways it can fail.

SQL is one text for all engines wherever honest: `?` placeholders, TEXT ids, BIGINT unix microseconds, TEXT JSON,
RETURNING, ON CONFLICT, `WITH … (VALUES …)`. What must differ lives in the drivers and their migrations.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

from receiver.storage.text_index import TextIndex

Row = tuple[Any, ...]
Values = Sequence[Any]


class StorageError(Exception):
    """The database did not do what it was asked."""


class Unavailable(StorageError):
    """For now: locked, full, read-only or overloaded. Nothing was changed; the same call may succeed later."""


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


class Database(Protocol):
    def reading(self) -> AbstractAsyncContextManager[Reader]:
        """A consistent view of what is committed."""
        ...

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction: committed with full sync when the block ends well, rolled back otherwise."""
        ...

    async def close(self) -> None: ...


class Erasable(Database, Protocol):
    """What the owner can do besides."""

    async def scrub(self) -> bool:
        """What was overwritten or deleted stands in no log of the engine any more, or False: something is in the way
        for now. Raises Unavailable, Broken.
        """
        ...
