"""What is to be recorded, and what became of it: requests, changes of the opt-out list, notices of our own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from receiver.sms.compose import Entry, Origin
from receiver.storage.owing import Outgoing
from receiver.storage.receipts import Outcome, Receipt

_SEPARATOR = "\x1f"


@dataclass(slots=True, kw_only=True)
class Recording:
    """What to record of one request; `outcome` and `note` are what the intake knows."""

    receipt: Receipt
    origin: Origin
    entries: Sequence[Entry] = ()
    outcome: Outcome = "stored"
    note: str | None = None
    tries: int = 0

    @property
    def digest(self) -> str:
        """The hash of its bytes, by which a retry of an unreadable request is known."""
        receipt = self.receipt
        return sha256(b"\x00".join((receipt.method.encode(), receipt.target, receipt.body))).hexdigest()

    @property
    def once(self) -> str:
        """What makes it the same as one that was recorded once, whatever its URL."""
        return _SEPARATOR.join(("f", self.receipt.source_id, sha256(self.receipt.body).hexdigest()))

    def begin(self) -> "Recorded":
        """A fresh result: a batch that was rolled back may be tried again."""
        self.tries += 1
        self.receipt.outcome, self.receipt.note, self.receipt.duplicate_of = self.outcome, self.note, None
        return Recorded(self.receipt)


@dataclass(slots=True)
class Recorded:
    """What became of one request: its new events as (id, type), and whom they go to."""

    receipt: Receipt
    events: list[tuple[str, str]] = field(default_factory=list)
    outgoing: Outgoing = field(default_factory=Outgoing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that no vendor told us: an operational event. `about` is the subscription that must not hear of it."""

    type: str
    data: dict[str, Any]
    about: str | None = None


@dataclass(slots=True, kw_only=True)
class Consented:
    """What became of one wish to change the opt-out list: how many lines changed, and whom that is told."""

    changed: int
    outgoing: Outgoing = field(default_factory=Outgoing)
