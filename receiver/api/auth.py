"""Who asks, and what they may: API keys as Bearer tokens (RFC 6750), the settings' own key, the owner's socket."""

import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from receiver.api.context import Context
from receiver.api.inputs import parameters
from receiver.api.problem import Problem
from receiver.storage import keys

Scope = Literal["read", "write", "admin"]

_GIVES: Mapping[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
}
_KEY_PARAMETERS = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token", "authorization"})
_MAX_KEY_CHARS = 512


@dataclass(frozen=True, slots=True)
class Principal:
    """`scopes` with what they imply: `write` reads, `admin` may do everything."""

    name: str
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


ANYBODY = Principal("anybody", frozenset())
_OWNER = Principal("owner", _GIVES["admin"])
_SETTINGS = Principal("settings", _GIVES["admin"])


def make_key(entropy: Callable[[int], bytes]) -> str:
    """A new API key of 256 random bits."""
    return f"key_{urlsafe_b64encode(entropy(32)).rstrip(b'=').decode('ascii')}"


async def authorize(context: Context, request: Request, scope: Scope | None) -> Principal:
    """Raises Problem unless the request may do what needs `scope`; None needs no key."""
    if scope is None:
        return ANYBODY
    try:
        principal = await _principal(context, request)
    except Problem:
        _hold_up(context, request)
        raise
    if not principal.may(scope):
        raise Problem("forbidden_scope", f"This needs an API key with the scope {scope}.")
    return principal


async def still_valid(context: Context, principal: Principal) -> bool:
    """Whether the key of a call that goes on and on was not revoked meanwhile."""
    if principal in (_OWNER, _SETTINGS):
        return True
    async with context.database.reading() as reader:
        found = await keys.get(reader, principal.name)
    return found is not None and found.revoked_at is None


def _hold_up(context: Context, request: Request) -> None:
    """Raises Problem when this peer fails too often. A valid key never comes here: an operator is not locked out."""
    wait = context.failed(request.client.host if request.client else "")
    if wait:
        raise Problem("rate_limited", headers={"retry-after": str(math.ceil(wait))}) from None


async def _principal(context: Context, request: Request) -> Principal:
    if request.scope.get("receiver.owner") is True:
        return _OWNER
    _refuse_key_in_query(request)
    key = _bearer(request.headers.get("authorization", ""))
    if context.admin_key is not None and hmac.compare_digest(key.encode(), context.admin_key.encode()):
        return _SETTINGS
    async with context.database.reading() as reader:
        found = await keys.find(reader, key)
    if found is None:
        raise Problem("unauthorized", "The API key is not valid.")
    return Principal(found.id, frozenset().union(*(_GIVES.get(scope, frozenset()) for scope in found.scopes)))


def _refuse_key_in_query(request: Request) -> None:
    """A key in a URL ends up in logs, so it is refused even beside a good header."""
    names = {name.lower() for name, _ in parameters(request.scope["query_string"])}
    if names & _KEY_PARAMETERS:
        raise Problem("unauthorized", "An API key is never taken from a URL; send Authorization: Bearer <key>.")


def _bearer(header: str) -> str:
    scheme, _, key = header.partition(" ")
    key = key.strip(" ")
    if scheme.lower() != "bearer" or not key or len(key) > _MAX_KEY_CHARS:
        raise Problem("unauthorized")
    return key
