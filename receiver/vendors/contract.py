"""What an adapter is: a record of pure functions. No I/O, no clock, no state; see docs/add-a-vendor.md."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from receiver.sms.drafts import Item

Provenance = Literal["documented", "captured", "assumed"]
Headers = Sequence[tuple[str, str]]
Pairs = list[tuple[str, str]]


class BadSignature(Exception):
    """The request does not prove that it comes from the vendor; the message says which check failed."""


class BadPayload(Exception):
    """The body is not what the vendor documents; the message names the field, never its value."""


class Form:
    """The pairs of a urlencoded or multipart body in their order, and their values by name: of repeats the first."""

    __slots__ = ("pairs", "values")

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.values = dict(pairs)
        if len(self.values) < len(pairs):
            self.values.update(reversed(pairs))


@dataclass(slots=True, kw_only=True)
class VendorRequest:
    """A request exactly as it came; nobody changes it, but `form`, which remembers the body read as a form.

    `url` is the address as the vendor knows it: PUBLIC_URL with the raw path and query, never built from Host.
    `headers` are as they came, names in lower case; `received_at` is unix microseconds.
    """

    method: str
    url: str
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    peer: str
    received_at: int
    form: tuple[Form, tuple[str, ...]] | None = field(default=None, init=False, repr=False, compare=False)

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name, as Latin-1 text (RFC 9110 section 5.5)."""
        wanted = name.encode("ascii")
        for key, value in self.headers:
            if key == wanted:
                return value.decode("latin-1")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the vendor expects to read back."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = None


EMPTY_200 = Answer()


@cache
def _timezones() -> frozenset[str]:
    """Read once: it means going through folders, and sources are read again at every change of one."""
    return frozenset(available_timezones())


def _timezone(name: str) -> str:
    if name not in _timezones():
        raise ValueError("not a time zone of the IANA database")
    return name


Timezone = Annotated[str, AfterValidator(_timezone)]
Region = Annotated[str, Field(pattern=r"^[A-Z]{2}$", examples=["GB"])]
Network = IPv4Network | IPv6Network
_DAY_SECONDS = 86_400


class Basic(BaseModel):
    """HTTP Basic credentials (RFC 7617) that the vendor must send."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    username: str = Field(min_length=1, max_length=256)
    password: SecretStr = Field(min_length=1, max_length=256)


class Reconcile(BaseModel):
    """What becomes of outbound messages whose final report does not come."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    after: int = Field(
        3_600,
        ge=60,
        le=2_592_000,
        description="seconds after the first report until the vendor is asked, where it can be",
    )
    close_after: int | None = Field(
        None,
        ge=60,
        le=31_536_000,
        description="seconds after the first report until a message is closed as `unknown`; left out: never",
    )


