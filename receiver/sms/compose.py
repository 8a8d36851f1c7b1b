"""From a vendor's draft to the public contract: everything of an event but what only the log can know.

What the log adds in its transaction: ids, and a report's effect on the state of its message (`finish_report`).
Pure, and on the hot path: plain dicts in the order of `events.py`; a test holds both equal over every fixture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from receiver.sms import identity
from receiver.sms.address import address
from receiver.sms.consents import Consent, Reach, follow_up, named
from receiver.sms.drafts import (
    Binary,
    ConsentChanged,
    Draft,
    InboundPart,
    Media,
    Network,
    Party,
    Price,
    Received,
    Reported,
)
from receiver.sms.identity import Origin
from receiver.sms.limits import MAX_WORDS, bounded, clean_text, cut, encoded
from receiver.sms.optout import first_word, intent_of
from receiver.sms.segments import measure
from receiver.sms.state import Evidence, State, advance
from receiver.sms.timestamps import to_text, trusted

__all__ = ["Consent", "Entry", "Origin", "compose", "encode", "finish_report", "follow_up_entry", "quarantine"]

WEAK_IDENTITY = "weak_identity"
_SEQUENCE_DIGITS = 18
_LATEST = 10**_SEQUENCE_DIGITS
MAX_PARTS = 255  # 3GPP TS 23.040 section 9.2.3.24.1: the total is one octet


class Held(NamedTuple):
    """Where a part belongs and how many seconds it waits for the others; `group` names the long message."""

    group: str
    number: int
    total: int
    seconds: int
    scope: str
    scope_id: str | None


@dataclass(slots=True, kw_only=True)
class Entry:
    """One event to be.

    identity      the string that makes a repeat a repeat; of a report only the part behind its message's id
    expires_at    when the identity may be used anew, None for never (unix microseconds)
    message       the string that names the message, None where an inbound event is its own message
    held          set where this is a part of a long message, to be joined with the others before it is an event
    content       hash of sender, text and media: the same identity with another hash is a conflict
    """

    type: str
    timestamp: int
    data: dict[str, Any]
    identity: str
    expires_at: int | None = None
    content: str | None = None
    message: str | None = None
    message_expires_at: int | None = None
    evidence: Evidence | None = None
    consent: Consent | None = None
    conversation: str | None = None
    held: Held | None = None


def compose(draft: Draft, origin: Origin, received_at: int, receipt_id: str) -> Entry:
    """The entry of one draft. `receipt_id` also stands in for an identity where repeats cannot be told apart."""
    if isinstance(draft, Received):
        return _received(draft, origin, received_at, receipt_id)
    if isinstance(draft, Reported):
        return _reported(draft, origin, received_at, receipt_id)
    return _consent_changed(draft, origin, received_at, receipt_id)


def quarantine(error: str, digest: str, origin: Origin, received_at: int, receipt_id: str) -> Entry:
    """An authentic request that was not understood; a retry of the same bytes within a day is the same one."""
    known = identity.of_quarantine(origin, digest, received_at)
    data = {
        "receipt_id": receipt_id,
        "source_id": origin.source_id,
        "vendor": origin.vendor,
        "error": clean_text(error[:MAX_WORDS]),
        "received_at": to_text(received_at),
    }
    return Entry(
        type="receipt.quarantined",
        timestamp=received_at,
        data=data,
        identity=known.key,
        expires_at=known.expires_at,
    )


def finish_report(entry: Entry, before: State | None) -> State:
    """Writes into a report what it did to its message; returns the message's state after it."""
    assert entry.evidence is not None
    after, stale = advance(before, entry.evidence)
    entry.data["previous_status"] = before.status if before else None
    entry.data["current_status"] = after.status
    entry.data["stale"] = stale
    return after


def encode(event_id: str, entry: Entry, supersedes: str | None = None) -> bytes:
    """The event's JSON, as it is stored and delivered; at most 64 KiB. `supersedes` is the event that it corrects."""
    event: dict[str, Any] = {
        "id": event_id,
        "type": entry.type,
        "timestamp": to_text(entry.timestamp),
        "supersedes": supersedes,
        "data": entry.data,
    }
    return encoded(event)


