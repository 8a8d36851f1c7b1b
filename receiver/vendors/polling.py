"""What vendors that are asked have in common: the options, the signs of trouble, and how answers are told apart.

A receipt of an answer has the method POLL and, as its query, what was asked (`feed` first); so it can be read again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from receiver.sms.drafts import Item, Party, Reported
from receiver.vendors.bodies import parse_form, parse_json
from receiver.vendors.contract import (
    POLL,
    BadPayload,
    NotAnswered,
    Poll,
    Reply,
    Source,
    Step,
    Vendor,
    VendorRequest,
)
from receiver.vendors.fields import Fields

LOOKUP: Final = "lookup"
CLOSED: Final = "closed"
"""The feed that is no vendor's: messages closed because no final report came."""
MOST_ROWS: Final = 1_000
NO_FINAL_REPORT: Final = "no_final_report"

_API_URL = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?")


def _api_url(url: str) -> str:
    if not _API_URL.fullmatch(url):
        raise ValueError("an http or https URL without user, query and fragment is due")
    return url.rstrip("/")


class PollOptions(BaseModel):
    """How a source's vendor is asked; without this it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    every: int = Field(60, ge=1, le=86_400, description="seconds from one round to the next")
    per_minute: int | None = Field(
        None, ge=1, le=6_000, description="questions a minute at most; left out: what the vendor takes"
    )
    base_url: Annotated[str, AfterValidator(_api_url), Field(max_length=1_024)] | None = Field(
        None, description="where the API lies, if not at the vendor's own address"
    )
    look_back: int = Field(
        86_400,
        ge=0,
        le=2_592_000,
        description="seconds before the first round that it asks about, where it asks by time",
    )

    @property
    def names(self) -> Sequence[str]:
        """The feeds that are asked for."""
        return getattr(self, "feeds", ())


def poll_options(source: Source) -> PollOptions | None:
    found = getattr(source.options, "poll", None)
    return found if isinstance(found, PollOptions) else None


def asked(vendor: Vendor, source: Source) -> tuple[Poll, PollOptions] | None:
    """How the source's vendor is asked; None where it is not to be, or cannot be."""
    options = poll_options(source)
    if vendor.poll is None or options is None or vendor.poll.missing(source):
        return None
    return vendor.poll, options


def problems(vendor: Vendor, source: Source) -> Sequence[tuple[str, str]]:
    """What a source wants that cannot be: pointer and reason."""
    options, reconcile = poll_options(source), source.options.reconcile
    missing = vendor.poll.missing(source) if vendor.poll and options else ()
    found = [(f"/credentials/{name}", "is required where the vendor is asked (options.poll)") for name in missing]
    can_look_up = options is not None and vendor.poll is not None and vendor.poll.lookup is not None
    if reconcile and reconcile.close_after is None and not can_look_up:
        found.append(("/options/reconcile/close_after", "is required where the vendor is not asked (options.poll)"))
    return found


def lacking(source: Source, *names: str) -> Sequence[str]:
    """Those of the credentials that the source does not have."""
    return [name for name in names if not source.secrets(name)]


def first(source: Source, name: str) -> str:
    """A credential's first value, the one to use towards the vendor; empty without one."""
    return next(iter(source.secrets(name)), "")


def with_query(path: str, pairs: Sequence[tuple[str, str | int]]) -> str:
    return f"{path}?{urlencode(pairs)}"


def check(reply: Reply) -> None:
    """Raises NotAnswered unless the status is a success."""
    match reply.status:
        case status if 200 <= status < 300:
            return
        case 401 | 403:
            raise NotAnswered("credentials", f"the vendor refuses the credentials (HTTP {reply.status})")
        case 429 | 503:
            raise NotAnswered("busy", f"the vendor asks to be left alone for a while (HTTP {reply.status})")
        case _:
            raise NotAnswered("refused", f"the vendor answered HTTP {reply.status}")


def document(reply: Reply) -> Fields:
    """The JSON object of a reply with a good status; raises NotAnswered."""
    check(reply)
    try:
        return Fields.of(parse_json(reply.body)[0])
    except BadPayload as error:
        raise NotAnswered("answer", f"the vendor's answer cannot be read ({error})") from None


def bounded(rows: Sequence[object]) -> Sequence[object]:
    """What one answer may bring, for all of it is one transaction; raises NotAnswered."""
    if len(rows) > MOST_ROWS:
        raise NotAnswered("answer", f"the vendor's answer has more than {MOST_ROWS} rows at once")
    return rows


def unread(field: str) -> NotAnswered:
    return NotAnswered("answer", f"the vendor's answer cannot be read ({field} is not what its document says)")


def unchanged(position: Mapping[str, int | str], *, more: bool = False) -> Step:
    """A step that keeps nothing of the answer: there was nothing in it."""
    return Step(position=position, more=more, pieces=())


def about(request: VendorRequest) -> Mapping[str, str]:
    """What was asked, of an answer's receipt."""
    return dict(parse_form(request.query)[0])


def understood(vendor: Vendor, request: VendorRequest, source: Source) -> Sequence[Item]:
    """What a request or an answer says, whoever spoke first; raises BadPayload."""
    if request.method != POLL:
        return vendor.parse(request, source)
    if about(request).get("feed") == CLOSED:
        return [_closed(Fields.from_body(request))]
    if vendor.poll is None:
        raise BadPayload(f"{vendor.name} is a vendor that cannot be asked")
    return vendor.poll.parse(request, source)


def _closed(message: Fields) -> Reported:
    """The end of a message of which no more will be heard; `message` is as `receiver.intake.reconcile` wrote it."""
    return Reported(
        status="unknown",
        final=True,
        vendor_message_id=message.text("vendor_message_id"),
        client_reference=message.text("client_reference"),
        batch_id=message.text("batch_id"),
        channel=message.text("channel"),
        from_=_party(message, "from"),
        to=_party(message, "to"),
        sequence=CLOSED,
        flags=(NO_FINAL_REPORT,),
    )


def _party(message: Fields, name: str) -> Party | None:
    raw = message.words(name)
    return Party(raw=raw) if raw else None
