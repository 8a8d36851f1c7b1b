"""Proofs that a request comes from its vendor, each in constant time."""

import hmac
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha1

from receiver.vendors.contract import BadSignature, Source, VendorRequest


def same(given: str, expected: Iterable[str]) -> bool:
    """Whether `given` is one of `expected`; every one is compared, so that time tells nothing."""
    wanted = given.encode("utf-8", "surrogateescape")
    found = False
    for candidate in expected:
        found |= hmac.compare_digest(wanted, candidate.encode("utf-8", "surrogateescape"))
    return found


def bearer(request: VendorRequest, secrets: Sequence[str], header: str = "authorization") -> None:
    """A shared secret in a header, with or without the word Bearer before it (RFC 6750 section 2.1)."""
    if not secrets:
        return
    value = request.header(header)
    if value is None:
        raise BadSignature(f"{header}: missing")
    scheme, _, token = value.partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else value
    if not same(given, secrets):
        raise BadSignature(f"{header}: wrong secret")


def require_bearer(request: VendorRequest, source: Source) -> None:
    """The credential `secret`, where the source has one, as a Bearer token."""
    bearer(request, source.secrets("secret"))


def hmac_sha1_base64(key: str, message: bytes) -> str:
    return b64encode(hmac.digest(key.encode(), message, sha1)).decode("ascii")
