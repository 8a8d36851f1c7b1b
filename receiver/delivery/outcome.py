"""What became of one attempt, as a value that `retry` judges and `storage` records. Pure.

Every kind answers to the same names, those of an attempt record; what a kind cannot have is a constant of its class.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

ANSWER_BYTES = 4096
"""How much of an answer's body is read and kept."""

NoAnswer = Literal["timeout", "dns", "connect", "tls", "protocol"]
"""Why there was no answer. An attempt's `error` is one of these, or `forbidden`, or `status`."""


Control = Literal["disable", "abort-message"]
"""What a subscriber may ask for by the header `webhook-delivery` of its answer: nothing more, or not this one again.
https://github.com/standard-webhooks/standard-webhooks/pull/291
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """2xx."""

    status: int
    answer: bytes
    duration_ms: int
    control: Control | None = None
    error: ClassVar[None] = None
    retry_after: ClassVar[None] = None
    detail: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Any other status but 410; `retry_after` is the header as it came."""

    status: int
    answer: bytes
    duration_ms: int
    retry_after: str | None = None
    control: Control | None = None
    error: ClassVar[Literal["status"]] = "status"
    detail: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """410: the subscriber wants no more."""

    answer: bytes
    duration_ms: int
    status: ClassVar[int] = 410
    control: ClassVar[None] = None
    error: ClassVar[Literal["status"]] = "status"
    retry_after: ClassVar[None] = None
    detail: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """No whole answer came; `detail` says why in a few words, without the URL."""

    error: NoAnswer
    detail: str
    duration_ms: int
    status: ClassVar[None] = None
    control: ClassVar[None] = None
    answer: ClassVar[bytes] = b""
    retry_after: ClassVar[None] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden:
    """The address is not one we call; `detail` names it and what RECEIVER_EGRESS_ALLOW would have to hold."""

    detail: str
    duration_ms: int
    status: ClassVar[None] = None
    control: ClassVar[None] = None
    error: ClassVar[Literal["forbidden"]] = "forbidden"
    answer: ClassVar[bytes] = b""
    retry_after: ClassVar[None] = None


Outcome = Delivered | Refused | Gone | Unreachable | Forbidden
