"""Answers at rest that only their caller can open: some hold an API key, of which the database knows only the hash.

A one-time pad from SHAKE-256 (FIPS 202) over the caller's secret and a fresh nonce, with a BLAKE2b tag (RFC 7693) over
both: the standard library has no cipher, and for what lives a day a dependency on one is not worth its weight.
"""

import hmac
from hashlib import blake2b, shake_256

NONCE_BYTES = 16
_TAG_BYTES = 32


def derived(purpose: bytes, *secrets: bytes) -> bytes:
    """32 bytes that tell nothing of the secrets; each purpose (16 bytes at most) has its own."""
    whole = blake2b(digest_size=32, person=purpose)
    for secret in secrets:
        whole.update(len(secret).to_bytes(8, "big") + secret)
    return whole.digest()


def sealed(secret: bytes, plain: bytes, nonce: bytes) -> bytes:
    """`nonce` is never used twice with one secret."""
    hidden = nonce + _masked(secret, nonce, plain)
    return _tag(secret, hidden) + hidden


def opened(secret: bytes, box: bytes) -> bytes:
    """Raises ValueError when it was sealed with another secret, or changed since."""
    tag, hidden = box[:_TAG_BYTES], box[_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(secret, hidden)):
        raise ValueError("cannot be opened")
    return _masked(secret, hidden[:NONCE_BYTES], hidden[NONCE_BYTES:])


def _tag(secret: bytes, hidden: bytes) -> bytes:
    return blake2b(hidden, digest_size=_TAG_BYTES, key=derived(b"tag", secret)).digest()


def _masked(secret: bytes, nonce: bytes, content: bytes) -> bytes:
    pad = shake_256(derived(b"pad", secret, nonce)).digest(len(content))
    return (int.from_bytes(content, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(content), "big")
