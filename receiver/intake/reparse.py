"""Requests that were kept, read again by their source's adapter and present options; what comes of it.

`plan` compares what a request says now with its events as they stand; `receiver.intake.apply` makes it true:
a new event for what was not understood, a correction for what was understood otherwise. What the adapter no longer
finds stands: an event can be corrected, not taken back. Twice is once, for then there is no difference.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from receiver.intake.restate import Change, restate
from receiver.intake.understand import Understood, reread
from receiver.sms.compose import Entry
from receiver.sms.corrections import about_the_same, changes
from receiver.sms.joining import Part, joined
from receiver.sms.state import State
from receiver.sms.subject import ERASED
from receiver.storage import corrections, identities, parts, receipts
from receiver.storage.catalog import Catalog, Door
from receiver.storage.corrections import Standing
from receiver.storage.database import Reader
from receiver.storage.identities import Identity
from receiver.storage.receipts import Outcome, Receipt

_COMPARED_MOST = 100
_SEPARATOR = "\x1f"
Skipped = Literal["no_source", "erased"]


@dataclass(slots=True, kw_only=True)
class Plan:
    """What reading a receipt again comes to. `outcome`, `note` and `duplicate_of` are the receipt's afterwards.

    skipped   why it was not read
    error     what of it cannot be read today
    moved     the states of messages that lost a report to another one
    """

    receipt: Receipt
    changes: list[Change] = field(default_factory=list)
    skipped: Skipped | None = None
    error: str | None = None
    outcome: Outcome
    note: str | None = None
    duplicate_of: str | None = None
    moved: Mapping[str, State | None] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        return bool(self.changes) or self.outcome != self.receipt.outcome


class _Read(NamedTuple):
    """An entry with its identity; `message_id` of a report is that of its message, where that is known.

    `claims` and `names`: whether its identity, and its message's name, are not a later request's by now.
    """

    entry: Entry
    message_id: str | None
    known: Identity | None
    claims: bool
    names: bool


async def plan(
    reader: Reader, receipt: Receipt, catalog: Catalog, public_url: str, claimed: set[str] | None = None
) -> Plan:
    """Writes nothing. `claimed`: what earlier plans of the same run would claim, for those that are not applied."""
    made = Plan(receipt=receipt, outcome=receipt.outcome, note=receipt.note, duplicate_of=receipt.duplicate_of)
    door = catalog.door_of(receipt.source_id)
    if door is None:
        made.skipped = "no_source"
        return made
    standing = await corrections.standing(reader, receipt.id, receipt.received_at)
    if receipt.note == ERASED or any(ERASED in item.data.get("flags", ()) for item in standing):
        made.skipped = "erased"
        return made
    understood = reread(receipt, door, public_url)
    made.error = understood.error
    long = await parts.of_receipt(reader, receipt.id)
    quarantine = next((item for item in standing if item.type == "receipt.quarantined"), None)
    old = [item for item in standing if _comparable(item, long)]
    read = await _identified(reader, understood.entries, receipt)
    read = [item for item in read if _name(item.entry) not in (claimed or ())]
    if receipt.outcome == "duplicate" and receipt.duplicate_of is not None:
        read = await _without_the_originals(reader, read, receipt.duplicate_of, door, public_url)
    if long and receipt.outcome != "quarantined":
        read = [item for item in read if not _is_apart(item)]
    made.changes = _compared(read, old, receipt, quarantine if understood.error is None else None)
    made.changes += await _rejoined(reader, receipt, long, door, public_url)
    if claimed is not None:
        claimed |= {_name(change.entry) for change in made.changes if change.entry is not None and change.claims}
    made.moved = await restate(reader, made.changes, door, public_url)
    _settle(made, understood, read)
    return made


def _comparable(item: Standing, long: Sequence[str]) -> bool:
    """Neither what only follows from another event nor what was joined of several requests."""
    if item.type == "receipt.quarantined" or item.data.get("message_id") in long:
        return False
    return not (item.type.startswith("contact.") and item.data["message_id"])


def _is_apart(item: _Read) -> bool:
    """Parts that were put together stay so, whatever they are taken for now; what they say is read again as a whole."""
    return item.entry.type == "message.received" and item.known is None


def _name(entry: Entry) -> str:
    return _SEPARATOR.join((entry.message or "", entry.identity))


async def _identified(reader: Reader, entries: Sequence[Entry], receipt: Receipt) -> list[_Read]:
    """Each entry once, with whose its identity is. A claim for a time counts as long before as after it was made."""
    once = list({_name(entry): entry for entry in reversed(entries)}.values())[::-1]
    named = await identities.find(reader, [entry.message for entry in once if entry.message is not None])
    message_ids = {
        key: found.subject_id
        for entry in once
        if (key := entry.message) is not None
        and (found := named.get(key)) is not None
        and _same_time(found, entry.message_expires_at, receipt)
    }
    keys = [_key(entry, message_ids.get(entry.message or "")) for entry in once]
    known = await identities.find(reader, [key for key in keys if key is not None])
    read = []
    for entry, key in zip(once, keys, strict=True):
        found = known.get(key) if key is not None else None
        name = named.get(entry.message or "")
        same = found is not None and _same_time(found, entry.expires_at, receipt)
        read.append(
            _Read(
                entry,
                message_ids.get(entry.message or ""),
                found if same else None,
                claims=not _later(found, entry.expires_at),
                names=not _later(name, entry.message_expires_at),
            )
        )
    return read


def _later(found: Identity | None, expires_at: int | None) -> bool:
    return found is not None and (found.expires_at or 0) > (expires_at or 0)


def _key(entry: Entry, message_id: str | None) -> str | None:
    if entry.message is None:
        return entry.identity
    return None if message_id is None else _SEPARATOR.join(("s", message_id, entry.identity))


def _same_time(found: Identity, expires_at: int | None, receipt: Receipt) -> bool:
    if found.expires_at is None or expires_at is None:
        return True
    return abs(expires_at - found.expires_at) < expires_at - receipt.received_at or found.receipt_id == receipt.id


async def _without_the_originals(
    reader: Reader, read: list[_Read], original_id: str, door: Door, public_url: str
) -> list[_Read]:
    """A repeat stays one, however its original is read today."""
    original = await receipts.get(reader, original_id)
    if original is None:
        return read
    names = {_name(entry) for entry in reread(original, door, public_url).entries}
    return [item for item in read if _name(item.entry) not in names]


def _compared(
    read: Sequence[_Read], old: Sequence[Standing], receipt: Receipt, quarantine: Standing | None
) -> list[Change]:
    """Events pair with what is said now by identity, then by their place in the request."""
    left = {item.id: item for item in old}
    pairs: list[tuple[_Read, Standing]] = []
    fresh: list[_Read] = []
    for item in read:
        before = left.pop(item.known.subject_id, None) if item.known else None
        if before is None and item.known is not None and item.known.receipt_id != receipt.id:
            before = _said_before(item.entry, left)  # its identity has become another's since
        if before is not None:
            pairs.append((item, before))
        elif item.known is None:
            fresh.append(item)
    places = _Places(left.values())
    found = []
    for item in fresh:
        before = places.take(item.entry.type)
        if before is None:
            found.append(_fresh(item, quarantine))
        else:
            pairs.append((item, before))
    corrected = [change for item, before in pairs if (change := _corrected(item, before)) is not None]
    stands = [Change(action="stands", old=item, message_id=item.data.get("message_id")) for item in places.left]
    return [*corrected, *found, *stands]


def _said_before(entry: Entry, left: dict[str, Standing]) -> Standing | None:
    """The event that says the very same, taken out of those that are left."""
    for before in islice(left.values(), _COMPARED_MOST):
        if not changes(before.event, entry):
            return left.pop(before.id)
    return None


class _Places:
    """Events in their order, given to what stands in their place now: the first of its type, else the first of all."""

    def __init__(self, events: Iterable[Standing]) -> None:
        self._by_type: dict[str, deque[Standing]] = {}
        for item in events:
            self._by_type.setdefault(item.type, deque()).append(item)

    def take(self, event_type: str) -> Standing | None:
        for events in (self._by_type.get(event_type), *self._by_type.values()):
            if events:
                return events.popleft()
        return None

    @property
    def left(self) -> list[Standing]:
        return [item for events in self._by_type.values() for item in events]


def _corrected(item: _Read, before: Standing) -> Change | None:
    fields = changes(before.event, item.entry)
    if not fields:
        return None
    same = about_the_same(before.event, item.entry)
    return Change(
        action="corrected",
        entry=item.entry,
        old=before,
        message_id=before.data.get("message_id") if same else item.message_id,
        fields=fields,
        claims=item.claims,
        names=item.names,
    )


def _fresh(item: _Read, quarantine: Standing | None) -> Change:
    return Change(
        action="part" if item.entry.held else "new",
        entry=item.entry,
        old=quarantine,
        message_id=item.message_id,
        claims=item.claims,
        names=item.names,
    )


async def _rejoined(
    reader: Reader, receipt: Receipt, long: Sequence[str], door: Door, public_url: str
) -> list[Change]:  # fmt: skip
    """Long messages that were told of are read again with the request of their first part, from all their requests."""
    found = []
    for message_id in long:
        known = await parts.told_of(reader, message_id)
        if known is None or known.receipts[0][1] != receipt.id:
            continue
        event = await corrections.one(reader, known.event_id)
        read = [await _part(reader, number, receipt_id, door, public_url) for number, receipt_id in known.receipts]
        whole = [part for part in read if part is not None]
        if event is None or len(whole) < len(read):
            continue
        entry = joined(whole)
        fields = changes(event.event, entry)
        if fields:
            found.append(
                Change(
                    action="corrected", entry=entry, old=event, message_id=message_id, fields=fields, claims=False,
                    long=True,
                )
            )  # fmt: skip
    return found


async def _part(reader: Reader, number: int, receipt_id: str, door: Door, public_url: str) -> Part | None:
    """None where the request no longer says that it is that part."""
    receipt = await receipts.get(reader, receipt_id)
    entries = reread(receipt, door, public_url).entries if receipt else []
    for entry in entries:
        held = entry.held
        if held is not None and held.number == number:
            return Part(
                number=number, timestamp=entry.timestamp, data=entry.data, scope=held.scope, scope_id=held.scope_id
            )
    return None


def _settle(made: Plan, understood: Understood, read: Sequence[_Read]) -> None:
    """What the receipt is afterwards."""
    told = [change for change in made.changes if change.entry is not None]
    if understood.error is not None:
        if told:
            made.outcome, made.note = "quarantined", understood.error
        return
    if told:
        made.outcome, made.note, made.duplicate_of = "stored", None, None
    elif made.receipt.outcome == "quarantined":
        owners = [item.known.receipt_id for item in read if item.known]
        others = [owner for owner in owners if owner != made.receipt.id]
        made.note = None if owners else understood.ignored
        made.outcome = "ignored" if not owners else "duplicate" if len(others) == len(owners) else "stored"
        made.duplicate_of = others[0] if made.outcome == "duplicate" else None
