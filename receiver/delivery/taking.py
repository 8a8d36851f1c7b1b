"""Between the lanes and the database: deliveries are taken when there is room, and given back when a lane stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from receiver.storage import deliveries, subscriptions
from receiver.storage.database import Transaction
from receiver.storage.deliveries import Taken


@dataclass(frozen=True, slots=True)
class Ask:
    """Up to `limit` due deliveries of one subscription."""

    subscription_id: str
    limit: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was taken, and when the next of those that stay in store is due (unix microseconds), None if none does."""

    subscription_id: str
    taken: Sequence[Taken]
    next_due: int | None


async def take(transaction: Transaction, asks: Sequence[Ask], now: int) -> Sequence[Found]:
    """One answer an ask, in order."""
    return [
        Found(
            ask.subscription_id,
            await deliveries.take(transaction, ask.subscription_id, ask.limit, now),
            await deliveries.next_due(transaction, ask.subscription_id),
        )
        for ask in asks
    ]


async def recover(transaction: Transaction, now: int) -> Mapping[str, int]:
    """Voids the leases of an earlier process; when the first delivery of each subscription is due."""
    await deliveries.void_leases(transaction, now)
    return await deliveries.due(transaction)


async def give_back(transaction: Transaction, subscription_id: str, delivery_ids: Sequence[str], now: int) -> None:
    """Leased deliveries of a lane that was stopped: held where the subscription is disabled, else they wait.

    The lane may have heard of a change that was rolled back, so it is looked up here what is true. Those of a
    subscription that was removed are canceled by now and stay so.
    """
    found = await subscriptions.get(transaction, subscription_id)
    state = "held" if found is not None and found.state == "disabled" else "waiting"
    await deliveries.release(transaction, delivery_ids, state, now)
