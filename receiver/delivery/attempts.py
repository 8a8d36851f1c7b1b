"""One attempt of one delivery: signed, sent, and weighed by what came back. When it is made is the dispatcher's."""

from collections.abc import Callable

import httpx2
import orjson

from receiver.addresses import BadDestination
from receiver.delivery.lane import Lane
from receiver.delivery.lanes import Pace
from receiver.delivery.outcome import Forbidden, Outcome
from receiver.delivery.post import post
from receiver.delivery.retry import Next, decide, parse_retry_after
from receiver.sms.timestamps import to_text
from receiver.storage.deliveries import Leased


class Attempts:
    """monotonic: seconds; chance: a number in [0, 1)"""

    def __init__(
        self, transport: httpx2.AsyncBaseTransport, pace: Pace, monotonic: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:  # fmt: skip
        self._transport = transport
        self._pace = pace
        self._monotonic = monotonic
        self._chance = chance

    async def make(self, lane: Lane, item: Leased, now: int) -> Outcome:
        """`now` in unix microseconds: the time that it is signed with."""
        if isinstance(lane.destination, BadDestination):
            return Forbidden(detail=f"the URL {lane.destination}", duration_ms=0)
        headers, body = lane.signed(item, now)
        return await post(
            self._transport, lane.destination, headers, body, deadline=self._pace.timeout, clock=self._monotonic
        )

    def judge(self, lane: Lane, item: Leased, outcome: Outcome, now: int) -> Next:
        """What follows from an attempt that ended `now` (unix microseconds)."""
        schedule = lane.subscription.retry_schedule
        wish = outcome.retry_after
        return decide(
            outcome,
            item.tries + 1,
            (now - item.opened_at) / 1e6,
            self._pace.schedule if schedule is None else schedule,
            self._chance(),
            parse_retry_after(wish, now / 1e6) if wish is not None else None,
        )


def ping(subscription_id: str, event_id: str, now: int) -> Leased:
    """A `test.ping`, which is in no log and no queue."""
    event = {
        "id": event_id,
        "type": "test.ping",
        "timestamp": to_text(now),
        "supersedes": None,
        "data": {"subscription_id": subscription_id, "text": "A test of this subscription."},
    }
    return Leased("", subscription_id, event_id, orjson.dumps(event), now)
