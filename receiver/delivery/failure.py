"""What an exception of the transport is called in the record of an attempt: a word, and a few more without the URL."""

from typing import Literal

import httpx2

from receiver.delivery.outcome import NoAnswer
from receiver.egress import ForbiddenDestination, NameNotResolved, TLSFailed


def failure(error: Exception, deadline: float) -> tuple[NoAnswer | Literal["forbidden"], str]:
    """Word and detail; `deadline` is the seconds that the whole attempt had."""
    match error:
        case ForbiddenDestination():
            return "forbidden", str(error)
        case NameNotResolved():
            return "dns", str(error)
        case TLSFailed():
            return "tls", str(error)
        case httpx2.TimeoutException():
            return "timeout", str(error)
        case TimeoutError():
            return "timeout", f"no whole answer within {deadline:g} s"
        case httpx2.ConnectError():
            return "connect", str(error)
        case httpx2.TransportError():
            return "protocol", str(error)
        case _:  # the words of a stranger may hold the URL
            return "protocol", type(error).__name__
