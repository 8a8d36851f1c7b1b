"""The receiver and its life: `App.lifespan` opens, migrates, runs and drains. What it is built of is in `wiring`."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Self

import httpx2

from receiver.clock import ServerClock
from receiver.egress import Guard, Transport
from receiver.intake.http import RawHeaders, Receive, Send, Whole
from receiver.intake.poll import MAX_ANSWER
from receiver.observe import Counters, Health, log
from receiver.settings import Settings
from receiver.storage import events, keys, partitions
from receiver.storage.database import (
    Broken,
    CannotStart,
    Erasable,
    Reader,
    Shared,
    Transaction,
    Unavailable,
)
from receiver.storage.keys import Key
from receiver.storage.migrate import migrate, pending
from receiver.storage.opening import open_postgres
from receiver.storage.ownership import Ownership
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.watch import Limits, watch
from receiver.throttle import Throttle
from receiver.vendors.contract import Answer
from receiver.wiring import Ground, Parts
from receiver.world import World

DRAIN_SECONDS = 20.0
ASKING_CONNECTIONS = 16
"""At once to all vendors that are asked."""

Scope = MutableMapping[str, Any]


class App:
    """The receiver as an ASGI application, between the ends of its `lifespan`.

    Called, it serves vendors and the API to the world; `owner` is the same for the owner's socket, without a key.
    """

    def __init__(
        self, settings: Settings, world: World, transport: httpx2.AsyncBaseTransport,
        asking: httpx2.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.world = world
        self.transport = transport
        self.asking = asking or transport
        """The way to vendors that are asked: their answers are longer than those of subscribers."""
        self.counters = Counters()
        self.health = Health()
        self.clock = world.clock
        self.shared: Shared | None = None
        """The database, where other processes use it too."""
        self._abandon: Callable[[], None] = _nothing
        self.throttle = Throttle(world.monotonic)
        self.failed = asyncio.Event()
        """Set when the database can no longer be trusted: the process must end and recover at its next start."""
        self.limits = Limits()
        self.first_key: str | None = None
        """The key made at the very first start, to be shown once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"/in/" in scope["raw_path"]:
            await self._intake(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    def straight(self, whole: Whole, answered: Callable[[Answer, RawHeaders], None]) -> bool:
        """A vendor's request that came in one piece, past ASGI; False when it must be called with it."""
        return self._intake.straight(whole, answered)

    def end_streams(self) -> None:
        """What would go on for ever ends now, so that a server that stops has not to wait for it."""
        self.live.close()

    async def owner(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["receiver.owner"] = True
        await self(scope, receive, send)

    @property
    def attempts_at_most(self) -> int:
        """Under way at once: one for each lane with nothing under way goes beyond the places, up to twice as many."""
        return _attempts_at_most(self.settings)

    @asynccontextmanager
    async def lifespan(self, *, dispatch: bool = True, apart: bool = False) -> AsyncIterator[Self]:
        """Raises CannotStart, with nothing changed, when the database is not ours to open.

        Without `dispatch` no delivery is sent and no first key is made: for a command that changes one thing and ends.
        With `apart` a process of its own writes: quicker under load, and slower to start.
        """
        async with AsyncExitStack() as stack:
            database = await self._open(stack, apart=apart)
            stack.push_async_callback(database.close)
            stack.push_async_callback(self.transport.aclose)
            if self.asking is not self.transport:
                stack.push_async_callback(self.asking.aclose)
            with _making_ready(self.settings.database_name):
                await self._bring_up_to_date(database, migrating=dispatch or self.shared is None)
                self._build(database)
                await self._recall()
            await stack.enter_async_context(self._running(dispatch=dispatch))
            if dispatch:
                with _making_ready(self.settings.database_name):
                    await partitions.look_ahead(database, self.clock(), self.parts.widths)
                    await self._make_first_key()
            yield self

    async def _bring_up_to_date(self, database: Erasable, *, migrating: bool) -> None:
        """A command does not change a schema that others are using."""
        if migrating:
            await migrate(database, self.clock)
            return
        async with database.reading() as reader:
            await self._refuse_behind(reader)

    async def _refuse_behind(self, reader: Reader) -> None:
        if await pending(reader):
            raise CannotStart(f"{self.settings.database_name}: the schema is behind this version; migrate it")

    async def _open(self, stack: AsyncExitStack, *, apart: bool) -> Erasable:
        """A file is owned by one process; a server is shared, and all who share it go by its clock."""
        settings = self.settings
        if not settings.on_postgres:
            lock = stack.enter_context(Ownership(settings.database_path, settings.lock_wait))
            database = await SqliteDatabase.open(settings.database_path, apart=lock.descriptor if apart else None)
            self._abandon = database.abandon
            return database
        self.shared = await open_postgres(settings.database_url, self.world.chance)
        self._server_clock = self.clock = ServerClock(self.world.monotonic)
        with _making_ready(settings.database_name):
            await self._server_clock.read(self.shared.time)
        return self.shared

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Self]:
        """The API without the lock, beside an owner or without one: it reads, and answers 503 to every change.

        Raises CannotStart when there is no database, or one whose schema is behind.
        """
        async with AsyncExitStack() as stack:
            settings = self.settings
            database: Erasable = (
                await open_postgres(settings.database_url, self.world.chance)
                if settings.on_postgres
                else await SqliteDatabase.open_reader(settings.database_path)
            )
            stack.push_async_callback(database.close)
            stack.push_async_callback(self.transport.aclose)
            async with database.reading() as reader:
                await self._refuse_behind(reader)
            self._build(database)
            self.batch.close()
            self.live.still = True
            yield self

    def _build(self, database: Erasable) -> None:
        self.parts = parts = Parts(
            Ground(
                settings=self.settings,
                world=self.world,
                clock=self.clock,
                database=database,
                late=self.limits.late,
                shared=self.shared,
                transport=self.transport,
                asking=self.asking,
                counters=self.counters,
                health=self.health,
                throttle=self.throttle,
            )
        )
        self.database, self.batch, self.catalog = database, parts.batch, parts.catalog
        self.dispatcher, self.live = parts.dispatcher, parts.live
        self._intake, self._api = parts.intake, parts.api

    async def _recall(self) -> None:
        """What an earlier run left: the newest id, below which none may be made, and the catalog."""
        async with self.database.reading() as reader:
            self.parts.ids.seed(await events.newest_id(reader))
            await self.catalog.refresh(reader)

    @asynccontextmanager
    async def _running(self, *, dispatch: bool) -> AsyncIterator[None]:
        parts = self.parts
        running = [asyncio.create_task(self._commit())]
        asking: list[asyncio.Task[None]] = []
        if dispatch:
            works = (self._send(), parts.jobs.run(), parts.assembler.run(), self._index())
            running += [asyncio.create_task(work) for work in works]
            alone = (parts.poller.run, parts.reconciler.run, parts.purger.run, parts.eraser.run)
            asking = [asyncio.create_task(self._by_one(work)) for work in alone]
        watching = asyncio.create_task(watch(self.batch, self.health, self.limits, self._give_up))
        self._among = self._share(self.shared) if dispatch and self.shared is not None else ()
        try:
            yield
        finally:
            self.live.close()
            for task in self._among:
                task.cancel()
            await _cancelled(asking)
            parts.indexer.stop()
            await parts.jobs.stop()
            await parts.assembler.stop()
            await self.dispatcher.stop(DRAIN_SECONDS)
            self.batch.close()
            await asyncio.gather(*running, return_exceptions=True)
            await parts.settled()
            watching.cancel()

    async def _by_one(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What only one process does, the oldest of those that live."""
        if self.shared is None:
            await work()
            return
        while True:
            await self.sharing.until_first()
            task = asyncio.create_task(work())
            try:
                await self.sharing.while_first(task)
            finally:
                await _cancelled([task])

    def _share(self, database: Shared) -> Sequence["asyncio.Task[None]"]:
        self.sharing = self.parts.sharing(database, self._server_clock)
        return self.sharing.start()

    async def _commit(self) -> None:
        try:
            await self.batch.run()
        except Exception as error:  # noqa: BLE001 — Broken or a bug: nothing is ever committed again
            log("database.broken", level="error", exc=error)
            self.health.fail("database")
            self.failed.set()

    def _give_up(self) -> None:
        self.failed.set()
        self._abandon()

    async def _send(self) -> None:
        while True:
            try:
                await self.dispatcher.run()
            except Unavailable as error:
                log("dispatcher.waits", level="warning", exc=error)
                await asyncio.sleep(1.0)
            except Exception as error:  # noqa: BLE001 — without its dispatcher the process must not go on
                log("dispatcher.failed", level="error", exc=error)
                self.failed.set()
                return
            else:
                return

    async def _index(self) -> None:
        try:
            await self.parts.indexer.run()
        except Exception as error:  # noqa: BLE001 — searches go on without, what is not indexed is looked into
            log("index.failed", level="error", exc=error)

    async def _make_first_key(self) -> None:
        if self.settings.api_key is not None:
            return
        key = f"key_{secrets.token_urlsafe(32)}"
        row = Key(id=self.parts.ids.new("key"), name="first start", scopes=("admin",), created_at=self.clock())

        async def make(transaction: Transaction) -> bool:
            await transaction.lock(["first key"])
            if await keys.any_valid(transaction):
                return False
            await keys.insert(transaction, row, key)
            return True

        if await self.batch.write(make):
            self.first_key = key


@contextmanager
def _making_ready(database: str) -> Iterator[None]:
    """A database that fails before anything is served is one that cannot be started with."""
    try:
        yield
    except (Unavailable, Broken) as error:
        raise CannotStart(f"{database}: cannot be made ready ({error})") from error


def _nothing() -> None:
    pass


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def create_app(
    settings: Settings, *, world: World | None = None, transport: httpx2.AsyncBaseTransport | None = None
) -> App:
    """The receiver; `transport` stands in for the network in tests."""
    if transport is not None:
        return App(settings, world or World(), transport)
    return App(settings, world or World(), _transport(settings), _asking(settings))


def _transport(settings: Settings) -> Transport:
    return Transport(
        Guard(settings.egress_allow),
        deadline=None,  # `post` has one
        connections=_attempts_at_most(settings),
        connections_per_host=_attempts_at_most(settings),  # many subscriptions may lie at one; lanes have limits
    )


def _asking(settings: Settings) -> Transport:
    return Transport(
        Guard(settings.egress_allow),
        deadline=None,  # `send` has one
        connections=ASKING_CONNECTIONS,
        connections_per_host=ASKING_CONNECTIONS,
        answer_bytes=MAX_ANSWER + 1,
    )


def _attempts_at_most(settings: Settings) -> int:
    return 2 * settings.delivery_concurrency
