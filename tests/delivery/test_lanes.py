"""Turns over all places: who may send next, who must wait for what, and that nobody who may is forgotten."""

from math import inf

from receiver.delivery.lane import URGENT_MOST
from receiver.delivery.pacing import OPENS_AFTER, PROBE_EVERY
from tests.delivery.lining_up import leased, names, row
from tests.delivery.test_lane import subscription


def test_each_lane_gets_its_turn() -> None:
    it = row("a", "b", "c")
    it.put("a1", "a2", "a3", "b1", "b2", "c1")
    assert it.names() == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_whoever_has_nothing_under_way_goes_before_those_who_have() -> None:
    it = row("a", "b")
    it.put("a1", "a2", "a3")
    assert it.names(1) == ["a1"]
    it.put("b1")
    assert it.names() == ["b1", "a2", "a3"]


def test_no_more_are_under_way_than_there_are_places_and_a_free_one_is_taken_at_once() -> None:
    it = row("a", "b", concurrency=4)
    it.put(*(f"{name}{number}" for number in range(5) for name in "ab"))
    picked = it.pick()
    assert names(picked) == ["a0", "b0", "a1", "b1"]
    it.done(picked[0])
    assert it.names() == ["a2"]


def test_one_lane_never_takes_more_than_half_of_all_places() -> None:
    it = row("a", concurrency=8, max_concurrency=50)
    it.put(*(f"a{number}" for number in range(10)))
    assert len(it.pick()) == 4


def test_where_every_place_is_taken_a_lane_with_nothing_under_way_may_start_one_more() -> None:
    it = row("a", "b", "c", concurrency=4)
    it.put(*(f"{name}{number}" for number in range(4) for name in "ab"))
    assert len(it.pick()) == 4
    it.put("c1", "c2", "c3")
    picked = it.pick()
    assert names(picked) == ["c1"]
    for expected in ("c2", "c3"):
        it.done(*picked)
        picked = it.pick()
        assert names(picked) == [expected]


def test_twice_the_places_are_the_most_whatever_the_lanes() -> None:
    it = row(*"abcdefghij", concurrency=3)
    it.put(*(f"{name}1" for name in "abcdefghij"))
    picked = it.pick()
    assert names(picked) == ["a1", "b1", "c1", "d1", "e1", "f1"]
    it.done(picked[0])
    assert it.names() == ["g1"]


def test_retries_take_three_quarters_of_the_places_and_go_on_when_one_of_them_is_done() -> None:
    it = row("a", "b", concurrency=8)
    it.put(*(f"{name}{number}" for number in range(5) for name in "ab"), attempts=1)
    picked = it.pick()
    assert len(picked) == 6
    it.put("a8", "b8")
    fresh = it.pick()
    assert names(fresh) == ["a8", "b8"]
    it.done(fresh[0])
    assert it.names() == []
    it.done(picked[0])
    assert it.names() == ["a3"]


def test_the_smallest_receiver_still_tries_again() -> None:
    it = row("a", concurrency=1)
    it.put("a1", attempts=1)
    assert it.names() == ["a1"]


def test_retries_that_are_held_back_take_turns_too() -> None:
    it = row(*"zyabc", concurrency=8)
    it.put("z1", "z2", "z3", "y1", "y2", "y3", attempts=1)
    under_way = it.pick()
    assert len(under_way) == 6
    for name in "cba":
        it.lane(name)
    it.put(*(f"{name}{number}" for number in range(1, 4) for name in "abc"), attempts=1)
    assert it.names() == []
    seen = []
    for picked in under_way:
        it.done(picked)
        seen += it.names()
    assert seen == ["a1", "b1", "c1", "a2", "b2", "c2"]


def test_a_retry_that_is_held_back_keeps_nobody_else_waiting() -> None:
    it = row("a", "b", concurrency=2)
    it.put("a1", "a2", attempts=1)
    it.put("b1")
    assert it.names() == ["a1", "b1"]


def test_who_must_wait_sends_when_the_alarm_rings_and_not_before() -> None:
    it = row("a", rate_per_second=1.0)
    it.put("a1", "a2")
    assert (it.names(), it.lanes.next_alarm) == (["a1"], 101.0)
    it.ring(100.9)
    assert it.names() == []
    it.ring(101.0)
    assert (it.names(), it.lanes.next_alarm) == (["a2"], inf)


def test_an_earlier_alarm_replaces_a_later_one() -> None:
    it = row("a", "b", rate_per_second=0.1)
    it.put("a1", "a2", "b1")
    assert (it.names(), it.lanes.next_alarm) == (["a1", "b1"], 110.0)
    it.lane("a").adopt(subscription(id="a", rate_per_second=1.0))
    it.lanes.list(it.lane("a"))
    assert it.names() == ["a2"]
    it.put("a3")
    assert it.lanes.next_alarm == 101.0
    it.ring(101.0)
    assert it.names() == ["a3"]
    it.put("a4")
    assert it.lanes.next_alarm == 102.0
    it.ring(110.0)
    assert it.names() == ["a4"]
    assert it.lanes.next_alarm == inf


def test_a_later_alarm_leaves_the_earlier_one() -> None:
    it = row("a", rate_per_second=1.0)
    it.put("a1", "a2")
    it.names()
    it.now = 100.5
    it.broken("a")
    it.done((it.lane("a"), leased("a1")))
    assert it.lanes.next_alarm == 101.0
    it.ring(101.0)
    assert (it.names(), it.lanes.next_alarm) == ([], 100.5 + PROBE_EVERY)


