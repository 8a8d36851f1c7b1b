"""A number that was erased and must still be known again, as on the opt-out list, stands there as a keyed hash.

The key is in the database, so who can read that can try every number there is: a pseudonym keeps a number from whoever
sees an answer, a log or a part of the file. The list without it would let texts be sent to who asked for none.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from receiver.storage.database import Reader, Transaction

_NAME: Final = "pseudonyms"
_SECRET_BYTES = 32


def pseudonym(secret: bytes, number: str) -> str:
    """No address looks like it."""
    return f"erased:{blake2b(number.encode(), digest_size=20, key=secret).hexdigest()}"


async def secret_of(transaction: Transaction, entropy: Callable[[int], bytes]) -> bytes:
    """Of this database, made when it is first needed."""
    await transaction.fetch(
        "INSERT INTO secrets (name, secret) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", _NAME, entropy(_SECRET_BYTES)
    )
    ((secret,),) = await transaction.fetch("SELECT secret FROM secrets WHERE name = ?", _NAME)
    return bytes(secret)


async def names(reader: Reader, number: str) -> Sequence[str]:
    """Under which a number may stand on the opt-out list: itself, and its pseudonym once any number was erased. Where
    both stand, the later change holds.
    """
    rows = await reader.fetch("SELECT secret FROM secrets WHERE name = ?", _NAME)
    return [number, *(pseudonym(bytes(secret), number) for (secret,) in rows)]