def _received(draft: Received, origin: Origin, received_at: int, receipt_id: str) -> Entry:
    sender, receiver = address(draft.from_, origin.default_region), address(draft.to, origin.default_region)
    flags = list(draft.flags)
    text = cut(draft.text, flags)
    if text is None and draft.media:
        text = ""
    content = identity.content(sender, draft)
    known = identity.of_received(draft, origin, content, received_at, receipt_id)
    if known.weak:
        flags.append(WEAK_IDENTITY)
    sent_at = trusted(draft.sent_at, received_at)
    encoding, segments = _encoding(draft, text)
    intent = draft.intent or (intent_of(text) if draft.part is None else None)
    data = {
        "message_id": "",
        "vendor": origin.vendor,
        "source_id": origin.source_id,
        "receipt_id": receipt_id,
        "vendor_message_id": identity.meaningful(draft.vendor_message_id),
        "channel": draft.channel,
        "from": sender,
        "to": receiver,
        "cc": _addresses(draft.cc, origin.default_region) if draft.cc else [],
        "text": text,
        "media": [_media(item) for item in draft.media] if draft.media else [],
        "binary": _binary(draft.binary),
        "encoding": encoding,
        "segments": segments,
        "part": _incomplete(draft),
        "keyword": draft.keyword.upper() if draft.keyword else first_word(text),
        "intent": intent,
        "in_reply_to": draft.in_reply_to,
        "client_reference": draft.client_reference,
        "price": _price(draft.price),
        "network": _network(draft.network),
        "sent_at": None if sent_at is None else to_text(sent_at),
        "received_at": to_text(received_at),
        "flags": flags,
        "extra": bounded(draft.extra, flags),
    }
    entry = Entry(
        type="message.received",
        timestamp=sent_at or received_at,
        data=data,
        identity=known.key,
        expires_at=known.expires_at,
        content=None if known.weak else content,
        conversation=identity.conversation(sender, receiver),
    )
    if draft.part is not None:
        entry.held = _held(draft, draft.part, origin)
    if entry.held is None and intent in ("opt_out", "opt_in"):
        via = "vendor" if draft.intent else "keyword"
        reach = Reach(draft.scope, draft.scope_id, sender, receiver)
        entry.consent = follow_up(entry.data, reach, via, opted_out=intent == "opt_out")
    return entry


def _reported(draft: Reported, origin: Origin, received_at: int, receipt_id: str) -> Entry:
    sender, receiver = address(draft.from_, origin.default_region), address(draft.to, origin.default_region)
    flags = list(draft.flags)
    report = identity.of_report(draft)
    message = identity.of_message(draft, origin, report, received_at)
    if message.weak:
        flags.append(WEAK_IDENTITY)
    occurred_at = trusted(draft.occurred_at, received_at)
    part = draft.part
    data = {
        "message_id": "",
        "vendor": origin.vendor,
        "source_id": origin.source_id,
        "receipt_id": receipt_id,
        "vendor_message_id": identity.meaningful(draft.vendor_message_id),
        "channel": draft.channel,
        "from": sender,
        "to": receiver,
        "client_reference": draft.client_reference,
        "batch_id": draft.batch_id,
        "status": draft.status,
        "final": draft.final,
        "reason": draft.reason,
        "permanent": draft.permanent,
        "vendor_status": draft.vendor_status,
        "vendor_code": draft.vendor_code,
        "vendor_description": draft.vendor_description,
        "occurred_at": None if occurred_at is None else to_text(occurred_at),
        "received_at": to_text(received_at),
        "segments": draft.segments,
        "part": {"id": part.id, "number": part.number, "total": part.total} if part else None,
        "price": _price(draft.price),
        "network": _network(draft.network),
        "previous_status": None,
        "current_status": draft.status,
        "stale": False,
        "flags": flags,
        "extra": bounded(draft.extra, flags),
    }
    entry = Entry(
        type="message.status",
        timestamp=occurred_at or received_at,
        data=data,
        identity=report,
        message=message.key,
        message_expires_at=message.expires_at,
        evidence=_evidence(draft),
        conversation=identity.conversation(sender, receiver),
    )
    if draft.opted_out:
        reach = Reach(draft.opted_out, draft.scope_id, receiver, sender)
        entry.consent = follow_up(entry.data, reach, "report", opted_out=True)
    return entry


