"""PostgreSQL through asyncpg: one connection writes for this process, a few read, one listens, one does what no write
is to wait for, one holds names that no other process is to have.

READ COMMITTED, so each statement sees what other processes committed before it. What has to hold between processes
is held by locks: see `Transaction.lock` and the triggers of `migrations/postgres`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, LiteralString, Self, TypeVar

import asyncpg

from receiver.storage.columns import column_types, columns_of, numbered, rows_as_arrays, with_arrays
from receiver.storage.database import (
    Broken,
    CannotStart,
    Contended,
    Engine,
    Row,
    Soon,
    StorageError,
    Unavailable,
    Values,
)
from receiver.storage.link import LOST, Connection, Link, named
from receiver.storage.text_index import POSTGRES

Result = TypeVar("Result")

OLDEST: Final = 16
CHANNEL: Final = "receiver"

_BEGIN: Final = "BEGIN; SELECT pg_advisory_xact_lock_shared(5459, 0)"
"""Whoever changes the catalog waits for the transactions that go by it, and they for him: in the order of arrival, as
a row locked FOR SHARE by one recording after the other would not be."""

_ASIDE: Final = "50ms"
"""Whoever asks for a table while a lock on all of it is waited for waits as well."""
_LOCKED_MOST = 1_000
"""Names that one call locks one by one. By default all processes together may hold about ten thousand locks."""
_SCRIPT_SECONDS = 3600.0
_VACUUM: Final = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) "
"""Nobody waits for it: to cut off a table's end, it would lock all of it."""
_VACUUM_SECONDS = 86_400.0
_ERASED_FROM: Final = (
    "events", "texts", "receipts", "messages", "message_parts", "long_messages", "identities", "deliveries", "attempts",
    "lookups", "opt_outs", "sources", "polls", "jobs",
)  # fmt: skip
"""Tables that an erasure changes."""
_CONTENDED = {"40001", "40P01", "55P03"}
_DAMAGED = {"XX001", "XX002"}
_PASSING_CLASSES = {"08", "53", "57", "58", "28", "3D"}
_PASSING = {"25006", "25P03", "25P04", "40003"}
_ROLLED_BACK_CLASSES = {"23", "40"}
"""A COMMIT that fails with one of these has certainly not happened."""


