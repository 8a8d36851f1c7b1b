"""Reads what a client sent into models: bodies and query strings, with every mistake named by its JSON Pointer."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_origin
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect, Request

from receiver.api.problem import InputError, Problem, invalid
from receiver.sms.timestamps import from_text

MAX_BODY_BYTES = 256 * 1024
MAX_PARAMETERS = 100
MAX_ERRORS = 100

_BOM = b"\xef\xbb\xbf"
_INTEGER = re.compile(r"-?[0-9]{1,9}")
# RFC 3339 section 5.6; a `+` of the offset may have become a blank on its way through a query string.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,9})?)([Zz]|[+\- ]\d\d:\d\d)",
    re.ASCII,
)
_ADDRESS_WITH_BLANK = re.compile(r" (?=[0-9])")


class Input(BaseModel):
    """A body or a query: what it does not define is refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class Nothing(Input):
    """No parameters, or an empty body."""


class Upload(Input):
    """A body that is no JSON, as it came."""

    content: bytes


Model = TypeVar("Model", bound=Input)


def integer(value: object) -> object:
    """A whole number of a query string, where every value is a text; raises ValueError."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError("must be a whole number")
    return value


def _flag(value: object) -> object:
    if value not in ("true", "false"):
        raise ValueError("must be `true` or `false`")
    return value == "true"


def _moment(value: object) -> int:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a time as RFC 3339 has it, such as 2026-11-20T14:47:03Z")
    day, time, offset = match.groups()
    try:
        return from_text(f"{day}T{time}{offset.upper().replace(' ', '+')}")
    except (ValueError, OverflowError):
        raise ValueError("is no time that the calendar knows") from None


def _address(value: str) -> str:
    """A `+` in a query string that arrives as a blank is meant as a `+`."""
    return _ADDRESS_WITH_BLANK.sub("+", value, count=1) if value.startswith(" ") else value


Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""No database keeps U+0000 in a text."""
Word = Annotated[Text, Field(min_length=1, max_length=512)]
Address = Annotated[
    Word,
    AfterValidator(_address),
    Field(examples=["+447700900123", "+4477*"], description="exact, or a prefix with `*` at its end"),
]
Number = Annotated[Word, AfterValidator(_address)]
"""An address that is meant exactly."""
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
Moment = Annotated[
    int,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-20T14:47:03Z"]}),
]
"""A time as unix microseconds."""


class Paged(Input):
    """What every list takes."""

    limit: Annotated[int, BeforeValidator(integer)] = Field(50, ge=1, le=500)
    after: Word | None = Field(None, description="a cursor (`next` or `last` of a page) or an id: what follows it")


def parameters(query: bytes) -> Sequence[tuple[str, str]]:
    """Names and values of a query string in their order, empty ones too; raises Problem when there are too many."""
    try:
        return parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise invalid("", f"at most {MAX_PARAMETERS} parameters") from None


def read_query(query: bytes, model: type[Model]) -> Model:
    """The parameters of a query string, which an operation's model describes; raises Problem."""
    lists = {_alias(model, name) for name, field in model.model_fields.items() if get_origin(field.annotation) is list}
    several: dict[str, list[str]] = {}
    for name, value in parameters(query):
        several.setdefault(name, []).append(value)
    given = {name: values if name in lists else values[0] for name, values in several.items()}
    for name, values in several.items():
        if name not in lists and len(values) > 1:
            raise invalid(f"/{escaped(name)}", "is given more than once")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise Problem("invalid_input", errors=input_errors(error, given)) from None


async def read_body(request: Request) -> bytes:
    """The whole body, at most MAX_BODY_BYTES; raises Problem."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:12]) > MAX_BODY_BYTES:
        raise Problem("too_large")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Problem("too_large")
    except ClientDisconnect:
        raise invalid("", "the body ended too early") from None
    return bytes(body)


def parse_body(body: bytes, model: type[Model]) -> Model:
    """JSON, whatever its content type says; an empty body is an empty object. Raises Problem."""
    raw = body.removeprefix(_BOM) or b"{}"
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        whole = any(item["type"] == "json_invalid" for item in error.errors(include_url=False, include_input=False))
        raise Problem("invalid_input", errors=input_errors(error, None if whole else from_json(raw))) from None


def input_errors(error: ValidationError, document: object, prefix: str = "") -> Sequence[InputError]:
    """Every mistake with a pointer into the document that was given; never a value of it."""
    items = error.errors(include_url=False, include_context=False, include_input=False)
    return [InputError(pointer=prefix + pointer(item, document), detail=_detail(item)) for item in items[:MAX_ERRORS]]


def _detail(item: ErrorDetails) -> str:
    """In words of JSON, which knows no tuples."""
    return "Input should be a valid list" if item["type"] == "tuple_type" else item["msg"].removeprefix("Value error, ")


def pointer(item: ErrorDetails, document: object) -> str:
    """RFC 6901. Steps of the model that the document does not have, such as a branch of a union, are left out."""
    steps: list[str] = []
    here: Any = document
    for step in item["loc"]:
        places: Container[int | str] = range(len(here)) if isinstance(here, list) else here
        if isinstance(here, list | Mapping) and step in places:
            here = here[step]  # type: ignore[index]  # of a list `places` holds whole numbers alone
            steps.append(escaped(str(step)))
    if item["type"] == "missing":
        steps.append(escaped(str(item["loc"][-1])))
    return "".join(f"/{step}" for step in steps)


def escaped(step: str) -> str:
    """One step of a JSON Pointer."""
    return step.replace("~", "~0").replace("/", "~1")


def _alias(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].alias or name
