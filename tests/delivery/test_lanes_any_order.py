"""Whatever happens to lanes, in any order: nobody who may send is forgotten, and no limit is passed."""

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.delivery.lane import Lane
from receiver.delivery.pacing import OPENS_AFTER
from receiver.storage.deliveries import Leased
from tests.delivery.lining_up import Row, names, row

KINDS: dict[str, dict[str, Any]] = {"fresh": {}, "retry": {"attempts": 1}, "urgent": {"urgent": True}}
STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcd"), st.sampled_from(sorted(KINDS)), st.integers(1, 4)),
    st.tuples(st.sampled_from(("succeed", "fail", "slow", "break")), st.integers(0, 20)),
    st.tuples(st.just("wait"), st.sampled_from((0.0, 0.3, 5.0, 40.0))),
)


@dataclass
class Way:
    """Everything that can happen to lanes, and after each of it what must be true."""

    it: Row
    concurrency: int
    under_way: list[tuple[Lane, Leased]] = field(default_factory=list)
    queued: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)

    def put(self, name: str, kind: str, number: int) -> None:
        given = [f"{name}{len(self.queued)}-{which}" for which in range(number)]
        self.queued.update(given)
        self.it.put(*given, **KINDS[kind])

    def end(self, index: int, how: str) -> None:
        if not self.under_way:
            return
        lane, item = self.under_way.pop(index % len(self.under_way))
        if how == "succeed":
            lane.succeeded()
        for _ in range({"succeed": 0, "break": OPENS_AFTER}.get(how, 1)):
            lane.failed(self.it.now, slow_down=how == "slow")
        self.it.lanes.done(lane, item)

    def pick(self) -> None:
        picked = self.it.pick()
        self.under_way += picked
        self.sent.update(names(picked))
        retrying = sum(item.attempts > 0 for _, item in self.under_way)
        retries_most = max(1, self.concurrency * 3 // 4)
        assert retrying <= retries_most
        assert len(self.under_way) <= 2 * self.concurrency
        forgotten = [lane for lane in self.it.lanes if self.could_send(lane)]
        assert forgotten == [] or (retrying == retries_most and all(lane._retried for lane in forgotten))

    def could_send(self, lane: Lane) -> bool:
        """By the rules alone, without looking at any row or alarm."""
        running = len(self.under_way)
        place = running < self.concurrency or (running < 2 * self.concurrency and not lane.running)
        return place and lane.wait(self.it.now) == 0.0

    def drain(self) -> None:
        """Every attempt succeeds, and every alarm rings."""
        for _ in range(1000):
            if self.sent == self.queued:
                return
            while self.under_way:
                self.end(0, "succeed")
            alarm = self.it.lanes.next_alarm
            self.it.ring(max(self.it.now, alarm) if alarm < inf else self.it.now)
            self.pick()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=20, max_size=60), st.sampled_from((1, 3, 4, 5, 6)))
def test_whoever_could_send_does_and_nothing_is_forgotten_or_sent_twice(steps: Any, concurrency: int) -> None:
    it = row("a", "b", concurrency=concurrency)
    it.add("c", max_concurrency=1)
    it.add("d", rate_per_second=2.0)
    way = Way(it, concurrency)
    for kind, *given_ in steps:
        if kind == "put":
            way.put(*given_)
        elif kind == "wait":
            it.ring(it.now + given_[0])
        else:
            way.end(given_[0], kind)
        way.pick()
    way.drain()
    assert way.sent == way.queued
