"""What a source is made of, checked against what its vendor declares."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from receiver.api.inputs import Input, Text, escaped, input_errors
from receiver.api.masks import NOTHING_TO_KEEP, dumped, kept, kept_deep, revealed
from receiver.api.problem import InputError, Problem
from receiver.api.shapes import MASK
from receiver.vendors.contract import Source, Vendor
from receiver.vendors.polling import problems

MAX_VALUES = 10


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Name = Annotated[Text, Field(max_length=200)]
_Secret = Annotated[Text, Field(min_length=1, max_length=512)]
_Secrets = Annotated[list[_Secret], Field(min_length=1, max_length=MAX_VALUES)]
Credentials = dict[
    Annotated[str, Field(max_length=64)],
    Annotated[_Secrets, BeforeValidator(_listed, json_schema_input_type=_Secret | _Secrets)],
]
Options = dict[str, Any]

_CREDENTIALS = "one value, or several that are all tried; `GET /v1/vendors` names what the vendor takes"
_OPTIONS = "as the vendor's JSON Schema in `GET /v1/vendors` has it"


class SourceBody(Input):
    vendor: Annotated[Text, Field(max_length=64, examples=["twilio"])]
    name: Name | None = Field(None, description="yours to choose; the vendor's title where it is left out")
    credentials: Credentials = Field({}, description=_CREDENTIALS)
    options: Options = Field({}, description=_OPTIONS)


class SourceChange(Input):
    """What is given replaces what was; a value of `***` stays as it is."""

    # default factories keep "null" and a default out of the schema; only what was given is read
    name: Name = Field(default_factory=str)
    credentials: Credentials = Field(default_factory=dict, description=_CREDENTIALS)
    options: Options = Field(default_factory=dict, description=_OPTIONS)


def checked(
    vendor: Vendor,
    credentials: Mapping[str, Sequence[str]],
    options: Mapping[str, Any],
    *,
    old_credentials: Mapping[str, Sequence[str]] | None = None,
    old_options: Mapping[str, Any] | None = None,
) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Any]]:
    """Credentials and options as they are stored; raises Problem with everything that is wrong with them."""
    errors: list[InputError] = []
    kept_credentials = _credentials(vendor, credentials, old_credentials or {}, errors)
    kept_options = _options(vendor, options, old_options or {}, errors)
    errors = errors or _contradictions(vendor, kept_credentials, kept_options)
    if errors:
        raise Problem("invalid_input", errors=errors)
    return kept_credentials, kept_options


def _contradictions(
    vendor: Vendor, credentials: Mapping[str, Sequence[str]], options: Mapping[str, Any]
) -> list[InputError]:
    """What each for itself is right, and together is not."""
    source = Source(
        id="",
        vendor=vendor.name,
        name="",
        credentials={name: tuple(values) for name, values in credentials.items()},
        options=vendor.options.model_validate(options),
    )
    return [InputError(pointer=pointer, detail=detail) for pointer, detail in problems(vendor, source)]


def _credentials(
    vendor: Vendor, given: Mapping[str, Sequence[str]], old: Mapping[str, Sequence[str]], errors: list[InputError]
) -> Mapping[str, Sequence[str]]:
    result: dict[str, Sequence[str]] = {}
    for name, values in given.items():
        try:
            result[name] = kept(values, old.get(name, ()))
        except ValueError as error:
            errors.append(InputError(pointer=f"/credentials/{escaped(name)}", detail=str(error)))
        if name not in vendor.credentials:
            taken = ", ".join(vendor.credentials) or "none"
            errors.append(InputError(pointer=f"/credentials/{escaped(name)}", detail=f"{vendor.name} takes {taken}"))
    for name, credential in vendor.credentials.items():
        if credential.required and name not in given:
            errors.append(InputError(pointer=f"/credentials/{escaped(name)}", detail=f"is required: {credential.help}"))
    return result


def _options(
    vendor: Vendor, given: Mapping[str, Any], old: Mapping[str, Any], errors: list[InputError]
) -> Mapping[str, Any]:
    document = kept_deep(dict(given), dict(old))
    try:
        options = vendor.options.model_validate(document)
    except ValidationError as error:
        errors.extend(input_errors(error, document, "/options"))
        return {}
    if options.basic is not None and options.basic.password.get_secret_value() == MASK:
        errors.append(InputError(pointer="/options/basic/password", detail=NOTHING_TO_KEEP))
    return dumped(options, revealed, only_given=True)
