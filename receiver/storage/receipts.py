"""Receipts: requests exactly as they came, each with what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, LiteralString

from receiver.storage.database import Reader, Row, Transaction
from receiver.storage.ids import earliest
from receiver.storage.pages import newest_first

Outcome = Literal["stored", "duplicate", "conflict", "ignored", "quarantined", "handshake"]

_COLUMNS: LiteralString = (
    "id, source_id, vendor, received_at, outcome, note, duplicate_of, peer, method, target, headers, body"
)
_SUMMARY: LiteralString = "id, source_id, vendor, received_at, outcome, note, duplicate_of, peer, method, length(body)"


@dataclass(slots=True, kw_only=True)
class Receipt:
    """One authenticated request. `target` is the raw request target, `headers` the raw header lines."""

    id: str
    source_id: str
    vendor: str
    received_at: int
    peer: str
    method: str
    target: bytes
    headers: bytes
    body: bytes
    outcome: Outcome = "stored"
    note: str | None = None
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A receipt without the request itself."""

    id: str
    source_id: str
    vendor: str
    received_at: int
    outcome: str
    note: str | None
    duplicate_of: str | None
    peer: str
    method: str
    size: int


@dataclass(frozen=True, slots=True)
class Head:
    """What receipts are chosen by."""

    id: str
    source_id: str
    outcome: str
    received_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which receipts; all that is given must hold. `since` and `until` are of receiving."""

    ids: Sequence[str] | None = None
    source: str | None = None
    outcome: Outcome | None = None
    since: int | None = None
    until: int | None = None

    def wants(self, row: Head) -> bool:
        return (
            (self.ids is None or row.id in self.ids)
            and self.source in (None, row.source_id)
            and self.outcome in (None, row.outcome)
            and (self.since is None or row.received_at >= self.since)
            and (self.until is None or row.received_at < self.until)
        )


def insert(transaction: Transaction, receipts: Sequence[Receipt]) -> None:
    rows = [
        (item.id, item.source_id, item.vendor, item.received_at, item.outcome, item.note, item.duplicate_of, item.peer,
         item.method, item.target, item.headers, item.body)
        for item in receipts
    ]  # fmt: skip
    transaction.later(f"INSERT INTO receipts ({_COLUMNS})", rows)


async def get(reader: Reader, receipt_id: str) -> Receipt | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM receipts WHERE id = ?", receipt_id)
    return _row(rows[0]) if rows else None


async def page(
    reader: Reader, *, source: str | None, outcome: str | None, since: int | None, before: str | None, limit: int
) -> Sequence[Summary]:
    """Newest first, from behind `before`."""
    rows = await newest_first(
        reader, f"SELECT {_SUMMARY} FROM receipts",
        {"source_id = ?": source, "outcome = ?": outcome, "received_at >= ?": since},
        before=before, limit=limit,
    )  # fmt: skip
    return [_summary(row) for row in rows]


async def head(reader: Reader, receipt_id: str) -> Head | None:
    rows = await reader.fetch("SELECT id, source_id, outcome, received_at FROM receipts WHERE id = ?", receipt_id)
    return Head(*rows[0]) if rows else None


async def behind(reader: Reader, position: str, last: str, limit: int) -> Sequence[Head]:
    """From behind a position up to `last`, in the order in which they came."""
    rows = await reader.fetch(
        """SELECT id, source_id, outcome, received_at FROM receipts WHERE id > ? AND id <= ?
           ORDER BY id LIMIT ?""",
        position, last, limit,
    )  # fmt: skip
    return [Head(*row) for row in rows]


async def span(reader: Reader, choice: Choice) -> tuple[str, str, int]:
    """Behind which receipt and up to which those are that may be chosen, and how many lie between.

    An id is made after its request was received, and never goes back when the clock does.
    """
    first, last = earliest("rcp", choice.since or 0), "rcp_~"
    if choice.ids:
        first, last = min(choice.ids)[:-1], max(choice.ids)
    ((newest, count),) = await reader.fetch(
        "SELECT max(id), count(*) FROM receipts WHERE id > ? AND id <= ?", first, last
    )
    return first, newest or first, count


async def settle(
    transaction: Transaction, receipt_id: str, outcome: Outcome, note: str | None, duplicate_of: str | None
) -> None:
    """What became of it after all."""
    await transaction.fetch(
        "UPDATE receipts SET outcome = ?, note = ?, duplicate_of = ? WHERE id = ?",
        outcome, note, duplicate_of, receipt_id,
    )  # fmt: skip


def _row(row: Row) -> Receipt:
    (identifier, source_id, vendor, received_at, outcome, note, duplicate_of, peer, method, target, headers,
     body) = row  # fmt: skip
    return Receipt(
        id=identifier,
        source_id=source_id,
        vendor=vendor,
        received_at=received_at,
        outcome=outcome,
        note=note,
        duplicate_of=duplicate_of,
        peer=peer,
        method=method,
        target=target,
        headers=headers,
        body=body,
    )


def _summary(row: Row) -> Summary:
    identifier, source_id, vendor, received_at, outcome, note, duplicate_of, peer, method, size = row
    return Summary(
        id=identifier,
        source_id=source_id,
        vendor=vendor,
        received_at=received_at,
        outcome=outcome,
        note=note,
        duplicate_of=duplicate_of,
        peer=peer,
        method=method,
        size=size,
    )
