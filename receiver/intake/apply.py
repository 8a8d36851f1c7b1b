"""Makes true what reading requests again came to, a bounded number in each step of a job."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from receiver.intake.reparse import Plan, plan
from receiver.intake.restate import Change
from receiver.storage import identities, messages, parts, receipts
from receiver.storage.amend import Amender, Amendment
from receiver.storage.catalog import Catalog
from receiver.storage.database import Transaction, Values
from receiver.storage.ids import Ids
from receiver.storage.jobs import Job, Step
from receiver.storage.owing import Outgoing
from receiver.storage.receipts import Head

LOOKED_AT = 500
"""Receipts that one step looks at, of which it reads so many, until they made so many events or were so many bytes."""
READ, EVENTS, BYTES = 25, 500, 4 * 1024 * 1024

_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reparse:
    """`step` is one step of a job of that kind.

    amender   one that leaves what is owed in store
    held      told, before COMMIT, that parts of long messages are kept to be joined
    """

    catalog: Catalog
    amender: Amender
    ids: Ids
    public_url: str
    held: Callable[[], None]

    async def step(self, transaction: Transaction, job: Job, now: int) -> Step:
        await self.catalog.refresh(transaction)
        rows = await receipts.behind(transaction, job.position, str(job.request.last or ""), LOOKED_AT)
        step = Step(position=job.position)
        read = size = 0
        for row in rows:
            if job.request.receipt.wants(row):
                if read >= READ or step.released >= EVENTS or size >= BYTES:
                    return step
                read += 1
                size += await self._read(transaction, row, step, now)
            step.position, step.done = row.id, step.done + 1
        if len(rows) < LOOKED_AT:
            step.state = "done"
        return step

    async def _read(self, transaction: Transaction, row: Head, step: Step, now: int) -> int:
        """The size of the request."""
        receipt = await receipts.get(transaction, row.id)
        if receipt is None:
            return 0
        await parts.keep_still(transaction, receipt.id)
        made = await plan(transaction, receipt, self.catalog, self.public_url)
        if made.differs:
            outgoing, events = await self.apply(transaction, made, now)
            step.touched |= outgoing.stored
            step.released += events
        return len(receipt.body)

    async def apply(self, transaction: Transaction, made: Plan, now: int) -> tuple[Outgoing, int]:
        """What is owed, and how many events were made of the request."""
        receipt = made.receipt
        claims: dict[str, Values] = {}
        named: dict[str, str] = {}
        written: list[Amendment] = []
        joined: dict[str, str] = {}
        for change in made.changes:
            if change.action in ("new", "corrected"):
                item = self._amendment(change, named, claims, receipt.id)
                written.append(item)
                if change.long:
                    joined[change.message_id or ""] = item.event_id
        outgoing = await self.amender.write(transaction, written, now) if written else Outgoing()
        await self._hold(transaction, made, claims, now)
        identities.put(transaction, list(claims.values()))
        parts.told(transaction, joined, list(joined))
        for message_id, state in made.moved.items():
            await messages.put_state(transaction, message_id, state, now)
        await receipts.settle(transaction, receipt.id, made.outcome, made.note, made.duplicate_of)
        return outgoing, len(written)

    def _amendment(
        self, change: Change, named: dict[str, str], claims: dict[str, Values], receipt_id: str
    ) -> Amendment:  # fmt: skip
        entry = change.entry
        assert entry is not None
        message_id = change.message_id
        if entry.message is not None and message_id is None:
            message_id = named.setdefault(entry.message, self.ids.new("msg"))
            if change.names:
                claims[entry.message] = (entry.message, message_id, receipt_id, None, entry.message_expires_at)
        elif entry.type == "message.received" and message_id is None:
            message_id = self.ids.new("msg")
        supersedes = change.old.id if change.old is not None else None
        item = self.amender.amendment(entry, message_id, state=change.state, supersedes=supersedes)
        if change.claims and entry.identity:
            key = entry.identity if entry.message is None else _SEPARATOR.join(("s", message_id or "", entry.identity))
            claims[key] = (key, item.event_id, receipt_id, entry.content, entry.expires_at)
        return item

    async def _hold(self, transaction: Transaction, made: Plan, claims: dict[str, Values], now: int) -> None:
        """Parts of long messages wait for the others, as those do that just came."""
        holdings: Sequence[parts.Holding] = [
            parts.Holding(made.receipt.id, change.entry, change.entry.held)
            for change in made.changes
            if change.action == "part" and change.entry is not None and change.entry.held is not None
        ]
        if not holdings:
            return
        for _, entry, _ in holdings:
            claims[entry.identity] = (
                entry.identity, self.ids.new("evt"), made.receipt.id, entry.content, entry.expires_at
            )  # fmt: skip
        await parts.hold(transaction, holdings, self.ids.new, now)
        self.held()
