"""What every source can ask of a request before its vendor's own check: the caller's network, HTTP Basic."""

import binascii
from base64 import b64decode
from ipaddress import ip_address

from receiver.intake.http import Refusal
from receiver.vendors.contract import Source, VendorRequest
from receiver.vendors.signatures import same

_CHALLENGE = ((b"www-authenticate", b'Basic realm="receiver", charset="UTF-8"'),)


def check_network(peer: str, source: Source) -> None:
    """Raises Refusal 403 when the source names networks and the caller is in none of them."""
    allowed = source.options.allow
    if not allowed:
        return
    try:
        address = ip_address(peer)
    except ValueError:
        raise Refusal(403, "the caller has no address", source_id=source.id) from None
    mapped = getattr(address, "ipv4_mapped", None)
    if not any((mapped or address) in network for network in allowed):
        raise Refusal(403, "the caller's network is not allowed", source_id=source.id)


def check_basic(request: VendorRequest, source: Source) -> None:
    """Raises Refusal 401 with a challenge when the source asks for HTTP Basic (RFC 7617) and it is not right."""
    basic = source.options.basic
    if basic is None:
        return
    scheme, _, encoded = (request.header("authorization") or "").partition(" ")
    given = _decoded(encoded) if scheme.lower() == "basic" else ""
    expected = f"{basic.username}:{basic.password.get_secret_value()}"
    if not same(given, (expected,)):
        raise Refusal(401, "HTTP Basic credentials are missing or wrong", _CHALLENGE, source_id=source.id)


def _decoded(encoded: str) -> str:
    try:
        return b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return ""
