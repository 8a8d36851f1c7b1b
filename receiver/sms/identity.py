"""What makes two requests the same: every identity as one string, from what an adapter declares of its draft.

The log decides by these strings alone (a unique key, never check-then-insert), so a repeat must give the same one
and nothing else may.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from receiver.sms.address import canonical
from receiver.sms.drafts import ConsentChanged, Received, Reported
from receiver.sms.timestamps import DAY, SECOND

MAX_KEY: Final = 256
"""Characters of an identity: what a vendor sends has no end, what a database takes into an index has."""
_SEPARATOR: Final = "\x1f"
_NO_ID: Final = frozenset({"", "0", "null", "none", "undefined"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The source that a draft came through, as far as its events depend on it."""

    source_id: str
    vendor: str
    default_region: str | None = None
    dedup_seconds: int = 60
    reference_days: int = 7
    assemble_after: int = 60


class Identity(NamedTuple):
    """`expires_at`: when the string may be used anew (unix microseconds), None for never; `weak`: no id is in it."""

    key: str
    expires_at: int | None = None
    weak: bool = False


def meaningful(vendor_id: str | None) -> str | None:
    """The id, unless it is one of the ways to say that there is none: empty, `0`, `null`."""
    return None if vendor_id is None or vendor_id.strip().lower() in _NO_ID else vendor_id


def of_received(draft: Received, origin: Origin, content: str, received_at: int, receipt_id: str) -> Identity:
    """By the vendor's id (with its part, with the recipient where one id serves many), else by all that was said.

    `content` is what `content` gives. Without id and time a repeat is one only within `dedup_seconds`; with those
    switched off `receipt_id` makes every message its own.
    """
    vendor_id = meaningful(draft.vendor_message_id)
    part = f"{draft.part.reference}/{draft.part.number}" if draft.part else ""
    if vendor_id is not None:
        shared = canonical(draft.to, origin.default_region) if draft.shared_id else ""
        return Identity(_joined("i", origin.source_id, vendor_id, shared, part))
    receiver = canonical(draft.to, origin.default_region)
    place = (part,) if part else ()
    if draft.sent_at:
        return Identity(_joined("h", origin.source_id, content, receiver, str(draft.sent_at), *place), weak=True)
    expires_at = received_at + origin.dedup_seconds * SECOND
    key = _joined("h", origin.source_id, content, receiver, "", *place)
    if origin.dedup_seconds == 0:
        key = _joined("u", origin.source_id, receipt_id, key)
    return Identity(key, expires_at, weak=True)


def of_long_message(draft: Received, origin: Origin) -> str:
    """What the parts of one message have in common: who wrote whom, the reference, and their number; a hash."""
    sender, receiver = canonical(draft.from_, origin.default_region), canonical(draft.to, origin.default_region)
    reference, total = (draft.part.reference, draft.part.total) if draft.part else ("", 0)
    common = _SEPARATOR.join((origin.source_id, draft.channel or "", sender, receiver, str(total), reference))
    return blake2b(common.encode("utf-8", "replace"), digest_size=16).hexdigest()


def of_report(draft: Reported) -> str:
    """What tells reports of one message apart; the message itself is named by `of_message`."""
    part = draft.part
    return _joined(
        draft.channel or "",
        f"{part.id or ''}/{part.number or ''}" if part else "",
        draft.vendor_status or draft.status,
        draft.vendor_code or "",
        draft.sequence or str(draft.occurred_at or ""),
    )


def of_message(draft: Reported, origin: Origin, report: str, received_at: int) -> Identity:
    """The message that a report is about: by the vendor's id, else for some days by the sender's own reference.

    `report` is what `of_report` gives: where nothing names the message, each report is about one of its own, and
    only a repeat within `dedup_seconds` is the same.
    """
    vendor_id = meaningful(draft.vendor_message_id)
    if vendor_id is not None:
        shared = canonical(draft.to, origin.default_region) if draft.shared_id else ""
        return Identity(_joined("o", origin.source_id, vendor_id, shared))
    recipient = canonical(draft.to, origin.default_region)
    reference = meaningful(draft.client_reference)
    if reference is not None:
        return Identity(_joined("r", origin.source_id, reference, recipient), received_at + origin.reference_days * DAY)
    expires_at = received_at + max(origin.dedup_seconds, 1) * SECOND
    return Identity(_joined("w", origin.source_id, recipient, report), expires_at, weak=True)


def of_consent(draft: ConsentChanged, origin: Origin, known: Sequence[str], received_at: int) -> Identity:
    """By what changed (`known`) and the notice's own id or time; without both a repeat within `dedup_seconds`."""
    moment = meaningful(draft.vendor_id) or str(draft.occurred_at or "")
    key = _joined("c", origin.source_id, *known, "out" if draft.opted_out else "in", moment)
    return Identity(key, None if moment else received_at + origin.dedup_seconds * SECOND)


def of_quarantine(origin: Origin, digest: str, received_at: int) -> Identity:
    """A retry of the same bytes (`digest`) within a day is the same unreadable request."""
    return Identity(_joined("q", origin.source_id, digest), received_at + DAY)


def conversation(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str | None:
    """Two Addresses in either order; None when one is unknown."""
    if one is None or other is None:
        return None
    return _joined(*sorted((one["address"], other["address"])))


def content(sender: Mapping[str, Any] | None, draft: Received) -> str:
    """Hash of sender, text, binary and media: the same id with another one is a conflict."""
    binary = draft.binary.data if draft.binary else ""
    parts = [sender["address"] if sender else "", draft.text or "", binary]
    if draft.media:
        parts += [item.url for item in draft.media]
    return blake2b(_SEPARATOR.join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()


def short(text: str) -> str:
    """The text, or in the place of a long one its hash: as much its own, and fit for an index."""
    return text if len(text) <= MAX_KEY else blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _joined(*parts: str) -> str:
    return short(_SEPARATOR.join(parts))