class PostgresDatabase:
    """See `Database`. Any number of processes open the same one."""

    def __init__(self, url: str, readers: int, chance: Callable[[], float]) -> None:
        self._url = url
        self._writer = Link(url, {}, chance)
        self._writing = asyncio.Lock()
        self._side = Link(url, {"lock_timeout": _ASIDE}, chance)
        self._aside = asyncio.Lock()
        self._names = Link(url, {}, chance)
        self._naming = asyncio.Lock()
        self._listener = Link(url, {}, chance)
        self._asking = asyncio.Lock()
        self._types = _Types()
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        self._readers = [Link(url, {"default_transaction_read_only": "on"}, chance) for _ in range(readers)]
        for reader in self._readers:
            self._free.put_nowait(reader)
        self.doubts = 0
        """COMMITs of which nobody knows whether they happened: the connection was lost in the middle."""

    @classmethod
    async def open(cls, url: str, *, readers: int = 4, chance: Callable[[], float] = lambda: 0.5) -> Self:
        """Connects. Raises CannotStart with one clear line, which never holds the password."""
        database = cls(url, readers, chance)
        try:
            connection = await database._writer.ready()
            await _check_server(connection)
        except Unavailable as error:
            raise CannotStart(f"PostgreSQL cannot be reached ({error})") from None
        except CannotStart:
            await database.close()
            raise
        return database

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["_Session"]:
        link = await self._free.get()
        try:
            yield _Session(await link.ready(), self._types)
        except Unavailable:
            link.drop()
            raise
        finally:
            self._free.put_nowait(link)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["_Session"]:
        async with self._writing, self._transaction(self._writer, _BEGIN) as session:
            yield session

    @asynccontextmanager
    async def aside(self) -> AsyncIterator["_Session"]:
        async with self._aside, self._transaction(self._side, "BEGIN") as session:
            yield session

    @asynccontextmanager
    async def _transaction(self, link: Link, begin: str) -> AsyncIterator["_Session"]:
        connection = await link.ready()
        session = _Session(connection, self._types)
        try:
            await _run(connection.execute(begin))
            yield session
            await session.flush()
            await self._commit(connection)
        except BaseException as error:
            await self._roll_back(link, connection, error)
            raise

    async def _commit(self, connection: Connection) -> None:
        try:
            done = await connection.execute("COMMIT")
        except (asyncpg.PostgresError, *LOST) as error:
            if (getattr(error, "sqlstate", None) or "")[:2] in _ROLLED_BACK_CLASSES:
                raise _translated(error) from error
            self.doubts += 1
            raise Unavailable(f"nobody knows whether it was committed ({named(error)})") from error
        if done != "COMMIT":  # a statement failed, and whoever called it went on
            raise StorageError("the transaction was rolled back: one of its statements failed")

    async def _roll_back(self, link: Link, connection: Connection, error: BaseException) -> None:
        """Where the connection may be in the middle of something, a new one is made next time."""
        if isinstance(error, Contended) or not isinstance(error, asyncio.CancelledError | Unavailable):
            with suppress(asyncpg.PostgresError, *LOST):
                await connection.execute("ROLLBACK")
                return
        link.drop()

    @asynccontextmanager
    async def holding(self, name: str) -> AsyncIterator[bool]:
        async with self._naming:
            connection = await self._names.ready()
            held = await _run(connection.fetchval("SELECT pg_try_advisory_lock(5461, hashtext($1))", name))
        try:
            yield bool(held)
        finally:
            if held:
                await asyncio.shield(self._let_go(connection, name))

    async def _let_go(self, connection: Connection, name: str) -> None:
        """What is held is lost with its connection, and so is one that does not let go."""
        async with self._naming:
            try:
                await connection.execute("SELECT pg_advisory_unlock(5461, hashtext($1))", name)
            except (asyncpg.PostgresError, *LOST):
                connection.terminate()

    async def time(self) -> int:
        """Asked by the connection that listens: no reader has to be free for it, and one that is gone without a word
        is found out.
        """
        async with self._asking:
            connection = await self._listener.ready()
            try:
                now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
                return int(await _run(connection.fetchval(now)))
            except Unavailable:
                self._listener.drop()
                raise

    async def listen(self, told: Callable[[str], None]) -> None:
        """Calls `told` with each word that is sent to all processes, until cancelled, and with "" after each new
        connection: something may have been missed.
        """
        try:
            while True:
                try:
                    async with self._asking:
                        lost = await _listening(await self._listener.ready(), told)
                except Unavailable:
                    self._listener.drop()
                else:
                    told("")
                    await lost.wait()
                await asyncio.sleep(self._listener.pause)
        finally:
            self._listener.drop()

    async def scrub(self) -> bool:
        """Takes old versions of rows out of the tables and their indexes, except what somebody's snapshot still sees.
        The server's log is recycled in its own time.
        """
        link = Link(self._url, {"lock_timeout": "0"}, self._writer.chance)
        try:
            connection = await link.ready()
            for table in _ERASED_FROM:
                await _run(connection.execute(_VACUUM + table, timeout=_VACUUM_SECONDS))
        finally:
            await link.close()
        return True

    async def close(self) -> None:
        for link in (self._writer, self._side, self._names, self._listener, *self._readers):
            await link.close()


