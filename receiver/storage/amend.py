"""What is learnt later: events made of requests that were recorded before, some of which correct earlier events.

Long messages that are joined and requests that are read again come this way, in a transaction of somebody else's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from receiver.sms.compose import Entry, encode, follow_up_entry
from receiver.sms.consents import Consent
from receiver.sms.state import State
from receiver.sms.timestamps import from_text
from receiver.storage import corrections, events, messages
from receiver.storage.catalog import Catalog
from receiver.storage.database import Transaction, Values
from receiver.storage.ids import Ids
from receiver.storage.owing import Outgoing, Owing, Room
from receiver.storage.rows import event_row, message_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """One event to be. Its data names request and source.

    follow_up_id  of the `contact.*` event that it may bring
    message_id    what it is about; None where that is no message
    state         of that message after it, where it is a report
    supersedes    the earlier event that it corrects
    """

    event_id: str
    follow_up_id: str
    entry: Entry
    message_id: str | None
    state: State | None = None
    supersedes: str | None = None

    @property
    def bare_consent(self) -> bool:
        return self.entry.type.startswith("contact.")


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the log."""

    event_id: str
    entry: Entry
    message_id: str | None
    supersedes: str | None = None


class Amender:
    """`room` says how many more deliveries a subscription's lane can hold."""

    def __init__(self, catalog: Catalog, ids: Ids, room: Room) -> None:
        self._catalog = catalog
        self._ids = ids
        self._room = room

    def amendment(
        self, entry: Entry, message_id: str | None, *, state: State | None = None, supersedes: str | None = None
    ) -> Amendment:
        """Ids are given in the order of the log, a follow-up's right behind its cause's."""
        return Amendment(
            event_id=self._ids.new("evt"),
            follow_up_id=self._ids.new("evt") if entry.consent else "",
            entry=entry,
            message_id=message_id,
            state=state,
            supersedes=supersedes,
        )

    async def write(self, transaction: Transaction, amendments: Sequence[Amendment], now: int) -> Outgoing:
        """The events, the messages that they are about, the opt-outs that they bring, and what is owed for them."""
        await self._catalog.refresh(transaction)
        for item in amendments:
            if item.message_id is not None:
                item.entry.data["message_id"] = item.message_id
        _save_messages(transaction, amendments, now)
        lines = [line for item in amendments for line in await _with_consent(transaction, item)]
        outgoing, rows, noted = Outgoing(), [], []
        owing = Owing(self._catalog, self._ids, self._room, now)
        for line in lines:
            entry = line.entry
            body = encode(line.event_id, entry, line.supersedes)
            rows.append(event_row(line.event_id, entry.type, entry.data, now, body))
            noted.append((line.event_id, entry.data["receipt_id"], line.supersedes))
            owing.add(outgoing, line.event_id, entry.type, entry.data, body, line.message_id)
        events.insert(transaction, rows)
        corrections.insert(transaction, noted)
        await owing.write(transaction)
        return outgoing


def _save_messages(transaction: Transaction, amendments: Sequence[Amendment], now: int) -> None:
    about: dict[str, list[Amendment]] = {}
    for item in amendments:
        if item.message_id is not None and not item.bare_consent:
            about.setdefault(item.message_id, []).append(item)
    rows: list[Values] = [
        message_row([item.entry for item in reversed(items)], message_id, items[-1].state, now)
        for message_id, items in about.items()
    ]
    messages.correct(transaction, rows)


async def _with_consent(transaction: Transaction, item: Amendment) -> list[_Line]:
    """The event, and behind it what it changed of the opt-out list; one that only repeats the list is no event."""
    line = _Line(item.event_id, item.entry, item.message_id, item.supersedes)
    consent = item.entry.consent
    if consent is None:
        return [line]
    changed = await _changed(transaction, consent, item.event_id if item.bare_consent else item.follow_up_id)
    if item.bare_consent:
        return [line] if changed or item.supersedes else []
    if not changed:
        return [line]
    return [line, _Line(item.follow_up_id, follow_up_entry(item.entry, item.message_id or ""), item.message_id)]


async def _changed(transaction: Transaction, consent: Consent, event_id: str) -> bool:
    """Whether the list says something else now. What is learnt late does not undo what was said since."""
    data = consent.data
    rows = await transaction.fetch(
        """INSERT INTO opt_outs (source_id, number, scope, sender, opted_out, via, event_id, changed_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (source_id, number, scope, sender) DO UPDATE SET opted_out = excluded.opted_out,
               via = excluded.via, event_id = excluded.event_id, changed_at = excluded.changed_at
           WHERE opt_outs.opted_out <> excluded.opted_out AND opt_outs.changed_at <= excluded.changed_at RETURNING 1""",
        data["source_id"], consent.number, consent.scope, consent.sender, int(consent.opted_out), consent.via, event_id,
        from_text(data["received_at"]),
    )  # fmt: skip
    return bool(rows)
