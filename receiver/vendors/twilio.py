"""Twilio Programmable Messaging: SMS, MMS, WhatsApp and RCS, inbound and status callbacks, signed over the URL."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from receiver.sms.drafts import Ignored, Item, Received, Reported
from receiver.vendors import twilio_parameters as twilio
from receiver.vendors.contract import EMPTY_200, Answer, BadPayload, Credential, Source, Vendor, VendorRequest
from receiver.vendors.fields import Fields
from receiver.vendors.signatures import sign_url_and_form, verify_url_and_form

SIGNATURE: Final = "x-twilio-signature"
TWIML: Final = Answer(body=b'<?xml version="1.0" encoding="UTF-8"?><Response/>', content_type="text/xml")
# https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
STATUSES: Mapping[str, tuple[str, bool]] = {
    "accepted": ("accepted", False),
    "scheduled": ("accepted", False),
    "queued": ("accepted", False),
    "sending": ("accepted", False),
    "sent": ("sent", False),
    "delivered": ("delivered", True),
    "read": ("read", True),
    "undelivered": ("undelivered", True),
    "partially_delivered": ("undelivered", True),
    "failed": ("failed", True),
    "canceled": ("canceled", True),
}
# https://www.twilio.com/docs/api/errors (each code has a page there); the flag is "do not try this number again"
REASONS: Sequence[tuple[str, bool | None, str]] = (
    ("invalid_number", True, "21211 21614 30005"),
    ("invalid_number", None, "63003 63024"),
    ("unroutable", True, "21635 30006"),
    ("unroutable", None, "21612 63036"),
    ("opted_out", True, "21610"),
    ("not_allowed", None, "21408 63016"),
    ("absent", False, "30003"),
    ("blocked", None, "30002 30004 30037 30450 30453 63014"),
    ("filtered", None, "30007 30038"),
    ("sender_rejected", None, "21606 30024 30032 30034 30040 30041 30042"),
    ("template_rejected", None, "63040 63041 63042"),
    ("throttled", False, "21611 30001 30022 30023 30027 63018 63038"),
    ("network_error", False, "30017 30410"),
    ("vendor_error", False, "30020 30021 63010 63012"),
    ("expired", False, "30036"),
)
ERRORS: Mapping[str, tuple[str, bool | None]] = {
    code: (reason, permanent) for reason, permanent, codes in REASONS for code in codes.split()
}

# ErrorUrl, of a request to the fallback URL, is an address of ours with its token.
_RECEIVED_USED = twilio.USED | {"SmsStatus", "OriginalRepliedMessageSid", "ErrorUrl"}
_REPORTED_USED = twilio.USED | {"MessageStatus", "SmsStatus", "ErrorCode", "ErrorMessage", "ChannelStatusMessage"}


def verify(request: VendorRequest, source: Source) -> None:
    verify_url_and_form(request, SIGNATURE, source.secrets("auth_token"))


def sign(request: VendorRequest, source: Source) -> VendorRequest:
    return sign_url_and_form(request, SIGNATURE, source.secrets("auth_token")[0])


def parse(request: VendorRequest, _source: Source) -> Sequence[Item]:
    """One message or one report a request; of a POST only the body, for the URL's query is the customer's own."""
    fields = Fields.from_query(request) if request.method == "GET" else Fields.from_body(request)
    texts = fields.texts()
    found = twilio.message_id(texts)
    if found is None and ("CallSid" in texts or "CallStatus" in texts):
        return [Ignored(what="call")]
    status = texts.get("MessageStatus") or texts.get("SmsStatus")
    if status is not None and status.lower() not in ("received", "receiving"):
        return [_reported(fields, texts, found, status)]
    if found is None and "Body" not in fields:
        raise BadPayload("MessageSid: missing")
    return [_received(fields, texts, found)]


def _received(fields: Fields, texts: twilio.Texts, found: str | None) -> Received:
    media = twilio.numbered_media(texts, needs_auth=True)
    return Received(
        vendor_message_id=found,
        channel=twilio.channel(texts, media),
        from_=twilio.party(fields, texts, "From"),
        to=twilio.party(fields, texts, "To"),
        text=fields.words("Body"),
        media=media,
        segments=fields.integer("NumSegments") or None,
        intent=twilio.intent(texts),
        scope=twilio.scope(texts),
        scope_id=twilio.scope_id(texts),
        in_reply_to=texts.get("OriginalRepliedMessageSid"),
        flags=fields.flags,
        extra=fields.rest(_RECEIVED_USED | twilio.names_of(media) if media else _RECEIVED_USED),
    )


def _reported(fields: Fields, texts: twilio.Texts, found: str | None, word: str) -> Reported:
    """Without a time: RawDlrDoneDate is the carrier's wall clock in a zone that nobody names, and stays in `extra`.
    https://www.twilio.com/en-us/changelog/addition-of-rawdlrdonedate-to-delivered-and-undelivered-status-webhooks
    """
    status, final = STATUSES.get(word.lower(), ("unknown", False))
    code = texts.get("ErrorCode")
    reason, permanent = None, None
    if code is not None and code != "0" and status not in ("delivered", "read"):
        reason, permanent = ERRORS.get(code, ("other", None))
        if final and code.startswith("21"):  # Twilio itself refused the message, no operator saw it
            status = "rejected"
    return Reported(
        status=status,
        final=final,
        reason=reason,
        permanent=permanent,
        vendor_message_id=found,
        channel=twilio.channel(texts),
        from_=twilio.party(fields, texts, "From"),
        to=twilio.party(fields, texts, "To"),
        vendor_status=word,
        vendor_code=code,
        vendor_description=texts.get("ErrorMessage") or texts.get("ChannelStatusMessage"),
        segments=fields.integer("NumSegments") or None,
        opted_out=twilio.scope(texts) if reason == "opted_out" else None,
        scope_id=twilio.scope_id(texts),
        flags=fields.flags,
        extra=fields.rest(_REPORTED_USED),
    )


def answer(_request: VendorRequest, items: Sequence[Item]) -> Answer:
    """TwiML that sends nothing back to the person who wrote; a status callback wants no content."""
    return TWIML if any(isinstance(item, Received) for item in items) else EMPTY_200


def _setup(url: str, _options: Any) -> Mapping[str, str]:
    return {"webhook_url": url, "status_callback": url}


TWILIO = Vendor(
    name="twilio",
    title="Twilio",
    docs="https://www.twilio.com/docs/usage/webhooks/messaging-webhooks",
    provenance="documented",
    assumed="partially_delivered is read as undelivered; JSON bodies are taken to use the names of the form",
    capabilities=("inbound", "reports", "opt_outs"),
    methods=("POST", "GET"),
    authentication="X-Twilio-Signature: HMAC-SHA1 over the public URL and the parameters",
    signs_url=True,
    credentials={"auth_token": Credential(help="the account's Auth Token; both while it is rotated", required=True)},
    verify=verify,
    parse=parse,
    answer=answer,
    sign=sign,
    setup=_setup,
)
