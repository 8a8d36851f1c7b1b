"""Ids: their shape, and that they only ever grow."""

import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from receiver.storage.ids import Ids, moment

SHAPE = re.compile(r"evt_[0-9a-hjkmnp-tv-z]{26}")
MILLISECOND = 1_000
NOW = 1_700_000_000_000_000


def clock(*moments: int) -> Callable[[], int]:
    """Each moment once, then the last for ever."""
    left: Iterator[int] = iter(moments)
    return lambda: next(left, moments[-1])


def counted() -> Callable[[int], bytes]:
    left = iter(range(2**64 - 1, 0, -7919 * 2**40))  # falling, so that only time and counter can make ids grow
    return lambda size: next(left).to_bytes(size, "big")


def test_an_id_is_its_kind_and_26_characters_that_sort_by_time():
    one = Ids(clock(NOW), counted()).new("evt")
    later = Ids(clock(NOW + MILLISECOND), counted()).new("evt")
    assert SHAPE.fullmatch(one)
    assert one < later
    assert Ids(clock(2**45 * MILLISECOND), counted()).new("evt") > later


@given(some.lists(some.integers(0, NOW * 2), min_size=1, max_size=50))
def test_ids_grow_whatever_the_clock_does(moments: list[int]):
    ids = Ids(clock(*moments), counted())
    made = [ids.new("evt") for _ in range(len(moments) + 3)]
    assert made == sorted(set(made))
    assert all(map(SHAPE.fullmatch, made))


def test_more_than_a_million_in_one_millisecond_go_on_growing_and_so_do_those_that_follow():
    million = (1 << 20) + 5
    ids = Ids(clock(*[NOW] * million, NOW + MILLISECOND), counted())
    last = ids.new("evt")
    for _ in range(million + 5):
        made = ids.new("evt")
        assert made > last
        last = made
    assert SHAPE.fullmatch(last)


def test_ids_begin_above_those_of_an_earlier_run_though_the_clock_went_back():
    earlier = Ids(clock(NOW), counted())
    newest = [earlier.new("evt") for _ in range(5)][-1]
    ids = Ids(clock(NOW - 3_600_000_000), lambda size: bytes(size))  # noqa: PLW0108 — the smallest there are
    ids.seed(newest)
    assert newest < ids.new("evt") < ids.new("evt")


@pytest.mark.parametrize("older", [None, "evt_00000000000000000000000000"])
def test_a_seed_never_lowers_what_was_made(older: str | None):
    ids = Ids(clock(NOW), counted())
    made = ids.new("evt")
    ids.seed(older)
    assert ids.new("evt") > made


def test_kinds_share_one_row():
    ids = Ids(clock(NOW), counted())
    assert ids.new("msg").removeprefix("msg_") < ids.new("evt").removeprefix("evt_")


def test_an_id_tells_when_it_was_made():
    made = Ids(lambda: 1_795_000_000_123_456, bytes).new("evt")
    assert moment(made) == 1_795_000_000_123
