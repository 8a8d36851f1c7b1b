"""A clock that steps loses nothing, disorders nothing, and keeps nothing waiting."""

import random
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.clocks import BACK, MODULE, ON, stepped
from tests.faults.scene import Wish, ended, scene
from tests.faults.waiting import until

pytestmark = pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy


async def test_nothing_is_lost_and_the_log_keeps_its_order_when_the_clock_steps_an_hour(tmp_path: Path):
    history = await stepped(tmp_path, 1, random.Random())
    assert check(history).problems == ()
    ids = [stored.event_id for stored in sorted(history.stored, key=lambda stored: stored.seq)]
    assert ids == sorted(set(ids))
    assert len(ids) >= 60


@pytest.mark.parametrize("before", [(), (ON,)], ids=["from the right time", "to the right time"])
async def test_a_retry_is_not_put_off_by_the_hour_that_the_clock_goes_back(before: tuple[int, ...], tmp_path: Path):
    async with scene(tmp_path, random.Random(), wishes=(FAILING,), module=MODULE) as made:
        for step in before:
            made.receiver.signal(step)
        async with made.load(1):
            await made.traffic.more(1)
        await until(lambda: made.owed("retrying"))
        made.receiver.signal(BACK)
        await until(lambda: not made.owed())
        history = await ended(made)
    assert check(history).problems == ()


async def _at_first(_event_id: str, time: int) -> int:
    return 500 if time == 1 else 200


FAILING = Wish("failing", "any", {"retry_schedule": [5.0] * 3}, _at_first)
