"""The composition root: the only place that builds everything, and where clock, randomness and ids come from.

`App.lifespan` opens, migrates, runs and drains. What ties the two wings is here: each committed batch of the intake
is handed to the dispatcher.
"""

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2

from receiver import __version__
from receiver.api import create_api
from receiver.api.context import Context
from receiver.clock import ServerClock
from receiver.delivery.dispatcher import Dispatcher
from receiver.delivery.handshake import Consent, NoConsent, ask_consent
from receiver.delivery.lanes import Lanes, Pace
from receiver.delivery.recover import Jobs
from receiver.delivery.sharing import Sharing
from receiver.egress import Guard, Transport, destination
from receiver.intake.apply import Reparse
from receiver.intake.asking import Asking
from receiver.intake.assemble import Assembler
from receiver.intake.http import RawHeaders, Receive, Send, Whole
from receiver.intake.poll import MAX_ANSWER, Poller, send
from receiver.intake.receive import Intake
from receiver.intake.reconcile import Reconciler
from receiver.observe import Counters, Health, log
from receiver.settings import Settings
from receiver.sms.consent import Change
from receiver.sms.timestamps import SECOND
from receiver.storage import events, keys, partitions, search, sources
from receiver.storage.amend import Amender
from receiver.storage.answered import Answered, recording_answers
from receiver.storage.batch import Batch, Operation
from receiver.storage.catalog import Catalog
from receiver.storage.database import (
    Broken,
    CannotStart,
    Erasable,
    Reader,
    Shared,
    StorageError,
    Transaction,
    Unavailable,
)
from receiver.storage.deliveries import Attempt
from receiver.storage.eraser import Eraser
from receiver.storage.ids import Ids
from receiver.storage.indexer import Indexer
from receiver.storage.keys import Key
from receiver.storage.live import Live
from receiver.storage.migrate import migrate, pending
from receiver.storage.opening import open_postgres
from receiver.storage.owing import Outgoing, no_room
from receiver.storage.ownership import Ownership
from receiver.storage.places import places
from receiver.storage.purge import purges_of
from receiver.storage.purger import Purger
from receiver.storage.record import Consented, Recorded, Recorder, Recording
from receiver.storage.retention import Retention
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.subscriptions import Subscription
from receiver.storage.watch import Limits, watch
from receiver.throttle import Throttle
from receiver.vendors.contract import Answer

DRAIN_SECONDS = 20.0
ASKING_CONNECTIONS = 16
"""At once to all vendors that are asked."""

Scope = MutableMapping[str, Any]


