"""Reading along the log: as it grows, or until there is something for a consumer that asks."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, field

import orjson

from receiver.api.context import Context
from receiver.sms.matching import Matcher
from receiver.storage import events
from receiver.storage.events import Logged, Stretch, Wanted

ROWS = 100
"""Events of one look at the log."""
LOOKS = 50
"""Looks at the log for one page of a consumer, before it is told to ask again."""


@dataclass(slots=True)
class Found:
    """What a consumer gets, up to which position everything was looked at, and whether there is no more now."""

    rows: list[Logged] = field(default_factory=list)
    reached: int = 0
    at_end: bool = True


async def along(context: Context, looked_for: Wanted, after: int, *, rows: int = ROWS) -> AsyncGenerator[Stretch]:
    """The log behind `after`, stretch by stretch and then as it grows, until the process ends. An empty stretch says
    that there is nothing now; it comes after every commit, and at the latest when it is time for a sign of life.
    """
    live, loop = context.live, asyncio.get_running_loop()
    while True:
        seen, looked = live.commits, loop.time()
        async with context.database.reading() as reader:
            stretch = await events.follow(reader, looked_for, after=after, limit=rows)
        after = stretch.reached
        yield stretch
        if not stretch.at_end:
            continue
        if live.closed:
            return
        await live.wait(seen, live.heartbeat)
        await asyncio.sleep(max(0.0, looked + live.pause - loop.time()))


async def read_along(
    context: Context, matches: Matcher, types: Sequence[str], after: int, *, rows: int, seconds: float
) -> Found:
    """At most `rows` events behind `after` that match; where there are none, those that come within `seconds`."""
    found = Found(reached=after)
    looks = 0
    with context.live.place() if seconds else nullcontext(), suppress(TimeoutError):
        async with asyncio.timeout(seconds or None), aclosing(along(context, Wanted(types=types), after)) as log:
            async for stretch in log:
                looks += 1
                _take(found, stretch, matches, rows)
                enough = len(found.rows) >= rows or (found.at_end and (found.rows or not seconds))
                if enough or looks >= LOOKS:
                    break
    return found


def _take(found: Found, stretch: Stretch, matches: Matcher, rows: int) -> None:
    for row in stretch.rows:
        if len(found.rows) >= rows:
            found.reached, found.at_end = found.rows[-1].seq, False
            return
        event = orjson.loads(row.body)
        if matches(event["type"], event["data"]):
            found.rows.append(row)
    found.reached, found.at_end = stretch.reached, stretch.at_end
