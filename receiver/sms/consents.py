"""Changes of the opt-out list: whom one is about, how far it reaches, and the `contact.*` event that tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from receiver.sms.identity import short


@dataclass(slots=True, kw_only=True)
class Consent:
    """A change of the opt-out list that an event brings; `data` is the follow-up `contact.*` event's."""

    opted_out: bool
    number: str
    sender: str
    scope: str
    via: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a change of the opt-out list is about and how far it goes: `scope_id` names a group."""

    scope: str
    scope_id: str | None
    number: Mapping[str, Any] | None
    sender: Mapping[str, Any] | None

    @property
    def known(self) -> str:
        """The scope, unless it means a sender that nobody named."""
        return "unknown" if self.scope == "sender" and self.sender is None else self.scope

    def consent(self, via: str, data: dict[str, Any], *, opted_out: bool) -> Consent | None:
        """The line of the list; None where it is not known who changed their mind."""
        if self.number is None:
            return None
        scope = self.known
        sender = {"sender": named(self.sender), "group": short(self.scope_id or "")}.get(scope, "")
        return Consent(opted_out=opted_out, number=named(self.number), sender=sender, scope=scope, via=via, data=data)


def follow_up(source: Mapping[str, Any], reach: Reach, via: str, *, opted_out: bool) -> Consent | None:
    """The change that a message or a report brings; `source` is that event's data."""
    data = {
        "number": reach.number,
        "sender": reach.sender,
        "scope": reach.known,
        "channel": source["channel"],
        "vendor": source["vendor"],
        "source_id": source["source_id"],
        "receipt_id": source["receipt_id"],
        "message_id": "",
        "via": via,
        "keyword": source.get("keyword"),
        "received_at": source["received_at"],
        "flags": [],
        "extra": source["extra"] if reach.known == "group" else {},
    }
    return reach.consent(via, data, opted_out=opted_out)


def named(found: Mapping[str, Any] | None) -> str:
    """The address as the list keeps it."""
    return short(found["address"]) if found else ""
