"""The real-shaped requests that travel with the product: `fixtures/<vendor>/<case>.http` and `.json`.

`.http` is the whole request as it goes over the wire: request line, headers, an empty line, the exact body
(lines end in CRLF). `.json` says where it comes from and what must become of it. The same files drive the adapter
tests, the signature-tamper tests, `demo`, `trigger`, `bench` and the docs.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from receiver.vendors.contract import VendorRequest

ORIGIN = "https://hooks.example.com"
"""Where a fixture's request was sent, unless its `origin` says otherwise."""


class Provenance(BaseModel):
    """`documented`: the payload stands in the named document. `built`: values of ours in fields that documents of
    this vendor name. `assumed`: the shape itself is an inference; `note` says from what.
    """

    model_config = ConfigDict(extra="forbid")
    kind: Literal["documented", "captured", "built", "assumed"]
    source: str = Field(min_length=1, description="URL or title of the document")
    note: str = ""


class ExpectedAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    status: int = 200
    content_type: str | None = None
    body: str = ""


class Expectation(BaseModel):
    """The `.json` of a case; `events` leave out our ids (`id`, `message_id`, `receipt_id`, `source_id`)."""

    model_config = ConfigDict(extra="forbid")
    title: str
    provenance: Provenance
    origin: str = ORIGIN
    credentials: dict[str, str | list[str]] = {}
    options: dict[str, Any] = {}
    received_at: str
    after: str | None = Field(None, description="the case that came before this one on the same source")
    outcome: Literal["stored", "duplicate", "conflict", "ignored", "quarantined", "handshake"] = "stored"
    note: str | None = Field(None, description="the error of a quarantined, the name of an ignored request")
    answer: ExpectedAnswer = ExpectedAnswer()
    events: list[dict[str, Any]] = []


class Fixture(BaseModel):
    model_config = ConfigDict(frozen=True)
    vendor: str
    case: str
    raw: bytes
    expected: Expectation

    @property
    def name(self) -> str:
        return f"{self.vendor}.{self.case}"

    def request(self, received_at: int, peer: str = "203.0.113.9") -> VendorRequest:
        """The request as the receiver's intake would hand it to the adapter."""
        head, _, body = self.raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.split(b" ", 2)
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        return VendorRequest(
            method=method.decode("ascii"),
            url=self.expected.origin + target.decode("latin-1"),
            query=target.partition(b"?")[2],
            headers=tuple(headers),
            body=body,
            peer=peer,
            received_at=received_at,
        )


def folder() -> Path:
    """Beside the package in a checkout, inside it when installed from a wheel."""
    inside = Path(__file__).parent / "_fixtures"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "fixtures"


@cache
def load_all() -> Sequence[Fixture]:
    """Every case, by vendor and name."""
    return tuple(_load(path) for path in sorted(folder().glob("*/*.http")))


def find(name: str) -> Fixture:
    """The case `vendor.case`; raises KeyError."""
    for fixture in load_all():
        if fixture.name == name:
            return fixture
    raise KeyError(name)


def _load(path: Path) -> Fixture:
    expected = Expectation.model_validate_json(path.with_suffix(".json").read_bytes())
    return Fixture(vendor=path.parent.name, case=path.stem, raw=path.read_bytes(), expected=expected)
