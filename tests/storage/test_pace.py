"""A step takes as many rows as go unnoticed, and at least what came in since the last one."""

import pytest

from receiver.storage.pace import (
    AHEAD,
    FEWEST,
    MOST,
    MOST_OWED,
    QUIET_REST,
    QUIET_WORK,
    REST,
    SHORTEST_REST,
    WORK,
    Pace,
    rest,
)


def test_a_step_follows_what_came_in_once_that_is_more_than_it_would_take_anyway():
    pace = Pace(window=100)
    assert (pace.limit, pace.hurries) == (100, False)
    assert pace.came(40).limit == 100
    many = pace.came(120)
    assert (many.limit, many.hurries) == (round(120 * AHEAD), True)
    assert pace.came(10_000).limit == MOST_OWED


def test_what_went_makes_up_for_what_came_and_nothing_is_saved_up():
    pace = Pace(window=100).came(160)
    assert pace.went(150).owed == 50
    assert pace.went(1_000).owed == 0
    assert pace.went(1_000).came(100).owed == 100 * AHEAD


def test_what_one_step_leaves_the_next_ones_take():
    pace, taken = Pace().came(1_000), 0
    while pace.owed:
        taken += pace.limit
        pace = pace.went(pace.limit)
    assert taken >= 1_000 * AHEAD


@pytest.mark.parametrize(("quiet", "work"), [(False, WORK), (True, QUIET_WORK)])
def test_a_window_takes_as_long_as_a_step_may(quiet: bool, work: float):
    pace = Pace()
    for _ in range(20):
        pace = pace.took(pace.limit, pace.limit * work / 120, quiet=quiet)
    assert pace.window == 120


def test_a_window_grows_by_and_by_shrinks_at_once_and_keeps_its_bounds():
    pace = Pace(window=100)
    assert pace.took(100, WORK / 100, quiet=False).window == 200
    assert pace.took(100, 2 * WORK, quiet=False).window == 50
    assert pace.took(100, 1.0, quiet=False).window == FEWEST
    assert Pace(window=MOST).took(MOST, WORK / 100, quiet=False).window == MOST


def test_few_rows_say_nothing_of_how_many_a_step_may_take():
    pace = Pace(window=100)
    assert pace.took(49, 1.0, quiet=False) == pace
    assert pace.took(100, 0.0, quiet=False) == pace


def test_who_hurries_hardly_rests_and_who_is_alone_rests_less():
    assert rest(1.0, hurries=False, quiet=False) == REST
    assert rest(1.0, hurries=False, quiet=True) == QUIET_REST
    assert rest(1.0, hurries=True, quiet=False) == SHORTEST_REST
    assert rest(0.0, hurries=False, quiet=True) == SHORTEST_REST
