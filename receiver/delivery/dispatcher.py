"""Owns every task of the way out: take, render, sign, post, record. Deliveries arrive committed, by hand-over.

What fits is sent from memory; what does not waits in the database and is taken, oldest first, when there is room or
when a retry is due. An attempt's place is free again only after its outcome is on disk.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx2
import orjson

from receiver.delivery.lane import Job, Lane
from receiver.delivery.outcome import Outcome
from receiver.delivery.post import post
from receiver.delivery.retry import Next, decide, parse_retry_after
from receiver.delivery.taking import Ask, Found, give_back, recover, take
from receiver.observe import log
from receiver.sms.timestamps import to_text
from receiver.storage import deliveries, subscriptions
from receiver.storage.batch import Batch, Operation
from receiver.storage.catalog import Catalog
from receiver.storage.database import Broken, StorageError, Transaction
from receiver.storage.deliveries import Attempt, Finished
from receiver.storage.record import Recorded
from receiver.storage.subscriptions import Subscription

_SUCCESS_NOTED_EVERY = 1_000_000
_TAKE_MOST = 500
_DETAIL_CHARS = 300


class Count(Protocol):
    def __call__(self, name: str, /, **labels: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast and how often.

    schedule      seconds to wait after each failure, for subscriptions without their own
    timeout       seconds of a whole attempt
    concurrency   attempts at once over all subscriptions
    lane          deliveries held in memory for one subscription
    """

    schedule: Sequence[float]
    timeout: float = 20.0
    concurrency: int = 256
    lane: int = 2_000


