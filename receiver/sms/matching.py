"""Which events a subscription gets: its types and its filter, compiled once and asked for every event."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from receiver.sms.events import TYPES

Matcher = Callable[[str, Mapping[str, Any]], bool]
Value = Annotated[str, Field(min_length=1, max_length=256)]
Values = Annotated[list[Value], Field(max_length=1000)]

_EVERY: Final = "*"
_PING: Final = "test.ping"

# The fields that `from`, `to` and `countries` are about, by type.
_SENDERS = {
    "message.received": "from",
    "message.status": "from",
    "contact.opted_out": "number",
    "contact.opted_in": "number",
}
_RECEIVERS = {
    "message.received": "to",
    "message.status": "to",
    "contact.opted_out": "sender",
    "contact.opted_in": "sender",
}
_PERSONS = {
    "message.received": "from",
    "message.status": "to",
    "contact.opted_out": "number",
    "contact.opted_in": "number",
}


class Filter(BaseModel):
    """What an event must be about; null or an empty list asks nothing, and so does what the event's type lacks."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    vendors: Values | None = Field(None, examples=[["twilio"]])
    sources: Values | None = Field(None, description="ids of sources")
    from_: Values | None = Field(
        None,
        alias="from",
        examples=[["+44*"]],
        description="addresses, exact or a prefix with `*`; of `contact.*` the person's number",
    )
    to: Values | None = Field(None, description="addresses, exact or a prefix with `*`; of `contact.*` your sender")
    countries: Values | None = Field(None, examples=[["GB"]], description="of the person's number, ISO 3166-1 alpha-2")
    keywords: Values | None = Field(None, examples=[["JOIN"]], description="in any case")
    statuses: Values | None = Field(None, examples=[["delivered"]], description="of `message.status`")
    final_only: bool = Field(False, description="of `message.status` only final reports")


def valid_type_pattern(pattern: str) -> bool:
    """Whether a pattern names a type of the contract: exactly, or by a prefix with `*` at its end."""
    return bool(_types_of(pattern))


def compile_matcher(types: Sequence[str], filter: Filter | None) -> Matcher:  # noqa: A002 — the word of the API
    """A function of an event's type and data. `*` is every type but `test.ping`."""
    wanted = frozenset(name for pattern in types for name in _types_of(pattern))
    checks = tuple(_checks(filter)) if filter else ()
    if not checks:
        return lambda name, _data: name in wanted
    if len(checks) == 1:
        only = checks[0]
        return lambda name, data: name in wanted and only(name, data)

    def matches(name: str, data: Mapping[str, Any]) -> bool:
        return name in wanted and all(check(name, data) for check in checks)

    return matches


def _types_of(pattern: str) -> frozenset[str]:
    if pattern == _EVERY:
        return frozenset(TYPES) - {_PING}
    if pattern.endswith("*"):
        return frozenset(name for name in TYPES if name.startswith(pattern[:-1]))
    return frozenset({pattern}.intersection(TYPES))


def _checks(filter: Filter) -> list[Matcher]:  # noqa: A002 — as above
    checks: list[Matcher] = []
    if filter.final_only:
        checks.append(lambda name, data: name != "message.status" or data["final"] is True)
    if filter.statuses:
        checks.append(_status_among(frozenset(filter.statuses)))
    if filter.vendors:
        checks.append(_field_among("vendor", frozenset(filter.vendors)))
    if filter.sources:
        checks.append(_field_among("source_id", frozenset(filter.sources)))
    if filter.countries:
        checks.append(_country_among(frozenset(map(str.upper, filter.countries))))
    if filter.keywords:
        checks.append(_keyword_among(frozenset(map(str.upper, filter.keywords))))
    if filter.from_:
        checks.append(_address_among(_SENDERS, filter.from_))
    if filter.to:
        checks.append(_address_among(_RECEIVERS, filter.to))
    return checks


def _status_among(allowed: frozenset[str]) -> Matcher:
    return lambda name, data: name != "message.status" or data["status"] in allowed


def _field_among(field: str, allowed: frozenset[str]) -> Matcher:
    """Every field of a type is always present, so a field that is absent is one that the type lacks."""
    return lambda _name, data: field not in data or data[field] in allowed


def _keyword_among(allowed: frozenset[str]) -> Matcher:
    return lambda _name, data: "keyword" not in data or (data["keyword"] or "").upper() in allowed


def _country_among(allowed: frozenset[str]) -> Matcher:
    def check(name: str, data: Mapping[str, Any]) -> bool:
        field = _PERSONS.get(name)
        if field is None:
            return True
        person = data[field]
        return person is not None and person["country"] in allowed

    return check


def _address_among(fields: Mapping[str, str], patterns: Sequence[str]) -> Matcher:
    exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
    prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def check(name: str, data: Mapping[str, Any]) -> bool:
        field = fields.get(name)
        if field is None:
            return True
        party = data[field]
        return party is not None and (party["address"] in exact or party["address"].startswith(prefixes))

    return check
