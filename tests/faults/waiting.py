"""How long a fault waits for something: long enough for a machine that is busy with other things, and not for ever."""

import asyncio
from collections.abc import Callable

HANG_SECONDS = 30.0


async def until(condition: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while not condition():  # noqa: ASYNC110 — what is waited for lies in another process, or is a count
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it did not come in {HANG_SECONDS:g} s") from None
