"""Whether a history keeps the promise: acknowledged ⊆ stored ⊆ acknowledged ∪ unknown, and every stored event reaches
every matching subscriber, twice only where an attempt was under way when the process was killed. Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.faults.history import Attempted, Heard, History, Stored, Subscriber


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind` is the word for what was broken, `what` names the message, event or subscriber."""

    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`lost` counts messages and deliveries; `duplicated` deliveries that a subscriber accepted more than once,
    explained or not.
    """

    problems: tuple[Problem, ...]
    duplicated: int

    @property
    def lost(self) -> int:
        return sum(problem.kind in LOSSES for problem in self.problems)

    @property
    def kinds(self) -> set[str]:
        return {problem.kind for problem in self.problems}


LOSSES = frozenset({"lost", "not owed", "undelivered"})
_Pair = tuple[str, str]
"""A subscriber and an event: what one delivery is about."""
_Place = tuple[str, str, int]
"""And the run."""


def check(history: History) -> Verdict:
    rules = (_sound, _kept, _explained, _owed, _delivered, _addressed, _once, _settled_once, _few, _calm, _in_order)
    problems = tuple(problem for rule in rules for problem in rule(history))
    return Verdict(problems, sum(count > 1 for count in _accepted(history).values()))


def _sound(history: History) -> Iterator[Problem]:
    if history.integrity != "ok":
        yield Problem("damaged", history.integrity)
    log = sorted(history.stored, key=lambda stored: stored.seq)
    for before, after in pairwise(log):
        if after.seq == before.seq or after.event_id <= before.event_id:
            yield Problem("ids not increasing", after.event_id)


def _kept(history: History) -> Iterator[Problem]:
    """Acknowledged ⊆ stored."""
    kept = {stored.key for stored in history.stored}
    for key in sorted(history.of_fate("acknowledged") - kept):
        yield Problem("lost", key)


def _explained(history: History) -> Iterator[Problem]:
    """Stored ⊆ acknowledged ∪ unknown, each once."""
    for key, count in Counter(stored.key for stored in history.stored).items():
        if count > 1:
            yield Problem("stored twice", key)
        if key not in history.sent:
            yield Problem("invented", key)
        elif history.fates.get(key) == "refused":
            yield Problem("stored though refused", key)


def _owed(history: History) -> Iterator[Problem]:
    """There is a delivery for each match, done in the end, and none for anything else."""
    owed = {(item.subscriber, item.event_id): item.state for item in history.owed}
    matches = set(_matches(history))
    for pair in sorted(matches - owed.keys()):
        yield Problem("not owed", _name(pair))
    for pair in sorted(owed.keys() - matches):
        yield Problem("no match", _name(pair))
    for pair in sorted(matches & owed.keys()):
        if owed[pair] != "succeeded":
            yield Problem("not finished", f"{_name(pair)} is {owed[pair]}")


def _delivered(history: History) -> Iterator[Problem]:
    accepted = _accepted(history)
    for pair in _matches(history):
        if not accepted[pair]:
            yield Problem("undelivered", _name(pair))


def _addressed(history: History) -> Iterator[Problem]:
    """What was heard is of the log, true to it, signed, and meant for the one who heard it."""
    keys = {stored.event_id: stored.key for stored in history.stored}
    matches = set(_matches(history))
    for heard in history.heard:
        pair = (heard.subscriber, heard.event_id)
        if heard.event_id not in keys:
            yield Problem("invented", _name(pair))
        elif keys[heard.event_id] != heard.key:
            yield Problem("another's content", _name(pair))
        elif pair not in matches:
            yield Problem("no match", _name(pair))
        if not heard.genuine:
            yield Problem("forged", _name(pair))


def _once(history: History) -> Iterator[Problem]:
    """An attempt without a recorded outcome was under way at a kill: one a delivery and run, and none in a run that
    ended in peace. Behind a recorded success nothing follows.
    """
    heard, recorded, done = _counted(history.heard), _counted(history.attempted), _first_success(history)
    for (subscriber, event_id, run), count in heard.items():
        pair = (subscriber, event_id)
        unrecorded = count - recorded[*pair, run]
        if unrecorded > (run in history.killed) or (unrecorded > 0 and done.get(pair, run + 1) <= run):
            yield Problem("duplicate without a reason", f"{_name(pair)} in run {run}")


def _settled_once(history: History) -> Iterator[Problem]:
    """No delivery is recorded as successful twice."""
    successes = Counter((item.subscriber, item.event_id) for item in history.attempted if _is_success(item.status))
    for pair, count in successes.items():
        if count > 1:
            yield Problem("succeeded twice", _name(pair))


def _few(history: History) -> Iterator[Problem]:
    """An attempt's place is free only when its outcome is on disk, so a kill leaves at most that many in the dark."""
    heard, recorded = _counted(history.heard), _counted(history.attempted)
    dark: Counter[int] = Counter()
    for place, count in heard.items():
        dark[place[2]] += max(0, count - recorded[place])
    for run, count in dark.items():
        if count > history.concurrency:
            yield Problem("more than were under way", f"{count} in run {run}")


