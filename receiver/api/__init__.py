"""The JSON API under /v1: sources, subscriptions, and what was received and delivered. One module a resource."""

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.api import (
    asked,
    batches,
    consumers,
    deliveries,
    events,
    export,
    health,
    imports,
    jobs,
    keys,
    messages,
    opt_outs,
    receipts,
    reparse,
    sources,
    stream,
    subjects,
    subscriptions,
    vendors,
)
from receiver.api.context import Context
from receiver.api.openapi import with_document
from receiver.api.operation import Operations, Resource
from receiver.api.problem import Problem

OPERATIONS: Operations = (
    *vendors.OPERATIONS,
    *sources.OPERATIONS,
    *asked.OPERATIONS,
    *imports.OPERATIONS,
    *subscriptions.OPERATIONS,
    *jobs.OPERATIONS,  # before the events: none of those is called `replay`
    *stream.OPERATIONS,  # nor `stream`
    *export.OPERATIONS,  # nor `export`
    *events.OPERATIONS,
    *consumers.OPERATIONS,
    *messages.OPERATIONS,
    *batches.OPERATIONS,
    *opt_outs.OPERATIONS,
    *deliveries.OPERATIONS,
    *reparse.OPERATIONS,  # before the receipts: none of those is called `reparse`
    *receipts.OPERATIONS,
    *subjects.OPERATIONS,
    *keys.OPERATIONS,
    *health.OPERATIONS,
)


class _Words(Convertor[str]):
    """The rest of a path, whatever stands there; Starlette's own `path` ends at a line break."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value


register_url_convertor("words", _Words())


def create_api(context: Context) -> Starlette:
    """The ASGI application of every operation; whatever goes wrong is answered as problem+json."""
    operations = with_document(OPERATIONS, context.public_url)
    app = Starlette(routes=list(_routes(context, operations)), exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    return app


def _routes(context: Context, operations: Operations) -> Iterable[Route]:
    for route in dict.fromkeys(operation.route for operation in operations):
        yield Route(route, Resource(context, [item for item in operations if item.route == route]))


def _not_found(_request: Request, _error: Exception) -> Response:
    return Problem("not_found", "There is nothing at this path.").response()
