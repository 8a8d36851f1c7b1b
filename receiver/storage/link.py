"""One connection to PostgreSQL: to the primary, whichever of the servers that the URL names is it now."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from receiver.observe import log
from receiver.storage.database import Unavailable

Connection = Any
"""asyncpg's own type is a proxy without types."""

_SESSION: Final = {
    "application_name": "receiver",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",  # a process that is stopped amid one must not stop the others
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_COMMAND_SECONDS = 15.0
"""Above the time in which the server gives up waiting for a lock, below that after which a process gives itself up."""
_CONNECT_SECONDS = 5.0
"""For each server: one that is gone without a word must not take the time of the next."""
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
_STATEMENTS_KEPT = 1024

LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class Link:
    """A connection that is made when it is needed, and made anew when it was lost; not more often than the pauses
    allow, and not by all processes at the same moment. The server that was the primary last is asked first.
    """

    def __init__(self, url: str, settings: Mapping[str, str], chance: Callable[[], float]) -> None:
        self.chance = chance
        self._urls = servers(url)
        self._settings = {**_SESSION, **settings}
        self._connection: Connection = None
        self._failures = 0
        self._not_before = 0.0
        self._why = ""

    @property
    def pause(self) -> float:
        """Seconds until it is tried again."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())

    async def ready(self) -> Connection:
        """Raises Unavailable."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self.drop()
        if self.pause > 0:
            raise Unavailable(f"PostgreSQL does not answer ({self._why})")
        try:
            self._connection = await self._connected()
        except (asyncpg.PostgresError, *LOST, ValueError) as error:
            self._wait(error)
            raise Unavailable(self._why) from None
        self._failures = 0
        return self._connection

    async def _connected(self) -> Connection:
        *others, last = self._urls
        for url in others:
            with suppress(asyncpg.PostgresError, *LOST):
                return await self._connected_to(url)
            self._urls = [*self._urls[1:], url]
        return await self._connected_to(last)

    async def _connected_to(self, url: str) -> Connection:
        connection = await asyncpg.connect(
            url,
            target_session_attrs="primary",
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
            statement_cache_size=_STATEMENTS_KEPT,
            max_cached_statement_lifetime=0,
            server_settings=self._settings,
        )
        try:
            if await connection.fetchval("SHOW synchronous_commit") == "off":
                await connection.execute("SET synchronous_commit = on")  # what is acknowledged is on disk
        except BaseException:  # whoever waited for it may be gone
            connection.terminate()
            raise
        return connection

    def _wait(self, error: Exception) -> None:
        pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
        self._why = named(error)
        self._not_before = asyncio.get_running_loop().time() + pause * (0.5 + self.chance())
        log("database.unreachable", level="warning", cause=self._why)

    def drop(self) -> None:
        """Without a word to the server, who may not be there."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=2.0)
            except (asyncpg.PostgresError, *LOST):
                connection.terminate()


def servers(url: str) -> Sequence[str]:
    """A URL for each of them, in which nothing else differs."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]


def named(error: BaseException) -> str:
    """What kind of trouble, without the server's own words: they may quote values."""
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "who answers is a standby, which only reads"
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {state}" if state else type(error).__name__
