"""The checker sees what is wrong with a history; a right one has nothing wrong with it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.checker import LOSSES, check
from tests.faults.history import Attempted, Heard, History, Message, Owed, Stored, Subscriber

HELLO = Message("m1", frozenset({"any", "join"}), "+1")
OTHER = Message("m2", frozenset({"any"}), "+1")
ALL, JOIN = Subscriber("sub_all", "any", ordered=True), Subscriber("sub_join", "join")

RIGHT = History(
    sent={"m1": HELLO, "m2": OTHER, "m3": OTHER, "m4": OTHER},
    fates={"m1": "acknowledged", "m2": "unknown", "m3": "unknown", "m4": "refused"},
    subscribers=[ALL, JOIN],
    stored=[Stored(1, "evt_1", "m1"), Stored(2, "evt_2", "m2")],
    owed=[
        Owed("sub_all", "evt_1", "succeeded"),
        Owed("sub_join", "evt_1", "succeeded"),
        Owed("sub_all", "evt_2", "succeeded"),
    ],
    attempted=[
        Attempted("sub_all", "evt_1", 1, 200),
        Attempted("sub_join", "evt_1", 0, 200),
        Attempted("sub_all", "evt_2", 1, 500),
        Attempted("sub_all", "evt_2", 1, 200),
    ],
    heard=[
        Heard("sub_all", "evt_1", "m1", 0, 200),  # its outcome was lost with the process
        Heard("sub_join", "evt_1", "m1", 0, 200),
        Heard("sub_all", "evt_1", "m1", 1, 200),
        Heard("sub_all", "evt_2", "m2", 1, 500),
        Heard("sub_all", "evt_2", "m2", 1, 200),
    ],
    killed=frozenset({0}),
    concurrency=1,
)


def without(name: str, *places: int) -> dict[str, Any]:
    return {name: [item for place, item in enumerate(getattr(RIGHT, name)) if place not in places]}


def also(name: str, *items: Any) -> dict[str, Any]:
    return {name: [*getattr(RIGHT, name), *items]}


def instead(name: str, place: int, item: Any) -> dict[str, Any]:
    return {name: [item if number == place else old for number, old in enumerate(getattr(RIGHT, name))]}


def test_a_right_history_has_nothing_wrong_with_it():
    verdict = check(RIGHT)
    assert verdict.problems == ()
    assert (verdict.lost, verdict.duplicated) == (0, 1)


HELD_BACK = Heard("sub_all", "evt_2", "m2", 1, 200)
WRONG = {
    "an acknowledged message is not stored": (
        {"stored": RIGHT.stored[1:], "owed": RIGHT.owed[2:], "heard": RIGHT.heard[3:], "attempted": RIGHT.attempted[2:]},
        {"lost"},
    ),
    "a message is stored twice": (also("stored", Stored(3, "evt_3", "m2")), {"stored twice", "not owed", "undelivered"}),
    "what nobody sent is stored": (also("stored", Stored(3, "evt_3", "m9")), {"invented"}),
    "what was refused is stored": (
        also("stored", Stored(3, "evt_3", "m4")), {"stored though refused", "not owed", "undelivered"},
    ),
    "what is not stored is heard": (also("heard", Heard("sub_all", "evt_9", "m2", 0, 200)), {"invented"}),
    "one event is heard with the content of another": (
        instead("heard", 4, Heard("sub_all", "evt_2", "m1", 1, 200)), {"another's content"},
    ),
    "a signature is wrong": (
        instead("heard", 4, Heard("sub_all", "evt_2", "m2", 1, 200, genuine=False)), {"forged", "undelivered"},
    ),
    "a match is owed nothing": (without("owed", 2), {"not owed"}),
    "what does not match is owed": (also("owed", Owed("sub_join", "evt_2", "succeeded")), {"no match"}),
    "what does not match is heard": (
        also("heard", Heard("sub_join", "evt_2", "m2", 1, 200)) | also("attempted", Attempted("sub_join", "evt_2", 1, 200)),
        {"no match"},
    ),
    "a match has not heard": (without("heard", 1), {"undelivered"}),
    "a match has heard and never accepted": (
        instead("heard", 1, Heard("sub_join", "evt_1", "m1", 0, None)), {"undelivered"},
    ),
    "a delivery was never finished": (instead("owed", 1, Owed("sub_join", "evt_1", "sending")), {"not finished"}),
    "twice without a kill": ({"killed": frozenset()}, {"duplicate without a reason"}),
    "twice in a run that ended in peace": (
        also("heard", Heard("sub_join", "evt_1", "m1", 1, 200)), {"duplicate without a reason"},
    ),
    "once more behind a success on disk": (
        also("heard", Heard("sub_join", "evt_1", "m1", 2, 200)) | {"killed": frozenset({0, 2})},
        {"duplicate without a reason"},
    ),
    "twice under way at one kill": (
        also("heard", Heard("sub_all", "evt_1", "m1", 0, 200)) | {"concurrency": 2}, {"duplicate without a reason"},
    ),
    "more under way at a kill than can be": (without("attempted", 1), {"more than were under way"}),
    "two successes of one delivery": (
        also("attempted", Attempted("sub_join", "evt_1", 1, 200)) | also("heard", Heard("sub_join", "evt_1", "m1", 1, 200)),
        {"succeeded twice"},
    ),
    "tried again though nothing failed": (
        also("attempted", Attempted("sub_join", "evt_1", 0, None)), {"failed without a reason"},
    ),
    "an event before its predecessor": ({"heard": [*RIGHT.heard[3:], *RIGHT.heard[:3]]}, {"out of order"}),
    "an event while its predecessor is not accepted": (
        {"heard": [replace(RIGHT.heard[0], status=None), HELD_BACK, RIGHT.heard[1], *RIGHT.heard[2:4]]}, {"out of order"},
    ),
    "an id below the one before": (instead("stored", 1, Stored(2, "evt_0", "m2")), {"ids not increasing"}),
    "a damaged file": ({"integrity": "row 1 missing from index"}, {"damaged"}),
}  # fmt: skip


@pytest.mark.parametrize(("change", "kinds"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_history_is_seen_through(change: dict[str, Any], kinds: set[str]):
    found = check(replace(RIGHT, **change))
    assert kinds <= found.kinds
    assert found.lost == sum(problem.kind in LOSSES for problem in found.problems)


def test_what_fails_for_want_of_time_is_told_beforehand():
    failed = also("attempted", Attempted("sub_join", "evt_1", 0, None))
    assert check(replace(RIGHT, silent=1, **failed)).problems == ()


def test_a_loss_is_counted_by_message_and_by_delivery():
    nothing = replace(RIGHT, stored=[], owed=[], heard=[], attempted=[])
    assert check(nothing).lost == 1
    unheard = replace(RIGHT, heard=[], attempted=[])
    assert check(unheard).lost == 3
