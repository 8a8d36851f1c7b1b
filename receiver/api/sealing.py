"""Answers at rest that only their caller can open: some hold an API key, of which the database knows only the hash."""

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derived(purpose: bytes, secret: bytes) -> bytes:
    """32 bytes that tell nothing of the secret; each purpose has its own."""
    return HKDF(SHA256(), length=32, salt=None, info=purpose).derive(secret)


def sealed(secret: bytes, plain: bytes) -> bytes:
    return _box(secret).encrypt(plain)


def opened(secret: bytes, box: bytes) -> bytes:
    """Raises ValueError when it was sealed with another secret, or changed since."""
    try:
        return _box(secret).decrypt(box)
    except InvalidToken:
        raise ValueError("cannot be opened") from None


def _box(secret: bytes) -> Fernet:
    return Fernet(urlsafe_b64encode(derived(b"receiver answer", secret)))
