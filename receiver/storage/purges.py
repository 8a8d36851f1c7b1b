"""What was purged: how far each purge is, so that a restart goes on there, and up to where it left gaps."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from receiver.storage.database import Reader, Transaction

Trace = Callable[[Transaction, Sequence[str]], Awaitable[None]]
"""What is kept of events besides their rows, a search index for example: forgets events by their ids, before the rows
themselves are changed or deleted, in the same transaction.
"""


@dataclass(frozen=True, slots=True)
class Gone:
    """The newest that was purged, by id and place in the log: below it there are gaps. `rows`: how many went."""

    id: str = ""
    seq: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """`position` is behind what this round looked at, empty where none is under way; `round_at` when it began."""

    position: str = ""
    round_at: int = 0


async def progress(reader: Reader, what: str) -> Progress:
    rows = await reader.fetch("SELECT position, round_at FROM purges WHERE what = ?", what)
    return Progress(*rows[0]) if rows else Progress()


async def gone(reader: Reader, what: str) -> Gone:
    rows = await reader.fetch("SELECT gone_id, gone_seq FROM purges WHERE what = ?", what)
    return Gone(*rows[0]) if rows else Gone()


_GROWN: Final[LiteralString] = """
    gone_id = CASE WHEN excluded.gone_id > purges.gone_id THEN excluded.gone_id ELSE purges.gone_id END,
    gone_seq = CASE WHEN excluded.gone_seq > purges.gone_seq THEN excluded.gone_seq ELSE purges.gone_seq END"""
"""What is gone stays gone."""


async def note(transaction: Transaction, what: str, reached: Progress, newest: Gone) -> None:
    """How far it got, and what went."""
    await transaction.fetch(
        f"""INSERT INTO purges (what, position, round_at, gone_id, gone_seq) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (what) DO UPDATE SET position = excluded.position, round_at = excluded.round_at, {_GROWN}""",
        what, reached.position, reached.round_at, newest.id, newest.seq,
    )  # fmt: skip


async def note_gone(transaction: Transaction, what: str, newest: Gone) -> None:
    """What went at once, in no step of a round."""
    await transaction.fetch(
        f"""INSERT INTO purges (what, position, round_at, gone_id, gone_seq) VALUES (?, '', 0, ?, ?)
            ON CONFLICT (what) DO UPDATE SET {_GROWN}""",
        what, newest.id, newest.seq,
    )  # fmt: skip