def test_a_lane_that_waits_has_one_alarm_however_much_is_put_into_it() -> None:
    it = row("a", rate_per_second=1.0)
    it.put(*(f"a{number}" for number in range(50)))
    it.names()
    it.put(*(f"a{number}" for number in range(50)))
    assert len(it.lanes._alarms) == 1


def test_an_opt_out_passes_a_lane_that_waits_for_its_breaker() -> None:
    it = row("a")
    it.broken("a")
    it.put("a1", "a2")
    assert (it.names(), it.lanes.next_alarm) == ([], 100.0 + PROBE_EVERY)
    it.put("a3", urgent=True)
    assert it.names() == ["a3"]
    it.ring(100.0 + PROBE_EVERY)
    assert it.names() == []  # one at a time, and that one is the opt-out
    it.done((it.lane("a"), leased("a3")))
    assert it.names() == ["a1"]


def test_whoever_fails_for_the_twentieth_time_while_it_stands_in_the_row_is_tried_half_a_minute_later() -> None:
    """It was listed before its breaker opened, and nothing else of it is under way that would list it again."""
    it = row("a", "b", "c", concurrency=4)
    it.put("b1", "b2", "c1", "c2")
    assert len(it.pick()) == 4  # they hang
    it.put(*(f"a{number}" for number in range(OPENS_AFTER + 2)))
    for number in range(OPENS_AFTER):
        picked = it.pick()
        assert names(picked) == [f"a{number}"]
        it.fail(picked)
    assert (it.names(), it.lanes.next_alarm) == ([], 100.0 + PROBE_EVERY)
    it.ring(it.lanes.next_alarm)
    assert it.names() == [f"a{OPENS_AFTER}"]


def test_a_lane_whose_last_attempt_ends_while_others_hang_is_served_beyond_the_places() -> None:
    it = row("a", "b", "c", concurrency=4)
    it.put("c1")
    mine = it.pick()
    it.put("a1", "b1", "a2")
    assert it.names() == ["a1", "b1", "a2"]
    it.put("c2", "c3")  # no place is left for them, and `c` has an attempt under way
    it.add("d")
    it.put("d1")
    assert it.names() == ["d1"]
    for expected in ("c2", "c3"):
        it.done(*mine)
        mine = it.pick()
        assert names(mine) == [expected]


def test_a_lane_stands_in_the_row_once() -> None:
    it = row("a", "b")
    for number in range(3):
        it.put(f"a{number}")
        it.lanes.list(it.lane("a"))
    it.put("b1")
    assert it.names() == ["a0", "b1", "a1", "a2"]


def test_a_removed_one_is_out_of_the_row_and_its_attempts_still_free_their_places() -> None:
    it = row("a", "b", concurrency=2)
    it.put("a1", "a2")
    (first,) = it.pick()
    it.lanes.expecting.add(first[0])
    del it.catalog.known["a"]
    it.lanes.drop(first[0])
    assert list(it.lanes) == []
    assert it.lanes.get("a") is None
    assert it.lanes.expecting == set()
    first[0].empty()
    it.put("b1", "b2", "b3")
    assert it.names(1) == ["b1"]
    it.done(first)
    it.add("b", max_concurrency=8)
    assert it.put("a9") == []  # nobody's any more
    assert it.names() == []


def test_a_removed_one_does_not_come_back_with_the_retries_that_are_let_on() -> None:
    it = row("a", "b", concurrency=1)
    it.put("a1", attempts=1)
    picked = it.pick()
    it.put("b1", attempts=1)
    assert it.names() == []
    lane = it.lane("b")
    it.lanes.drop(lane)
    it.done(*picked)
    assert it.names() == []


def test_lanes_that_were_stopped_are_told_once_to_be_emptied() -> None:
    it = row("a")
    it.add("b", "c", state="paused")
    assert it.put("a1", "b1", "c1", "b2") == ["b", "c"]
    assert it.names() == ["a1"]
    assert [item.event_id for item in it.lane("b").empty()] == ["b1", "b2"]


def test_nothing_is_born_leased_until_the_leases_of_an_earlier_process_are_void() -> None:
    it = row("a", lane=10)
    assert (it.lanes.room("a", urgent=False), it.lanes.room("a", urgent=True)) == (0, 0)
    it.lanes.open = True
    assert (it.lanes.room("a", urgent=False), it.lanes.room("a", urgent=True)) == (10, URGENT_MOST)
    assert it.lanes.room("x", urgent=True) == 0
    it.lanes.open = False
    assert it.lanes.room("a", urgent=True) == 0


def test_a_lane_is_full_while_others_wait_in_store_and_while_nothing_may_be_leased() -> None:
    it = row("a", lane=10)
    assert it.lanes.full("a")
    it.lanes.open = True
    assert not it.lanes.full("a")
    it.lane("a").overflow = True
    assert it.lanes.full("a")
    assert not it.lanes.full("x")


def test_a_lane_made_for_one_attempt_is_none_of_the_row() -> None:
    it = row("a")
    made = it.lanes.made(it.catalog.known["a"])
    assert list(it.lanes) == []
    assert made is not it.lane("a")
