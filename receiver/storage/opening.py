"""Opens the database that is configured. A driver that another package provides is imported only when it is needed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from receiver.storage.database import CannotStart

if TYPE_CHECKING:
    from receiver.storage.postgres import PostgresDatabase


async def open_postgres(url: str, chance: Callable[[], float]) -> "PostgresDatabase":
    """Raises CannotStart with one clear line."""
    try:
        from receiver.storage.postgres import PostgresDatabase  # noqa: PLC0415 — its driver is an extra
    except ImportError:
        raise CannotStart("PostgreSQL needs a package more: pip install 'receiver[postgres]'") from None
    return await PostgresDatabase.open(url, chance=chance)
