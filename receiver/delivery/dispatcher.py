"""Owns every task of the way out: take, attempt, record. Deliveries arrive committed, by hand-over.

What fits is sent from memory; what does not waits in the database and is taken, oldest first, when there is room or
when a retry is due. An attempt's place is free again only after its outcome is on disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import inf
from typing import Protocol

import httpx2

from receiver.delivery.attempts import Attempts, ping
from receiver.delivery.ending import Ended, Endings, Tell, attempt, finished
from receiver.delivery.ladder import Ladder
from receiver.delivery.lane import Lane
from receiver.delivery.lanes import Lanes, Pace
from receiver.delivery.retry import Next
from receiver.delivery.taking import Ask, Found, give_back, recover, set_back, take
from receiver.observe import log
from receiver.storage import deliveries
from receiver.storage.batch import Batch, Operation
from receiver.storage.catalog import Catalog
from receiver.storage.database import Broken, StorageError, Transaction, Unavailable
from receiver.storage.deliveries import Attempt, Due, Finished, Leased
from receiver.storage.owing import Outgoing
from receiver.storage.processes import LEASE, leave
from receiver.storage.subscriptions import Subscription

_TAKE_MOST = 500
_LOOKS_EVERY = 5.0
"""Seconds that the clock may have been set back for before it is seen."""
_SET_BACK = 1_000_000


class Count(Protocol):
    def __call__(self, name: str, /, **labels: str) -> None: ...


class Dispatcher:
    """`hand_over` is called by the recording side, `run` is the owner of all that happens here.

    clock    unix microseconds; monotonic: seconds; chance: a number in [0, 1)
    """

    def __init__(
        self, *, catalog: Catalog, lanes: Lanes, batch: Batch, transport: httpx2.AsyncBaseTransport, pace: Pace,
        clock: Callable[[], int], monotonic: Callable[[], float], chance: Callable[[], float], count: Count, tell: Tell,
        alone: bool = True,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._lanes = lanes
        self._batch = batch
        self._clock = clock
        self._monotonic = monotonic
        self._count = count
        self._attempts = Attempts(transport, pace, monotonic, chance)
        self._ladder = Ladder(catalog, round(pace.disable_after * 1e6))
        self._tasks: set[asyncio.Task[None]] = set()
        self._trying: dict[str, Leased] = {}
        self._wake = asyncio.Event()
        self._ahead = 0
        self._until = 0
        self._alarm = inf
        self._stopping = False
        self._alone = alone
        self._endings = Endings(catalog, self._ladder, self._now, tell, lanes.full, lambda: lanes.holder)
        self._finishing: Operation[Finished, Ended] = Operation(self._endings.record, self._ended)
        self._taking: Operation[Ask, Found] = Operation(self._take, self._took)
        catalog.on_change(self._adopt)

    def hand_over(self, committed: Iterable[Outgoing]) -> None:
        """Deliveries that were just committed, leased to this process or left in store."""
        for outgoing in committed:
            if outgoing.leased:
                for lane in self._lanes.put(outgoing.leased):
                    self._give_back(lane)
            for subscription_id in outgoing.stored:
                self.wake(subscription_id)
        self._pump()

    def wake(self, subscription_id: str) -> None:
        """The subscription has deliveries due in store."""
        lane = self._lanes.get(subscription_id)
        if lane is not None:
            lane.overflow = True
            now = self._clock()
            self._expect(lane, Due(now, now))

    def revise(self, bodies: Mapping[str, bytes], renamed: Callable[[str], str]) -> None:
        """Events were erased: what is in memory is sent as they are now, in conversations as they are called now. An
        attempt that is under way cannot be called back, but what is answered to it is not kept.
        """
        for item in self.held:
            item.body = bodies.get(item.event_id, item.body)
            if item.event_id in bodies and item.conversation is not None:
                item.conversation = renamed(item.conversation)

    async def run(self) -> None:
        """Sends until stopped. Starts with what an earlier process left behind; raises StorageError if it cannot."""
        if not self._stopping:
            await self._join()
            self._lanes.open = not self._stopping
            self._ahead = self._lead()
        while not self._stopping:
            await self._mind_the_clock()
            now = self._clock()
            for lane in list(self._lanes.expecting):
                self._refill(lane, now)
            self._lanes.ring()
            self._pump()
            await self._sleep(now)

    async def _join(self) -> None:
        before = self._monotonic()
        self._lanes.holder, due = await self._batch.write(
            lambda transaction: recover(transaction, self._clock(), alone=self._alone)
        )
        if not self._alone:
            self._lanes.believed_until = before + LEASE / 1e6
        self._learn(due)

    async def lost(self) -> None:
        """Others hold what was in memory; this process begins anew. What is under way counts no more."""
        for lane in self._lanes:
            lane.empty()
        await self._join()

    @property
    def held(self) -> Iterable[Leased]:
        """All deliveries in memory."""
        return chain(self._trying.values(), *(lane.queued for lane in self._lanes))

    def noticed(self, due: Mapping[str, Due]) -> None:
        """Deliveries in store, whoever put them there, are due then."""
        self._learn(due)
        self._wake.set()

    async def stop(self, seconds: float) -> None:
        """Starts nothing new, waits for what is under way, and gives the rest back to the database."""
        self._halt()
        self._wake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        waiting = [item.delivery_id for lane in self._lanes for item in lane.empty()]
        if waiting or not self._alone:
            await self._let_go(waiting)

    async def ping(self, subscription: Subscription, event_id: str) -> Attempt:
        """One `test.ping`, now, outside the log and the queue."""
        now = self._clock()
        lane = self._lanes.made(subscription)
        return attempt(await self._attempts.make(lane, ping(subscription.id, event_id, now), now), 1, now)

    def _halt(self) -> None:
        self._stopping = True
        self._lanes.open = False

    def _lead(self) -> int:
        """By how much the clock is ahead of the monotonic one (microseconds); less only when it was set back."""
        return self._clock() - round(self._monotonic() * 1e6)

    def _now(self) -> int:
        """The time that something in store is to be due by: where the clock was set back, that of before, until the
        store has followed.
        """
        self._ahead = max(self._ahead, self._lead())
        return self._ahead + round(self._monotonic() * 1e6)

    async def _mind_the_clock(self) -> None:
        """What is to be tried again keeps its distance when the clock is set back; set forward, it comes early."""
        lead = self._lead()
        back = self._ahead - lead
        if back >= _SET_BACK and self._alone:
            log("clock.set_back", level="warning", seconds=back // 1_000_000)

            async def follow(transaction: Transaction) -> Mapping[str, Due]:
                due = await set_back(transaction, back, self._clock())
                self._ahead = lead
                return due

            async def shift() -> None:
                self._ahead = lead + back
                self._learn(await self._batch.write(follow))

            try:
                await self._insist(shift)
            except Unavailable:
                return  # it is being stopped
        self._ahead = lead

    def _learn(self, due_by_subscription: Mapping[str, Due]) -> None:
        """When deliveries in store are due, as the database has it."""
        now = self._clock()
        for subscription_id, due in due_by_subscription.items():
            lane = self._lanes.get(subscription_id)
            if lane is not None:
                lane.overflow = lane.overflow or (due.fresh is not None and due.fresh <= now)
                self._expect(lane, due)

    async def _let_go(self, delivery_ids: Sequence[str]) -> None:
        async def change(transaction: Transaction) -> None:
            await deliveries.release(transaction, delivery_ids, "waiting", self._clock(), self._lanes.holder)
            if not self._alone:
                await leave(transaction, self._lanes.holder, self._clock())

        try:
            await self._batch.write(change)
        except StorageError as error:  # the next start voids their leases
            log("deliveries.not_released", level="warning", exc=error, deliveries=len(delivery_ids))

    def _adopt(self) -> None:
        """The catalog changed: lanes follow their subscriptions."""
        for lane in self._lanes:
            subscription = self._catalog.subscription(lane.subscription.id)
            if subscription is None:
                self._ladder.forget(lane.subscription.id)
                self._lanes.drop(lane)
                self._give_back(lane)
            elif subscription != lane.subscription:
                if subscription.state == "active" != lane.subscription.state:
                    self._ladder.forget(subscription.id)
                lane.adopt(subscription)
                if not lane.active:
                    self._give_back(lane)
                self._lanes.list(lane)
        self._wake.set()
        self._pump()

    def _give_back(self, lane: Lane) -> None:
        """What a lane that was stopped has in memory goes back to the database."""
        queued = [item.delivery_id for item in lane.empty()]
        self._spawn(self._given_back(lane.subscription.id, queued))

    async def _given_back(self, subscription_id: str, delivery_ids: Sequence[str]) -> None:
        """And the catalog is read once more: what it told of may have been rolled back since."""

        async def change(transaction: Transaction) -> None:
            await give_back(transaction, subscription_id, delivery_ids, self._clock(), self._lanes.holder)
            await self._catalog.refresh(transaction)

        try:
            await self._insist(lambda: self._batch.write(change))
        except StorageError as error:
            log("deliveries.not_released", level="warning", exc=error, subscription_id=subscription_id)
        self.wake(subscription_id)

    def _pump(self) -> None:
        """Starts attempts while there is room, one a lane and round."""
        while not self._stopping:
            picked = self._lanes.pick()
            if picked is None:
                break
            self._spawn(self._deliver(*picked))
        if self._lanes.next_alarm < self._alarm:
            self._wake.set()

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, lane: Lane, item: Leased) -> None:
        """One attempt of one delivery, until its outcome is on disk."""
        self._trying[item.delivery_id] = item
        try:
            now, sent = self._clock(), item.body
            outcome = await self._attempts.make(lane, item, now)
            ended = self._clock()
            verdict = self._attempts.judge(lane, item, outcome, ended)
            made = attempt(outcome, item.attempts + 1, now)
            done = finished(item, verdict, made if item.body is sent else replace(made, answer=b""))
            await self._insist(lambda: self._batch.submit(self._finishing, done))
            self._account(lane, verdict)
            if done.after is not None:
                self._expect(self._lanes.get(item.subscription_id), Due(None, self._clock() + done.after))
            log("attempt", level="debug", delivery_id=item.delivery_id, status=outcome.status, error=outcome.error)
        except StorageError as error:
            log("attempt.not_recorded", level="warning", exc=error, delivery_id=item.delivery_id)
        finally:
            self._trying.pop(item.delivery_id, None)
            self._lanes.done(lane, item)
            if lane in self._lanes.expecting and any(lane.wants(self._clock())):
                self._wake.set()
            self._pump()

    def _account(self, lane: Lane, verdict: Next) -> None:
        self._count("attempts", verdict=verdict.verdict)
        if verdict.verdict == "succeeded":
            lane.succeeded()
        else:
            lane.failed(self._monotonic(), slow_down=verdict.slow_down)

    async def _insist(self, write: Callable[[], Awaitable[object]]) -> None:
        """Nothing is lost to a database that is full or locked for a while: an attempt's place stays taken."""
        pause = 0.5
        while True:
            try:
                await write()
            except Broken:
                self._halt()  # what is sent from now on could not be recorded, and would be sent once more
                raise
            except StorageError:
                if self._stopping:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)
            else:
                return

    def _ended(self, ended: Sequence[Ended]) -> None:
        """Told right after COMMIT, once for a whole batch."""
        self._endings.adopt(ended[0])
        self.hand_over([ended[0].outgoing])

    def _expect(self, lane: Lane | None, due: Due) -> None:
        """Deliveries of that lane in store fall due then; the loop looks when the first of them does."""
        if lane is None:
            return
        lane.expect(fresh=due.fresh, retried=due.retried)
        self._lanes.expecting.add(lane)
        now = self._clock()
        soon = [moment for moment in (due.fresh, due.retried) if moment is not None and now < moment < self._until]
        if soon or any(lane.wants(now)):
            self._wake.set()

    def _refill(self, lane: Lane, now: int) -> None:
        fresh, retried = lane.wants(now)
        if fresh or retried:
            lane.taking = True
            ask = Ask(lane.subscription.id, min(_TAKE_MOST, fresh), min(_TAKE_MOST, retried))
            self._spawn(self._asked(lane, ask))

    async def _asked(self, lane: Lane, ask: Ask) -> None:
        try:
            await self._batch.submit(self._taking, ask)
        except Exception as error:  # noqa: BLE001 — what keeps one lane from being filled must not end in a tight loop
            log("deliveries.not_taken", level="error", exc=error, subscription_id=ask.subscription_id)
            await asyncio.sleep(1.0)
        finally:
            lane.taking = False
            self._wake.set()

    async def _take(self, transaction: Transaction, asks: Sequence[Ask]) -> Sequence[Found]:
        return await take(transaction, asks, self._clock(), self._lanes.holder)

    def _took(self, found: Sequence[Found]) -> None:
        """Told right after COMMIT, so that nothing recorded later can be put before what was taken."""
        now = self._clock()
        for item in found:
            for lane in self._lanes.put(item.taken):  # it was stopped while they were taken
                self._give_back(lane)
            lane_asked = self._lanes.get(item.subscription_id)
            if lane_asked is not None:
                lane_asked.due = item.due
                lane_asked.overflow = item.due.fresh is not None and item.due.fresh <= now
                if item.due == Due():
                    self._lanes.expecting.discard(lane_asked)
        self._pump()

    async def _sleep(self, now: int) -> None:
        """Until something is due or someone wakes us."""
        ahead = [
            moment - now
            for lane in self._lanes.expecting
            if lane.active
            for moment in (lane.due.fresh, lane.due.retried)
            if moment is not None and moment > now
        ]
        seconds = min([_LOOKS_EVERY, *(wait / 1e6 for wait in ahead)])
        self._alarm = self._lanes.next_alarm
        seconds = min(seconds, max(0.0, self._alarm - self._monotonic()))
        self._until = self._clock() + round(seconds * 1e6)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
