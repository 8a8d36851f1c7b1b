"""What the API says when it cannot do what it was asked: RFC 9457 problem details with a code of ours."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"

Code = Literal[
    "invalid_input", "bad_cursor", "cursor_gone", "unauthorized", "forbidden_scope", "not_found",
    "method_not_allowed", "conflict", "too_large", "rate_limited", "unavailable",
]  # fmt: skip
CODES: Mapping[Code, tuple[int, str]] = {
    "invalid_input": (422, "The request is not what this operation takes; `errors` names each place."),
    "bad_cursor": (400, "`after` is neither a cursor of this list and order nor an id of it."),
    "cursor_gone": (410, "What follows the cursor is no longer kept; begin again without it."),
    "unauthorized": (401, "A valid API key is needed: Authorization: Bearer <key>."),
    "forbidden_scope": (403, "The API key lacks the scope that this operation needs."),
    "not_found": (404, "There is no such thing."),
    "method_not_allowed": (405, "This path does not take that method."),
    "conflict": (409, "The present state does not allow it."),
    "too_large": (413, "The body is larger than 256 KiB."),
    "rate_limited": (
        429,
        "Too many requests without a valid key came from this address; one with it is always served.",
    ),
    "unavailable": (503, "This receiver cannot do it right now; try again later."),
}
_HEADERS: Mapping[Code, Mapping[str, str]] = {
    "unauthorized": {"www-authenticate": 'Bearer realm="receiver"'},
    "unavailable": {"retry-after": RETRY_AFTER},
}


class InputError(BaseModel):
    """One thing that is wrong with a body, or with a query read as an object of its parameters."""

    pointer: str = Field(examples=["/types/0"], description="JSON Pointer (RFC 6901); empty for the whole")
    detail: str


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    code: str = Field(examples=list(CODES))
    detail: str
    errors: list[InputError] | None = Field(None, description="with `invalid_input`")
    causes: list[str] | None = Field(None, description="of /readyz: what is not ready")


class Problem(Exception):
    """Raised anywhere below an operation, answered at its edge. `detail` never holds a secret or a phone number."""

    def __init__(
        self,
        code: Code,
        detail: str | None = None,
        *,
        errors: Sequence[InputError] | None = None,
        causes: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.detail = CODES[code][0], detail or CODES[code][1]
        super().__init__(self.detail)
        self.code = code
        self.errors = errors
        self.causes = causes
        self.headers = {**_HEADERS.get(code, {}), **(headers or {}), "cache-control": "no-store"}

    def response(self) -> Response:
        details = ProblemDetails(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            code=self.code,
            detail=self.detail,
            errors=list(self.errors) if self.errors is not None else None,
            causes=list(self.causes) if self.causes is not None else None,
        )
        body = details.model_dump_json(exclude_none=True)
        return Response(body, self.status, headers=self.headers, media_type=MEDIA_TYPE)


def invalid(pointer: str, detail: str) -> Problem:
    """One thing is wrong with the input."""
    return Problem("invalid_input", errors=[InputError(pointer=pointer, detail=detail)])
