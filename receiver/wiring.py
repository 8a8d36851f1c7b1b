"""The composition root: what is built out of what, and what each part tells the others.

What ties the two wings is here: each committed batch of the intake is handed to the dispatcher.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import httpx2

from receiver import __version__
from receiver.api import create_api
from receiver.api.context import Context, alone
from receiver.clock import ServerClock
from receiver.delivery.dispatcher import Dispatcher
from receiver.delivery.handshake import Consent, NoConsent, ask_consent
from receiver.delivery.lanes import Lanes, Pace
from receiver.delivery.recover import Jobs
from receiver.delivery.sharing import Sharing
from receiver.egress import Guard, destination
from receiver.intake.apply import Reparse
from receiver.intake.asking import Asking
from receiver.intake.assemble import Assembler
from receiver.intake.poll import Poller, send
from receiver.intake.receive import Intake
from receiver.intake.reconcile import Reconciler
from receiver.observe import Counters, Health, log
from receiver.settings import Settings
from receiver.sms.consent import Change
from receiver.sms.timestamps import SECOND
from receiver.storage import search, sources
from receiver.storage.amend import Amender
from receiver.storage.answered import Answered, recording_answers
from receiver.storage.batch import Batch, Operation
from receiver.storage.catalog import Catalog
from receiver.storage.database import Erasable, Shared, StorageError
from receiver.storage.deliveries import Attempt
from receiver.storage.dropping import Dropper
from receiver.storage.eraser import Eraser
from receiver.storage.ids import Ids
from receiver.storage.indexer import Indexer
from receiver.storage.live import Live
from receiver.storage.owing import Outgoing, no_room
from receiver.storage.partitions import widths
from receiver.storage.places import places
from receiver.storage.purge import purges_of
from receiver.storage.purger import Purger
from receiver.storage.record import Recorder
from receiver.storage.recording import Consented, Recorded, Recording
from receiver.storage.retention import Retention
from receiver.storage.subscriptions import Subscription
from receiver.throttle import Throttle
from receiver.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is there before any part is.

    clock       unix microseconds; the server's, where many share the database
    late        seconds of one transaction after which its callers are told so
    shared      the database, where other processes use it too
    transport   the way to subscribers
    asking      the way to vendors that are asked
    """

    settings: Settings
    world: World
    clock: Callable[[], int]
    database: Erasable
    late: float
    shared: Shared | None
    transport: httpx2.AsyncBaseTransport
    asking: httpx2.AsyncBaseTransport
    counters: Counters
    health: Health
    throttle: Throttle


