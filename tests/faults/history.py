"""What happened, as far as anyone outside the receiver can know: what was sent, what was answered, what was heard.

Plain facts for `checker`. A `run` is one life of the process: 0 until its first end, then 1, and so on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Fate = Literal["acknowledged", "refused", "unknown"]
"""What a client knows of a message: 2xx, 4xx, or neither (no answer, or 5xx, after which it may still be stored)."""


@dataclass(frozen=True, slots=True)
class Message:
    """`key` is the vendor's id of it, unlike all others; `traits` say who should get it."""

    key: str
    traits: frozenset[str]
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Should get every message that has the trait; with `ordered`, those of one conversation in the log's order."""

    id: str
    trait: str
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """An event of the log."""

    seq: int
    event_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery, and what the receiver says of it."""

    subscriber: str
    event_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt whose outcome is on disk; `status` is None when there was no answer."""

    subscriber: str
    event_id: str
    run: int
    status: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that reached a subscriber; `status` is what it said, None when it hung up instead."""

    subscriber: str
    event_id: str
    key: str
    run: int
    status: int | None
    genuine: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`killed` are the runs that had no chance to record what was under way; `heard` is in the order of arrival.

    `silent`: attempts of one delivery that may fail although its subscriber never said so, for want of time or sockets.
    """

    sent: Mapping[str, Message]
    fates: Mapping[str, Fate]
    subscribers: Sequence[Subscriber]
    stored: Sequence[Stored]
    owed: Sequence[Owed]
    attempted: Sequence[Attempted]
    heard: Sequence[Heard]
    killed: frozenset[int] = field(default_factory=frozenset)
    concurrency: int
    silent: int = 0
    integrity: str = "ok"

    def of_fate(self, fate: Fate) -> set[str]:
        return {key for key, known in self.fates.items() if known == fate}
