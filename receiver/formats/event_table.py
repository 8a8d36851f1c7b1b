"""Events as rows of a table: one column for each thing that one looks for in a spreadsheet. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

COLUMNS: Mapping[str, str] = {
    "id": "of the event",
    "type": "of the event",
    "timestamp": "when it happened",
    "received_at": "when this receiver accepted the request",
    "vendor": "",
    "source_id": "",
    "message_id": "ours",
    "vendor_message_id": "",
    "client_reference": "your own words",
    "batch_id": "batch or campaign",
    "channel": "",
    "from": "of `contact.*` the person's number",
    "to": "of `contact.*` your sender",
    "country": "of the person's number",
    "text": "",
    "media": "addresses of files, apart by a blank",
    "keyword": "",
    "intent": "`opt_out`, `opt_in` or `help`",
    "in_reply_to": "the vendor's id of the message that it answers",
    "status": "what this report says",
    "final": "`true` or `false`",
    "current_status": "of the message, after this report",
    "stale": "`true`: the message was already further on",
    "reason": "why it failed",
    "permanent": "`true`: do not try this number again",
    "vendor_status": "the vendor's word",
    "vendor_code": "",
    "vendor_description": "",
    "occurred_at": "the vendor's time of this status, or of the message",
    "segments": "",
    "price": "a decimal",
    "currency": "",
    "mcc": "of the operator",
    "mnc": "of the operator",
    "network": "the operator's name",
    "scope": "of `contact.*`",
    "via": "of `contact.*`",
    "error": "of `receipt.quarantined`",
    "subscription_id": "of `subscription.*`",
    "receipt_id": "the request as it came",
    "supersedes": "the event that this one corrects",
    "flags": "our remarks, apart by a blank",
    "extra": "JSON: the vendor's other fields",
}
"""Name of each column → what it holds, where the name does not say it."""


def cells(event: Mapping[str, Any]) -> Sequence[object]:
    """In the order of COLUMNS; None where the event's type has no such thing, or it is not known."""
    data: Mapping[str, Any] = event["data"]
    sender, receiver = data.get("number") or data.get("from"), data.get("sender") or data.get("to")
    price, network = data.get("price") or {}, data.get("network") or {}
    person = receiver if event["type"] == "message.status" else sender
    known = {
        **data,
        **{name: event[name] for name in ("id", "type", "timestamp", "supersedes")},
        "from": _address(sender),
        "to": _address(receiver),
        "country": person["country"] if person else None,
        "media": " ".join([item["url"] for item in data.get("media") or ()]),
        "occurred_at": data.get("occurred_at") or data.get("sent_at"),
        "price": price.get("amount"),
        "currency": price.get("currency"),
        "mcc": network.get("mcc"),
        "mnc": network.get("mnc"),
        "network": network.get("name"),
        "flags": " ".join(data.get("flags") or ()),
        "extra": orjson.dumps(data["extra"]).decode() if data.get("extra") else None,
    }
    return [known.get(name) for name in COLUMNS]


def _address(party: Mapping[str, Any] | None) -> str | None:
    return party["address"] if party else None
