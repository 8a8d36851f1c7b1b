"""A process among others on one database: it renews its lease, takes over what a dead one held, shares out the limits
of each subscription, and looks for what is due in store whoever put it there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from math import inf
from typing import Final

from receiver.delivery.lanes import Lanes
from receiver.observe import Health, log
from receiver.storage import deliveries, partitions, processes
from receiver.storage.batch import Batch
from receiver.storage.database import Shared, StorageError, Transaction, Unavailable
from receiver.storage.deliveries import Due

LOOKS_EVERY: Final = 5.0
"""Seconds after which it looks by itself, should no word have come."""
_PARTITIONED: Final = 3600.0
_UNTOLD: Final = 10_000_000
"""Microseconds after which what this process leased and does not know of was committed without its knowledge."""
CAUSE: Final = "database_unreachable"


class Sharing:
    """`run` is the owner of all that happens here.

    known    the ids of all deliveries in this process' memory
    lost     told that others hold now what was in memory
    learn    told when deliveries in store are due
    look     whatever else is to be looked at now and then
    """

    def __init__(
        self, *, database: Shared, batch: Batch, lanes: Lanes, clock: Callable[[], int],
        monotonic: Callable[[], float], health: Health, known: Callable[[], Collection[str]],
        lost: Callable[[], Awaitable[None]], learn: Callable[[Mapping[str, Due]], None],
        look: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._database = database
        self._batch = batch
        self._lanes = lanes
        self._clock = clock
        self._monotonic = monotonic
        self._health = health
        self._known = known
        self._lost = lost
        self._learn = learn
        self._look = look
        self._doubts = database.doubts
        self._settle_at = inf
        self._renewed, self._prepared = -inf, monotonic()
        self._word = asyncio.Event()

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
            except StorageError as error:
                log("sharing.failed", level="error", exc=error)
                return
            else:
                self._health.clear(CAUSE)

    async def turn(self) -> None:
        """One look at everything. Raises StorageError."""
        now = self._monotonic()
        if self._lanes.open and now - self._renewed >= processes.RENEWED:
            await self._renew(now)
        taken, among = await self._batch.write(self._look_after_others)
        if taken:
            log("lease.taken_over", level="warning", deliveries=taken)
        self._lanes.divide(among)
        if now - self._prepared >= _PARTITIONED:
            await self._batch.write(lambda transaction: partitions.prepare(transaction, self._clock()))
            self._prepared = now
        await self._look()
        if self._database.doubts != self._doubts:
            self._doubts, self._settle_at = self._database.doubts, now + 1.5 * _UNTOLD / 1e6
        if now >= self._settle_at:
            await self._batch.write(self._settle_doubts)
            self._settle_at = inf
        self._learn(await self._batch.write(self._find_due))

    async def _renew(self, now: float) -> None:
        number = self._lanes.holder
        alive = await self._batch.write(lambda transaction: processes.renew(transaction, number, self._clock()))
        if not alive:
            log("lease.lost", level="warning", process=number)
            await self._lost()
        self._renewed = now
        self._lanes.believed_until = now + processes.LEASE / 1e6

    async def _look_after_others(self, transaction: Transaction) -> tuple[int, int]:
        taken = await processes.take_over(transaction, self._clock())
        return taken, await processes.among(transaction)

    async def _settle_doubts(self, transaction: Transaction) -> None:
        """A COMMIT whose answer was lost may have leased deliveries to us: nobody would ever send them."""
        now, holder = self._clock(), self._lanes.holder
        held = await deliveries.held_by(transaction, holder, now - _UNTOLD)
        known = self._known()
        unknown = [delivery_id for delivery_id in held if delivery_id not in known]
        if unknown:
            log("lease.unknown", level="warning", deliveries=len(unknown))
            await deliveries.release(transaction, unknown, "waiting", now, holder)

    async def _find_due(self, transaction: Transaction) -> Mapping[str, Due]:
        return await deliveries.dues(transaction, [lane.subscription.id for lane in self._lanes.sending])
