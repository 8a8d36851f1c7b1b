"""All lanes of this process: which may send next, so that each gets its turn and none can take every place.

In memory alone; the dispatcher fills and empties it. Places are counted over all lanes: `concurrency` of them, of which
retries may take three quarters. A lane with nothing under way may start one attempt beyond that, so that others that
hang keep nobody from being served.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf

from receiver.delivery.lane import Lane
from receiver.storage.catalog import Catalog
from receiver.storage.deliveries import Leased
from receiver.storage.subscriptions import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast and how often.

    schedule        seconds to wait after each failure, for subscriptions without their own
    timeout         seconds of a whole attempt
    concurrency     attempts at once over all subscriptions
    lane            deliveries held in memory for one subscription
    disable_after   seconds of nothing but failures after which a subscription is disabled
    """

    schedule: Sequence[float]
    timeout: float = 20.0
    concurrency: int = 256
    lane: int = 2_000
    disable_after: float = 5 * 86_400.0


class Lanes:
    """`monotonic` in seconds. `open` while deliveries may be born leased: not before the leases of an earlier process
    are void, for then ours would be with them, and not once this one stops.
    """

    def __init__(
        self, catalog: Catalog, pace: Pace, *, user_agent: str, origin: str, monotonic: Callable[[], float]
    ) -> None:
        self.open = False
        self.expecting: set[Lane] = set()
        """Those with deliveries in store."""
        self._catalog = catalog
        self._capacity = pace.lane
        self._concurrency = pace.concurrency
        self._user_agent = user_agent.encode("ascii")
        self._origin = origin.encode("ascii")
        self._monotonic = monotonic
        self._lanes: dict[str, Lane] = {}
        self._ready: OrderedDict[Lane, None] = OrderedDict()
        self._idle: OrderedDict[Lane, None] = OrderedDict()
        self._held_back: dict[Lane, None] = {}
        self._alarms: list[tuple[float, int, Lane]] = []
        self._serial = count()
        self._running = 0
        self._retrying = 0

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def get(self, subscription_id: str) -> Lane | None:
        """None when the subscription was removed."""
        lane = self._lanes.get(subscription_id)
        if lane is None:
            subscription = self._catalog.subscription(subscription_id)
            if subscription is None:
                return None
            lane = self._lanes[subscription_id] = self.made(subscription)
        return lane

    def made(self, subscription: Subscription) -> Lane:
        share = max(1, self._concurrency // 2)
        return Lane(
            subscription, capacity=self._capacity, share=share, user_agent=self._user_agent, origin=self._origin
        )

    def drop(self, lane: Lane) -> None:
        del self._lanes[lane.subscription.id]
        self.expecting.discard(lane)
        self._held_back.pop(lane, None)
        self._ready.pop(lane, None)
        self._idle.pop(lane, None)

    def room(self, subscription_id: str, *, urgent: bool) -> int:
        """How many more deliveries of that subscription can be born leased."""
        lane = self.get(subscription_id) if self.open else None
        return 0 if lane is None else lane.room(urgent=urgent)

    def full(self, subscription_id: str) -> bool:
        """Whether deliveries of that subscription wait in store, or must from now on."""
        lane = self.get(subscription_id)
        return not self.open or (lane is not None and lane.overflow)

    def put(self, items: Iterable[Leased]) -> list[Lane]:
        """Queues deliveries; returns lanes that do not send any more, to be emptied."""
        stopped = []
        for item in items:
            lane = self.get(item.subscription_id)
            if lane is not None:
                lane.put((item,))
                self.list(lane)
                if not lane.active and lane not in stopped:
                    stopped.append(lane)
        return stopped

    def list(self, lane: Lane) -> None:
        """Puts a lane in the row of those that can send, once: each gets its turn."""
        if lane.listed:
            return
        now = self._monotonic()
        wait = lane.wait(now)
        if wait is None:
            return
        if wait > 0:
            self._set_alarm(lane, now + wait)
            return
        (self._ready if lane.running else self._idle)[lane] = None
        lane.listed = True

    def _set_alarm(self, lane: Lane, at: float) -> None:
        if lane.alarm is None or at < lane.alarm:
            lane.alarm = at
            heapq.heappush(self._alarms, (at, next(self._serial), lane))

    @property
    def next_alarm(self) -> float:
        """When the first of those that must wait may send again, infinite when none waits."""
        return self._alarms[0][0] if self._alarms else inf

    def ring(self) -> None:
        """Lists the lanes whose time has come."""
        now = self._monotonic()
        while self.next_alarm <= now:
            at, _, lane = heapq.heappop(self._alarms)
            if at == lane.alarm:
                lane.alarm = None
                self.list(lane)

    def pick(self) -> tuple[Lane, Leased] | None:
        """The next delivery to try; None while there is nothing, or no place for it."""
        while True:
            lane = self._turn()
            if lane is None:
                return None
            lane.listed = False
            may_retry = self._retrying < max(1, self._concurrency * 3 // 4)
            item = lane.pick(self._monotonic(), retried=may_retry)
            if item is not None:
                self._running += 1
                self._retrying += item.attempts > 0
                self.list(lane)
                return lane, item
            if may_retry or lane.wait(self._monotonic()) != 0:
                self.list(lane)  # its breaker opened, or its rate was lowered, after it was listed
            else:
                self._held_back[lane] = None

    def _turn(self) -> Lane | None:
        if self._idle and self._running < 2 * self._concurrency:
            return self._idle.popitem(last=False)[0]
        return self._ready.popitem(last=False)[0] if self._ready and self._running < self._concurrency else None

    def done(self, lane: Lane, item: Leased) -> None:
        """The attempt is over and its outcome on disk: its place is free."""
        lane.running -= 1
        self._running -= 1
        if item.attempts > 0:
            self._retrying -= 1
            back, self._held_back = self._held_back, {}
            for waiting in back:
                self.list(waiting)
        if not lane.running and lane in self._ready:  # from now on it may go beyond the places that others hang in
            del self._ready[lane]
            lane.listed = False
        self.list(lane)
