"""What an adapter understood of a request, before it becomes an event.

Drafts hold the vendor's values as they came (numbers and ids as strings, times as unix microseconds).
`compose.py` turns them into the public contract of `events.py`.
They are slotted and not frozen only because a frozen instance costs three times as much to make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Intent = Literal["opt_out", "opt_in", "help"]
Scope = Literal["sender", "group", "account", "unknown"]
Channel = str

NOTHING: Mapping[str, Any] = {}


@dataclass(slots=True, kw_only=True)
class Party:
    """One end of a message. `international`: the vendor documents full international digits without `+`."""

    raw: str
    international: bool = False
    country: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None


@dataclass(slots=True, kw_only=True)
class Media:
    """A file of a message. `needs_auth`: the vendor serves it only with the account's credentials."""

    url: str
    content_type: str | None = None
    filename: str | None = None
    size: int | None = None
    needs_auth: bool = False


@dataclass(slots=True, kw_only=True)
class Binary:
    """User data of a binary message and its user data header (3GPP TS 23.040), both as hex digits."""

    data: str
    udh: str | None = None


@dataclass(slots=True, kw_only=True)
class Price:
    """`amount` is a decimal as text; `currency` an ISO 4217 code, None for the vendor's own credits."""

    amount: str
    currency: str | None = None


@dataclass(slots=True, kw_only=True)
class Network:
    mcc: str | None = None
    mnc: str | None = None
    name: str | None = None
    country: str | None = None


@dataclass(slots=True, kw_only=True)
class InboundPart:
    """One segment of a long message that the vendor did not join (`number` counts from 1)."""

    reference: str
    number: int
    total: int


@dataclass(slots=True, kw_only=True)
class ReportPart:
    """The segment that a report is about: its id or number, and how many there are where that is known."""

    id: str | None = None
    number: int | None = None
    total: int | None = None


@dataclass(slots=True, kw_only=True)
class Received:
    """An inbound message (MO)."""

    vendor_message_id: str | None = None
    channel: Channel | None = "sms"
    from_: Party | None = None
    to: Party | None = None
    cc: Sequence[Party] = ()
    text: str | None = None
    media: Sequence[Media] = ()
    binary: Binary | None = None
    segments: int | None = None
    part: InboundPart | None = None
    keyword: str | None = None
    intent: Intent | None = None
    """The vendor's own signal (OptOutType, MessageIntent), never a reading of the text."""
    scope: Scope = "sender"
    """How far an opt-out by this message reaches."""
    scope_id: str | None = None
    """The vendor's id of the group (messaging service, profile, category) that a scope of `group` means."""
    in_reply_to: str | None = None
    client_reference: str | None = None
    price: Price | None = None
    network: Network | None = None
    sent_at: int | None = None
    shared_id: bool = False
    """One vendor id serves several recipients: the recipient belongs to the identity."""
    flags: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Reported:
    """A delivery report (DLR) about an outbound message; `from_` and `to` are the message's, not the request's."""

    status: str
    final: bool
    reason: str | None = None
    permanent: bool | None = None
    vendor_message_id: str | None = None
    client_reference: str | None = None
    batch_id: str | None = None
    channel: Channel | None = "sms"
    from_: Party | None = None
    to: Party | None = None
    vendor_status: str | None = None
    vendor_code: str | None = None
    vendor_description: str | None = None
    occurred_at: int | None = None
    """The vendor's time for this status of this recipient; never the request's or envelope's."""
    sequence: str | None = None
    """The vendor's own counter of reports of one message, where it has one."""
    segments: int | None = None
    part: ReportPart | None = None
    price: Price | None = None
    network: Network | None = None
    opted_out: Scope | None = None
    """Set when the report itself says that the recipient is opted out, and how far that reaches."""
    scope_id: str | None = None
    """The id of the group, where that is `group`."""
    shared_id: bool = False
    flags: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ConsentChanged:
    """The vendor says, without a message, that a person opted out or in."""

    opted_out: bool
    number: Party | None
    sender: Party | None = None
    scope: Scope = "unknown"
    scope_id: str | None = None
    """The id of the group, where the scope is `group`."""
    channel: Channel | None = "sms"
    keyword: str | None = None
    vendor_id: str | None = None
    """The vendor's id of this very notice."""
    occurred_at: int | None = None
    flags: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Ignored:
    """Authentic and understood, but not about a text message: `what` names it for the receipt."""

    what: str


@dataclass(slots=True, kw_only=True)
class Unreadable:
    """One item that the adapter did not understand: `error` says what was missing or odd, never the value."""

    error: str


Draft = Received | Reported | ConsentChanged
Item = Draft | Ignored | Unreadable