def _calm(history: History) -> Iterator[Problem]:
    """Every failed attempt has its reason: a subscriber that said so, or what `silent` allows. No storm of retries."""
    said = Counter((heard.subscriber, heard.event_id) for heard in history.heard if not _is_success(heard.status))
    failed = Counter((item.subscriber, item.event_id) for item in history.attempted if not _is_success(item.status))
    for pair, count in failed.items():
        if count > said[pair] + history.silent:
            yield Problem("failed without a reason", _name(pair))


def _in_order(history: History) -> Iterator[Problem]:
    for subscriber in history.subscribers:
        if subscriber.ordered:
            yield from _ordered(history, subscriber)


def _ordered(history: History, subscriber: Subscriber) -> Iterator[Problem]:
    """No event is heard before its predecessor of the same conversation was accepted."""
    first: dict[str, int] = {}
    accepted: dict[str, int] = {}
    for place, heard in enumerate(history.heard):
        if heard.subscriber == subscriber.id:
            first.setdefault(heard.event_id, place)
            if _is_success(heard.status):
                accepted.setdefault(heard.event_id, place)
    for events in _conversations(history, subscriber).values():
        for before, after in pairwise(events):
            if after.event_id in first and accepted.get(before.event_id, len(history.heard)) > first[after.event_id]:
                yield Problem("out of order", _name((subscriber.id, after.event_id)))


def _conversations(history: History, subscriber: Subscriber) -> dict[str, list[Stored]]:
    talks: defaultdict[str, list[Stored]] = defaultdict(list)
    for stored in sorted(history.stored, key=lambda stored: stored.seq):
        message = history.sent.get(stored.key)
        if message is not None and subscriber.trait in message.traits:
            talks[message.conversation].append(stored)
    return talks


def _matches(history: History) -> Iterator[_Pair]:
    for stored in history.stored:
        message = history.sent.get(stored.key)
        for subscriber in history.subscribers:
            if message is not None and subscriber.trait in message.traits:
                yield subscriber.id, stored.event_id


def _accepted(history: History) -> Counter[_Pair]:
    return Counter(
        (heard.subscriber, heard.event_id) for heard in history.heard if heard.genuine and _is_success(heard.status)
    )


def _first_success(history: History) -> dict[_Pair, int]:
    done: dict[_Pair, int] = {}
    for item in history.attempted:
        if _is_success(item.status):
            pair = (item.subscriber, item.event_id)
            done[pair] = min(item.run, done.get(pair, item.run))
    return done


def _counted(items: Iterable[Heard | Attempted]) -> Counter[_Place]:
    return Counter((item.subscriber, item.event_id, item.run) for item in items)


def _is_success(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def _name(pair: _Pair) -> str:
    return f"{pair[1]} to {pair[0]}"
