"""One subscription's way out: its queues, its limits, and what every attempt to it has in common."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

from receiver.addresses import BadDestination
from receiver.delivery.handshake import ORIGIN
from receiver.delivery.pacing import Breaker, Bucket
from receiver.delivery.signing import parse_secret, sign
from receiver.egress import Destination, destination
from receiver.formats import FORMATS
from receiver.storage.deliveries import Due, Leased
from receiver.storage.subscriptions import Subscription

Headers = list[tuple[bytes, bytes]]

URGENT_MOST = 1_000
"""Opt-outs that are kept in memory beyond a lane's capacity."""
_FRESH_IN_A_ROW = 3
"""Where both wait, so many attempts that are the first go before one that is not."""


class Lane:
    """What is queued for a subscription and how many attempts it may have under way.

    listed     it stands in the row of those that can send; `alarm`: when it may, while it must wait (monotonic seconds)
    overflow   deliveries that were never tried wait in the database; new ones queue up behind them
    due        when the first of those in the database are to be sent, as far as is known
    limit      attempts at once: halved when the subscriber has too much to do, grown again by successes
    most       what `limit` never exceeds: its own wish, and what leaves room for other subscriptions
    """

    def __init__(
        self, subscription: Subscription, *, capacity: int, share: int, user_agent: bytes, origin: bytes
    ) -> None:
        self.capacity = capacity
        self.running = 0
        self.overflow = False
        self.taking = False
        self.listed = False
        self.alarm: float | None = None
        self.due = Due()
        self._urgent: deque[Leased] = deque()
        self._fresh: deque[Leased] = deque()
        self._retried: deque[Leased] = deque()
        self._fresh_in_a_row = 0
        self._share = share
        self._rate: float | None = None
        self._bucket = Bucket(None)
        self._user_agent = user_agent
        self._origin = origin
        self.breaker = Breaker(subscription.health.failures)
        self.most = self.limit = 0.0
        self.subscription = subscription
        self.adopt(subscription)
        if self.breaker.is_open:
            self.limit = 1.0

    def adopt(self, subscription: Subscription) -> None:
        """Takes over a changed subscription; what is queued goes by it from now on."""
        if subscription.state == "active" != self.subscription.state:
            self.breaker = Breaker(subscription.health.failures)
        self.subscription = subscription
        most = float(min(subscription.max_concurrency, self._share))
        if most != self.most:
            self.most = self.limit = most
        rate = _rate(subscription)
        if rate != self._rate:
            self._rate, self._bucket = rate, Bucket(rate)
        self.destination = _destination(subscription.url)
        self._render = FORMATS[subscription.format]
        self._keys = [(parse_secret(secret.value), secret.expires_at) for secret in subscription.secrets]
        self._headers = [(name.lower().encode(), value.encode()) for name, value in subscription.headers.items()]
        self._headers.append((b"user-agent", self._user_agent))
        if subscription.handshake:
            self._headers.append((ORIGIN, self._origin))

    @property
    def active(self) -> bool:
        return self.subscription.state == "active"

    @property
    def holds(self) -> int:
        """Deliveries in memory."""
        return len(self._urgent) + len(self._fresh) + len(self._retried) + self.running

    def room(self, *, urgent: bool) -> int:
        """How many more deliveries may be leased to it without overtaking those that wait in the database."""
        if not self.active:
            return 0
        if urgent:
            return URGENT_MOST - len(self._urgent)
        return 0 if self.overflow else self.capacity - len(self._fresh) - self.running

    def room_for_retried(self) -> int:
        """Retries have a quarter of the memory for themselves."""
        return max(1, self.capacity // 4) - len(self._retried) if self.active else 0

    def put(self, items: Iterable[Leased]) -> None:
        for item in items:
            (self._urgent if item.urgent else self._retried if item.attempts else self._fresh).append(item)

    def queued(self) -> Iterable[Leased]:
        """What waits in memory."""
        return chain(self._urgent, self._fresh, self._retried)

    def pick(self, now: float, *, retried: bool = True) -> Leased | None:
        """The delivery to try next, or None while it may not send. `retried` are let through only where it is said."""
        if not self.active or self.running >= self.limit or self._wait(now) > 0:
            return None
        chosen = self._choose(retried=retried)
        if chosen is None:
            return None
        self._bucket.take()
        self.running += 1
        return chosen.popleft()

    def wait(self, now: float) -> float | None:
        """Seconds until it may send; None when it has nothing to send or no place is free."""
        if not (self._urgent or self._fresh or self._retried) or not self.active or self.running >= self.limit:
            return None
        if self.breaker.is_open and self.running and not self._urgent:
            return None
        return self._wait(now)

    def _wait(self, now: float) -> float:
        if self._urgent:
            return self._bucket.wait(now)
        if self.breaker.is_open:
            return max(self.breaker.wait(now), self._bucket.wait(now)) if not self.running else 1.0
        return self._bucket.wait(now)

    def _choose(self, *, retried: bool) -> deque[Leased] | None:
        """Opt-outs, then what was never tried; now and then, or where nothing else waits, what was."""
        if self._urgent:
            return self._urgent
        if self._retried and retried and (not self._fresh or self._fresh_in_a_row >= _FRESH_IN_A_ROW):
            self._fresh_in_a_row = 0
            return self._retried
        self._fresh_in_a_row += 1
        return self._fresh or None

    def wants(self, now: int) -> tuple[int, int]:
        """How many deliveries should be taken from the database now: never tried, and tried before."""
        if self.taking or not self.active:
            return 0, 0
        fresh, retried = self.capacity - len(self._fresh) - self.running, self.room_for_retried()
        wants_fresh = self.due.fresh is not None and self.due.fresh <= now and fresh >= self.capacity // 2
        wants_retried = (
            self.due.retried is not None and self.due.retried <= now and retried >= max(1, self.capacity // 8)
        )
        return fresh if wants_fresh else 0, retried if wants_retried else 0

    def empty(self) -> Sequence[Leased]:
        """What was queued, which is no longer."""
        queued = [*self._urgent, *self._fresh, *self._retried]
        for queue in (self._urgent, self._fresh, self._retried):
            queue.clear()
        return queued

    def signed(self, item: Leased, now: int) -> tuple[Headers, bytes]:
        """Headers and body of an attempt at `now` (Standard Webhooks 1.0; the id is the event's on every attempt)."""
        headers, body = self._render(item.body)
        seconds = now // 1_000_000
        signature = sign(self._secrets(now), item.event_id, seconds, body)
        headers += self._headers
        headers += (
            (b"webhook-id", item.event_id.encode()),
            (b"webhook-timestamp", b"%d" % seconds),
            (b"webhook-signature", signature.encode()),
        )
        if item.missed is not None:
            headers.append((b"receiver-missed", item.missed.encode()))
        return headers, body

    def expect(self, *, fresh: int | None = None, retried: int | None = None) -> None:
        """Deliveries in store fall due then."""
        self.due = Due(_earlier(self.due.fresh, fresh), _earlier(self.due.retried, retried))

    def succeeded(self) -> None:
        if self.breaker.is_open:
            self.limit = 1.0  # whoever just came back is not met by a herd
        elif self.limit < self.most:
            self.limit = min(self.most, self.limit + 1 / self.limit)
        self.breaker.succeeded()

    def failed(self, now: float, *, slow_down: bool) -> None:
        self.breaker.failed(now)
        if slow_down:
            self.limit = max(1.0, self.limit / 2)

    def _secrets(self, now: int) -> Sequence[bytes]:
        return [key for key, expires_at in self._keys if expires_at is None or expires_at > now]


def _destination(url: str) -> Destination | BadDestination:
    """One that was accepted before the rules were tightened must not bring down whoever looks at it: not even its own
    lane, whose deliveries end with the reason.
    """
    try:
        return destination(url)
    except BadDestination as error:
        return error


def _rate(subscription: Subscription) -> float | None:
    """Its own wish, or what the URL allowed when it was asked, whichever is less."""
    allowed = subscription.allowed_per_minute
    rates = [subscription.rate_per_second, None if allowed is None else allowed / 60]
    return min((rate for rate in rates if rate is not None), default=None)


def _earlier(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
