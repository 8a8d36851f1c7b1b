"""A party's raw sender or recipient as a typed address: E.164, short code, alphanumeric or unknown.

On the hot path of every message: read once a number, remembered, and without a full parse where that is exact.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberDesc, PhoneNumberFormat

from receiver.sms.drafts import Party

Kind = Literal["e164", "short_code", "alphanumeric", "unknown"]

# More than any number with its punctuation; keeps what the cache may hold small.
_MAX_CACHED = 64
_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_INTERNATIONAL = re.compile(r"[1-9][0-9]{6,14}")
_DIALLED = re.compile(r"\+?[0-9]+")
_MAX_ALPHANUMERIC = 11
# What people and address books put between digits: ASCII, odd blanks, Unicode dashes, direction marks.
_PUNCTUATION = dict.fromkeys(
    map(ord, " \t-./()[]~\u00a0\u00ad\u2009\u200b\u200e\u200f\u2010\u2011\u2012\u2013\u2014\u2015")
) | dict.fromkeys(map(ord, "\u202a\u202c\u202f\u2060\u2212"))
_CALLING_CODES = frozenset(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
# Codes without a main country: many of +1 and +7 are as large as the first.
_SHARED_ALIKE = frozenset({"1", "7"})
# phonenumbers' region of satellite, freephone and other codes that belong to no country.
_NOWHERE = "001"


class _Reading(NamedTuple):
    address: str
    kind: Kind
    country: str | None


def address(party: Party | None, default_region: str | None = None) -> dict[str, Any] | None:
    """The Address of `events.py` as a new dict; None without a party or when its raw form is blank.

    `default_region` (ISO 3166-1 alpha-2) reads national numbers; the vendor's own country, city, … win.
    """
    found = _find(party, default_region)
    if party is None or found is None:
        return None
    return {
        "address": found.address,
        "kind": found.kind,
        "raw": party.raw,
        "country": party.country or found.country,
        "city": party.city or None,
        "region": party.region or None,
        "postal_code": party.postal_code or None,
    }


def canonical(party: Party | None, default_region: str | None = None) -> str:
    """The `address` alone, for identities; empty without a party or when its raw form is blank."""
    found = _find(party, default_region)
    return found.address if found else ""


def _find(party: Party | None, default_region: str | None) -> _Reading | None:
    if party is None:
        return None
    raw = party.raw
    if len(raw) <= _MAX_CACHED:
        return _read(raw, party.international, default_region)
    text = raw.strip()
    return _as_other(text) if text else None


@lru_cache(maxsize=65_536)
def _read(raw: str, international: bool, default_region: str | None) -> _Reading | None:
    text = raw.strip()
    if not text:
        return None
    if text[0] == "+" and (found := _quick(text[1:])) is not None:
        return found
    return (
        _as_international(raw, text, international=international)
        or _as_national(text, default_region)
        or _as_other(text)
    )


def _as_other(text: str) -> _Reading:
    if _SHORT_CODE.fullmatch(text):
        return _Reading(text, "short_code", None)
    if len(text) <= _MAX_ALPHANUMERIC and any(map(str.isalpha, text)):
        return _Reading(text, "alphanumeric", None)
    return _Reading(text, "unknown", None)


def _as_international(raw: str, text: str, *, international: bool) -> _Reading | None:
    dialled = text.translate(_PUNCTUATION)
    if not _DIALLED.fullmatch(dialled):
        return None
    if dialled[0] == "+":
        digits = dialled[1:]
    elif dialled.startswith("00"):
        digits = dialled[2:]
    elif international or _lost_its_plus(raw, text):
        digits = dialled
    else:
        return None
    if len(digits) < 7:
        return None
    return _quick(digits) or _parsed("+" + digits, None)


def _lost_its_plus(raw: str, text: str) -> bool:
    """A `+` that a form decoder read as a blank (WHATWG URL, section 5.1): one blank, then 7 to 15 digits."""
    return raw[0] == " " and raw[1] == text[0] and 7 <= len(text) <= 15 and text.isascii() and text.isdigit()


def _as_national(text: str, default_region: str | None) -> _Reading | None:
    if default_region is None:
        return None
    digits = text.translate(_PUNCTUATION)
    if len(digits) < 7 or digits.startswith("00") or not (digits.isascii() and digits.isdigit()):
        return None
    return _parsed(digits, default_region)


def _parsed(digits: str, region: str | None) -> _Reading | None:
    """By phonenumbers: possible when international (`region` None), else valid under that region's calling code."""
    try:
        number = phonenumbers.parse(digits, region)
    except NumberParseException:
        return None
    if region is None:
        good = phonenumbers.is_possible_number(number)
    else:
        good = number.country_code == phonenumbers.country_code_for_region(region) and phonenumbers.is_valid_number(
            number
        )
    found = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    # ITU-T E.164 section 6 ends at 15 digits; phonenumbers goes on to 17 in a few countries.
    if not good or len(found) > 16:
        return None
    return _e164(found, str(number.country_code), phonenumbers.region_code_for_number(number))


