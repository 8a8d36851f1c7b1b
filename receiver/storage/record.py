"""The one transaction of an accepted request: receipt, events, the state of their messages, opt-outs, deliveries.

A batch of requests is worked through in a fixed row of statements, whatever its size: messages named, identities
claimed, states moved, events and what is owed for them written. Only what claims its identity becomes an event.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from receiver.sms.compose import Entry, encode, finish_report, follow_up_entry, quarantine
from receiver.sms.consent import Change, entry_of
from receiver.storage import events, identities, messages, opt_outs, parts, receipts, sources
from receiver.storage.catalog import Catalog
from receiver.storage.database import Transaction, Values
from receiver.storage.ids import Ids
from receiver.storage.owing import Outgoing, Owing, Room
from receiver.storage.recording import Consented, Notice, Recorded, Recording
from receiver.storage.rows import event_row, message_row

_SEPARATOR = "\x1f"
_SEEN_EVERY = 1_000_000


@dataclass(slots=True)
class _Pending:
    """One entry on its way: `key` is its identity in full."""

    recorded: Recorded
    entry: Entry
    event_id: str
    follow_up_id: str
    key: str
    message_id: str | None = None
    made_message: bool = False


class Recorder:
    """`record` is the operation for `Batch`; `room` says how many more deliveries a subscription's lane can hold, and
    `holder` is the number of the process that they are leased to.

    `held` is told, before COMMIT, that parts of long messages are kept to be joined.
    """

    def __init__(
        self, catalog: Catalog, ids: Ids, clock: Callable[[], int], room: Room, held: Callable[[], None] = lambda: None,
        holder: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._ids = ids
        self._clock = clock
        self._room = room
        self._holder = holder
        self._held = held
        self._seen: dict[str, int] = {}

    async def record(self, transaction: Transaction, recordings: Sequence[Recording]) -> Sequence[Recorded]:
        """One result a recording, in order. The order of the batch is the order of the log."""
        now = self._clock()
        if transaction.engine != "sqlite":
            self._ids.follow(await events.last_id(transaction))
        seen = self._catalog.look(transaction)
        results = [recording.begin() for recording in recordings]
        pending = self._pending(recordings, results)
        if pending:
            await self._name_messages(transaction, pending, now)
            fresh = await self._claim(transaction, pending, recordings, now)
            await self._catalog.follow(transaction, seen)
            if [item for item in fresh if item.entry.held]:
                fresh = await self._hold(transaction, fresh, now)
            await self._move_states(transaction, fresh, now)
            logged = await self._with_consents(transaction, fresh, now)
            await self._log(transaction, logged, now)
        receipts.insert(transaction, [recording.receipt for recording in recordings])
        self._note_seen(transaction, recordings, now)
        return results

    async def record_once(self, transaction: Transaction, recordings: Sequence[Recording]) -> Sequence[Recorded]:
        """`record` for what may be given again and again, such as a file: the same bytes are taken once a source. The
        result of a repeat says whose it is, and nothing is kept of it.
        """
        keys = [item.once for item in recordings]
        first: dict[str, Recording] = {}
        for key, item in zip(keys, recordings, strict=True):
            first.setdefault(key, item)
        claims = {key: (key, item.receipt.id, item.receipt.id, None, None) for key, item in first.items()}
        known = await identities.claim(transaction, claims, self._clock())
        fresh = [item for key, item in first.items() if key not in known]
        recorded = dict(zip(map(id, fresh), await self.record(transaction, fresh), strict=True)) if fresh else {}
        results = []
        for key, item in zip(keys, recordings, strict=True):
            result = recorded.get(id(item))
            if result is None:
                result = item.begin()
                result.receipt.outcome = "duplicate"
                result.receipt.duplicate_of = known[key].receipt_id if key in known else first[key].receipt.id
            results.append(result)
        return results

    async def tell(self, transaction: Transaction, notices: Sequence[Notice], now: int) -> Outgoing:
        """Records operational events in a transaction of somebody else's, who hands over what comes of them."""
        await self._catalog.refresh(transaction)
        rows, outgoing = [], Outgoing()
        owing = Owing(self._catalog, self._ids, self._room, now, self._holder())
        for notice in notices:
            event_id = self._ids.new("evt")
            body = encode(event_id, Entry(type=notice.type, timestamp=now, data=notice.data, identity=""))
            rows.append(event_row(event_id, notice.type, notice.data, now, body))
            owing.add(outgoing, event_id, notice.type, notice.data, body, None, besides=notice.about)
        events.insert(transaction, rows)
        await owing.write(transaction)
        return outgoing

    async def change_consents(
        self, transaction: Transaction, wishes: Sequence[Sequence[Change]]
    ) -> Sequence[Consented]:
        """Changes of the opt-out list that the API asks for, as one event each; one result a wish, in order."""
        now = self._clock()
        await self._catalog.refresh(transaction)
        rows = []
        owing = Owing(self._catalog, self._ids, self._room, now, self._holder())
        results = []
        for wish in wishes:
            asked = {change.line: (self._ids.new("evt"), change) for change in wish}
            news = await opt_outs.change(
                transaction,
                [(*line, int(it.opted_out), "api", event_id, now) for line, (event_id, it) in asked.items()],
            )
            results.append(Consented(changed=len(news)))
            for event_id, change in asked.values():
                if event_id in news:
                    entry = entry_of(change, now)
                    body = encode(event_id, entry)
                    rows.append(event_row(event_id, entry.type, entry.data, now, body))
                    owing.add(results[-1].outgoing, event_id, entry.type, entry.data, body, None)
        events.insert(transaction, rows)
        await owing.write(transaction)
        return results

    def _pending(self, recordings: Sequence[Recording], results: Sequence[Recorded]) -> list[_Pending]:
        """Ids are given in the order of the log, a follow-up's right behind its cause's."""
        new = self._ids.new
        return [
            _Pending(result, entry, new("evt"), new("evt") if entry.consent else "", entry.identity)
            for recording, result in zip(recordings, results, strict=True)
            for entry in recording.entries
        ]

    async def _name_messages(self, transaction: Transaction, pending: Sequence[_Pending], now: int) -> None:
        """Gives every report its message: the one that its key names, or a new one."""
        proposed: dict[str, _Pending] = {}
        for item in pending:
            if item.entry.message is not None:
                item.message_id = self._ids.new("msg")
                proposed.setdefault(item.entry.message, item)
        if not proposed:
            return
        claims = {
            key: (key, item.message_id, item.recorded.receipt.id, None, item.entry.message_expires_at)
            for key, item in proposed.items()
        }
        known = await identities.claim(transaction, claims, now)
        for item in pending:
            if item.entry.message is not None:
                before = known.get(item.entry.message)
                found = before.subject_id if before else str(claims[item.entry.message][1])
                item.made_message = found == proposed[item.entry.message].message_id
                item.message_id = found
                item.key = _SEPARATOR.join(("s", found, item.entry.identity))

    async def _claim(
        self, transaction: Transaction, pending: Sequence[_Pending], recordings: Sequence[Recording], now: int
    ) -> list[_Pending]:
        """What was not there before, with conflicts turned into quarantine; repeats are noted on their receipts."""
        first: dict[str, _Pending] = {}
        for item in pending:
            first.setdefault(item.key, item)
        known = await identities.claim(transaction, _claims(first.values()), now)
        origins = {recording.receipt.id: recording for recording in recordings}
        candidates: list[_Pending] = []
        conflicts: dict[str, _Pending] = {}
        for item in pending:
            original = first[item.key]
            before = known.get(item.key)
            if before is None and original is item:
                candidates.append(item)
                continue
            receipt_id = before.receipt_id if before else original.recorded.receipt.id
            content = before.content if before else original.entry.content
            receipt = item.recorded.receipt
            receipt.duplicate_of = receipt.duplicate_of or receipt_id
            if content is not None and item.entry.content is not None and content != item.entry.content:
                conflict = _conflict(item, origins[receipt.id])
                if conflicts.setdefault(conflict.key, conflict) is conflict:
                    candidates.append(conflict)
                receipt.outcome = "conflict"
        told_before = await identities.claim(transaction, _claims(conflicts.values()), now) if conflicts else {}
        fresh = [item for item in candidates if conflicts.get(item.key) is not item or item.key not in told_before]
        _note_duplicates(pending, fresh)
        return fresh

    async def _hold(self, transaction: Transaction, fresh: Sequence[_Pending], now: int) -> list[_Pending]:
        """Puts the parts of long messages by; the rest goes on."""
        waiting = [(item, held) for item in fresh if (held := item.entry.held) is not None]
        holdings = [parts.Holding(item.recorded.receipt.id, item.entry, held) for item, held in waiting]
        repeats = await parts.hold(transaction, holdings, self._ids.new, now)
        rest = [item for item in fresh if item.entry.held is None]
        with_news = {id(item.recorded) for item in rest}
        with_news |= {id(item.recorded) for place, (item, _) in enumerate(waiting) if place not in repeats}
        for place, (item, held) in enumerate(waiting):
            receipt = item.recorded.receipt
            if id(item.recorded) not in with_news and receipt.outcome == "stored":
                receipt.outcome, receipt.duplicate_of = "duplicate", repeats[place]
            elif place not in repeats and receipt.note is None:
                receipt.note = f"part {held.number} of {held.total}"
        self._held()
        return rest

    async def _move_states(self, transaction: Transaction, fresh: Sequence[_Pending], now: int) -> None:
        """Makes the messages of new events and moves those that reports are about."""
        moved: dict[str, list[_Pending]] = {}
        existing = {item.message_id for item in fresh if item.message_id and not item.made_message}
        states = dict(await messages.states(transaction, sorted(existing))) if existing else {}
        for item in fresh:
            entry = item.entry
            if entry.evidence is not None:
                assert item.message_id is not None
                states[item.message_id] = finish_report(entry, states.get(item.message_id))
                moved.setdefault(item.message_id, []).append(item)
            elif entry.type == "message.received":
                item.message_id = self._ids.new("msg")
                moved[item.message_id] = [item]
            if item.message_id is not None:
                entry.data["message_id"] = item.message_id
        rows = [
            message_row([item.entry for item in items], message_id, states.get(message_id), now)
            for message_id, items in moved.items()
        ]
        if rows:
            messages.save(transaction, rows)

    async def _with_consents(self, transaction: Transaction, fresh: Sequence[_Pending], now: int) -> list[_Pending]:
        """The log's new lines in order: a change of the opt-out list follows its cause; no change, no line."""
        logged: list[_Pending] = []
        unchanged: list[_Pending] = []
        for item in fresh:
            consent = item.entry.consent
            bare = item.entry.type.startswith("contact.")
            if consent is None or not bare:
                logged.append(item)
            if consent is None:
                continue
            event_id = item.event_id if bare else item.follow_up_id
            line = (item.recorded.receipt.source_id, consent.number, consent.scope, consent.sender)
            changed = await opt_outs.change(
                transaction, [(*line, int(consent.opted_out), consent.via, event_id, now)]
            )  # fmt: skip
            if not changed:
                if bare:
                    unchanged.append(item)
                continue
            if bare:
                logged.append(item)
            else:
                entry = follow_up_entry(item.entry, item.message_id or "")
                logged.append(_Pending(item.recorded, entry, event_id, "", "", item.message_id))
        _note_unchanged(unchanged, logged)
        return logged

    async def _log(self, transaction: Transaction, logged: Sequence[_Pending], now: int) -> None:
        rows = []
        owing = Owing(self._catalog, self._ids, self._room, now, self._holder())
        for item in logged:
            entry, recorded = item.entry, item.recorded
            body = encode(item.event_id, entry)
            rows.append(event_row(item.event_id, entry.type, entry.data, recorded.receipt.received_at, body))
            recorded.events.append((item.event_id, entry.type))
            owing.add(recorded.outgoing, item.event_id, entry.type, entry.data, body, item.message_id)
        events.insert(transaction, rows)
        await owing.write(transaction)

    def _note_seen(self, transaction: Transaction, recordings: Sequence[Recording], now: int) -> None:
        """When each source was last heard of, written at most once a second."""
        moments = {
            recording.receipt.source_id: recording.receipt.received_at
            for recording in recordings
            if recording.tries > 1 or now - self._seen.get(recording.receipt.source_id, 0) >= _SEEN_EVERY
        }
        if moments:
            sources.seen(transaction, moments)
            self._seen.update(moments)


