"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a POST that is sent again is carried out once.

What is under way is known from memory, and to other processes by the name that its process holds; what was carried out
is told by a row that was committed together with it. Neither the key nor an answer is at rest in clear.
"""

import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256

import orjson
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.context import Context
from receiver.api.problem import Problem, invalid
from receiver.api.sealing import derived, opened, sealed
from receiver.sms.timestamps import DAY
from receiver.storage import idempotency
from receiver.storage.database import Transaction
from receiver.storage.idempotency import Kept

HEADER = "Idempotency-Key"
KEY_PATTERN = "^[!-~]{1,255}$"

_KEY = re.compile("[!-~]{1,255}")
_RUNNING = "The same request, or another one with this Idempotency-Key, is being carried out; try again in a moment."
_LOST = "The request with this Idempotency-Key was carried out, but its answer was lost; look at what is there."

Act = Callable[[Context], Awaitable[Response]]


def key_of(request: Request) -> str | None:
    """None where the request has none; raises Problem."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise invalid("", f"{HEADER} must be one of 1 to 255 printable ASCII characters without blanks")
    return given[0]


async def once(context: Context, request: Request, key: str, body: bytes, act: Act) -> Response:
    """The answer of `act`, carried out unless it was before. Raises Problem, and what `act` raises: then nothing was
    carried out, or a repeat says that the answer was lost.
    """
    secret = b"\x00".join((request.headers.get("authorization", "").encode(), key.encode()))
    row = Kept(
        key=derived(b"receiver row", secret).hex(),
        request=hmac.digest(derived(b"receiver request", secret), _asked(request, body), "sha256").hex(),
        answer=None,
        expires_at=context.clock() + DAY,
    )
    if row.key in context.under_way:
        raise Problem("conflict", _RUNNING)
    context.under_way.add(row.key)
    try:
        async with context.holding(row.key) as ours:
            if not ours:
                raise Problem("conflict", _RUNNING)
            return await _earlier(context, row, secret) or await _carried_out(context, row, secret, act)
    finally:
        context.under_way.discard(row.key)


def _asked(request: Request, body: bytes) -> bytes:
    """Neither length nor content of one part can pass for another's."""
    parts = (request.method.encode(), request.scope["path"].encode(), request.scope["query_string"], body)
    return b"".join(sha256(part).digest() for part in parts)


async def _earlier(context: Context, row: Kept, secret: bytes) -> Response | None:
    """What was answered to the same call; raises Problem when it cannot be told, or another call has the key."""
    async with context.database.reading() as reader:
        found = await idempotency.find(reader, row.key, context.clock())
    if found is None:
        return None
    if found.request != row.request:
        raise invalid("", f"this {HEADER} came before with another request; every request needs its own")
    if found.answer is None:
        raise Problem("conflict", _LOST)
    status, headers, body = orjson.loads(opened(secret, found.answer))
    return Response(body, status, headers=headers)


async def _carried_out(context: Context, row: Kept, secret: bytes, act: Act) -> Response:
    async def note(transaction: Transaction) -> None:
        await idempotency.keep(transaction, row)

    response = await act(replace(context, besides=note))
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    plain = orjson.dumps([response.status_code, headers, bytes(response.body).decode()])
    answered = replace(row, answer=sealed(secret, plain))
    await context.batch.write(lambda transaction: idempotency.keep(transaction, answered))
    return response
