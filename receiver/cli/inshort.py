"""An event in a few words: what kind, whose, from whom to whom, and what it says."""

from collections.abc import Mapping
from typing import Any

Event = Mapping[str, Any]


def way(event: Event) -> str:
    """`+447700900123 → 60777`; of `contact.*` the person's number and your sender."""
    data = event["data"]
    ends = ("number", "sender") if event["type"].startswith("contact.") else ("from", "to")
    shown = [(data.get(end) or {}).get("address", "–") for end in ends]
    return " → ".join(shown) if shown != ["–", "–"] else "–"


def gist(event: Event) -> str:
    """The words of a message, the state that a report tells, or why something happened."""
    data = event["data"]
    match event["type"]:
        case "message.received":
            files = ", ".join(item["content_type"] or "a file" for item in data["media"])
            return " ".join(filter(None, [data["text"], f"[{files}]" if files else ""]))
        case "message.status":
            reason = f" ({data['reason']})" if data["reason"] else ""
            return f"{data['status']}{reason}"
        case "contact.opted_out" | "contact.opted_in":
            return f"by {data['via']}" + (f" {data['keyword']}" if data["keyword"] else "")
        case "receipt.quarantined":
            return str(data["error"])
        case _:
            return ""
