"""The OpenAPI 3.1 document, derived from the operations and the event models; nothing of it is written twice.

https://spec.openapis.org/oas/v3.1.1.html
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel, RootModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from receiver import __version__
from receiver.api.context import Context
from receiver.api.idempotency import HEADER, KEY_PATTERN
from receiver.api.inputs import Input, Nothing, Paged
from receiver.api.operation import JSON, Answer, Call, Operation, Operations
from receiver.api.problem import CODES, MEDIA_TYPE, RETRY_AFTER, Code, ProblemDetails
from receiver.sms.events import EVENT_MODELS

Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_DESCRIPTION = (
    "Vendors' callbacks as one log of events. Keys go into `Authorization: Bearer <key>`; `write` may also read, "
    "`admin` may do everything. Lists are pages: `next` is null when nothing more is there now, `last` always "
    "follows on from here. Fields, types and words are added over time, never removed."
)
_TEXT: Schema = {"type": "string"}
_IN_PATH = re.compile(r"\{(\w+)\}")


class Document(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""


@dataclass(frozen=True, slots=True)
class _Schemas:
    """Every model's schema by name, and where each model is."""

    components: Mapping[str, Schema]
    places: Mapping[tuple[Any, JsonSchemaMode], Schema]

    def of(self, model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
        return self.places[model, mode]


def with_document(operations: Operations, public_url: str) -> Operations:
    """The operations and one more, that serves the document of them all, made when it is first asked for."""

    @cache
    def encoded() -> bytes:
        return orjson.dumps(document(everything, public_url))

    async def serve(_context: Context, _call: Call[Nothing, Nothing]) -> Answer:
        return Answer(body=encoded())

    own: Operation[Nothing, Nothing] = Operation(
        method="GET", path="/openapi.json", summary="This document", scope=None, handler=serve,
        answers={200: Document},
    )  # fmt: skip
    everything = (*operations, own)
    return everything


def document(operations: Operations, public_url: str) -> Schema:
    """The document as plain JSON values."""
    schemas = _schemas(operations)
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "receiver",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": public_url}],
        "paths": paths,
        "webhooks": {name: {"post": _webhook(name, schemas.of(model, "serialization"))}
                     for name, model in EVENT_MODELS.items()},
        "components": {
            "schemas": dict(schemas.components),
            "responses": {code: _problem(code, schemas) for code in _codes(operations)},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "an API key"}},
        },
    }  # fmt: skip


def _schemas(operations: Operations) -> _Schemas:
    events: list[tuple[type[BaseModel], JsonSchemaMode]] = [(item, "serialization") for item in EVENT_MODELS.values()]
    wanted = dict.fromkeys(events)
    wanted[ProblemDetails, "serialization"] = None
    for operation in operations:
        wanted |= dict.fromkeys((item, "serialization") for item in operation.answers.values() if item is not None)
        if operation.takes_body and operation.takes == JSON:
            wanted[operation.body, "validation"] = None
    places, found = models_json_schema(list(wanted), ref_template=_REF)
    components = found["$defs"]
    for name in models_json_schema(events, ref_template=_REF)[1]["$defs"]:
        components[name].pop("additionalProperties", None)  # events grow, and a reader must not mind
    return _Schemas(components, places)


def _operation(operation: Operation[Any, Any], schemas: _Schemas) -> Schema:
    tag = operation.path.split("/")[2] if operation.path.startswith("/v1/") else "service"
    name = f"{tag}_{operation.handler.__name__}" + ("_head" if operation.method == "HEAD" else "")
    described: Schema = {
        "operationId": name.replace("-", "_"),
        "summary": operation.summary,
        "tags": [tag],
        "parameters": [
            *_path_parameters(operation.path),
            *_query_parameters(operation.query),
            *_header_parameters(operation),
        ],
        "responses": dict(_responses(operation, schemas)),
        "security": [{"key": [operation.scope]}] if operation.scope else [],
    }
    if operation.takes_body and operation.body is not Nothing:
        described["requestBody"] = {
            "required": any(field.is_required() for field in operation.body.model_fields.values()),
            "content": {operation.takes: _taken(operation, schemas)},
        }
    return described


