"""The opt-out list: who does not want to hear from whom, with what said so last. A line is never taken out.

A line is a person's number, seen from a source (or from all, when it is empty), for one sender, one group, or all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

from receiver.storage import pseudonyms
from receiver.storage.database import Reader, Row, Transaction, Values
from receiver.storage.leading import MANY, WINDOW, Condition, Found, newest_first, pattern

_CURRENT: LiteralString = """NOT EXISTS (SELECT 1 FROM opt_outs AS later WHERE later.number = ?
    AND later.number <> opt_outs.number AND later.source_id = opt_outs.source_id AND later.scope = opt_outs.scope
    AND later.sender = opt_outs.sender)"""
"""Not a line of before a number was erased, where there is one of after that."""
_COLUMNS: LiteralString = "source_id, number, scope, sender, opted_out, via, event_id, changed_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """`sender` is yours, or the group's id; empty where the line concerns all. `event_id` is the last change's."""

    source_id: str
    number: str
    scope: str
    sender: str
    opted_out: bool
    via: str
    event_id: str
    changed_at: int


async def change(transaction: Transaction, lines: Sequence[Values]) -> set[str]:
    """Lines in the order of the columns, none twice; the `event_id` of those that are new or another than
    before.
    """
    changed = await transaction.many(
        f"INSERT INTO opt_outs ({_COLUMNS})",
        lines,
        """ON CONFLICT (source_id, number, scope, sender) DO UPDATE SET opted_out = excluded.opted_out,
               via = excluded.via, event_id = excluded.event_id, changed_at = excluded.changed_at
           WHERE opt_outs.opted_out <> excluded.opted_out RETURNING event_id""",
    )
    return {row[0] for row in changed}


async def of_number(reader: Reader, number: str) -> Sequence[OptOut]:
    """All lines of one number, the one that changed last first. Those of its pseudonym, from before it was erased, are
    its own; where both stand for the same, the later change holds.
    """
    names = await pseudonyms.names(reader, number)
    marks: LiteralString = ", ".join(["?"] * len(names))
    rows = await reader.fetch(
        f"SELECT {_COLUMNS} FROM opt_outs WHERE number IN ({marks}) ORDER BY event_id DESC", *names
    )
    found: dict[tuple[str, str, str], OptOut] = {}
    for line in map(_row, rows):
        found.setdefault((line.source_id, line.scope, line.sender), replace(line, number=number))
    return list(found.values())


async def look(
    reader: Reader, *, number: str | None = None, scope: str | None = None, source: str | None = None,
    opted_out: bool | None = None, before: str | None, limit: int, many: int = MANY, window: int = WINDOW,
) -> Found[OptOut]:  # fmt: skip
    """What changed last first, from behind the change `before`. `number` is exact, so that its pseudonym is meant too,
    or a prefix with `*`.
    """
    exactly: Sequence[tuple[Condition, str | int | None]] = (
        (Condition("scope = ?", ()), scope),
        (Condition("source_id = ?", (), "source_id"), source),
        (Condition("opted_out = ?", ()), None if opted_out is None else int(opted_out)),
    )
    filters = [replace(condition, values=(value,)) for condition, value in exactly if value is not None]
    leads = [] if number is None else [replace(pattern("number", number), in_order=False, walked="number")]
    names = [] if number is None or number.endswith("*") else await pseudonyms.names(reader, number)
    if len(names) > 1:
        leads = [Condition("number IN (?, ?)", names, "number")]
        filters.append(Condition(_CURRENT, names[:1]))
    found = await newest_first(
        reader, "opt_outs", _COLUMNS, "event_id", leads=leads, filters=[*leads, *filters], low="", high=before or "~",
        limit=limit, many=many, window=window,
    )  # fmt: skip
    return Found([_row(row) for row in found.rows], found.upto)


def _row(row: Row) -> OptOut:
    source_id, number, scope, sender, opted_out, via, event_id, changed_at = row
    return OptOut(
        source_id=source_id,
        number=number,
        scope=scope,
        sender=sender,
        opted_out=bool(opted_out),
        via=via,
        event_id=event_id,
        changed_at=changed_at,
    )
