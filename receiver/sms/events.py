"""The public event contract: what the log, the API, the stream and every subscriber see.

These models are the single definition: OpenAPI and the documentation derive from them. Every field is always
present; null means unknown. Fields, types and words are added over time, never removed or given another meaning.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

STATUSES = ("accepted", "sent", "delivered", "read", "undelivered", "rejected", "expired", "failed", "canceled",
            "unknown")  # fmt: skip
REASONS = ("absent", "invalid_number", "opted_out", "do_not_disturb", "no_consent", "blocked", "filtered",
           "not_allowed", "sender_rejected", "template_rejected", "inbox_full", "handset_error", "network_error",
           "unroutable", "expired", "no_credit", "duplicate", "throttled", "vendor_error", "other")  # fmt: skip
FLAGS = ("weak_identity", "charset_guessed", "time_guessed", "truncated", "reply_matched", "erased")
LOGGED_TYPES = ("message.received", "message.status", "contact.opted_out", "contact.opted_in", "receipt.quarantined",
                "subscription.failing", "subscription.disabled", "subscription.recovered",
                "source.silent")  # fmt: skip
TYPES = (*LOGGED_TYPES, "test.ping")

Time = Annotated[str, Field(examples=["2026-11-20T14:47:03.123Z"], description="UTC, milliseconds, Z")]
Status = Annotated[
    str, Field(examples=list(STATUSES), description="a reader judges a word it does not know by `final`")
]
Reason = Annotated[str, Field(examples=list(REASONS), description="take a word you do not know as `other`")]
Flags = Annotated[list[str], Field(examples=[list(FLAGS)], description="our remarks about this event")]
Extra = Annotated[dict[str, Any], Field(description="vendor fields without a place here, as the vendor names them")]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Address(Model):
    address: str = Field(examples=["+447700900123"])
    kind: str = Field(examples=["e164", "short_code", "alphanumeric", "unknown"])
    raw: str
    country: str | None = Field(examples=["GB"], description="ISO 3166-1 alpha-2")
    city: str | None
    region: str | None
    postal_code: str | None


class Media(Model):
    url: str
    content_type: str | None
    filename: str | None
    size: int | None
    needs_auth: bool = Field(description="the vendor serves the file only with your account's credentials")


class Binary(Model):
    data: str = Field(description="hex digits")
    udh: str | None = Field(description="user data header (3GPP TS 23.040), hex digits")


class IncompletePart(Model):
    reference: str
    number: int
    total: int
    missing: list[int]


class ReportPart(Model):
    id: str | None
    number: int | None
    total: int | None


class Price(Model):
    amount: str = Field(examples=["0.0182"])
    currency: str | None = Field(description="ISO 4217; null for the vendor's credits")


class Network(Model):
    mcc: str | None
    mnc: str | None
    name: str | None
    country: str | None


class _Origin(Model):
    message_id: str = Field(examples=["msg_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    vendor: str
    source_id: str
    receipt_id: str
    vendor_message_id: str | None
    channel: str | None = Field(examples=["sms", "mms", "whatsapp", "rcs", "viber"])
    from_: Address | None = Field(alias="from")
    to: Address | None


class MessageReceived(_Origin):
    cc: list[Address]
    text: str | None
    media: list[Media]
    binary: Binary | None
    encoding: str | None = Field(examples=["gsm7", "ucs2", "binary"])
    segments: int | None
    part: IncompletePart | None
    keyword: str | None
    intent: str | None = Field(examples=["opt_out", "opt_in", "help"])
    in_reply_to: str | None
    client_reference: str | None
    price: Price | None
    network: Network | None
    sent_at: Time | None
    received_at: Time
    flags: Flags
    extra: Extra


class MessageStatus(_Origin):
    client_reference: str | None
    batch_id: str | None
    status: Status
    final: bool
    reason: Reason | None
    permanent: bool | None
    vendor_status: str | None
    vendor_code: str | None
    vendor_description: str | None
    occurred_at: Time | None
    received_at: Time
    segments: int | None
    part: ReportPart | None
    price: Price | None
    network: Network | None
    previous_status: Status | None
    current_status: Status
    stale: bool
    flags: Flags
    extra: Extra


class ContactChanged(Model):
    number: Address | None
    sender: Address | None
    scope: str = Field(examples=["sender", "group", "account", "unknown"])
    channel: str | None
    vendor: str | None
    source_id: str | None
    receipt_id: str | None
    message_id: str | None
    via: str = Field(examples=["keyword", "vendor", "report", "api"])
    keyword: str | None
    received_at: Time
    flags: Flags
    extra: Extra


class ReceiptQuarantined(Model):
    receipt_id: str
    source_id: str
    vendor: str
    error: str
    received_at: Time


class TestPing(Model):
    subscription_id: str
    text: str


class _Event(Model):
    id: str = Field(examples=["evt_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    timestamp: Time
    supersedes: str | None


class MessageReceivedEvent(_Event):
    type: Literal["message.received"]
    data: MessageReceived


class MessageStatusEvent(_Event):
    type: Literal["message.status"]
    data: MessageStatus


class ContactOptedOutEvent(_Event):
    type: Literal["contact.opted_out"]
    data: ContactChanged


class ContactOptedInEvent(_Event):
    type: Literal["contact.opted_in"]
    data: ContactChanged


class ReceiptQuarantinedEvent(_Event):
    type: Literal["receipt.quarantined"]
    data: ReceiptQuarantined


class TestPingEvent(_Event):
    type: Literal["test.ping"]
    data: TestPing


Event = Annotated[
    MessageReceivedEvent
    | MessageStatusEvent
    | ContactOptedOutEvent
    | ContactOptedInEvent
    | ReceiptQuarantinedEvent
    | TestPingEvent,
    Field(discriminator="type"),
]
EVENT_MODELS: dict[str, type[_Event]] = {
    "message.received": MessageReceivedEvent,
    "message.status": MessageStatusEvent,
    "contact.opted_out": ContactOptedOutEvent,
    "contact.opted_in": ContactOptedInEvent,
    "receipt.quarantined": ReceiptQuarantinedEvent,
    "test.ping": TestPingEvent,
}