def _taken(operation: Operation[Any, Any], schemas: _Schemas) -> Schema:
    """Of what is no JSON any bytes will do, so that there is no schema of it."""
    return {"schema": schemas.of(operation.body, "validation")} if operation.takes == JSON else {}


def _path_parameters(path: str) -> Iterable[Schema]:
    for name in _IN_PATH.findall(path):
        yield {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _query_parameters(query: type[Input]) -> Iterable[Schema]:
    for name, described in query.model_json_schema(mode="validation").get("properties", {}).items():
        about = {"description": described["description"]} if "description" in described else {}
        yield {"name": name, "in": "query", **about, "schema": _parameter_schema(described)}


def _header_parameters(operation: Operation[Any, Any]) -> Iterable[Schema]:
    if operation.takes_key:
        about = "the same request under the same key is carried out once and answered alike for 24 hours"
        yield {"name": HEADER, "in": "header", "description": about, "schema": _TEXT | {"pattern": KEY_PATTERN}}
    for name, about in operation.headers.items():
        yield {"name": name, "in": "header", "description": about, "schema": _TEXT}


def _parameter_schema(described: Schema) -> Schema:
    """Without null, which no query string can hold: a parameter is left out."""
    schema = {key: value for key, value in described.items() if key not in ("title", "description")}
    if schema.get("default", ...) is None:
        del schema["default"]
        schema |= next(choice for choice in schema.pop("anyOf") if choice != {"type": "null"})
    return schema


def _responses(operation: Operation[Any, Any], schemas: _Schemas) -> Iterable[tuple[str, Schema]]:
    for status, model in operation.answers.items():
        answer: Schema = {"description": HTTPStatus(status).phrase}
        if model is not None:
            answer["content"] = {JSON: {"schema": schemas.of(model, "serialization")}}
        if status == HTTPStatus.OK and operation.streams:
            answer["content"] = {kind: {"schema": _TEXT} for kind in operation.streams}
        headers = _headers(operation, status)
        yield str(status), answer | ({"headers": headers} if headers else {})
    for code in operation.problem_codes:
        yield str(CODES[code][0]), {"$ref": f"#/components/responses/{code}"}


def _headers(operation: Operation[Any, Any], status: int) -> Schema:
    if status in (201, 202):
        return {"Location": {"description": "where it is, absolute", "schema": _TEXT}}
    if issubclass(operation.query, Paged):
        return {"Link": {"description": 'the next page, rel="next", where there is one', "schema": _TEXT}}
    return {}


def _codes(operations: Operations) -> Sequence[Code]:
    return list(dict.fromkeys(code for operation in operations for code in operation.problem_codes))


def _problem(code: Code, schemas: _Schemas) -> Schema:
    described: Schema = {
        "description": CODES[code][1],
        "content": {MEDIA_TYPE: {"schema": schemas.of(ProblemDetails, "serialization")}},
    }
    if code in ("unavailable", "rate_limited"):
        described["headers"] = {"Retry-After": {"description": "seconds", "schema": _TEXT, "example": RETRY_AFTER}}
    if code == "unauthorized":
        described["headers"] = {"WWW-Authenticate": {"schema": _TEXT}}
    return described


def _webhook(name: str, schema: Schema) -> Schema:
    """What a subscriber gets (https://github.com/standard-webhooks/standard-webhooks)."""
    headers = {
        "webhook-id": "the event's id, the same on every attempt",
        "webhook-timestamp": "of this attempt, unix seconds",
        "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over id, timestamp and body; several during rotation",
    }
    return {
        "operationId": f"on_{name.replace('.', '_')}",
        "summary": name,
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": about, "schema": _TEXT}
            for header, about in headers.items()
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
        "responses": {"2XX": {"description": "taken"}, "410": {"description": "no more of it: disables it"}},
        "security": [],
    }
