"""What reports that are read again do to the states of their messages.

A correction may say less than what it corrects, so the state is then weighed anew, from every report that stands.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from receiver.intake.understand import reread
from receiver.sms.compose import Entry
from receiver.sms.corrections import evidence
from receiver.sms.state import State, advance
from receiver.sms.timestamps import from_text
from receiver.storage import corrections, messages, receipts
from receiver.storage.catalog import Door
from receiver.storage.corrections import Standing
from receiver.storage.database import Reader

MOST: Final = 200
"""Reports of one message that are weighed anew; a message with more keeps its state, which then only moves on."""

Action = Literal["new", "corrected", "part", "stands"]


@dataclass(slots=True, kw_only=True)
class Change:
    """One event that differs from what is said now.

    action       `new`, `corrected`, `part` (of a long message: it waits for the others), or `stands`: an event that
                 the adapter no longer finds
    entry        what is said now; None of what stands
    old          the event that is superseded, or stands
    message_id   what it is about; None where that is a new message
    fields       what is said differently
    claims       whether its identity is to be its own; `names`: likewise its message's
    long         set where a long message is joined anew
    state        of its message afterwards, where it is a report
    """

    action: Action
    entry: Entry | None = None
    old: Standing | None = None
    message_id: str | None = None
    fields: Sequence[str] = ()
    claims: bool = True
    names: bool = True
    long: bool = False
    state: State | None = None


async def restate(
    reader: Reader, changes: Sequence[Change], door: Door, public_url: str
) -> Mapping[str, State | None]:  # fmt: skip
    """Finishes the reports among the changes; returns the states of messages that lost a report to another one."""
    gone = _superseded(changes)
    shown: dict[str, State | None] = {}
    base: dict[str, State | None] = {}
    for message_id in {*gone, *(change.message_id for change in changes if _reports(change) and change.message_id)}:
        shown[message_id] = base[message_id] = await messages.state(reader, message_id)
        if message_id in gone:
            base[message_id] = await _weighed(reader, message_id, gone[message_id], door, public_url, shown[message_id])
    about: set[str] = set()
    for change in changes:
        entry = change.entry
        if entry is None or entry.evidence is None:
            continue
        name = change.message_id or entry.message or ""
        about.add(name)
        before, known = base.get(name), shown.get(name)
        change.state, stale = advance(before, entry.evidence)
        entry.data["previous_status"] = known.status if known else None
        entry.data["current_status"] = change.state.status
        entry.data["stale"] = stale
        base[name] = shown[name] = change.state
    return {message_id: base[message_id] for message_id in gone if message_id not in about}


def _reports(change: Change) -> bool:
    return change.entry is not None and change.entry.evidence is not None


def _superseded(changes: Iterable[Change]) -> dict[str, set[str]]:
    """By message the reports that no longer stand."""
    found: dict[str, set[str]] = {}
    for change in changes:
        old = change.old
        if change.action == "corrected" and old is not None and old.type == "message.status":
            found.setdefault(old.data["message_id"], set()).add(old.id)
    return found


async def _weighed(
    reader: Reader, message_id: str, gone: set[str], door: Door, public_url: str, present: State | None
) -> State | None:
    """The state by the reports that stand."""
    standing = await corrections.reports(reader, message_id, MOST + 1)
    if len(standing) > MOST:
        return present
    state: State | None = None
    for item in standing:
        if item.id not in gone:
            order = await _order(reader, item.data, door, public_url)
            state, _ = advance(state, evidence(item.data, order))
    return state


async def _order(reader: Reader, data: Mapping[str, Any], door: Door, public_url: str) -> int | None:
    """The vendor's sequence or time of a recorded report: from its request, for an event holds no sequence."""
    receipt = await receipts.get(reader, data["receipt_id"])
    entries = reread(receipt, door, public_url).entries if receipt else []
    for entry in entries:
        if entry.evidence is not None and _same_words(entry.data, data):
            return entry.evidence.order
    return from_text(data["occurred_at"]) if data["occurred_at"] else None


def _same_words(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("vendor_status", "vendor_code", "part", "occurred_at", "to"))
