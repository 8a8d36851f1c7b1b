"""Work in slices: all of it is done, in order, and others get their turn in between."""

import asyncio
from functools import partial

from receiver.intake.slices import Slices


async def test_all_is_done_in_order_and_others_come_in_between():
    done: list[object] = []
    slices = Slices(size=2)
    for number in range(5):
        slices.put(partial(done.append, number))
    assert done == []
    for _ in range(3):
        await asyncio.sleep(0)
        done.append("another")
    assert done == [0, 1, "another", 2, 3, "another", 4, "another"]


async def test_work_that_makes_more_work_and_work_that_fails_stop_nothing():
    done: list[str] = []
    failed: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failed.append(str(context["exception"])))
    slices = Slices(size=2)

    def fails() -> None:
        raise ValueError("a bug")

    slices.put(lambda: slices.put(lambda: done.append("made by the first")))
    slices.put(fails)
    slices.put(lambda: done.append("behind one that fails"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert failed == ["a bug"]
    assert done == ["behind one that fails", "made by the first"]
    slices.put(lambda: done.append("later"))
    await asyncio.sleep(0)
    assert done[-1] == "later"
