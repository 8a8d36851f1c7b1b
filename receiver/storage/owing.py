"""Whom the events of a batch are owed to: one delivery for every subscription that wants one, in the same transaction.

A delivery is born leased, to be sent from memory, unless its lane has no room, its subscription is stopped, or an
earlier delivery of its conversation is still to be made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from receiver.storage import conversations, deliveries, messages
from receiver.storage.catalog import Catalog
from receiver.storage.conversations import Pair
from receiver.storage.database import Transaction, Values
from receiver.storage.deliveries import URGENT, Leased
from receiver.storage.ids import Ids
from receiver.storage.subscriptions import Subscription


class Room(Protocol):
    def __call__(self, subscription_id: str, *, urgent: bool) -> int:
        """How many more deliveries can be born leased for that subscription."""
        ...


def no_room(subscription_id: str, *, urgent: bool) -> int:  # noqa: ARG001 — what `Room` is called with
    """For what is not handed over after COMMIT: it waits in store."""
    return 0


@dataclass(slots=True)
class Outgoing:
    """What is to be sent from memory, and the subscriptions with deliveries that wait in store."""

    leased: list[Leased] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)


class _InOrder(NamedTuple):
    """An event for an ordered subscription, until its conversation is known."""

    outgoing: Outgoing
    subscription: Subscription
    event_id: str
    body: bytes
    message_id: str | None


class Owing:
    """Collects what one batch of events is owed to whom, in the order of the log; `write` puts it into the database."""

    def __init__(self, catalog: Catalog, ids: Ids, room: Room, now: int) -> None:
        self._catalog = catalog
        self._ids = ids
        self._room = room
        self._now = now
        self._leased: dict[tuple[str, bool], int] = {}
        self._rows: list[Values] = []
        self._in_order: list[_InOrder] = []

    def add(
        self, outgoing: Outgoing, event_id: str, event_type: str, data: dict[str, Any], body: bytes,
        message_id: str | None, *, besides: str | None = None,
    ) -> None:  # fmt: skip
        """`besides` is a subscription that is not told."""
        for subscription, matches in self._catalog.matchers(event_type):
            if not matches(event_type, data) or subscription.id == besides:
                continue
            if subscription.ordered:
                self._in_order.append(_InOrder(outgoing, subscription, event_id, body, message_id))
            else:
                self._owe(outgoing, subscription, event_id, body, urgent=event_type == URGENT)

    async def write(self, transaction: Transaction) -> None:
        if self._in_order:
            await self._put_in_order(transaction)
        if self._rows:
            deliveries.insert(transaction, self._rows)

    def _owe(
        self, outgoing: Outgoing, subscription: Subscription, event_id: str, body: bytes, *,
        urgent: bool = False, conversation: str | None = None, missed: str | None = None,
    ) -> None:  # fmt: skip
        delivery_id, now = self._ids.new("dlv"), self._now
        state, next_at = "held", None
        if subscription.state == "active":
            place = (subscription.id, urgent)
            taken = self._leased.get(place, 0)
            if taken < self._room(subscription.id, urgent=urgent):
                self._leased[place] = taken + 1
                state = "sending"
                outgoing.leased.append(
                    Leased(delivery_id, subscription.id, event_id, body, now, 0, 0, conversation, missed, urgent)
                )
            else:
                state, next_at = "waiting", 0 if urgent else now  # an opt-out before all else that waits there
                outgoing.stored.add(subscription.id)
        self._rows.append((delivery_id, subscription.id, event_id, state, 0, next_at, now, now, conversation, missed))

    async def _put_in_order(self, transaction: Transaction) -> None:
        """The first of a conversation goes, the others stand behind it."""
        keys = await messages.conversations(
            transaction, sorted({item.message_id for item in self._in_order if item.message_id is not None})
        )
        pairs = [self._pair(item, keys) for item in self._in_order]
        wanted = sorted({pair for pair in pairs if pair is not None})
        standing = await conversations.busy(transaction, wanted) if wanted else set()
        free = [pair for pair in wanted if pair not in standing]
        missed = await conversations.missed(transaction, free) if free else {}
        for item, pair in zip(self._in_order, pairs, strict=True):
            if pair is None or item.subscription.state != "active":
                self._owe(item.outgoing, item.subscription, item.event_id, item.body, conversation=pair and pair[1])
            elif pair in standing:
                self._stand_behind(item, pair[1])
            else:
                standing.add(pair)
                self._owe(
                    item.outgoing, item.subscription, item.event_id, item.body,
                    conversation=pair[1], missed=missed.get(pair),
                )  # fmt: skip

    def _pair(self, item: _InOrder, keys: Mapping[str, str]) -> Pair | None:
        key = keys.get(item.message_id) if item.message_id is not None else None
        return None if key is None else (item.subscription.id, key)

    def _stand_behind(self, item: _InOrder, conversation: str) -> None:
        row = (self._ids.new("dlv"), item.subscription.id, item.event_id, "queued", 0, None)
        self._rows.append((*row, self._now, self._now, conversation, None))