def _order(draft: Reported) -> int | None:
    """The vendor's sequence, else its time. Sequences beyond 18 digits count alike, as later than any other: what
    stands must not depend on which came first.
    """
    sequence = draft.sequence
    if not sequence or not (sequence.isascii() and sequence.isdigit()):
        return draft.occurred_at
    digits = sequence.lstrip("0")
    return int(digits or "0") if len(digits) <= _SEQUENCE_DIGITS else _LATEST


def _evidence(draft: Reported) -> Evidence:
    part = draft.part
    return Evidence(
        status=draft.status,
        final=draft.final,
        vendor_status=draft.vendor_status,
        vendor_code=draft.vendor_code,
        order=_order(draft),
        part_id=part.id if part else None,
        part_number=part.number if part else None,
        part_total=part.total if part else None,
    )


def _consent_changed(draft: ConsentChanged, origin: Origin, received_at: int, receipt_id: str) -> Entry:
    number, sender = address(draft.number, origin.default_region), address(draft.sender, origin.default_region)
    reach = Reach(draft.scope, draft.scope_id, number, sender)
    occurred_at = trusted(draft.occurred_at, received_at)
    flags = list(draft.flags)
    data = {
        "number": number,
        "sender": sender,
        "scope": reach.known,
        "channel": draft.channel,
        "vendor": origin.vendor,
        "source_id": origin.source_id,
        "receipt_id": receipt_id,
        "message_id": None,
        "via": "vendor",
        "keyword": draft.keyword,
        "received_at": to_text(received_at),
        "flags": flags,
        "extra": bounded(draft.extra, flags),
    }
    reaching = (named(number), named(sender), reach.known, draft.scope_id or "")
    known = identity.of_consent(draft, origin, reaching, received_at)
    return Entry(
        type="contact.opted_out" if draft.opted_out else "contact.opted_in",
        timestamp=occurred_at or received_at,
        data=data,
        identity=known.key,
        expires_at=known.expires_at,
        consent=reach.consent("vendor", data, opted_out=draft.opted_out),
    )


def follow_up_entry(entry: Entry, message_id: str) -> Entry:
    """The `contact.*` event that an event with a consent brings; it has no identity of its own."""
    consent = entry.consent
    assert consent is not None
    consent.data["message_id"] = message_id
    kind = "contact.opted_out" if consent.opted_out else "contact.opted_in"
    return Entry(type=kind, timestamp=entry.timestamp, data=consent.data, identity="", conversation=entry.conversation)


def _encoding(draft: Received, text: str | None) -> tuple[str | None, int | None]:
    if draft.channel not in ("sms", None):
        return None, draft.segments
    if draft.binary is not None:
        return "binary", draft.segments
    if text is None or draft.media:
        return None, draft.segments
    encoding, segments = measure(text)
    return encoding, draft.segments or segments


def _addresses(parties: Sequence[Party], default_region: str | None) -> list[dict[str, Any]]:
    return [found for party in parties if (found := address(party, default_region))]


def _media(item: Media) -> dict[str, Any]:
    return {
        "url": item.url,
        "content_type": item.content_type,
        "filename": item.filename,
        "size": item.size,
        "needs_auth": item.needs_auth,
    }


def _binary(binary: Binary | None) -> dict[str, Any] | None:
    return {"data": binary.data, "udh": binary.udh} if binary else None


def _price(price: Price | None) -> dict[str, Any] | None:
    return {"amount": price.amount, "currency": price.currency} if price else None


def _network(network: Network | None) -> dict[str, Any] | None:
    if network is None:
        return None
    return {"mcc": network.mcc, "mnc": network.mnc, "name": network.name, "country": network.country}


def _held(draft: Received, part: InboundPart, origin: Origin) -> Held | None:
    """None where parts are told of as they come, or where this one has no place among others."""
    if not origin.assemble_after or not 1 <= part.number <= part.total or not 1 < part.total <= MAX_PARTS:
        return None
    group = identity.of_long_message(draft, origin)
    return Held(group, part.number, part.total, origin.assemble_after, draft.scope, draft.scope_id)


def _incomplete(draft: Received) -> dict[str, Any] | None:
    part = draft.part
    if part is None:
        return None
    total = min(part.total, MAX_PARTS)
    missing: Sequence[int] = [number for number in range(1, total + 1) if number != part.number]
    return {"reference": part.reference, "number": part.number, "total": part.total, "missing": missing}
