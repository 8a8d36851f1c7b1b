"""Waiting until nothing moves any more by itself, and an event loop whose seconds are short, for what must wait."""

import asyncio
import selectors

from tests.delivery.dispatching import WayOut

SPEED = 20.0


class _Selector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / SPEED)


class HurriedLoop(asyncio.SelectorEventLoop):
    """Its timers run `SPEED` times faster than they should: pauses of half a second are over at once."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return super().time() * SPEED


async def settled(it: WayOut) -> None:
    """Until every attempt but those that a subscriber keeps waiting is on disk, and nothing is being written or taken.

    What waits for the clock waits on.
    """
    looks = 0
    for _ in range(20_000):
        looks = 0 if _moves(it) else looks + 1
        if looks == 3:
            return
        await asyncio.sleep(0.001 if looks == 0 else 0)
    raise AssertionError("it never came to rest")


def _moves(it: WayOut) -> bool:
    hanging = it.subscribers.under_way[""]
    return bool(
        it.batch.waiting
        or it.batch._under_way is not None
        or it.dispatcher._wake.is_set()
        or it.lanes._running > hanging
        or len(it.dispatcher._tasks) > hanging
        or any(lane.taking for lane in it.lanes)
    )


async def passed(it: WayOut, seconds: float) -> None:
    """Time goes by, and everything that is due then is done."""
    await it.reach(seconds)
    await settled(it)