class Parts:
    """All of one receiver but its life: what runs, and when, is the app's."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._origin = urlsplit(ground.settings.public_url).hostname or ""
        """The name under which subscribers hear of us."""
        self._refusals: dict[str, int] = {}
        self._minor: set[asyncio.Task[None]] = set()
        self.catalog = Catalog()
        self.ids = Ids(ground.clock, ground.world.entropy)
        self.live = Live()
        self.batch = Batch(ground.database, patience=ground.late, committed=self.live.told, undone=self._read_again)
        pace = _pace(ground.settings)
        self.lanes = lanes = self._lanes(pace)
        recorder = Recorder(self.catalog, self.ids, ground.clock, lanes.room, self._parts_came, lambda: lanes.holder)
        self.dispatcher = self._dispatcher(pace, recorder)
        self.assembler = self._assembler()
        self.indexer = Indexer(ground.database, self.batch)
        self.jobs = self._jobs()
        retention = _retention(ground.settings)
        self.widths = widths(retention)
        self.purger = self._purger(retention)
        self.eraser = self._eraser()
        self.intake = self._intake(recorder)
        asking = self._asking(recorder)
        self.poller = Poller(self.catalog, asking)
        self.reconciler = Reconciler(self.catalog, asking)
        self.api = create_api(self._context(recorder))

    async def settled(self) -> None:
        """What is done besides is over."""
        await asyncio.gather(*self._minor, return_exceptions=True)

    def sharing(self, database: Shared, clock: ServerClock) -> Sharing:
        """What a process does that is not alone."""
        return Sharing(
            database=database,
            batch=self.batch,
            dispatcher=self.dispatcher,
            lanes=self.lanes,
            catalog=self.catalog,
            live=self.live,
            clock=clock,
            monotonic=self._ground.world.monotonic,
            health=self._ground.health,
            wake_works=self._look_again,
            widths=self.widths,
        )

    def _lanes(self, pace: Pace) -> Lanes:
        user_agent = f"receiver/{__version__}"
        monotonic = self._ground.world.monotonic
        return Lanes(self.catalog, pace, user_agent=user_agent, origin=self._origin, monotonic=monotonic)

    def _dispatcher(self, pace: Pace, recorder: Recorder) -> Dispatcher:
        ground = self._ground
        return Dispatcher(
            catalog=self.catalog,
            lanes=self.lanes,
            batch=self.batch,
            transport=ground.transport,
            pace=pace,
            clock=ground.clock,
            monotonic=ground.world.monotonic,
            chance=ground.world.chance,
            count=ground.counters.increment,
            tell=recorder.tell,
            alone=ground.shared is None,
        )

    def _assembler(self) -> Assembler:
        return Assembler(
            batch=self.batch,
            amender=Amender(self.catalog, self.ids, self.lanes.room, lambda: self.lanes.holder),
            clock=self._ground.clock,
            hand_over=self._hand_over,
        )

    def _jobs(self) -> Jobs:
        return Jobs(
            batch=self.batch,
            catalog=self.catalog,
            ids=self.ids,
            clock=self._ground.clock,
            wake_lane=self.dispatcher.wake,
            others={"reparse": self._reparse().step},
            stepped=self.indexer.wake,
        )

    def _reparse(self) -> Reparse:
        return Reparse(
            catalog=self.catalog,
            amender=Amender(self.catalog, self.ids, no_room),
            ids=self.ids,
            public_url=self._ground.settings.public_url,
            held=self._parts_came,
        )

    def _purger(self, retention: Retention) -> Purger:
        """Where the database is shared, old parts of tables go as a whole."""
        world, shared = self._ground.world, self._ground.shared
        return Purger(
            database=self._ground.database,
            batch=self.batch,
            purges=purges_of(retention, [search.forget], None if shared is None else self.widths),
            clock=self._ground.clock,
            monotonic=world.monotonic,
            drop=None if shared is None else Dropper(database=shared, retention=retention, clock=self._ground.clock),
        )

    def _eraser(self) -> Eraser:
        world = self._ground.world
        return Eraser(
            database=self._ground.database,
            batch=self.batch,
            places=places([search.forget]),
            clock=self._ground.clock,
            monotonic=world.monotonic,
            entropy=world.entropy,
            revise=self.dispatcher.revise,
            wake_lane=self.dispatcher.wake,
            alone=self._ground.shared is None,
        )

    def _intake(self, recorder: Recorder) -> Intake:
        ground = self._ground
        public_url = ground.settings.public_url
        recording: Operation[Recording, Recorded] = Operation(recorder.record, self._recorded, _held)
        return Intake(
            doors=self.catalog,
            record=partial(self.batch.put, recording),
            new_id=self.ids.new,
            clock=ground.clock,
            count=ground.counters.increment,
            refused=self._note_refusal,
            failed=ground.throttle.failed,
            public_url=public_url,
            prefix=tuple(step.encode() for step in urlsplit(public_url).path.split("/") if step),
            max_body_bytes=ground.settings.max_body_bytes,
        )

    def _asking(self, recorder: Recorder) -> Asking:
        """What asks vendors, instead of waiting to be called."""
        ground = self._ground
        recording: Operation[Answered, Recorded | None] = Operation(
            recording_answers(recorder.record), self._answered, lambda answered: _held(answered.recording)
        )
        return Asking(
            intake=self.intake,
            database=ground.database,
            send=partial(send, ground.asking),
            record=partial(self.batch.submit, recording),
            write=self.batch.write,
            new_id=self.ids.new,
            clock=ground.clock,
            monotonic=ground.world.monotonic,
            chance=ground.world.chance,
            sleep=asyncio.sleep,
        )

    def _context(self, recorder: Recorder) -> Context:
        ground, settings = self._ground, self._ground.settings
        importing: Operation[Recording, Recorded] = Operation(recorder.record_once, self._recorded, _held)
        consenting: Operation[Sequence[Change], Consented] = Operation(recorder.change_consents, self._recorded)
        return Context(
            database=ground.database,
            batch=self.batch,
            catalog=self.catalog,
            ids=self.ids,
            clock=ground.clock,
            entropy=ground.world.entropy,
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
            record_once=partial(self.batch.submit, importing),
            consent=partial(self._consent, consenting),
            causes=ground.health.causes,
            purge_behind=lambda: self.purger.behind,
            failed=ground.throttle.failed,
            holding=alone if ground.shared is None else ground.shared.holding,
        )

    def _recorded(self, committed: Sequence[Recorded] | Sequence[Consented]) -> None:
        self._hand_over([item.outgoing for item in committed])

    def _hand_over(self, committed: Sequence[Outgoing]) -> None:
        self.dispatcher.hand_over(committed)
        self.indexer.wake()

    def _answered(self, committed: Sequence[Recorded | None]) -> None:
        self._recorded([item for item in committed if item is not None])

    async def _consent(self, consenting: Operation[Sequence[Change], Consented], wish: Sequence[Change]) -> int:
        return (await self.batch.submit(consenting, wish)).changed

    def _wake_jobs(self) -> None:
        self.jobs.wake()
        self.eraser.wake()

    def _look_again(self) -> None:
        """Another process may have asked for it, or have left it behind."""
        self._wake_jobs()
        self.assembler.wake()
        self.indexer.wake()

    def _parts_came(self) -> None:
        self.assembler.wake()

    async def _ping(self, subscription: Subscription) -> Attempt:
        return await self.dispatcher.ping(subscription, self.ids.new("evt"))

    async def _ask_consent(self, subscription: Subscription) -> Consent | NoConsent:
        rate = subscription.rate_per_second
        return await ask_consent(
            self._ground.transport,
            destination(subscription.url),
            origin=self._origin,
            rate_per_minute=None if rate is None else max(1, round(rate * 60)),
            headers=[(name.lower().encode(), value.encode()) for name, value in subscription.headers.items()],
            deadline=self._ground.settings.delivery_timeout,
        )

    def _note_refusal(self, source_id: str, reason: str) -> None:
        """Keeps the last refusal on the source, at most one a second and without keeping the caller waiting."""
        now = self._ground.clock()
        if abs(now - self._refusals.get(source_id, 0)) < SECOND:
            return
        self._refusals[source_id] = now
        self._besides(self._noted(source_id, reason, now))

    async def _noted(self, source_id: str, reason: str, now: int) -> None:
        try:
            await self.batch.write(lambda transaction: sources.failed(transaction, source_id, reason, now))
        except StorageError as error:
            log("refusal.not_noted", level="warning", exc=error, source_id=source_id)

    def _read_again(self) -> None:
        """The catalog may have read changes that were rolled back, or lack some that nobody waited for."""
        self._besides(self._reread())

    async def _reread(self) -> None:
        try:
            async with self._ground.database.reading() as reader:
                await self.catalog.refresh(reader)
        except StorageError as error:  # the next transaction reads it
            log("catalog.not_read", level="warning", exc=error)

    def _besides(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._minor.add(task)
        task.add_done_callback(self._minor.discard)


def _pace(settings: Settings) -> Pace:
    return Pace(
        schedule=settings.retry_schedule,
        timeout=settings.delivery_timeout,
        concurrency=settings.delivery_concurrency,
        disable_after=settings.disable_after,
    )


def _retention(settings: Settings) -> Retention:
    return Retention(events=_micros(settings.retention_events), receipts=_micros(settings.retention_receipts))


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * SECOND)


def _held(recording: Recording) -> int:
    """Bytes that a request holds while it waits for its commit."""
    return len(recording.receipt.headers) + len(recording.receipt.body)
