"""What a source may declare about a vendor whose callback its customers design: `fields`, `statuses`, `time_format`.

`mapping.py` reads requests by it; a vendor of this kind is a subclass with its documented defaults as data.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from receiver.sms.events import REASONS, STATUSES
from receiver.vendors import times
from receiver.vendors.contract import Options

OurName = Literal[
    "vendor_message_id", "client_reference", "batch_id", "from", "to", "cc", "text", "status", "opt_out",
    "vendor_code", "vendor_description", "permanent", "occurred_at", "sent_at", "sequence", "keyword", "segments",
    "media_url", "media_type", "part_id", "part_reference", "part_number", "part_total", "price", "currency", "mcc",
    "mnc", "network_name", "channel", "udh",
]  # fmt: skip
Names = tuple[str, ...]
Verdict = tuple[str, bool, str | None]
"""What a vendor's word means: status, whether it is final, reason."""

_FINAL = frozenset({"delivered", "read", "undelivered", "rejected", "expired", "failed", "canceled"})
_PROBE = datetime(2024, 2, 29, 13, 14, 15, tzinfo=UTC)


def _status(word: str) -> str:
    if word not in STATUSES:
        raise ValueError(f"a status is one of {', '.join(STATUSES)}")
    return word


def _reason(word: str) -> str:
    if word not in REASONS:
        raise ValueError(f"a reason is one of {', '.join(REASONS)}")
    return word


def _time_format(form: str) -> str:
    if form in ("iso", "unix", "unix_ms"):
        return form
    try:
        found = datetime.strptime(_PROBE.strftime(form), form)  # noqa: DTZ007 — only its date is looked at
        complete = found.date() == _PROBE.date()
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("iso, unix, unix_ms or a strptime pattern with year, month and day is due")
    return form


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _spelled_out(value: object) -> object:
    return {"status": value} if isinstance(value, str) else value


class Meaning(BaseModel):
    """What a vendor's status word stands for; `final` left out follows from the status."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    status: Annotated[str, AfterValidator(_status), Field(json_schema_extra={"enum": list(STATUSES)})]
    final: bool | None = None
    reason: Annotated[str, AfterValidator(_reason), Field(json_schema_extra={"enum": list(REASONS)})] | None = None

    @property
    def verdict(self) -> Verdict:
        return self.status, self.status in _FINAL if self.final is None else self.final, self.reason


_Word = Annotated[str, Field(min_length=1, max_length=256)]
SomeNames = Annotated[
    tuple[_Word, ...],
    Field(min_length=1, max_length=16),
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
]
_TimeFormat = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_time_format)]
_Meaning = Annotated[Meaning, BeforeValidator(_spelled_out, json_schema_input_type=str | Meaning)]


class MappedOptions(Options):
    """`fields` and `statuses` are merged key by key over the vendor's defaults; null takes one away."""

    DEFAULT_FIELDS: ClassVar[Mapping[str, Names]] = {}
    DEFAULT_STATUSES: ClassVar[Mapping[str, Verdict]] = {}
    DEFAULT_COLUMNS: ClassVar[Mapping[str, Names]] = {}
    CHANNELS: ClassVar[Mapping[str, str]] = {}
    """The vendor's own words for channels, where they are not ours."""
    REFERENCE_MEANS_REPORT: ClassVar[bool] = False
    """A request with the sender's reference, but with neither status nor text, reports something unknown."""

    fields: dict[OurName, SomeNames | None] = Field(
        {},
        description="our names to the vendor's: one, or several tried in order; a query, form or JSON key, "
        "else a dotted path (data.0.id)",
    )
    statuses: dict[_Word, _Meaning | None] = Field(
        {},
        max_length=1_000,
        description="the vendor's status words to ours, or to {status, final, reason}; a word not listed is unknown",
    )
    time_format: _TimeFormat | None = Field(
        None, description="iso, unix, unix_ms or a strptime pattern; left out: ISO 8601 or unix seconds, as it looks"
    )
    international: bool = Field(
        False, description="numbers come as full international digits, country code first, without a plus sign"
    )
    columns: dict[OurName, SomeNames | None] = Field(
        {}, description="of files that are imported: our names to their columns, tried before those of `fields`"
    )
    columns_time_format: _TimeFormat | None = Field(
        None, description="of files that are imported, where it is not `time_format`"
    )

    @cached_property
    def of_sheets(self) -> "MappedOptions":
        """The options by which an imported file is read."""
        kept = {ours: names for ours, names in self.DEFAULT_COLUMNS.items() if ours not in self.columns}
        columns = kept | {ours: names for ours, names in self.columns.items() if names is not None}
        fields: dict[str, Names | None] = dict.fromkeys(self.DEFAULT_FIELDS)
        for ours in {**self.names, **columns}:
            fields[ours] = (*columns.get(ours, ()), *self.names.get(ours, ()))
        given = {name: getattr(self, name) for name in type(self).model_fields}
        form = self.columns_time_format or self.time_format
        return type(self).model_construct(**given | {"fields": fields, "time_format": form})

    @cached_property
    def names(self) -> Mapping[str, Names]:
        """Our names to the vendor's, defaults included."""
        kept = {ours: names for ours, names in self.DEFAULT_FIELDS.items() if ours not in self.fields}
        return kept | {ours: names for ours, names in self.fields.items() if names is not None}

    @cached_property
    def verdicts(self) -> Mapping[str, Verdict]:
        """The vendor's status words, defaults included."""
        kept = {word: verdict for word, verdict in self.DEFAULT_STATUSES.items() if word not in self.statuses}
        return kept | {word: meaning.verdict for word, meaning in self.statuses.items() if meaning is not None}

    def moment(self, text: str | None) -> int | None:
        """A vendor's time as unix microseconds; None when it is not in the declared form or has no known zone."""
        match self.time_format:
            case None:
                found = times.iso(text, self.zone)
                return times.unix(text) if found is None else found
            case "iso":
                return times.iso(text, self.zone)
            case "unix":
                return times.unix(text)
            case "unix_ms":
                return times.unix_ms(text)
            case form:
                return times.pattern(text, form, self.zone)
