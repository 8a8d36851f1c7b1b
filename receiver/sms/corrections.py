"""What a request said when it was recorded, beside what it says when it is read again. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from receiver.sms.compose import Entry, encode
from receiver.sms.state import Evidence

_OF_THE_LOG: Final = ("message_id", "previous_status", "current_status", "stale")
"""What an event was given by the log, not by its request."""


def changes(event: Mapping[str, Any], entry: Entry) -> Sequence[str]:
    """What the entry says differently: `type`, `timestamp` and names of fields; empty where it is the same event."""
    now = orjson.loads(encode("", entry))
    if event["type"] != now["type"]:
        return ["type"]
    found = ["timestamp"] if event["timestamp"] != now["timestamp"] else []
    data = event["data"]
    return found + [
        name for name, value in now["data"].items() if name not in _OF_THE_LOG and data.get(name) != value
    ]  # fmt: skip


def about_the_same(event: Mapping[str, Any], entry: Entry) -> bool:
    """Whether an event and its correction are about one message: by the vendor's id, else by the sender's reference
    and the recipient; a message received is its own.
    """
    if event["type"] != entry.type:
        return False
    before, now = event["data"], entry.data
    if entry.type != "message.status":
        return True
    if before["vendor_message_id"] or now["vendor_message_id"]:
        return bool(before["vendor_message_id"] == now["vendor_message_id"])
    return bool(before["client_reference"] == now["client_reference"] and _address(before) == _address(now))


def evidence(data: Mapping[str, Any], order: int | None) -> Evidence:
    """A recorded report as what it says of its message. `order`: the vendor's sequence or time, as it was read."""
    part = data["part"] or {}
    return Evidence(
        status=data["status"],
        final=data["final"],
        vendor_status=data["vendor_status"],
        vendor_code=data["vendor_code"],
        order=order,
        part_id=part.get("id"),
        part_number=part.get("number"),
        part_total=part.get("total"),
    )


def _address(data: Mapping[str, Any]) -> str | None:
    to = data["to"]
    return to["address"] if to else None
