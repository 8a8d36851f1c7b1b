"""A process among others on one database: it renews its lease, takes over what a dead one held, shares out the limits
of each subscription, and looks for what is due in store whoever put it there.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final

from receiver.clock import ServerClock
from receiver.delivery import rereading
from receiver.delivery.dispatcher import Dispatcher
from receiver.delivery.lanes import Lanes
from receiver.observe import Health, log
from receiver.storage import deliveries, events, jobs, partitions, processes
from receiver.storage.batch import Batch
from receiver.storage.catalog import Catalog
from receiver.storage.database import Shared, Transaction, Unavailable
from receiver.storage.deliveries import Due
from receiver.storage.live import Live

HEARS_EVERY: Final = 0.25
"""Seconds after which a reader of the log hears of what another process committed."""
LOOKS_EVERY: Final = 5.0
"""Seconds after which it looks by itself, should no word have come."""
_PARTITIONED: Final = 3600.0
_UNTOLD: Final = 10_000_000
"""Microseconds after which what this process leased and does not know of was committed without its knowledge."""
CAUSE: Final = "database_unreachable"


class Sharing:
    """`start` begins what happens here, which ends when it is cancelled."""

    def __init__(
        self, *, database: Shared, batch: Batch, dispatcher: Dispatcher, lanes: Lanes, catalog: Catalog, live: Live,
        clock: ServerClock, monotonic: Callable[[], float], health: Health, wake_works: Callable[[], None],
        widths: Mapping[str, int],
    ) -> None:  # fmt: skip
        self._database = database
        self._batch = batch
        self._dispatcher = dispatcher
        self._lanes = lanes
        self._catalog = catalog
        self._live = live
        self._clock = clock
        self._monotonic = monotonic
        self._health = health
        self._wake_works = wake_works
        self._widths = widths
        self._doubts = database.doubts
        self._settle_at = inf
        self._renewed, self._prepared = -inf, monotonic()
        self._word = asyncio.Event()
        self._first = False
        self._followed: tuple[Any, ...] = ()

    def start(self) -> Sequence["asyncio.Task[None]"]:
        heeding = self._database.listen(lambda _: self.heed())
        return [asyncio.create_task(work) for work in (self.run(), heeding, self._hear_commits())]

    def heed(self, *, renew: bool = False) -> None:
        """A word came from another process. With `renew` also the lease is looked at, though its time has not come."""
        if renew:
            self._renewed = -inf
        self._word.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOKS_EVERY):
                    await self._word.wait()
            except TimeoutError:
                pass
            self._word.clear()
            try:
                await self.turn()
            except Unavailable as error:
                self._health.fail(CAUSE)
                log("sharing.waits", level="warning", exc=error)
            except Exception as error:  # noqa: BLE001 — without its lease the process would do nothing more
                log("sharing.failed", level="error", exc=error)
            else:
                self._health.clear(CAUSE)

    async def turn(self) -> None:
        """One look at everything. Raises StorageError."""
        now = self._monotonic()
        if self._lanes.open and now - self._renewed >= processes.RENEWED:
            await self._renew(now)
        taken, among, oldest = await self._batch.write(self._look_after_others)
        self._first = self._lanes.open and oldest == self._lanes.holder
        if taken:
            log("lease.taken_over", level="warning", deliveries=taken)
            self.heed()  # there may be more
        self._lanes.divide(among)
        await self._follow_erasure()
        if now - self._prepared >= _PARTITIONED:
            await partitions.look_ahead(self._database, self._clock(), self._widths)
            self._prepared = now
        await self._clock.read(self._database.time)
        self._wake_works()
        if self._database.doubts != self._doubts and self._settle_at == inf:
            self._doubts, self._settle_at = self._database.doubts, now + 1.5 * _UNTOLD / 1e6
        if now >= self._settle_at:
            await self._batch.write(self._settle_doubts)
            self._settle_at = inf
        self._dispatcher.noticed(await self._batch.write(self._find_due))

    async def _renew(self, now: float) -> None:
        number = self._lanes.holder
        alive = await self._batch.write(lambda transaction: processes.renew(transaction, number, self._clock()))
        if not alive:
            log("lease.lost", level="warning", process=number)
            await self._dispatcher.lost()
        self._renewed = now
        self._lanes.believed_until = now + processes.LEASE / 1e6

    async def _follow_erasure(self) -> None:
        """In two transactions: see `rereading`."""
        job = await self._batch.write(rereading.under_way)
        seen = () if job is None else (self._lanes.holder, job.id, job.released, job.position == jobs.ERASED)
        if job is not None and seen != self._followed:
            number = self._lanes.holder
            await self._batch.write(
                lambda transaction: rereading.follow(transaction, job, self._dispatcher.held, number)
            )
        self._followed = seen

    async def _hear_commits(self) -> None:
        """Whoever reads along the log is told of what other processes committed. Looked for rather than sent: a word
        with each commit would make all processes commit one after the other.
        """
        seen = 0
        while True:
            await asyncio.sleep(HEARS_EVERY)
            if self._live.awaited:
                with suppress(Unavailable):
                    async with self._database.reading() as reader:
                        before, seen = seen, await events.readable(reader)
                    if seen != before:
                        self._live.told()

    async def _look_after_others(self, transaction: Transaction) -> tuple[int, int, int | None]:
        """Also at what they changed: here, for readers may all be busy for longer than a lease lasts."""
        await self._catalog.refresh(transaction)
        taken = await processes.take_over(transaction, self._clock())
        return taken, await processes.among(transaction), await processes.oldest(transaction)

    async def until_first(self) -> None:
        """Until this is the oldest of the processes."""
        while not self._is_first:  # noqa: ASYNC110 — time alone may end it
            await asyncio.sleep(HEARS_EVERY)

    async def while_first(self, work: "asyncio.Task[None]") -> None:
        """As long as it is, and until the work ends."""
        while self._is_first and not work.done():  # noqa: ASYNC110 — likewise, as well as the work
            await asyncio.sleep(HEARS_EVERY)

    @property
    def _is_first(self) -> bool:
        return self._first and self._lanes.believed

    async def _settle_doubts(self, transaction: Transaction) -> None:
        """A COMMIT whose answer was lost may have leased deliveries to us: nobody would ever send them."""
        now, holder = self._clock(), self._lanes.holder
        held = await deliveries.held_by(transaction, holder, now - _UNTOLD)
        known = {item.delivery_id for item in self._dispatcher.held}
        unknown = [delivery_id for delivery_id in held if delivery_id not in known]
        if unknown:
            log("lease.unknown", level="warning", deliveries=len(unknown))
            await deliveries.release(transaction, unknown, "waiting", now, holder)

    async def _find_due(self, transaction: Transaction) -> Mapping[str, Due]:
        return await deliveries.dues(transaction, [lane.subscription.id for lane in self._lanes.sending])
