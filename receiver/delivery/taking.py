"""Between the lanes and the database: deliveries are taken when there is room, and given back when a lane stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from receiver.storage import deliveries, lateness, processes, subscriptions
from receiver.storage.database import Transaction
from receiver.storage.deliveries import Due, Leased


@dataclass(frozen=True, slots=True)
class Ask:
    """Up to so many due deliveries of one subscription that were never tried, and that were."""

    subscription_id: str
    fresh: int
    retried: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was taken, and when those that stay in store are due."""

    subscription_id: str
    taken: Sequence[Leased]
    due: Due


async def take(transaction: Transaction, asks: Sequence[Ask], now: int, holder: int) -> Sequence[Found]:
    """One answer an ask, in order."""
    found = []
    for ask in asks:
        taken = await deliveries.take(
            transaction, ask.subscription_id, fresh=ask.fresh, retried=ask.retried, now=now, holder=holder
        )
        due = await deliveries.due(transaction, ask.subscription_id)
        found.append(Found(ask.subscription_id, taken, due.get(ask.subscription_id, Due())))
    return found


async def recover(transaction: Transaction, now: int, *, alone: bool) -> tuple[int, Mapping[str, Due]]:
    """Voids the leases of processes that are no more. The number of this one, and when the first deliveries of each
    subscription are due. Clocks of others are their own matter: where many share a database, all go by its clock.
    """
    number = await processes.join(transaction, now, alone=alone)
    if alone:
        await deliveries.rewind(transaction, now)
        await lateness.note(transaction, now)
    return number, await deliveries.due(transaction)


async def set_back(transaction: Transaction, micros: int, now: int) -> Mapping[str, Due]:
    """The clock was set back by so much: what is due then, as seen by the new one."""
    await deliveries.shift(transaction, -micros, now)
    await lateness.note(transaction, now, by=micros)
    return await deliveries.due(transaction)


async def give_back(
    transaction: Transaction, subscription_id: str, delivery_ids: Sequence[str], now: int, holder: int
) -> None:  # fmt: skip
    """Leased deliveries of a lane that was stopped: held where the subscription is disabled, else they wait.

    The lane may have heard of a change that was rolled back, so it is looked up here what is true. Those of a
    subscription that was removed are canceled by now and stay so.
    """
    found = await subscriptions.get(transaction, subscription_id)
    state = "held" if found is not None and found.state == "disabled" else "waiting"
    await deliveries.release(transaction, delivery_ids, state, now, holder)