class Options(BaseModel):
    """What every vendor's source can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    basic: Basic | None = Field(None, description="HTTP Basic credentials that requests must carry")
    allow: tuple[Network, ...] = Field((), max_length=256, description="only these networks may call (CIDR)")
    default_region: Region | None = Field(None, description="reads national numbers as numbers of this country")
    timezone: Timezone | None = Field(None, description="zone of vendor times that carry none")
    dedup_seconds: int = Field(
        60,
        ge=0,
        le=86_400,
        description="window for repeats of messages that have neither id nor time; 0 is off",
    )
    reference_days: int = Field(
        7, ge=1, le=365, description="how long the sender's own reference names the same message"
    )
    assemble_after: int = Field(
        60,
        ge=0,
        le=86_400,
        description="seconds that the parts of a long message wait for the others; 0 tells of each part as it comes",
    )
    reconcile: Reconcile | None = Field(
        None, description="asks for, or closes, outbound messages whose final report does not come"
    )

    @model_validator(mode="after")
    def _closes_in_time(self) -> Self:
        """A reference that names another message by then would close that one."""
        close = self.reconcile and self.reconcile.close_after
        if close and close >= self.reference_days * _DAY_SECONDS:
            raise ValueError("reconcile.close_after must be less than reference_days, here in seconds")
        return self

    @property
    def zone(self) -> ZoneInfo | None:
        return ZoneInfo(self.timezone) if self.timezone else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One configured account of a vendor. Each credential is a tuple: during rotation every value is tried."""

    id: str
    vendor: str
    name: str
    credentials: Mapping[str, tuple[str, ...]]
    options: Options

    def secrets(self, name: str) -> tuple[str, ...]:
        return self.credentials.get(name, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """`proves`: the vendor shows with it that a request is its own; else it is ours, to ask the vendor with."""

    help: str
    required: bool = False
    proves: bool = True


POLL = "POLL"
"""The method of a receipt that holds what a vendor answered when it was asked; nothing that comes over HTTP has it."""

Position = Mapping[str, int | str]
"""How far a feed was read; empty before the first question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to a vendor's API. `about` is what the receipt of its answer shows of it: never a credential.

    `path` lies below the API's address and ends in the encoded query.
    """

    about: Mapping[str, str]
    path: str = field(repr=False)
    method: str = "GET"
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the vendor answered; header names in lower case."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes = field(repr=False)


class NotAnswered(Exception):
    """The vendor did not give what it was asked for; the message says why, without any value that it sent.

    `retry_after`: seconds that the vendor wants to be left alone for.
    """

    def __init__(
        self, kind: Literal["credentials", "busy", "refused", "answer", "network"], why: str, retry_after: float = 0.0
    ) -> None:
        super().__init__(why)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows a feed's answer: the next position, whether there is more to ask for at once, and what to keep of
    the answer where it is not kept as it came.
    """

    position: Position
    more: bool = False
    pieces: Sequence[Reply] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One list that a vendor's API gives, asked for again and again.

    ask(source, position, now, token)    the next question; `now` is unix microseconds, `token` of the grant
    read(source, position, now, reply)   the step that follows any reply; raises NotAnswered
    """

    title: str
    ask: Callable[[Source, Position, int, str | None], Question]
    read: Callable[[Source, Position, int, Reply], Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The question for one outbound message by the vendor's id. `read`: whether the vendor knows it; raises
    NotAnswered.
    """

    ask: Callable[[Source, str, str | None], Question]
    read: Callable[[Reply], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a grant gave (RFC 6749 section 5.1); `expires_at` in unix microseconds."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """How an access token is got: `ask` with the refresh token that came last, None before the first."""

    wanted: Callable[[Source], bool]
    ask: Callable[[Source, str | None], Question]
    read: Callable[[Reply, int], Tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How a vendor is asked.

    base_url     where its API lies, unless the source's `poll.base_url` says otherwise
    help         what to do at the vendor's before it can be asked
    per_minute   how many questions it takes
    parse        reads an answer like `Vendor.parse`; the request's method is POLL, its query the question's `about`
    missing      the credentials without which it cannot be asked
    """

    base_url: str
    help: str
    per_minute: int
    feeds: Mapping[str, Feed]
    parse: Callable[[VendorRequest, Source], Sequence[Item]]
    missing: Callable[[Source], Sequence[str]]
    lookup: Lookup | None = None
    grant: Grant | None = None


def unsigned(_request: VendorRequest, _source: Source) -> None:
    """For vendors that sign nothing: the token in the URL, Basic and the allowed networks must do."""


def empty_200(_request: VendorRequest, _items: Sequence[Item]) -> Answer:
    return EMPTY_200


def paste_url(url: str, _options: Any) -> Mapping[str, str]:
    """Most vendors want the source's URL as it is, in their console's webhook setting."""
    return {"webhook_url": url}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One provider. `parse` returns one item per message or report; an empty list is knowingly nothing.

    verify(request, source)   raises BadSignature
    parse(request, source)    raises BadPayload when nothing of the request can be read;
                              one bad item of a batch is an `Unreadable` and spoils no other
    answer(request, items)    the vendor's success, sent after COMMIT
    handshake(request, source)  an Answer when the request is the vendor's proof-of-ownership question, else None
    sign(request, source)     the same request, validly signed: for trigger, demo, tests and bench
    setup(url, options)       what to paste where, by name
    """

    name: str
    title: str
    docs: str
    provenance: Provenance
    parse: Callable[[VendorRequest, Source], Sequence[Item]]
    assumed: str = ""
    """What of this adapter no source of the vendor confirms; shown in the manifest and the docs."""
    capabilities: Sequence[Literal["inbound", "reports", "opt_outs", "handshake", "poll", "lookup"]] = (
        "inbound",
        "reports",
    )
    methods: Sequence[str] = ("POST",)
    authentication: str = "none of its own; the URL's token, HTTP Basic and allowed networks by options"
    signs_url: bool = False
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    options: type[Options] = Options
    verify: Callable[[VendorRequest, Source], None] = unsigned
    answer: Callable[[VendorRequest, Sequence[Item]], Answer] = empty_200
    handshake: Callable[[VendorRequest, Source], Answer | None] | None = None
    sign: Callable[[VendorRequest, Source], VendorRequest] | None = None
    setup: Callable[[str, Any], Mapping[str, str]] = paste_url
    poll: Poll | None = None

    def proves(self, source: Source) -> bool:
        """Whether requests must show more than the secret in their URL."""
        held = [name for name, credential in self.credentials.items() if credential.proves and source.secrets(name)]
        return bool(held or source.options.basic is not None or source.options.allow)
