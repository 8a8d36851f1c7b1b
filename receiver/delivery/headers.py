"""The check on headers that a subscription adds to its deliveries, made when the subscription is. Pure."""

import re
from collections.abc import Mapping

MAX_HEADERS = 20
MAX_VALUE_BYTES = 4096
MAX_NAME_BYTES = 256

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")

RESERVED = frozenset(
    {
        # what the message and the connection are made of
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect",
        "host", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "via",
        # what says who calls
        "cookie", "cookie2", "forwarded", "set-cookie", "user-agent", "x-real-ip",
    }
)  # fmt: skip
RESERVED_PREFIXES = ("proxy-", "sec-", "webhook-", "x-forwarded-")


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises ValueError naming the header that cannot be sent; never its value.

    Names are tokens (RFC 9110 section 5.6.2), values visible ASCII with blanks and tabs inside (section 5.5 leaves
    other bytes without a meaning, and the client could only send them as UTF-8). At most 20 headers of 4 KiB.
    """
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"headers: at most {MAX_HEADERS}, not {len(headers)}")
    seen = set[str]()
    for name, value in headers.items():
        lowered = name.lower()
        _check_name(name, lowered)
        if lowered in seen:
            raise ValueError(f"headers: {name} is given twice")
        seen.add(lowered)
        _check_value(name, value)


def _check_name(name: str, lowered: str) -> None:
    if len(name) > MAX_NAME_BYTES or not _TOKEN.fullmatch(name):
        raise ValueError(f"headers: {name[:40]!r} is not a header name")
    if lowered in RESERVED or lowered.startswith(RESERVED_PREFIXES):
        raise ValueError(f"headers: {name} is set by the receiver or the connection and cannot be given")


def _check_value(name: str, value: str) -> None:
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"headers: the value of {name} is longer than {MAX_VALUE_BYTES} bytes")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"headers: the value of {name} must be visible ASCII, without line breaks")
    if value != value.strip(" \t"):
        raise ValueError(f"headers: the value of {name} must not start or end with a blank")