class Dispatcher:
    """`hand_over` and `room` are called by the recording side, `run` is the owner of all that happens here.

    clock    unix microseconds; monotonic: seconds; chance: a number in [0, 1)
    """

    def __init__(
        self, *, catalog: Catalog, batch: Batch, transport: httpx2.AsyncBaseTransport, pace: Pace, user_agent: str,
        clock: Callable[[], int], monotonic: Callable[[], float], chance: Callable[[], float], count: Count,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._batch = batch
        self._transport = transport
        self._pace = pace
        self._user_agent = user_agent.encode("ascii")
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._count = count
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._recovered = False
        self._stopping = False
        self._successes: dict[str, int] = {}
        self._finishing: Operation[Finished, None] = Operation(self._record_finished)
        self._taking: Operation[Ask, Found] = Operation(self._take, self._took)
        catalog.on_change(self._adopt)

    def room(self, subscription_id: str) -> int:
        """How many more deliveries of that subscription can be born leased: none before the leases of an earlier
        process are void, for then ours would be with them.
        """
        lane = self._lane(subscription_id)
        return 0 if lane is None or self._stopping or not self._recovered else lane.room

    def hand_over(self, committed: Iterable[Recorded]) -> None:
        """Deliveries that were just committed, leased to this process or left in store."""
        for recorded in committed:
            for owed in recorded.owed:
                lane = self._lane(owed.subscription_id)
                if lane is not None:
                    lane.queue.append(Job(owed.delivery_id, owed.event_id, 0, owed.body))
                    self._list(lane)
            for subscription_id in recorded.stored:
                self.wake(subscription_id)
        self._pump()

    def wake(self, subscription_id: str) -> None:
        """The subscription has deliveries due in store."""
        lane = self._lane(subscription_id)
        if lane is not None:
            lane.in_store = True
            lane.due = self._clock()
            self._wake.set()

    async def run(self) -> None:
        """Sends until stopped. Starts with what an earlier process left behind; raises StorageError if it cannot."""
        if not self._stopping:
            await self._recover()
        while not self._stopping:
            for lane in [lane for lane in self._lanes.values() if lane.wants(self._clock())]:
                self._refill(lane)
            await self._sleep()

    async def stop(self, seconds: float) -> None:
        """Starts nothing new, waits for what is under way, and gives the rest back to the database."""
        self._stopping = True
        self._wake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        waiting = [job.delivery_id for lane in self._lanes.values() for job in lane.queue]
        for lane in self._lanes.values():
            lane.queue.clear()
        if waiting:
            await self._let_go(waiting)

    async def ping(self, subscription: Subscription, event_id: str) -> Attempt:
        """One `test.ping`, now, outside the log and the queue."""
        lane = Lane(subscription, 1, self._user_agent)
        now = self._clock()
        event = {
            "id": event_id,
            "type": "test.ping",
            "timestamp": to_text(now),
            "supersedes": None,
            "data": {"subscription_id": subscription.id, "text": "A test of this subscription."},
        }
        outcome = await self._post(lane, event_id, orjson.dumps(event), now)
        return _attempt(outcome, 1, now)

    async def _recover(self) -> None:
        due_by_subscription = await self._batch.write(lambda transaction: recover(transaction, self._clock()))
        for subscription_id, due in due_by_subscription.items():
            lane = self._lane(subscription_id)
            if lane is not None:
                lane.in_store = lane.in_store or due <= self._clock()
                lane.expect(due)
        self._recovered = True

    async def _let_go(self, delivery_ids: Sequence[str]) -> None:
        try:
            await self._batch.write(
                lambda transaction: deliveries.release(transaction, delivery_ids, "waiting", self._clock())
            )
        except StorageError as error:  # the next start voids their leases
            log("deliveries.not_released", level="warning", exc=error, deliveries=len(delivery_ids))

    def _lane(self, subscription_id: str) -> Lane | None:
        lane = self._lanes.get(subscription_id)
        if lane is None:
            subscription = self._catalog.subscription(subscription_id)
            if subscription is None:
                return None
            lane = self._lanes[subscription_id] = Lane(subscription, self._pace.lane, self._user_agent)
        return lane

    def _adopt(self) -> None:
        """The catalog changed: lanes follow their subscriptions."""
        for subscription_id, lane in list(self._lanes.items()):
            subscription = self._catalog.subscription(subscription_id)
            if subscription is None:
                del self._lanes[subscription_id]
                self._give_back(lane)
            elif subscription != lane.subscription:
                lane.adopt(subscription)
                if not lane.active:
                    self._give_back(lane)
                self._list(lane)
        self._wake.set()
        self._pump()

    def _give_back(self, lane: Lane) -> None:
        """What a lane that was stopped has in memory goes back to the database."""
        queued = [job.delivery_id for job in lane.queue]
        lane.queue.clear()
        self._spawn(self._given_back(lane.subscription.id, queued))

    async def _given_back(self, subscription_id: str, delivery_ids: Sequence[str]) -> None:
        """And the catalog is read once more: what it told of may have been rolled back since."""

        async def change(transaction: Transaction) -> None:
            await give_back(transaction, subscription_id, delivery_ids, self._clock())
            await self._catalog.refresh(transaction)

        try:
            await self._insist(lambda: self._batch.write(change))
        except StorageError as error:
            log("deliveries.not_released", level="warning", exc=error, subscription_id=subscription_id)
        self.wake(subscription_id)

    def _list(self, lane: Lane) -> None:
        """Puts a lane in the row of those that can send, once: each gets its turn."""
        if not lane.listed and lane.can_start:
            lane.listed = True
            self._ready.append(lane)

    def _pump(self) -> None:
        """Starts attempts while there is room, one a lane and round."""
        while self._ready and self._running < self._pace.concurrency and not self._stopping:
            lane = self._ready.popleft()
            lane.listed = False
            if not lane.can_start:
                continue
            job = lane.queue.popleft()
            lane.running += 1
            self._running += 1
            self._list(lane)
            self._spawn(self._deliver(lane, job))

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, lane: Lane, job: Job) -> None:
        """One attempt of one delivery, until its outcome is on disk."""
        try:
            now = self._clock()
            outcome = await self._post(lane, job.event_id, job.body, now)
            ended = self._clock()
            verdict = self._judge(lane, job, outcome, ended)
            next_at = ended + round(verdict.after * 1e6) if verdict.verdict == "retry" else None
            finished = _finished(lane, job, verdict, next_at, _attempt(outcome, job.attempts + 1, now))
            await self._insist(lambda: self._batch.submit(self._finishing, finished))
            self._account(lane, verdict, next_at)
            log("attempt", level="debug", delivery_id=job.delivery_id, status=outcome.status, error=outcome.error)
        except StorageError as error:
            log("attempt.not_recorded", level="warning", exc=error, delivery_id=job.delivery_id)
        finally:
            lane.running -= 1
            self._running -= 1
            self._list(lane)
            if lane.wants(self._clock()):
                self._wake.set()
            self._pump()

    async def _post(self, lane: Lane, event_id: str, event: bytes, now: int) -> Outcome:
        headers, body = lane.signed(event_id, event, now)
        return await post(
            self._transport, lane.destination, headers, body, deadline=self._pace.timeout, clock=self._monotonic
        )

    def _judge(self, lane: Lane, job: Job, outcome: Outcome, now: int) -> Next:
        schedule = lane.subscription.retry_schedule
        wish = outcome.retry_after
        return decide(
            outcome,
            job.attempts + 1,
            self._pace.schedule if schedule is None else schedule,
            self._chance(),
            parse_retry_after(wish, now / 1e6) if wish is not None else None,
        )

    async def _insist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Nothing is lost to a database that is full or locked for a while: an attempt's place stays taken."""
        pause = 0.5
        while True:
            try:
                await write()
            except Broken:
                self._stopping = True  # what is sent from now on could not be recorded, and would be sent once more
                raise
            except StorageError:
                if self._stopping:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)
            else:
                return

    def _account(self, lane: Lane, verdict: Next, next_at: int | None) -> None:
        self._count("attempts", verdict=verdict.verdict)
        if verdict.verdict == "succeeded":
            lane.speed_up()
        elif verdict.slow_down:
            lane.slow_down()
        if next_at is not None:
            self._lanes.get(lane.subscription.id, lane).expect(next_at)
            self._wake.set()

    def _refill(self, lane: Lane) -> None:
        lane.taking = True
        limit = min(_TAKE_MOST, lane.capacity - len(lane.queue) - lane.running)
        self._spawn(self._asked(lane, Ask(lane.subscription.id, limit)))

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
        return await take(transaction, asks, self._clock())

    def _took(self, found: Sequence[Found]) -> None:
        """Told right after COMMIT, so that nothing recorded later can be put before what was taken."""
        for item in found:
            lane = self._lane(item.subscription_id)
            if lane is None:
                continue
            lane.queue.extend(
                Job(taken.delivery_id, taken.event_id, taken.attempts, taken.body) for taken in item.taken
            )
            if not lane.active:  # it was stopped while they were taken
                self._give_back(lane)
            lane.due = item.next_due
            lane.in_store = item.next_due is not None and item.next_due <= self._clock()
            self._list(lane)
        self._pump()

    async def _record_finished(self, transaction: Transaction, outcomes: Sequence[Finished]) -> Sequence[None]:
        now = self._clock()
        deliveries.finish(transaction, outcomes, now)
        successes = {
            item.subscription_id: now
            for item in outcomes
            if item.state == "succeeded" and now - self._successes.get(item.subscription_id, 0) >= _SUCCESS_NOTED_EVERY
        }
        if successes:
            subscriptions.succeeded(transaction, successes)
            self._successes.update(successes)
        gone = {
            item.subscription_id
            for item in outcomes
            if item.attempt.status == 410 or (item.state == "retrying" and self._is_disabled(item.subscription_id))
        }
        for subscription_id in gone:
            await subscriptions.disable(transaction, subscription_id, now)
        if gone:
            await self._catalog.refresh(transaction)
        return [None] * len(outcomes)

    def _is_disabled(self, subscription_id: str) -> bool:
        """Then what fails is held like what waited."""
        found = self._catalog.subscription(subscription_id)
        return found is not None and found.state == "disabled"

    async def _sleep(self) -> None:
        """Until something is due or someone wakes us."""
        now = self._clock()
        waits = [lane.due - now for lane in self._lanes.values() if lane.due is not None and lane.active]
        seconds = max(0.0, min(waits) / 1e6) if waits else None
        if waits and min(waits) <= 0:  # a lane that is full: its next outcome wakes us
            seconds = 0.25
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()


def _finished(lane: Lane, job: Job, verdict: Next, next_at: int | None, attempt: Attempt) -> Finished:
    state = {"succeeded": "succeeded", "retry": "retrying", "forbidden": "forbidden"}.get(verdict.verdict, "dead")
    return Finished(
        delivery_id=job.delivery_id,
        subscription_id=lane.subscription.id,
        state=state,
        next_at=next_at,
        attempt=attempt,
    )


def _attempt(outcome: Outcome, number: int, started_at: int) -> Attempt:
    return Attempt(
        number=number,
        started_at=started_at,
        duration_ms=outcome.duration_ms,
        status=outcome.status,
        error=outcome.error,
        detail=outcome.detail[:_DETAIL_CHARS] or None,
        answer=outcome.answer,
    )
