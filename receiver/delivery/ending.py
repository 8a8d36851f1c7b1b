"""How attempts end: a batch of outcomes is recorded in one transaction with all that follows from them.

What follows: the next delivery of a conversation, the health of the subscription, a subscription disabled, and the
events that tell the others.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from receiver.delivery.health import DisabledBy, Health
from receiver.delivery.ladder import Ladder
from receiver.delivery.outcome import Outcome
from receiver.delivery.retry import Next
from receiver.storage import conversations, deliveries, subscriptions
from receiver.storage.catalog import Catalog
from receiver.storage.database import Transaction
from receiver.storage.deliveries import Attempt, Finished, Leased
from receiver.storage.owing import Outgoing
from receiver.storage.recording import Notice

Tell = Callable[[Transaction, Sequence[Notice], int], Awaitable[Outgoing]]

_SUCCESS_NOTED_EVERY = 1_000_000
_DETAIL_CHARS = 300


@dataclass(slots=True)
class Ended:
    """What came of a batch, for after its COMMIT."""

    outgoing: Outgoing
    healths: Mapping[str, Health]
    successes: Mapping[str, int]


class Endings:
    """`record` is the operation for `Batch`: one and the same answer for every outcome of a batch.

    full     whether a subscription's deliveries must wait in store for their turn
    holder   the number of this process, to which the next of a conversation is leased
    """

    def __init__(
        self, catalog: Catalog, ladder: Ladder, clock: Callable[[], int], tell: Tell, full: Callable[[str], bool],
        holder: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._ladder = ladder
        self._clock = clock
        self._tell = tell
        self._full = full
        self._holder = holder
        self._successes: dict[str, int] = {}

    async def record(self, transaction: Transaction, outcomes: Sequence[Finished]) -> Sequence[Ended]:
        now = self._clock()
        outcomes = [item if item.after is None else replace(item, next_at=now + item.after) for item in outcomes]
        if any(item.state != "succeeded" or item.conversation is not None for item in outcomes):
            await self._catalog.refresh(transaction)  # what it last told of may have been rolled back
        deliveries.finish(transaction, outcomes, now)
        successes = self._note_successes(transaction, outcomes, now)
        await self._recall(transaction, outcomes, successes)
        steps = self._ladder.climb(outcomes, now)
        if steps.healths:
            subscriptions.save_health(transaction, steps.healths)
        await self._stop(transaction, steps.disable, outcomes, now)
        outgoing = await self._tell(transaction, steps.notices, now) if steps.notices else Outgoing()
        await self._follow(transaction, outgoing, outcomes, now)
        return [Ended(outgoing, steps.healths, successes)] * len(outcomes)

    def adopt(self, ended: Ended) -> None:
        """It is on disk."""
        self._ladder.adopt(ended.healths)
        self._successes.update(ended.successes)

    def _note_successes(self, transaction: Transaction, outcomes: Sequence[Finished], now: int) -> Mapping[str, int]:
        successes = {
            item.subscription_id: now
            for item in outcomes
            if item.state == "succeeded" and now - self._successes.get(item.subscription_id, 0) >= _SUCCESS_NOTED_EVERY
        }
        if successes:
            subscriptions.succeeded(transaction, successes)
        return successes

    async def _recall(
        self, transaction: Transaction, outcomes: Sequence[Finished], successes: Mapping[str, int]
    ) -> None:
        """Where others send to the same subscriptions, their health is what the database says: looked up for each
        failure, and with the first success of a second.
        """
        if transaction.engine != "sqlite":
            asked = {item.subscription_id for item in outcomes if item.state != "succeeded"} | successes.keys()
            self._ladder.adopt(await subscriptions.healths(transaction, sorted(asked)))

    async def _stop(
        self, transaction: Transaction, disable: Mapping[str, DisabledBy], outcomes: Sequence[Finished], now: int
    ) -> None:
        """Disables whoever wants no more; what fails while a subscription is disabled is held like what waited."""
        for subscription_id, because in disable.items():
            await subscriptions.disable(transaction, subscription_id, because, now)
        if disable:
            await self._catalog.refresh(transaction)
        late = {item.subscription_id for item in outcomes if item.state == "retrying"}
        for subscription_id in sorted(late - disable.keys()):
            if self._state(subscription_id) == "disabled":
                await subscriptions.hold(transaction, subscription_id, now)

    async def _follow(
        self, transaction: Transaction, outgoing: Outgoing, outcomes: Sequence[Finished], now: int
    ) -> None:
        """Whatever became of a delivery that is over, its conversation goes on; in store where nothing is sent now, and
        where other conversations wait there for their turn.
        """
        over = {
            (item.subscription_id, item.conversation)
            for item in outcomes
            if item.conversation is not None and item.state != "retrying"
        }
        going = sorted(pair for pair in over if self._state(pair[0]) == "active" and not self._full(pair[0]))
        if going:
            outgoing.leased.extend(await deliveries.advance(transaction, going, now, self._holder()))
        waiting = sorted(over.difference(going))
        if waiting:
            await conversations.appoint(transaction, waiting, now)
            outgoing.stored.update(subscription_id for subscription_id, _ in waiting)

    def _state(self, subscription_id: str) -> str | None:
        found = self._catalog.subscription(subscription_id)
        return found.state if found is not None else None


def finished(item: Leased, verdict: Next, made: Attempt) -> Finished:
    """When it is tried again is fixed by the clock of its commit."""
    return Finished(
        delivery_id=item.delivery_id,
        subscription_id=item.subscription_id,
        state="retrying" if verdict.verdict == "retry" else verdict.verdict,
        next_at=None,
        after=round(verdict.after * 1e6) if verdict.verdict == "retry" else None,
        attempt=made,
        conversation=item.conversation,
        disable=verdict.disable,
        holder=item.holder,
    )


def attempt(outcome: Outcome, number: int, started_at: int) -> Attempt:
    return Attempt(
        number=number,
        started_at=started_at,
        duration_ms=outcome.duration_ms,
        status=outcome.status,
        error=outcome.error,
        detail=outcome.detail[:_DETAIL_CHARS] or None,
        answer=outcome.answer,
    )
