"""The public event contract: what the log, the API, the stream and every subscriber see.

These models are the single definition: OpenAPI and the documentation derive from them. Every field is always
present; null means unknown. Fields, types and words are added over time, never removed or given another meaning.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

STATUS_MEANINGS: Mapping[str, tuple[str, str]] = {
    "accepted": ("no", "the vendor has it, queued or scheduled"),
    "sent": ("no", "handed to the operator, or queued there"),
    "delivered": ("yes", "on the handset, as far as the vendor can tell"),
    "read": ("yes", "a read receipt came"),
    "undelivered": ("yes", "operator or handset said no"),
    "rejected": ("yes", "refused before the operator: policy, filter, bad number, opt-out, credit"),
    "expired": ("yes", "its validity ran out"),
    "failed": ("yes", "the vendor's own fault, or a failure without a category"),
    "canceled": ("yes", "withdrawn by the sender"),
    "unknown": ("only if the vendor says so", "a word that our table lacks: counted, visible, never an error"),
}
"""Status → whether it is usually final, and what it means."""

REASON_MEANINGS: Mapping[str, str] = {
    "absent": "off, out of reach, no answer",
    "invalid_number": "unassigned or malformed",
    "opted_out": "the person said STOP",
    "do_not_disturb": "on a public register",
    "no_consent": "consent is not on file",
    "blocked": "barred or black-listed by operator, vendor or plan",
    "filtered": "content or spam filter",
    "not_allowed": "country, hour, age or regulation",
    "sender_rejected": "sender, header or entity not registered",
    "template_rejected": "the text matches no registered template",
    "inbox_full": "no room on the handset",
    "handset_error": "the handset refused or failed",
    "network_error": "the operator's network failed",
    "unroutable": "no route, or a landline",
    "expired": "not delivered within its validity",
    "no_credit": "the account or the subscriber has no credit",
    "duplicate": "taken for a repeat by vendor or operator",
    "throttled": "too many at once",
    "vendor_error": "the vendor's own trouble",
    "other": "none of these; see `vendor_code` and `vendor_description`",
}
FLAG_MEANINGS: Mapping[str, str] = {
    "weak_identity": "the vendor gave no id, so a repeat is told by content and time alone",
    "charset_guessed": "the bytes were not valid in the declared charset, or in UTF-8 where none was declared",
    "time_guessed": "the vendor's time was ambiguous and read in the likelier way",
    "truncated": "a text, or `extra`, was cut; the receipt holds all",
    "reply_matched": "the message that it answers was found by us, not named by the vendor",
    "no_final_report": "closed by us: the vendor's final report did not come in the time that the source gives it",
    "erased": "a person's data was erased from it",
}
TYPE_MEANINGS: Mapping[str, str] = {
    "message.received": "an inbound message (MO) came, on any channel",
    "message.status": "a delivery report (DLR) about an outbound message came",
    "contact.opted_out": "a person opted out: by a word, by the vendor's signal or by a report; follows its cause",
    "contact.opted_in": "a person opted in again, in one of the same ways",
    "receipt.quarantined": "an authentic request was kept, but not understood, wholly or in part",
    "subscription.failing": "a subscription fails; never sent to that subscription itself",
    "subscription.disabled": "a subscription was disabled; never sent to that subscription itself",
    "subscription.recovered": "a failing subscription takes deliveries again",
    "source.silent": "a source has not called for longer than it was told to expect",
    "test.ping": "sent on request to one subscription; not in the log",
}

STATUSES = tuple(STATUS_MEANINGS)
REASONS = tuple(REASON_MEANINGS)
FLAGS = tuple(FLAG_MEANINGS)
TYPES = tuple(TYPE_MEANINGS)

Time = Annotated[str, Field(examples=["2026-11-20T14:47:03.123Z"], description="UTC, milliseconds, Z")]
Status = Annotated[
    str, Field(examples=list(STATUSES), description="a reader judges a word it does not know by `final`")
]
Reason = Annotated[str, Field(examples=list(REASONS), description="take a word you do not know as `other`")]
Flags = Annotated[list[str], Field(examples=[list(FLAGS)], description="our remarks about this event")]
Extra = Annotated[dict[str, Any], Field(description="vendor fields without a place here, as the vendor names them")]
ReceivedAt = Annotated[Time, Field(description="when this receiver accepted the request")]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Address(Model):
    address: str = Field(examples=["+447700900123"], description="E.164 where that is certain, else the trimmed `raw`")
    kind: str = Field(
        examples=["e164", "short_code", "alphanumeric", "unknown"], description="what `address` is; more may follow"
    )
    raw: str = Field(description="as the vendor wrote it")
    country: str | None = Field(examples=["GB"], description="ISO 3166-1 alpha-2")
    city: str | None = Field(description="from vendors that tell it")
    region: str | None = Field(description="from vendors that tell it")
    postal_code: str | None = Field(description="from vendors that tell it")


class Media(Model):
    url: str = Field(description="where the vendor serves the file; not fetched by us")
    content_type: str | None = Field(examples=["image/jpeg"], description="as the vendor declares it")
    filename: str | None = Field(description="as the vendor declares it; not safe as a path")
    size: int | None = Field(description="bytes")
    needs_auth: bool = Field(description="the vendor serves the file only with your account's credentials")


class Binary(Model):
    data: str = Field(description="hex digits")
    udh: str | None = Field(description="user data header (3GPP TS 23.040), hex digits")


class IncompletePart(Model):
    reference: str = Field(description="what the parts of one message have in common")
    number: int = Field(description="which part this is, from 1")
    total: int = Field(description="how many parts there are")
    missing: list[int] = Field(description="the parts that are not in this event")


class ReportPart(Model):
    id: str | None = Field(description="the vendor's id of the part")
    number: int | None = Field(description="which part, from 1")
    total: int | None = Field(description="how many parts the message has")


class Price(Model):
    amount: str = Field(examples=["0.0182"], description="a decimal, as text")
    currency: str | None = Field(description="ISO 4217; null for the vendor's credits")


class Network(Model):
    mcc: str | None = Field(description="mobile country code (ITU-T E.212)")
    mnc: str | None = Field(description="mobile network code (ITU-T E.212)")
    name: str | None = Field(description="the operator's name, as the vendor writes it")
    country: str | None = Field(description="ISO 3166-1 alpha-2")


class _Origin(Model):
    message_id: str = Field(
        examples=["msg_01k5z2v0c3x9q8w7e6r5t4y3u2"], description="ours; the same in every report about one message"
    )
    vendor: str = Field(examples=["twilio"], description="the vendor's name here")
    source_id: str = Field(description="the source that the request came through")
    receipt_id: str = Field(description="the request as it came")
    vendor_message_id: str | None = Field(description="the vendor's id; of a report, what its send call returned")
    channel: str | None = Field(
        examples=["sms", "mms", "whatsapp", "rcs", "viber"], description="null where the vendor does not tell"
    )
    from_: Address | None = Field(alias="from", description="who sent the message (not: the request)")
    to: Address | None = Field(description="who was to get it")


class MessageReceived(_Origin):
    cc: list[Address] = Field(description="the others in a group")
    text: str | None = Field(description="empty: known to have no words; null: neither text nor file")
    media: list[Media] = Field(description="files that came with it")
    binary: Binary | None = Field(description="of a binary message")
    encoding: str | None = Field(examples=["gsm7", "ucs2", "binary"], description="from the text; null off SMS")
    segments: int | None = Field(description="the vendor's count, else ours")
    part: IncompletePart | None = Field(description="set when this is only a part of a long message")
    keyword: str | None = Field(description="the vendor's, else the first word, in upper case")
    intent: str | None = Field(
        examples=["opt_out", "opt_in", "help"],
        description="the vendor's signal, else a listed word that is the whole text",
    )
    in_reply_to: str | None = Field(description="the vendor's id of the outbound message that it answers")
    client_reference: str | None = Field(description="your own reference of that outbound message")
    price: Price | None = Field(description="what the vendor charges for it")
    network: Network | None = Field(description="the sender's operator")
    sent_at: Time | None = Field(description="the vendor's time, where it can be trusted")
    received_at: ReceivedAt
    flags: Flags
    extra: Extra


class MessageStatus(_Origin):
    client_reference: str | None = Field(description="your own words, as given when it was sent; need not be unique")
    batch_id: str | None = Field(description="the vendor's id of the batch or campaign")
    status: Status = Field(description="what this report says; judge a word that you do not know by `final`")
    final: bool = Field(description="the vendor expects no further report; act on `current_status`")
    reason: Reason | None = Field(
        description="why it failed, or why it is still tried; take a word that you do not know as `other`"
    )
    permanent: bool | None = Field(description="true: do not try this number again; false: it may work later")
    vendor_status: str | None = Field(description="the vendor's own word")
    vendor_code: str | None = Field(description="the vendor's error code, as it came")
    vendor_description: str | None = Field(description="the vendor's explanation, as it came")
    occurred_at: Time | None = Field(description="the vendor's time of this status, where it can be trusted")
    received_at: ReceivedAt
    segments: int | None = Field(description="as the vendor counted them")
    part: ReportPart | None = Field(description="set when the report is about one segment")
    price: Price | None = Field(description="for all parts that this report knows")
    network: Network | None = Field(description="the recipient's operator")
    previous_status: Status | None = Field(
        description="the message's status before this report; null if it is the first"
    )
    current_status: Status = Field(description="the message's status after it")
    stale: bool = Field(description="the message was already further on")
    flags: Flags
    extra: Extra


class ContactChanged(Model):
    number: Address | None = Field(description="the person")
    sender: Address | None = Field(description="your number or name that it concerns")
    scope: str = Field(
        examples=["sender", "group", "account", "unknown"],
        description="how far it reaches; of a `group` its id is in `extra`",
    )
    channel: str | None = Field(examples=["sms"], description="null where the vendor does not tell")
    vendor: str | None = Field(description="null when no vendor's request caused it")
    source_id: str | None = Field(description="the source that the request came through")
    receipt_id: str | None = Field(description="the request that caused it")
    message_id: str | None = Field(description="the message or the report's message that caused it")
    via: str = Field(
        examples=["keyword", "vendor", "report", "api"],
        description="a listed word, the vendor's signal, a delivery report, or a call of the API",
    )
    keyword: str | None = Field(description="the word, where there was one")
    received_at: ReceivedAt
    flags: Flags
    extra: Extra


class ReceiptQuarantined(Model):
    receipt_id: str = Field(description="the request as it came")
    source_id: str = Field(description="the source that it came through")
    vendor: str = Field(description="the vendor's name here")
    error: str = Field(description="what was missing or odd, never the value")
    received_at: ReceivedAt


class SubscriptionHealth(Model):
    subscription_id: str = Field(description="the subscription that it is about")
    host: str = Field(examples=["example.com"], description="of its URL; the rest may be a secret")
    failures: int = Field(description="attempts that failed in a row")
    since: Time | None = Field(description="when the first of them failed; null where there was none")
    last_error: str | None = Field(examples=["timeout"], description="of the last of them: an attempt's `error`")
    last_status: int | None = Field(description="of the last of them: the status that was answered; null: no answer")


class SubscriptionDisabled(SubscriptionHealth):
    because: str = Field(
        examples=["failures", "gone", "answer"],
        description="nothing but failures for too long, a 410, or an answer's `webhook-delivery: disable`",
    )


class TestPing(Model):
    subscription_id: str = Field(description="the subscription that is tested")
    text: str = Field(description="a sentence for people")


class _Event(Model):
    id: str = Field(
        examples=["evt_01k5z2v0c3x9q8w7e6r5t4y3u2"],
        description="ours, the same on every attempt; your key against repeats",
    )
    timestamp: Time = Field(description="when it happened: the vendor's time where it can be trusted, else ours")
    supersedes: str | None = Field(description="the id of the event that this one corrects")


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


class SubscriptionFailingEvent(_Event):
    type: Literal["subscription.failing"]
    data: SubscriptionHealth


class SubscriptionDisabledEvent(_Event):
    type: Literal["subscription.disabled"]
    data: SubscriptionDisabled


class SubscriptionRecoveredEvent(_Event):
    type: Literal["subscription.recovered"]
    data: SubscriptionHealth


class TestPingEvent(_Event):
    type: Literal["test.ping"]
    data: TestPing


Event = Annotated[
    MessageReceivedEvent
    | MessageStatusEvent
    | ContactOptedOutEvent
    | ContactOptedInEvent
    | ReceiptQuarantinedEvent
    | SubscriptionFailingEvent
    | SubscriptionDisabledEvent
    | SubscriptionRecoveredEvent
    | TestPingEvent,
    Field(discriminator="type"),
]
EVENT_MODELS: dict[str, type[_Event]] = {
    "message.received": MessageReceivedEvent,
    "message.status": MessageStatusEvent,
    "contact.opted_out": ContactOptedOutEvent,
    "contact.opted_in": ContactOptedInEvent,
    "receipt.quarantined": ReceiptQuarantinedEvent,
    "subscription.failing": SubscriptionFailingEvent,
    "subscription.disabled": SubscriptionDisabledEvent,
    "subscription.recovered": SubscriptionRecoveredEvent,
    "test.ping": TestPingEvent,
}
