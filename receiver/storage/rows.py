"""The rows of messages and events that a recording writes, in the order of their tables' columns."""

from collections.abc import Sequence
from typing import Any

from receiver.sms.compose import Entry
from receiver.sms.state import State

MAX_WORD = 512
"""Characters of what is looked up by an index; more cannot be asked for. The whole stands in the event."""


def message_row(entries: Sequence[Entry], message_id: str, state: State | None, now: int) -> tuple[Any, ...]:
    """Of several reports the first names the conversation; what it does not know the next may."""
    entry, data = entries[0], entries[0].data
    names = _names(data)
    for other in entries[1:]:
        names = [known if known is not None else new for known, new in zip(names, _names(other.data), strict=True)]
    vendor_message_id, client_reference, batch_id, sender, receiver = names
    return (
        message_id,
        data["source_id"],
        data["vendor"],
        "out" if state else "in",
        vendor_message_id,
        client_reference,
        batch_id,
        data["channel"],
        sender,
        receiver,
        entry.conversation or message_id,
        state.status if state else None,
        int(state.final) if state else None,
        state.key if state else None,
        state.parts if state else None,
        now,
        now,
    )


def _names(data: dict[str, Any]) -> list[str | None]:
    return [
        _word(data["vendor_message_id"]),
        _word(data["client_reference"]),
        _word(data.get("batch_id")),
        _address(data["from"]),
        _address(data["to"]),
    ]


def event_row(event_id: str, type: str, data: dict[str, Any], accepted_at: int, body: bytes) -> tuple[Any, ...]:  # noqa: A002 — the contract's word
    contact = "number" in data
    return (
        event_id,
        type,
        accepted_at,
        data.get("vendor"),
        data.get("source_id"),
        data.get("receipt_id"),
        data.get("message_id"),
        _word(data.get("vendor_message_id")),
        _word(data.get("client_reference")),
        _address(data["number"] if contact else data.get("from")),
        _address(data["sender"] if contact else data.get("to")),
        data.get("status"),
        body.decode(),
    )


def _address(found: dict[str, Any] | None) -> str | None:
    return found["address"][:MAX_WORD] if found else None


def _word(text: str | None) -> str | None:
    return text[:MAX_WORD] if text else text