def unix_micros() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is not the same twice, so that tests can hand in their own."""

    clock: Callable[[], int] = unix_micros
    monotonic: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    entropy: Callable[[int], bytes] = os.urandom


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
        self.catalog = Catalog()
        self.throttle = Throttle(world.monotonic)
        self.origin = urlsplit(settings.public_url).hostname or ""
        """The name under which subscribers hear of us."""
        self._refusals: dict[str, int] = {}
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
                    await partitions.look_ahead(database, self.clock())
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
        settings, world, clock = self.settings, self.world, self.clock
        self.database = database
        self.ids = Ids(clock, world.entropy)
        self.live = Live()
        self.batch = Batch(database, patience=self.limits.late, committed=self.live.told, undone=self._read_again)
        pace = Pace(
            schedule=settings.retry_schedule,
            timeout=settings.delivery_timeout,
            concurrency=settings.delivery_concurrency,
            disable_after=settings.disable_after,
        )
        user_agent = f"receiver/{__version__}"
        lanes = Lanes(self.catalog, pace, user_agent=user_agent, origin=self.origin, monotonic=world.monotonic)
        self._lanes = lanes
        recorder = Recorder(self.catalog, self.ids, clock, lanes.room, self._parts_came, lambda: lanes.holder)
        self.dispatcher = Dispatcher(
            catalog=self.catalog,
            lanes=lanes,
            batch=self.batch,
            transport=self.transport,
            pace=pace,
            clock=clock,
            monotonic=world.monotonic,
            chance=world.chance,
            count=self.counters.increment,
            tell=recorder.tell,
            alone=self.shared is None,
        )
        self.assembler = Assembler(
            batch=self.batch,
            amender=Amender(self.catalog, self.ids, lanes.room, lambda: lanes.holder),
            clock=clock,
            hand_over=self._hand_over,
        )
        self._recording: Operation[Recording, Recorded] = Operation(recorder.record, self._recorded, _held)
        self._importing: Operation[Recording, Recorded] = Operation(recorder.record_once, self._recorded, _held)
        self._consenting: Operation[Sequence[Change], Consented] = Operation(recorder.change_consents, self._recorded)
        self.indexer = Indexer(database, self.batch)
        self.jobs = Jobs(
            batch=self.batch,
            catalog=self.catalog,
            ids=self.ids,
            clock=clock,
            wake_lane=self.dispatcher.wake,
            others={"reparse": self._reparse().step},
            stepped=self.indexer.wake,
        )
        retention = Retention(events=_micros(settings.retention_events), receipts=_micros(settings.retention_receipts))
        self.purger = Purger(
            database=database,
            batch=self.batch,
            purges=purges_of(retention, [search.forget]),
            clock=world.clock,
            monotonic=world.monotonic,
        )
        self.eraser = Eraser(
            database=database,
            batch=self.batch,
            places=places([search.forget]),
            clock=world.clock,
            monotonic=world.monotonic,
            entropy=world.entropy,
            revise=self.dispatcher.revise,
            wake_lane=self.dispatcher.wake,
        )
        self._intake = Intake(
            doors=self.catalog,
            record=partial(self.batch.put, self._recording),
            new_id=self.ids.new,
            clock=clock,
            count=self.counters.increment,
            refused=self._note_refusal,
            failed=self.throttle.failed,
            public_url=settings.public_url,
            prefix=tuple(step.encode() for step in urlsplit(settings.public_url).path.split("/") if step),
            max_body_bytes=settings.max_body_bytes,
        )
        self._ask(recorder)
        self._api = create_api(self._context())

    def _reparse(self) -> Reparse:
        return Reparse(
            catalog=self.catalog,
            amender=Amender(self.catalog, self.ids, no_room),
            ids=self.ids,
            public_url=self.settings.public_url,
            held=self._parts_came,
        )

    def _ask(self, recorder: Recorder) -> None:
        """What asks vendors, instead of waiting to be called."""
        recording: Operation[Answered, Recorded | None] = Operation(
            recording_answers(recorder.record), self._answered, lambda answered: _held(answered.recording)
        )
        asking = Asking(
            intake=self._intake,
            database=self.database,
            send=partial(send, self.asking),
            record=partial(self.batch.submit, recording),
            write=self.batch.write,
            new_id=self.ids.new,
            clock=self.clock,
            monotonic=self.world.monotonic,
            chance=self.world.chance,
            sleep=asyncio.sleep,
        )
        self.poller = Poller(self.catalog, asking)
        self.reconciler = Reconciler(self.catalog, asking)

    def _context(self) -> Context:
        settings = self.settings
        return Context(
            database=self.database,
            batch=self.batch,
            catalog=self.catalog,
            ids=self.ids,
            clock=self.clock,
            entropy=self.world.entropy,
            public_url=settings.public_url,
            public_url_is_default=settings.public_url_is_default,
            admin_key=settings.api_key.get_secret_value() if settings.api_key else None,
            guard=Guard(settings.egress_allow),
            ping=self._ping,
            wake=self.dispatcher.wake,
            ask_consent=self._ask_consent,
            jobs_woken=self._wake_jobs,
            ask_woken=self.poller.wake,
            reread=self._read_again,
            live=self.live,
            record_once=partial(self.batch.submit, self._importing),
            consent=self._consent,
            causes=self.health.causes,
            failed=self.throttle.failed,
        )

    def _recorded(self, committed: Sequence[Recorded] | Sequence[Consented]) -> None:
        self._hand_over([item.outgoing for item in committed])

    def _hand_over(self, committed: Sequence[Outgoing]) -> None:
        self.dispatcher.hand_over(committed)
        self.indexer.wake()

    async def _consent(self, wish: Sequence[Change]) -> int:
        return (await self.batch.submit(self._consenting, wish)).changed

    def _wake_jobs(self) -> None:
        self.jobs.wake()
        self.eraser.wake()

    def _answered(self, committed: Sequence[Recorded | None]) -> None:
        self._recorded([item for item in committed if item is not None])

    def _parts_came(self) -> None:
        self.assembler.wake()

    async def _ping(self, subscription: Subscription) -> Attempt:
        return await self.dispatcher.ping(subscription, self.ids.new("evt"))

    async def _ask_consent(self, subscription: Subscription) -> Consent | NoConsent:
        rate = subscription.rate_per_second
        return await ask_consent(
            self.transport,
            destination(subscription.url),
            origin=self.origin,
            rate_per_minute=None if rate is None else max(1, round(rate * 60)),
            headers=[(name.lower().encode(), value.encode()) for name, value in subscription.headers.items()],
            deadline=self.settings.delivery_timeout,
        )

    async def _recall(self) -> None:
        """What an earlier run left: the newest id, below which none may be made, and the catalog."""
        async with self.database.reading() as reader:
            self.ids.seed(await events.newest_id(reader))
            await self.catalog.refresh(reader)

    @asynccontextmanager
    async def _running(self, *, dispatch: bool) -> AsyncIterator[None]:
        self._minor: set[asyncio.Task[None]] = set()
        running = [asyncio.create_task(self._commit())]
        asking: list[asyncio.Task[None]] = []
        if dispatch:
            works = (self._send(), self.jobs.run(), self.assembler.run(), self._index())
            running += [asyncio.create_task(work) for work in works]
            alone = (self.poller.run, self.reconciler.run, self.purger.run, self.eraser.run)
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
            self.indexer.stop()
            await self.jobs.stop()
            await self.assembler.stop()
            await self.dispatcher.stop(DRAIN_SECONDS)
            self.batch.close()
            await asyncio.gather(*running, return_exceptions=True)
            await asyncio.gather(*self._minor, return_exceptions=True)
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
        """What a process does that is not alone."""
        self.sharing = Sharing(
            database=database,
            batch=self.batch,
            dispatcher=self.dispatcher,
            lanes=self._lanes,
            catalog=self.catalog,
            live=self.live,
            clock=self._server_clock,
            monotonic=self.world.monotonic,
            health=self.health,
            wake_works=self._look_again,
        )
        return self.sharing.start()

    def _look_again(self) -> None:
        """Another process may have asked for it, or have left it behind."""
        self.jobs.wake()
        self.assembler.wake()
        self.indexer.wake()

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
            await self.indexer.run()
        except Exception as error:  # noqa: BLE001 — searches go on without, what is not indexed is looked into
            log("index.failed", level="error", exc=error)

    async def _make_first_key(self) -> None:
        if self.settings.api_key is not None:
            return
        key = f"key_{secrets.token_urlsafe(32)}"
        row = Key(id=self.ids.new("key"), name="first start", scopes=("admin",), created_at=self.clock())

        async def make(transaction: Transaction) -> bool:
            await transaction.lock(["first key"])
            if await keys.any_valid(transaction):
                return False
            await keys.insert(transaction, row, key)
            return True

        if await self.batch.write(make):
            self.first_key = key

    def _note_refusal(self, source_id: str, reason: str) -> None:
        """Keeps the last refusal on the source, at most one a second and without keeping the caller waiting."""
        now = self.clock()
        if abs(now - self._refusals.get(source_id, 0)) < SECOND:
            return
        self._refusals[source_id] = now
        self._besides(self._noted(source_id, reason, now))

    def _read_again(self) -> None:
        """The catalog may have read changes that were rolled back, or lack some that nobody waited for."""
        self._besides(self._reread())

    async def _reread(self) -> None:
        try:
            async with self.database.reading() as reader:
                await self.catalog.refresh(reader)
        except StorageError as error:  # the next transaction reads it
            log("catalog.not_read", level="warning", exc=error)

    def _besides(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._minor.add(task)
        task.add_done_callback(self._minor.discard)

    async def _noted(self, source_id: str, reason: str, now: int) -> None:
        try:
            await self.batch.write(lambda transaction: sources.failed(transaction, source_id, reason, now))
        except StorageError as error:
            log("refusal.not_noted", level="warning", exc=error, source_id=source_id)


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * SECOND)


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


def _held(recording: Recording) -> int:
    """Bytes that a request holds while it waits for its commit."""
    return len(recording.receipt.headers) + len(recording.receipt.body)


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
