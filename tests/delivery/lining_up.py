"""All lanes of a process with a clock that stands still, and deliveries that are named by their lane."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from receiver.delivery.lane import Lane
from receiver.delivery.lanes import Lanes, Pace
from receiver.delivery.pacing import OPENS_AFTER
from receiver.storage.catalog import Catalog
from receiver.storage.deliveries import Leased
from receiver.storage.subscriptions import Subscription
from tests.delivery.test_lane import NOW, subscription


class Known(Catalog):
    """The subscriptions that a test says there are."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Subscription] = {}

    def subscription(self, subscription_id: str) -> Subscription | None:
        return self.known.get(subscription_id)


@dataclass
class Row:
    """Lanes with a clock that stands still; a delivery is named by its lane and a number, as `a1`."""

    lanes: Lanes
    catalog: Known
    now: float = 100.0

    def add(self, *names: str, **given: Any) -> None:
        for name in names:
            self.catalog.known[name] = subscription(id=name, **given)

    def lane(self, name: str) -> Lane:
        found = self.lanes.get(name)
        assert found is not None
        return found

    def put(self, *names: str, **given: Any) -> list[str]:
        """Queues deliveries; the lanes that are stopped."""
        return [lane.subscription.id for lane in self.lanes.put(leased(name, **given) for name in names)]

    def pick(self, most: int = 1000) -> list[tuple[Lane, Leased]]:
        """Up to so many, in turn."""
        picked: list[tuple[Lane, Leased]] = []
        while len(picked) < most and (found := self.lanes.pick()) is not None:
            picked.append(found)
        return picked

    def names(self, most: int = 1000) -> list[str]:
        return names(self.pick(most))

    def done(self, *picked: tuple[Lane, Leased]) -> None:
        for lane, item in picked:
            self.lanes.done(lane, item)

    def fail(self, picked: Iterable[tuple[Lane, Leased]]) -> None:
        """As the dispatcher does it: the lane hears of it, then its place is free."""
        for lane, item in picked:
            lane.failed(self.now, slow_down=False)
            self.lanes.done(lane, item)

    def broken(self, name: str) -> None:
        for _ in range(OPENS_AFTER):
            self.lane(name).failed(self.now, slow_down=False)

    def ring(self, at: float) -> None:
        self.now = at
        self.lanes.ring()


def row(*names: str, concurrency: int = 8, lane: int = 100, **given: Any) -> Row:
    catalog = Known()
    pace = Pace(schedule=(), concurrency=concurrency, lane=lane)
    it = Row(
        Lanes(catalog, pace, user_agent="receiver/test", origin="receiver.example", monotonic=lambda: it.now), catalog
    )
    it.add(*names, **given)
    return it


def leased(name: str, attempts: int = 0, **given: Any) -> Leased:
    return Leased(f"dlv_{name}", name[0], name, b"{}", NOW, attempts, attempts, **given)


def names(picked: Iterable[tuple[Lane, Leased]]) -> list[str]:
    return [item.event_id for _, item in picked]
