"""The generated parts of docs/api.md: the operations and the error codes."""

from collections.abc import Callable, Mapping

from receiver.api import OPERATIONS
from receiver.api.problem import CODES
from tests.docs.markdown import code, table


def operations() -> str:
    rows = [
        (code(operation.method), code(operation.path), operation.summary, operation.scope or "no key")
        for operation in OPERATIONS
    ]
    rows.append((code("GET"), code("/openapi.json"), "The OpenAPI document of all of them", "no key"))
    return table(("method", "path", "what it does", "scope"), rows)


def codes() -> str:
    rows = [(code(name), str(status), meaning.replace("<", "&lt;")) for name, (status, meaning) in CODES.items()]
    return table(("code", "status", "meaning"), rows)


PARTS: Mapping[str, Callable[[], str]] = {"operations": operations, "codes": codes}
