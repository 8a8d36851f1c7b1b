"""The SMS Works (UK): inbound messages and delivery reports as JSON on one URL, one object a request.

The names come from the vendor's OpenAPI document (of GET /messages/{id}); no captured push is public.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import Field

from receiver.sms.drafts import Ignored, Item, Party, Received, Reported, Unreadable
from receiver.vendors import times
from receiver.vendors.bodies import parse_body
from receiver.vendors.contract import BadPayload, Credential, Options, Source, Vendor, VendorRequest
from receiver.vendors.fields import Fields
from receiver.vendors.thesmsworks_poll import TheSmsWorksPoll, poll

MAX_ITEMS: Final = 1_000

# https://github.com/TheSMSWorks/smsw-csharp-netcore6 (api/openapi.yaml), https://thesmsworks.co.uk/delivery-report-help
STATUSES: Mapping[str, tuple[str, bool]] = {
    "SCHEDULED": ("accepted", False),
    "PROCESSED": ("accepted", False),
    "SENT": ("sent", False),
    "DELIVERED": ("delivered", True),
    "UNDELIVERABLE": ("undelivered", True),
    "EXPIRED": ("expired", True),
    "REJECTED": ("rejected", True),
    "CANCELLED": ("canceled", True),
}
# The vendor's own table is not public; 34 stands in its OpenAPI example, the others in a customer's tests.
REASONS: Mapping[str, str] = {"34": "handset_error", "3001": "absent", "5001": "invalid_number"}

_NOT_MESSAGES: Mapping[str, str] = {"VERIFIED": "one-time password verified"}
# deliveryreporturl is an address of ours with its token: subscribers must not see it.
_RECEIVED_USED = frozenset(
    {"messagetype", "messageid", "id", "content", "from", "source", "sender", "to", "destination", "outboundmessageid"}
    | {"keyword", "created", "deliveryreporturl"}
)
_REPORTED_USED = frozenset(
    {"messageid", "id", "batchid", "sender", "destination", "status", "modified", "failurereason", "deliveryreporturl"}
)


class TheSmsWorksOptions(Options):
    poll: TheSmsWorksPoll | None = Field(None, description="asks the vendor, instead of or beside waiting to be called")


def parse(request: VendorRequest, _source: Source) -> Sequence[Item]:
    """One object as documented, or a list of them, where a bad one spoils no other."""
    document, flags = parse_body(request)
    if not isinstance(document, list):
        return [_item(Fields.of(document, flags))]
    if len(document) > MAX_ITEMS:
        raise BadPayload(f"body: more than {MAX_ITEMS} items")
    return [_item_of_many(item, flags) for item in document]


def _item_of_many(item: object, flags: tuple[str, ...]) -> Item:
    try:
        return _item(Fields.of(item, flags))
    except BadPayload as error:
        return Unreadable(error=str(error))


def _item(fields: Fields) -> Item:
    """An inbound push says `messagetype`; an inbound message as the query API has it says `status` INCOMING."""
    if (fields.text("messagetype") or "").lower() == "incoming":
        return _received(fields)
    word = fields.require("status")
    if word.upper() == "INCOMING":
        return _received(fields)
    if word.upper() in _NOT_MESSAGES:
        return Ignored(what=_NOT_MESSAGES[word.upper()])
    return _reported(fields, word)


def _received(fields: Fields) -> Received:
    text = fields.words("content")
    if text is None:
        raise BadPayload("content: missing")
    return Received(
        vendor_message_id=fields.text("messageid", "id"),
        from_=_party(fields, "from", "source", "sender"),
        to=_party(fields, "to", "destination"),
        text=text,
        keyword=fields.text("keyword"),
        in_reply_to=fields.text("outboundmessageid"),
        sent_at=_time(fields.text("created")),
        flags=fields.flags,
        extra=fields.rest(_RECEIVED_USED),
    )


def _reported(fields: Fields, word: str) -> Reported:
    status, final = STATUSES.get(word.upper(), ("unknown", False))
    given = fields.get("failurereason")
    failure = _failure(given)
    code = failure.text("code") if failure else None
    code = None if code == "0" else code  # a healthy report has an empty failure
    description = failure.text("details") if failure else None
    reason, permanent = None, None
    if failure and (code or description) and status != "delivered":
        reason, permanent = REASONS.get(code or "", "other"), failure.boolean("permanent")
    return Reported(
        status=status,
        final=final,
        reason=reason,
        permanent=permanent,
        vendor_message_id=fields.text("messageid", "id"),
        batch_id=fields.text("batchid"),
        from_=_party(fields, "sender"),
        to=_party(fields, "destination"),
        vendor_status=word,
        vendor_code=code,
        vendor_description=description,
        occurred_at=_time(fields.text("modified")),
        flags=fields.flags,
        extra=fields.rest(_REPORTED_USED if isinstance(given, dict) else _REPORTED_USED - {"failurereason"}),
    )


def _failure(given: object) -> Fields | None:
    """What it says as documented; a failure of another form, or a part of it, is no reason to lose the report."""
    if not isinstance(given, dict):
        return None
    return Fields({name: value for name, value in given.items() if not isinstance(value, (dict, list))})


def _party(fields: Fields, *names: str) -> Party | None:
    raw = fields.text(*names)
    return None if raw is None else Party(raw=raw, international=True)


def _time(text: str | None) -> int | None:
    """The OpenAPI examples show JavaScript's Date.toString() in one place and ISO 8601 in another."""
    found = times.iso(text)
    return times.js_date(text) if found is None else found


THESMSWORKS = Vendor(
    name="thesmsworks",
    title="The SMS Works",
    docs="https://thesmsworks.co.uk/developers",
    provenance="documented",
    assumed="a report carries every field of the message object; the meaning of failure codes other than 34. Asked: "
    "that `from` and `to` of a search are compared with `created`",
    capabilities=("inbound", "reports", "poll", "lookup"),
    credentials={
        "token": Credential(help="to ask: the API token as the console shows it, its word JWT included", proves=False)
    },
    options=TheSmsWorksOptions,
    parse=parse,
    authentication="HTTP Basic by options.basic, as set beside the webhook in the vendor's console; nothing is signed",
    poll=poll(parse),
)
