"""One subscription's way out: its queue, its limit, and what every attempt to it has in common."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from receiver.delivery.signing import parse_secret, sign
from receiver.egress import Destination, destination
from receiver.formats import FORMATS
from receiver.storage.subscriptions import Subscription

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Job:
    """A leased delivery in memory. `attempts` is how many were made before."""

    delivery_id: str
    event_id: str
    attempts: int
    body: bytes


class Lane:
    """What is queued for a subscription and how many attempts it may have under way.

    in_store   deliveries wait in the database that were not leased; new ones queue up behind them
    due        when the next of those in the database is to be sent (unix microseconds), None when none is known
    limit      attempts at once: halved when the subscriber says it has too much to do, grown again by successes
    """

    def __init__(self, subscription: Subscription, capacity: int, user_agent: bytes) -> None:
        self.queue: deque[Job] = deque()
        self.capacity = capacity
        self.running = 0
        self.in_store = False
        self.taking = False
        self.due: int | None = None
        self.listed = False
        self._user_agent = user_agent
        self.limit = float(subscription.max_concurrency)
        self.subscription = subscription
        self.adopt(subscription)

    def adopt(self, subscription: Subscription) -> None:
        """Takes over a changed subscription; what is queued goes by it from now on."""
        if subscription.max_concurrency != self.subscription.max_concurrency:
            self.limit = float(subscription.max_concurrency)
        self.subscription = subscription
        self.destination: Destination = destination(subscription.url)
        self._render = FORMATS[subscription.format]
        self._keys = [(parse_secret(secret.value), secret.expires_at) for secret in subscription.secrets]
        self._headers = [(name.lower().encode(), value.encode()) for name, value in subscription.headers.items()]
        self._headers.append((b"user-agent", self._user_agent))

    @property
    def active(self) -> bool:
        return self.subscription.state == "active"

    @property
    def room(self) -> int:
        """How many more deliveries may be leased to it without overtaking those that wait in the database."""
        return 0 if self.in_store or not self.active else self.capacity - len(self.queue) - self.running

    @property
    def can_start(self) -> bool:
        return bool(self.queue) and self.running < self.limit and self.active

    def wants(self, now: int) -> bool:
        """Whether deliveries should be taken from the database now."""
        if self.taking or not self.active or self.due is None or self.due > now:
            return False
        return len(self.queue) + self.running <= self.capacity // 2

    def signed(self, event_id: str, event: bytes, now: int) -> tuple[Headers, bytes]:
        """Headers and body of an attempt at `now` (Standard Webhooks 1.0; the id is the event's on every attempt)."""
        headers, body = self._render(event)
        seconds = now // 1_000_000
        signature = sign(self._secrets(now), event_id, seconds, body)
        headers += self._headers
        headers += (
            (b"webhook-id", event_id.encode()),
            (b"webhook-timestamp", b"%d" % seconds),
            (b"webhook-signature", signature.encode()),
        )
        return headers, body

    def expect(self, due: int) -> None:
        """A delivery in store falls due then."""
        self.due = due if self.due is None else min(self.due, due)

    def slow_down(self) -> None:
        self.limit = max(1.0, self.limit / 2)

    def speed_up(self) -> None:
        if self.limit < self.subscription.max_concurrency:
            self.limit = min(float(self.subscription.max_concurrency), self.limit + 1 / self.limit)

    def _secrets(self, now: int) -> Sequence[bytes]:
        return [key for key, expires_at in self._keys if expires_at is None or expires_at > now]