def _e164(found: str, code: str, region: str | None) -> _Reading:
    country = region
    if region is None and code not in _SHARED_ALIKE:
        country = phonenumbers.region_code_for_country_code(int(code))
    return _Reading(found, "e164", None if country == _NOWHERE else country)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of a calling code's numbering plan says, without a parse, that digits stand as they are.

    `lengths` of possible national numbers; `prefix` matches what a parse would look into further (a trunk prefix);
    `regions` in order of precedence, each with the numbers it owns, empty where the code has one region.
    """

    lengths: frozenset[int]
    prefix: re.Pattern[str] | None
    regions: tuple[tuple[str, re.Pattern[str]], ...]
    only: str | None


def _quick(digits: str) -> _Reading | None:
    """The same as a parse of `+digits` where the numbering plan makes that plain; None where it does not."""
    if not _INTERNATIONAL.fullmatch(digits):
        return None
    for size in (1, 2, 3):
        if digits[:size] in _CALLING_CODES:
            break
    else:
        return None
    code, national = digits[:size], digits[size:]
    plan = _plan(code)
    if len(national) not in plan.lengths or (plan.prefix and plan.prefix.match(national)):
        return None
    region = plan.only or next((name for name, owns in plan.regions if owns.match(national)), None)
    return _e164("+" + digits, code, region)


@cache
def _plan(code: str) -> _Plan:
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    assert metadata is not None
    assert metadata.general_desc is not None
    general, prefix = metadata.general_desc, metadata.national_prefix_for_parsing
    return _Plan(
        lengths=frozenset(general.possible_length + general.possible_length_local_only),
        prefix=re.compile(prefix) if prefix else None,
        regions=tuple((region, _owned_by(region)) for region in regions) if len(regions) > 1 else (),
        only=regions[0] if len(regions) == 1 else None,
    )


def _owned_by(region: str) -> re.Pattern[str]:
    """The national numbers of one of several regions of a code: by its leading digits, else by every valid number."""
    metadata = PhoneMetadata.metadata_for_region(region)
    assert metadata is not None
    if metadata.leading_digits is not None:
        return re.compile(metadata.leading_digits)
    assert metadata.general_desc is not None
    kinds = "|".join(_exactly(kind) for kind in _kinds(metadata))
    return re.compile(f"(?={_exactly(metadata.general_desc)})(?:{kinds})")


def _kinds(metadata: PhoneMetadata) -> Iterator[PhoneNumberDesc]:
    for kind in (
        metadata.mobile,
        metadata.fixed_line,
        metadata.toll_free,
        metadata.premium_rate,
        metadata.shared_cost,
        metadata.voip,
        metadata.personal_number,
        metadata.pager,
        metadata.uan,
        metadata.voicemail,
    ):
        if kind is not None and kind.national_number_pattern:
            yield kind


def _exactly(kind: PhoneNumberDesc) -> str:
    lengths = "|".join(rf"[0-9]{{{length}}}\Z" for length in kind.possible_length if length > 0)
    return rf"(?={lengths})(?:{kind.national_number_pattern})\Z"
