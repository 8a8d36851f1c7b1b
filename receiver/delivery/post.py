"""One attempt: a signed request goes out through the transport and comes back as an outcome, never as an exception."""

import asyncio
from collections.abc import Callable, Sequence

import httpx2

from receiver.delivery.failure import failure
from receiver.delivery.outcome import (
    ANSWER_BYTES,
    Control,
    Delivered,
    Forbidden,
    Gone,
    Outcome,
    Refused,
    Unreachable,
)
from receiver.egress import Destination

RETRY_AFTER_CHARS = 64
"""Longer than any HTTP-date."""

Clock = Callable[[], float]
"""Monotonic seconds."""


async def post(
    transport: httpx2.AsyncBaseTransport,
    destination: Destination,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    *,
    deadline: float,
    clock: Clock,
) -> Outcome:
    """POST `body` and judge the answer; `deadline` in seconds spans everything from name look-up to the last byte.

    Raises nothing but CancelledError.
    """
    started = clock()
    # Raw pairs and a ready stream: httpx would otherwise build its header list twice, at four times the cost.
    request = httpx2.Request(
        "POST",
        destination.url,
        headers=[(b"host", destination.host), (b"content-length", b"%d" % len(body)), *headers],
        stream=httpx2.ByteStream(body),
        extensions=destination.extensions,
    )
    try:
        async with asyncio.timeout(deadline):
            response = await transport.handle_async_request(request)
            answer = await _start_of(response)
    except Exception as error:  # noqa: BLE001 — whatever breaks in one attempt must not end the lane
        return _failure(error, deadline, round((clock() - started) * 1000))
    return _judged(response, answer, round((clock() - started) * 1000))


def _judged(response: httpx2.Response, answer: bytes, duration_ms: int) -> Outcome:
    status, control = response.status_code, _control(response)
    if 200 <= status < 300:
        return Delivered(status=status, answer=answer, duration_ms=duration_ms, control=control)
    if status == 410:
        return Gone(answer=answer, duration_ms=duration_ms)
    wish = response.headers.get("retry-after")
    return Refused(
        status=status,
        answer=answer,
        duration_ms=duration_ms,
        retry_after=wish and wish[:RETRY_AFTER_CHARS],
        control=control,
    )


def _control(response: httpx2.Response) -> Control | None:
    match response.headers.get("webhook-delivery", "").strip().lower():
        case "disable":
            return "disable"
        case "abort-message":
            return "abort-message"
        case _:
            return None


def _failure(error: Exception, deadline: float, duration_ms: int) -> Outcome:
    word, detail = failure(error, deadline)
    if word == "forbidden":
        return Forbidden(detail=detail, duration_ms=duration_ms)
    return Unreachable(error=word, detail=detail, duration_ms=duration_ms)


async def _start_of(response: httpx2.Response) -> bytes:
    """The raw bytes, never decoded: what says gzip may be a bomb."""
    stream = response.stream
    if not isinstance(stream, httpx2.AsyncByteStream):
        raise httpx2.StreamConsumed
    start = b""
    try:
        async for chunk in stream:
            start += chunk
            if len(start) >= ANSWER_BYTES:
                break
    finally:
        await stream.aclose()
    return start[:ANSWER_BYTES]