def _conflict(item: _Pending, recording: Recording) -> _Pending:
    """The event that tells of an item whose identity stands for other content, in that item's place in the log."""
    entry = quarantine(
        "the vendor's message id came before with another sender, text or media",
        recording.digest,
        recording.origin,
        recording.receipt.received_at,
        recording.receipt.id,
    )
    return _Pending(item.recorded, entry, item.event_id, "", entry.identity)


def _claims(items: Iterable[_Pending]) -> dict[str, Values]:
    """Rows of identities by their key."""
    return {
        item.key: (item.key, item.event_id, item.recorded.receipt.id, item.entry.content, item.entry.expires_at)
        for item in items
    }


def _note_duplicates(pending: Sequence[_Pending], fresh: Sequence[_Pending]) -> None:
    """A receipt of nothing but repeats is a duplicate; one with anything new is not."""
    with_news = {id(item.recorded) for item in fresh}
    for item in pending:
        receipt = item.recorded.receipt
        if receipt.outcome == "conflict":
            continue
        if id(item.recorded) in with_news:
            receipt.duplicate_of = None
        else:
            receipt.outcome = "duplicate"


def _note_unchanged(unchanged: Sequence[_Pending], logged: Sequence[_Pending]) -> None:
    """A receipt of nothing but consents that were known already brings nothing."""
    with_news = {id(item.recorded) for item in logged}
    for item in unchanged:
        receipt = item.recorded.receipt
        if receipt.outcome == "stored" and id(item.recorded) not in with_news:
            receipt.outcome, receipt.note = "ignored", "consent_unchanged"
