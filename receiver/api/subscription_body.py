"""What a subscription is made of, each field with its limit."""

from collections.abc import Container, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, WithJsonSchema

from receiver.api.cursor import is_id
from receiver.api.events import TypePattern
from receiver.api.inputs import MAX_ERRORS, Input, Moment, Text
from receiver.api.masks import NOTHING_TO_KEEP
from receiver.api.problem import InputError, Problem, invalid
from receiver.api.shapes import MASK
from receiver.delivery.headers import check_headers
from receiver.delivery.signing import parse_secret
from receiver.egress import MAX_URL_CHARS, BadDestination, Guard, check_url
from receiver.formats import FORMATS
from receiver.sms.events import STATUSES
from receiver.sms.matching import Filter

LONGEST_DELAY = 86_400 * 7
LONGEST_OVERLAP = 86_400 * 7
MOST_PER_SECOND = 10_000


def _format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return name


def _secret(text: str) -> str:
    if text != MASK:
        parse_secret(text)
    return text


_MOMENT: TypeAdapter[int] = TypeAdapter(Moment)


def _start(value: object) -> object:
    """`now`, `beginning` and an event's id as they are, a time as unix microseconds."""
    if value in ("now", "beginning") or (isinstance(value, str) and is_id(value, "evt")):
        return value
    try:
        return _MOMENT.validate_python(value)
    except ValueError:
        raise ValueError("must be now, beginning, a time such as 2026-11-20T14:47:03Z, or the id of an event") from None


Url = Annotated[Text, Field(min_length=1, max_length=MAX_URL_CHARS, examples=["https://example.com/hook"])]
Types = Annotated[list[TypePattern], Field(min_length=1, max_length=100, examples=[["message.*"]])]
Format = Annotated[str, AfterValidator(_format), Field(json_schema_extra={"enum": list(FORMATS)})]
Headers = Annotated[dict[str, str], Field(examples=[{"X-Team": "billing"}])]
Secret = Annotated[str, AfterValidator(_secret), Field(max_length=200)]
Concurrency = Annotated[int, Field(ge=1, le=256)]
Delay = Annotated[float, Field(ge=1, le=LONGEST_DELAY, allow_inf_nan=False)]
Schedule = Annotated[list[Delay], Field(min_length=1, max_length=20, examples=[[5, 300, 1800]])]
Description = Annotated[Text, Field(max_length=1000)]
Ordered = Literal["conversation"]
Rate = Annotated[float, Field(gt=0, le=MOST_PER_SECOND, allow_inf_nan=False)]
Start = Annotated[
    str | int,
    BeforeValidator(_start),
    WithJsonSchema({"type": "string", "maxLength": 64, "examples": ["now", "beginning", "2026-11-20T14:47:03Z"]}),
]

_URL = "https, or http with a warning; kept byte for byte"
_TYPES = "exact names, or prefixes with `*`; `*` is every type but test.ping"
_HEADERS = "added to every delivery"
_SCHEDULE = "seconds to wait after each failure; null for the receiver's own schedule"
_ORDERED = (
    "`conversation`: the events of one strictly in the order of the log, each only after the one before was taken or "
    "given up, for events from then on; null for no order"
)
_RATE = "attempts a second, at most; null for no limit. What waits for that is not an attempt"
_HANDSHAKE = "ask the URL by the CloudEvents webhook handshake whether deliveries are welcome, before it is saved"
_START = (
    "`now`; or `beginning`, a time of acceptance, or the id of an event: the log is gone through from there on, that "
    "very event included, and what comes meanwhile follows in its turn"
)


class SubscriptionBody(Input):
    url: Url = Field(description=_URL)
    types: Types = Field(["*"], description=_TYPES)
    filter: Filter | None = None
    format: Format = "standard"
    secret: Secret | None = Field(None, description="`whsec_` and base64 of 24 to 64 bytes; made where it is left out")
    headers: Headers = Field({}, description=_HEADERS)
    max_concurrency: Concurrency = Field(32, description="attempts at once")
    rate_per_second: Rate | None = Field(None, description=_RATE)
    ordered: Ordered | None = Field(None, description=_ORDERED)
    retry_schedule: Schedule | None = Field(None, description=_SCHEDULE)
    handshake: bool = Field(default=False, description=_HANDSHAKE)
    start: Start = Field("now", description=_START)
    paused: bool = False
    description: Description | None = None


class SubscriptionChange(Input):
    """What is given replaces what was; a secret or header value of `***` stays as it is."""

    # default factories keep "null" and a default out of the schema; only what was given is read
    url: Url = Field(default_factory=str, description=_URL)
    types: Types = Field(default_factory=list, description=_TYPES)
    filter: Filter | None = None
    format: Format = Field(default_factory=str)
    secret: Secret = Field(default_factory=str, description="at once and without overlap; see rotate-secret")
    headers: Headers = Field(default_factory=dict, description=_HEADERS)
    max_concurrency: Concurrency = Field(default_factory=int)
    rate_per_second: Rate | None = Field(None, description=_RATE)
    ordered: Ordered | None = Field(None, description=_ORDERED)
    retry_schedule: Schedule | None = Field(None, description=_SCHEDULE)
    handshake: bool = Field(
        default_factory=bool, description=_HANDSHAKE + "; asked again when it is set, and when the URL changes"
    )
    paused: bool = Field(default_factory=bool, description="false also re-activates a disabled one")
    description: Description | None = None


class Rotation(Input):
    overlap_seconds: int = Field(
        86_400, ge=0, le=LONGEST_OVERLAP, description="how long the old secret signs beside the new one"
    )


def check_destination(url: str, guard: Guard) -> None:
    """Raises Problem."""
    try:
        check_url(url, guard)
    except BadDestination as error:
        raise invalid("/url", str(error)) from None


def check_filter(wanted: Filter | None, vendors: Container[str]) -> None:
    """A word that nothing is called by would let no event through, and nobody would know. Raises Problem."""
    if wanted is None:
        return
    errors = [
        InputError(pointer=f"/filter/{name}/{index}", detail=f"names no {what}")
        for name, what, words, known in (
            ("vendors", "vendor", wanted.vendors, vendors),
            ("statuses", "status of an event", wanted.statuses, STATUSES),
        )
        for index, word in enumerate(words or ())
        if word not in known
    ]
    if errors:
        raise Problem("invalid_input", errors=errors[:MAX_ERRORS])


def checked_headers(given: Mapping[str, str], old: Mapping[str, str]) -> Mapping[str, str]:
    """Headers with each masked value replaced by the old one of that name; raises Problem."""
    before = {name.lower(): value for name, value in old.items()}
    headers = {name: before.get(name.lower(), value) if value == MASK else value for name, value in given.items()}
    if MASK in headers.values():
        raise invalid("/headers", NOTHING_TO_KEEP)
    try:
        check_headers(headers)
    except ValueError as error:
        raise invalid("/headers", str(error).removeprefix("headers: ")) from None
    return headers


def checked_secret(text: str) -> str:
    """A secret that was given when there was none before; raises Problem."""
    if text == MASK:
        raise invalid("/secret", NOTHING_TO_KEEP)
    return text
