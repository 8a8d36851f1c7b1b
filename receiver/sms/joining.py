"""The parts of a long message made one: what is decided when a part comes, and the event that they become together.

Pure. `storage/parts.py` keeps the parts, `intake/assemble.py` says when they are joined.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from receiver.sms.compose import Entry
from receiver.sms.consents import Reach, follow_up
from receiver.sms.identity import conversation
from receiver.sms.limits import cut
from receiver.sms.optout import first_word, intent_of
from receiver.sms.segments import measure, without_concatenation

LATE_SECONDS: Final = 86_400
"""How long after its first part a message takes further ones: vendors try a call again for a day."""

_FROM_ANY: Final = ("channel", "from", "to", "in_reply_to", "client_reference", "network", "sent_at")
"""What the first part that knows it says for all."""

Fate = Literal["joins", "repeats", "begins"]


@dataclass(slots=True, kw_only=True)
class Gathered:
    """What is there of a long message: `contents` by number the hash of a part's content; `told`: an event was made."""

    total: int
    told: bool = False
    contents: dict[int, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.contents) == self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part as it waits: `data` as it would be as an event of its own; scope as the draft's."""

    number: int
    timestamp: int
    data: Mapping[str, Any]
    scope: str = "sender"
    scope_id: str | None = None


def fate(gathered: Gathered | None, number: int, content: str) -> Fate:
    """What becomes of a part with that reference, which is no repeat by its own identity.

    Phones use references again: a number that is there already begins a new message, unless nothing was told of the
    old one yet and the words are the same, as when a network sends a part twice.
    """
    if gathered is None:
        return "begins"
    known = gathered.contents.get(number)
    if known is None:
        return "joins"
    return "repeats" if known == content and not gathered.told else "begins"


def joined(parts: Iterable[Part]) -> Entry:
    """One `message.received` of all that is there, in the order of the parts; `part` names what is missing.

    Ids, receipt and times are the first part's. An opt-out by words needs all of them.
    """
    ordered = sorted(parts, key=lambda part: part.number)
    first = ordered[0]
    place = first.data["part"]
    missing = _missing(ordered, place["total"])
    flags = list(dict.fromkeys(flag for part in ordered for flag in part.data["flags"]))
    text = cut(_text(ordered), flags)
    signalled = next((part for part in ordered if part.data["intent"]), None)
    intent = signalled.data["intent"] if signalled else intent_of(text) if not missing else None
    binary = _binary(ordered)
    data = {
        **first.data,
        **{name: _first_known(ordered, name) for name in _FROM_ANY},
        "text": text,
        "media": [item for part in ordered for item in part.data["media"]],
        "binary": binary,
        "encoding": _encoding(first, text, binary),
        "segments": place["total"],
        "part": {**place, "number": first.number, "missing": missing} if missing else None,
        "keyword": _keyword(first, text),
        "intent": intent,
        "price": _price(ordered),
        "flags": list(dict.fromkeys(flags)),
    }
    entry = Entry(
        type="message.received",
        timestamp=first.timestamp,
        data=data,
        identity="",
        conversation=conversation(data["from"], data["to"]),
    )
    if intent in ("opt_out", "opt_in"):
        teller = signalled or first
        reach = Reach(teller.scope, teller.scope_id, data["from"], data["to"])
        entry.consent = follow_up(data, reach, "vendor" if signalled else "keyword", opted_out=intent == "opt_out")
    return entry


def _missing(ordered: Sequence[Part], total: int) -> list[int]:
    there = {part.number for part in ordered}
    return [number for number in range(1, total + 1) if number not in there]


def _text(ordered: Sequence[Part]) -> str | None:
    texts = [part.data["text"] for part in ordered if part.data["text"] is not None]
    return "".join(texts) if texts else None


def _first_known(ordered: Sequence[Part], name: str) -> Any:
    return next((part.data[name] for part in ordered if part.data[name] is not None), None)


def _binary(ordered: Sequence[Part]) -> dict[str, Any] | None:
    """The user data end to end, under the first part's header without its place in the message."""
    found = [part.data["binary"] for part in ordered if part.data["binary"]]
    if not found:
        return None
    udh = found[0]["udh"]
    return {"data": "".join(item["data"] for item in found), "udh": without_concatenation(udh) if udh else None}


def _encoding(first: Part, text: str | None, binary: Mapping[str, Any] | None) -> str | None:
    if binary is not None or text is None or first.data["encoding"] is None:
        return "binary" if binary is not None else None
    return measure(text)[0]


def _keyword(first: Part, text: str | None) -> str | None:
    """The vendor's, where it is not just the first word: a word may go on in the next part."""
    known: str | None = first.data["keyword"]
    if known != first_word(first.data["text"]):
        return known
    return first_word(text) if first.number == 1 else None


def _price(ordered: Sequence[Part]) -> dict[str, Any] | None:
    """The sum, where every part that has a price has it in the same currency."""
    prices = [part.data["price"] for part in ordered if part.data["price"]]
    if len({price["currency"] for price in prices}) != 1:
        return None
    try:
        amount = sum(Decimal(price["amount"]) for price in prices)
    except InvalidOperation:
        return None
    return {"amount": f"{amount:f}", "currency": prices[0]["currency"]}