class _Session:
    """See `Transaction`; for reading, each statement by itself."""

    __slots__ = ("_connection", "_due", "_types")

    engine: Engine = "postgres"
    texts = POSTGRES

    def __init__(self, connection: Connection, types: "_Types") -> None:
        self._connection = connection
        self._types = types
        self._due: list[Callable[[], Awaitable[None]]] = []

    async def fetch(self, sql: LiteralString, *values: Any) -> Sequence[Row]:
        await self.flush()
        return await self._fetched(numbered(sql), values)

    async def many(
        self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "", *values: Any
    ) -> Sequence[Row]:
        if not rows:
            return []
        await self.flush()
        sql, arrays = await self._laid_out(before, rows, after)
        return await self._fetched(sql, [*arrays, *values])

    async def change(
        self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "", *values: Any
    ) -> int:
        if not rows:
            return 0
        await self.flush()
        sql, arrays = await self._laid_out(before, rows, after)
        status: str = await _run(self._connection.execute(sql, *arrays, *values))
        return int(status.rpartition(" ")[2])

    def later(self, before: LiteralString, rows: Sequence[Values], after: LiteralString = "") -> None:
        if rows:
            self._due.append(lambda: self._written(before, rows, after))

    def soon(self, sql: LiteralString, *values: Any) -> Soon:
        asked = Soon()

        async def fetch() -> None:
            asked.rows = await self._fetched(numbered(sql), values)

        self._due.append(fetch)
        return asked

    async def lock(self, names: Iterable[str]) -> None:
        """By their hashes: two names that share one only wait for each other. In one order, so that nobody waits in a
        circle. For very many one lock stands, which all others share: a server has room for some thousands.
        """
        await self.flush()
        given = list(names)
        if len(given) > _LOCKED_MOST:
            await self._fetched("SELECT pg_advisory_xact_lock(5461, 0)", [])
            return
        await self._fetched(
            """WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(5461, 0))
               SELECT pg_advisory_xact_lock(5460, hash) FROM gate,
               (SELECT DISTINCT hashtext(name) AS hash FROM unnest($1::text[]) AS name ORDER BY 1) AS hashes""",
            [given],
        )

    async def script(self, sql: str) -> None:
        await self.flush()
        await _run(self._connection.execute(sql, timeout=_SCRIPT_SECONDS))

    async def flush(self) -> None:
        due, self._due = self._due, []
        for work in due:
            await work()

    async def _written(self, before: str, rows: Sequence[Values], after: str) -> None:
        sql, arrays = await self._laid_out(before, rows, after)
        await _run(self._connection.execute(sql, *arrays))

    async def _laid_out(self, before: str, rows: Sequence[Values], after: str) -> tuple[str, list[Any]]:
        types = await self._types.of(self._connection, before, rows)
        return with_arrays(before, types, after), rows_as_arrays(rows)

    async def _fetched(self, sql: str, values: Values) -> Sequence[Row]:
        return [tuple(row) for row in await _run(self._connection.fetch(sql, *values))]


class _Types:
    """The types of rows that are passed in as arrays: those of the table's columns, of the values, or of any column of
    that name.
    """

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, str]] = {}

    async def of(self, connection: Connection, before: str, rows: Sequence[Values]) -> tuple[str, ...]:
        table, names = columns_of(before)
        if table not in self._columns:
            self._columns = await _run(_columns(connection))
            self._columns.setdefault(table, {})
        return column_types(self._columns, table, names, rows)


async def _columns(connection: Connection) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {"": {}}
    rows = await connection.fetch(
        """SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_attribute AS a
           JOIN pg_class AS c ON c.oid = a.attrelid
           WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND a.attnum > 0 AND NOT a.attisdropped"""
    )
    for table, name, kind in rows:
        found.setdefault(table, {})[name] = kind
    return found


async def _run(work: Awaitable[Result]) -> Result:
    try:
        return await work
    except asyncpg.DataError as error:
        raise _translated(error) from None
    except (asyncpg.PostgresError, *LOST) as error:
        raise _translated(error) from error


async def _listening(connection: Connection, told: Callable[[str], None]) -> asyncio.Event:
    """Set once the connection is lost."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    await _run(connection.add_listener(CHANNEL, lambda *given: told(given[-1])))
    return lost


def _translated(error: Exception) -> Exception:
    state = getattr(error, "sqlstate", None)
    if isinstance(error, LOST) and not isinstance(error, asyncpg.PostgresError):
        return Unavailable(named(error))
    if state in _CONTENDED:
        return Contended(named(error))
    if state in _DAMAGED:
        return Broken(named(error))
    if state is not None and (state[:2] in _PASSING_CLASSES or state in _PASSING):
        return Unavailable(named(error))
    if isinstance(error, asyncpg.DataError):
        return ValueError(named(error))  # its words quote the value, which is somebody's text
    return error


async def _check_server(connection: Connection) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise CannotStart(f"PostgreSQL {version.major} is too old; {OLDEST} or later is needed")
    encoding = await _run(connection.fetchval("SHOW server_encoding"))
    if encoding != "UTF8":
        raise CannotStart(f"the database is encoded in {encoding}; make it with ENCODING 'UTF8'")
    if await _run(connection.fetchval("SHOW fsync")) == "off":
        raise CannotStart("the server runs with fsync = off: what is acknowledged could be lost")
