"""The watch over the writer: a commit that does not end turns the process red, and then ends it.

The database works in a thread that nobody can stop, so a process whose disk hangs can only end as a whole.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from receiver.observe import Health, log

CAUSE = "commit_overdue"


class Stalling(Protocol):
    @property
    def stalled(self) -> float:
        """Seconds for which one transaction has been under way."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds of one transaction: when callers are told that it is late, and when it is given up."""

    late: float = 10.0
    stuck: float = 30.0


async def watch(batch: Stalling, health: Health, limits: Limits, give_up: Callable[[], None]) -> None:
    """Until cancelled. `give_up` is called once, and must see to it that the process ends."""
    while batch.stalled < limits.stuck:
        if batch.stalled < limits.late:
            health.clear(CAUSE)
        elif CAUSE not in health.causes():
            health.fail(CAUSE)
            log("database.late", level="warning", seconds=batch.stalled)
        await asyncio.sleep(limits.late / 10)
    log("database.stuck", level="error", seconds=batch.stalled)
    health.fail(CAUSE)
    give_up()
