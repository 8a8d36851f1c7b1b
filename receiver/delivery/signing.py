"""Standard Webhooks 1.0 signatures, made for each attempt just before it is posted. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64


def sign(secrets: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:  # noqa: A002 — the standard's word
    """The value of `webhook-signature`: one `v1,<base64>` for each secret, apart by a blank.

    `timestamp` is the attempt's time in unix seconds, the same as in `webhook-timestamp`.
    """
    message = b"%b.%d.%b" % (id.encode(), timestamp, body)
    return " ".join([f"v1,{b64encode(hmac.digest(secret, message, 'sha256')).decode()}" for secret in secrets])


def parse_secret(text: str) -> bytes:
    """The key of a secret as users see it: `whsec_` and the base64 of 24 to 64 bytes, padded or not.

    Raises ValueError that never holds the secret.
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"secret: must start with {PREFIX}")
    encoded = text.removeprefix(PREFIX).rstrip("=")
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (NotBase64, ValueError):
        raise ValueError(f"secret: what follows {PREFIX} must be base64") from None
    return _sized(key)


def format_secret(key: bytes) -> str:
    """The opposite of `parse_secret`; raises ValueError when the key is not 24 to 64 bytes long."""
    return PREFIX + b64encode(_sized(key)).decode("ascii")


def _sized(key: bytes) -> bytes:
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"secret: must hold {MIN_BYTES} to {MAX_BYTES} bytes, not {len(key)}")
    return key
