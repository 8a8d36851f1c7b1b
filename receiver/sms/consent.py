"""A change of the opt-out list that nobody's message brought: asked for by the API, by one call or a whole list."""

from dataclasses import dataclass
from typing import Any, Literal

from receiver.sms.address import address
from receiver.sms.compose import Entry
from receiver.sms.drafts import Party
from receiver.sms.timestamps import to_text

Scope = Literal["sender", "group", "account", "unknown"]

_OF_PEOPLE = frozenset({"e164", "short_code"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`scope` is one of Scope. `sender` is yours that it concerns, or the id of the group; None where it concerns all.
    `source_id` is empty, and `vendor` None, where it concerns every source.
    """

    number: str
    opted_out: bool
    scope: str = "account"
    sender: str | None = None
    source_id: str = ""
    vendor: str | None = None
    channel: str | None = None

    @property
    def line(self) -> tuple[str, str, str, str]:
        """What stands for one line of the list: source, number, scope, sender."""
        return self.source_id, self.number, self.scope, self.sender or ""


def person(raw: str, default_region: str | None = None) -> str | None:
    """The address of a person's number, None for what is no number. Digits alone may be international."""
    found = address(Party(raw=raw, international=True), default_region)
    return found["address"] if found and found["kind"] in _OF_PEOPLE else None


def sender_of(raw: str | None) -> str | None:
    """The address of a sender of yours; None where none is named."""
    found = address(Party(raw=raw, international=True)) if raw else None
    return found["address"] if found else None


def entry_of(change: Change, now: int) -> Entry:
    """The `contact.*` event of a change. `now` is unix microseconds."""
    sender = change.sender if change.scope == "sender" else None
    data: dict[str, Any] = {
        "number": address(Party(raw=change.number)),
        "sender": address(Party(raw=sender)) if sender else None,
        "scope": change.scope,
        "channel": change.channel,
        "vendor": change.vendor,
        "source_id": change.source_id or None,
        "receipt_id": None,
        "message_id": None,
        "via": "api",
        "keyword": None,
        "received_at": to_text(now),
        "flags": [],
        "extra": {"group_id": change.sender} if change.scope == "group" else {},
    }
    kind = "contact.opted_out" if change.opted_out else "contact.opted_in"
    return Entry(type=kind, timestamp=now, data=data, identity="")
