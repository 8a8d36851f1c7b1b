"""Asks a subscriber whether it wants our deliveries before it gets the first one: the CloudEvents validation handshake.

An attempt's sister: one request through the same door, and the answer is a value. CloudEvents HTTP 1.1 Web Hooks for
Event Delivery 1.0.2, section 4: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx2

from receiver.delivery.failure import failure
from receiver.delivery.outcome import NoAnswer
from receiver.egress import Destination

ORIGIN = b"webhook-request-origin"
"""Every delivery to a subscriber that consented must carry this header with the same origin (section 4.1.2)."""

_PER_MINUTE = re.compile(r"[1-9][0-9]{0,8}")

Denial = Literal["status", "origin", "rate"]
"""An answer that is no consent: not 2xx, another origin or none, a rate that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Deliveries are welcome, `per_minute` at most; None is no limit."""

    per_minute: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoConsent:
    """No answer, or none that consents; `detail` says why in a few words, without the URL. `status` is None without
    an answer.
    """

    error: NoAnswer | Literal["forbidden"] | Denial
    detail: str
    status: int | None = None


async def ask_consent(
    transport: httpx2.AsyncBaseTransport,
    destination: Destination,
    *,
    origin: str,
    rate_per_minute: int | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    deadline: float,
) -> Consent | NoConsent:
    """OPTIONS on the very URL that deliveries would go to, within `deadline` seconds.

    `origin` is the host name that we send as, `rate_per_minute` what we would like to send, `headers` those that the
    subscription adds. The later consent of section 4.1.3 is not asked for: no WebHook-Request-Callback is sent, who
    does not say yes now has said no. Raises nothing but CancelledError.
    """
    asked = [(b"host", destination.host), *headers, (ORIGIN, origin.encode("ascii")), *_wish(rate_per_minute)]
    request = httpx2.Request("OPTIONS", destination.url, headers=asked, extensions=destination.extensions)
    try:
        async with asyncio.timeout(deadline):
            response = await transport.handle_async_request(request)
            await response.aclose()
    except Exception as error:  # noqa: BLE001 — as in an attempt
        word, detail = failure(error, deadline)
        return NoConsent(error=word, detail=detail)
    return _judged(response, origin, rate_per_minute)


def _wish(rate_per_minute: int | None) -> Iterator[tuple[bytes, bytes]]:
    if rate_per_minute is not None:
        yield b"webhook-request-rate", b"%d" % rate_per_minute


def _judged(response: httpx2.Response, origin: str, wish: int | None) -> Consent | NoConsent:
    """A 2xx alone is no consent (section 4.2): many servers answer any OPTIONS. Neither are the headers on an error."""
    status = response.status_code
    if not 200 <= status < 300:
        return NoConsent(error="status", detail=f"answered OPTIONS with {status}", status=status)
    allowed = response.headers.get("webhook-allowed-origin")
    if allowed is None:
        return NoConsent(error="origin", detail="answered without WebHook-Allowed-Origin", status=status)
    if allowed not in (origin, "*"):
        return NoConsent(error="origin", detail=f"WebHook-Allowed-Origin is neither {origin} nor *", status=status)
    return _granted(response.headers.get("webhook-allowed-rate"), wish, status)


def _granted(rate: str | None, wish: int | None, status: int) -> Consent | NoConsent:
    """Who names no rate has heard ours and said yes to it."""
    if rate is None:
        return Consent(per_minute=wish)
    if rate == "*":
        return Consent(per_minute=None)
    if not _PER_MINUTE.fullmatch(rate):
        return NoConsent(error="rate", detail="WebHook-Allowed-Rate is neither a number above 0 nor *", status=status)
    return Consent(per_minute=int(rate))
