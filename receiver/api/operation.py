"""An endpoint declared once as data: the route that serves it and its place in the OpenAPI document follow from it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from receiver.api.auth import Principal, Scope, authorize
from receiver.api.context import Context
from receiver.api.idempotency import HEADER, key_of, once
from receiver.api.inputs import Input, Nothing, Paged, parameters, parse_body, read_body, read_query
from receiver.api.problem import Code, Problem, invalid
from receiver.api.streaming import Streamed
from receiver.observe import log
from receiver.storage.database import StorageError

Query = TypeVar("Query", bound=Input)
Body = TypeVar("Body", bound=Input)
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

JSON = "application/json"
CSV = "text/csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Query, Body]):
    """One request, understood."""

    principal: Principal
    path: Mapping[str, str]
    query: Query
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that the operation names, in lower case, where they were given."""

    @property
    def id(self) -> str:
        return self.path["id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body` is a model or JSON as it is; `next` the cursor of the next page, which becomes a Link (RFC 8288).

    `stream` is a body that is made while it is sent, of the type `media_type`.
    """

    status: int = 200
    body: BaseModel | bytes = b""
    stream: AsyncGenerator[bytes] | None = None
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Query, Body]):
    """`answers` has a model for each status, None for no content; `streams` the types of bodies that are no JSON;
    `takes` that of the body that it takes: what is not JSON is taken as an Upload. `headers` are those that it reads,
    and what each is for. `problems` are those that do not follow from the rest; `problem_codes` are all of them.
    """

    method: Method
    path: str
    summary: str
    scope: Scope | None
    handler: Callable[[Context, Call[Query, Body]], Awaitable[Answer]]
    answers: Mapping[int, type[BaseModel] | None]
    query: type[Query] = Nothing  # type: ignore[assignment]  # a default cannot be generic
    body: type[Body] = Nothing  # type: ignore[assignment]  # a default cannot be generic
    problems: Sequence[Code] = ()
    streams: Sequence[str] = ()
    takes: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def route(self) -> str:
        """The path as it is served: what others call a thing may hold a slash, which arrives as one."""
        return self.path.replace("{number}", "{number:words}").replace("batches/{id}", "batches/{id:words}")

    @property
    def takes_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def takes_key(self) -> bool:
        """Whether an Idempotency-Key makes it safe to send again; every other method may be repeated as it is. What is
        kept for that is an answer in one piece.
        """
        return self.method == "POST" and not self.streams

    @property
    def problem_codes(self) -> Sequence[Code]:
        found: list[Code] = ["invalid_input", "unavailable", *self.problems]
        if self.scope is not None:
            found += ["unauthorized", "forbidden_scope", "rate_limited"]
        if "{" in self.path:
            found.append("not_found")
        if self.takes_body:
            found.append("too_large")
        if self.takes_key:
            found.append("conflict")
        if issubclass(self.query, Paged):
            found.append("bad_cursor")
        return found

    async def run(self, context: Context, request: Request) -> Response:
        """Raises Problem and StorageError."""
        principal = await authorize(context, request, self.scope)
        query = read_query(request.scope["query_string"], self.query)
        content = await read_body(request) if self.takes_body else b""
        headers = {name: request.headers[name] for name in self.headers if name in request.headers}
        call = Call(
            principal=principal, path=request.path_params, query=query, body=self._body(content), headers=headers
        )

        async def act(context: Context) -> Response:
            answer = await self.handler(context, call)
            if answer.stream is not None:
                return await Streamed.begun(answer.stream, _headers(answer, context, request), answer.media_type)
            return _response(answer, context, request)

        key = key_of(request)
        if key is None or not self.takes_body:
            return await act(context)
        if not self.takes_key:
            raise invalid("", f"{HEADER} is for POST with an answer in one piece")
        return await once(context, request, key, content, act)

    def _body(self, content: bytes) -> Body:
        """Raises Problem."""
        return parse_body(content, self.body) if self.takes == JSON else self.body.model_validate({"content": content})


Operations = Sequence[Operation[Any, Any]]


class Resource:
    """One path and its operations by method: an ASGI application, and the edge where problems become answers."""

    def __init__(self, context: Context, operations: Iterable[Operation[Any, Any]]) -> None:
        self._context = context
        self._operations: Mapping[str, Operation[Any, Any]] = {item.method: item for item in operations}

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        operation = self._operations.get(request.method)
        if operation is None:
            return Problem("method_not_allowed", headers={"allow": ", ".join(self._operations)}).response()
        try:
            return await operation.run(self._context, request)
        except Problem as problem:
            return problem.response()
        except StorageError as error:
            log("api.unavailable", level="warning", exc=error, method=request.method)
            return Problem("unavailable").response()
        except Exception as bug:  # noqa: BLE001 — trouble of our own has one face, and its trace goes to the log
            log("api.failed", level="error", exc=bug, method=request.method)
            return Problem("unavailable").response()


def _response(answer: Answer, context: Context, request: Request) -> Response:
    body = answer.body if isinstance(answer.body, bytes) else answer.body.model_dump_json(by_alias=True)
    headers = _headers(answer, context, request)
    return Response(body, answer.status, headers=headers, media_type=answer.media_type if body else None)


def _headers(answer: Answer, context: Context, request: Request) -> dict[str, str]:
    headers = {**answer.headers, "cache-control": "no-store"}
    if answer.next is not None:
        headers["link"] = f'<{_next_url(context, request, answer.next)}>; rel="next"'
    return headers


def _next_url(context: Context, request: Request, cursor: str) -> str:
    kept = [(name, value) for name, value in parameters(request.scope["query_string"]) if name != "after"]
    query = urlencode([*kept, ("after", cursor)])
    return f"{context.public_url}{quote(request.scope['path'])}?{query}"
