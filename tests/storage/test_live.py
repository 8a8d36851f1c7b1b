"""Who follows the log: woken by commits, missing none, let go at the end."""

import asyncio

import pytest

from receiver.storage.database import Unavailable
from receiver.storage.live import Live

LONG = 30.0


async def test_a_commit_wakes_everybody_who_waits():
    live = Live()
    waiting = [asyncio.create_task(live.wait(live.commits, LONG)) for _ in range(3)]
    await asyncio.sleep(0)
    live.told()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_a_commit_between_reading_and_waiting_is_not_missed():
    live = Live()
    seen = live.commits
    live.told()
    await asyncio.wait_for(live.wait(seen, LONG), 5)


async def test_waiting_ends_by_itself():
    live = Live()
    await asyncio.wait_for(live.wait(live.commits, 0.01), 5)
    await asyncio.wait_for(live.wait(live.commits, 0), 5)


async def test_one_who_gives_up_waiting_takes_nobody_with_it():
    live = Live()
    one, other = (asyncio.create_task(live.wait(live.commits, LONG)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    assert not other.done()
    live.told()
    await asyncio.wait_for(other, 5)


async def test_at_the_end_nobody_waits_any_more():
    live = Live()
    waiting = asyncio.create_task(live.wait(live.commits, LONG))
    await asyncio.sleep(0)
    live.close()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(live.wait(live.commits, LONG), 5)
    assert live.closed


def test_places_are_counted_and_given_back():
    live = Live(most=1)
    with live.place():
        assert live.open == 1
        with pytest.raises(Unavailable), live.place():
            pass
    assert live.open == 0
    with live.place():
        pass
