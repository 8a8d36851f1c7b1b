"""Long messages: joined when all their parts are there, or told of with what is missing when their time is up.

The parts are on disk before their vendor hears success; which message is due is read from the database alone, so a
process that dies in between is simply followed by another.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from receiver.observe import log
from receiver.sms.joining import joined
from receiver.sms.timestamps import SECOND
from receiver.storage import parts
from receiver.storage.amend import Amender
from receiver.storage.batch import Batch, Operation
from receiver.storage.database import Broken, Transaction, Unavailable
from receiver.storage.owing import Outgoing
from receiver.storage.parts import LongMessage

MOST = 20
"""Messages joined in one transaction, and those closed."""
_LOOKS_EVERY = 5.0
"""Seconds after which the clock is looked at again, should it have been set, while anything waits."""
_SOONEST = 0.05
"""Seconds until the next look where what is due is just being looked at by another process."""
_AGAIN = 3_600 * SECOND
"""For how long a message that cannot be joined is left alone."""


class Step(NamedTuple):
    """What came of a step; `more`: whether the next has something to do; `next_due` when the next message is due."""

    outgoing: Outgoing
    more: bool
    next_due: int | None


class Assembler:
    """`run` owns the loop, `wake` tells it of new parts.

    hand_over   takes the deliveries that were committed
    pause       seconds to wait when the database does not answer
    """

    def __init__(
        self, *, batch: Batch, amender: Amender, clock: Callable[[], int],
        hand_over: Callable[[Sequence[Outgoing]], None], pause: float = 1.0,
    ) -> None:  # fmt: skip
        self._batch = batch
        self._amender = amender
        self._clock = clock
        self._pause = pause
        self._joining: Operation[int, Step] = Operation(
            self._join, lambda steps: hand_over([step.outgoing for step in steps])
        )
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def wake(self) -> None:
        self._woken.set()

    async def stop(self) -> None:
        """Returns after the step that is under way; the next start goes on behind it."""
        self._stopping.set()
        self._woken.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Until stopped, or until the database can no longer be trusted."""
        self._idle.clear()
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                step = await self.step()
                if not step.more:
                    await self._wait(step.next_due)
        except Broken:
            return
        finally:
            self._idle.set()

    async def step(self) -> Step:
        """Joins what is due now. Raises Broken."""
        try:
            try:
                return await self._batch.submit(self._joining, MOST)
            except (Broken, Unavailable):
                raise
            except Exception as error:  # noqa: BLE001 — one that cannot be joined must not hold up the others
                log("parts.not_joined", level="error", exc=error)
                return await self._one_by_one()
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001 — Unavailable, or a bug that comes back: it goes on, but not at once
            log("parts.wait", level="warning", exc=error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._pause)
            return Step(Outgoing(), more=True, next_due=None)

    async def _one_by_one(self) -> Step:
        for _ in range(MOST):
            try:
                step = await self._batch.submit(self._joining, 1)
            except (Broken, Unavailable):
                raise
            except Exception as error:  # noqa: BLE001 — the first of those that are due
                log("parts.postponed", level="error", exc=error)
                await self._batch.write(self._postpone)
            else:
                if not step.more:
                    return step
        return Step(Outgoing(), more=True, next_due=None)

    async def _join(self, transaction: Transaction, limits: Sequence[int]) -> Sequence[Step]:
        return [await self._step(transaction, limit) for limit in limits]

    async def _step(self, transaction: Transaction, limit: int) -> Step:
        now = self._clock()
        messages = await parts.due(transaction, now, limit)
        outgoing = await self._tell(transaction, messages, now) if messages else Outgoing()
        closed = await parts.close_old(transaction, now, MOST)
        return Step(outgoing, limit in (len(messages), closed), await parts.next_due(transaction))

    async def _tell(self, transaction: Transaction, messages: Sequence[LongMessage], now: int) -> Outgoing:
        parts.drop(transaction, [message.message_id for message in messages if not message.parts])
        amendments = [
            self._amender.amendment(joined(message.parts), message.message_id, supersedes=message.event_id)
            for message in messages
            if message.parts
        ]
        outgoing = await self._amender.write(transaction, amendments, now)
        told = {item.message_id or "": item.event_id for item in amendments}
        parts.told(transaction, told, [message.message_id for message in messages if message.complete])
        return outgoing

    async def _postpone(self, transaction: Transaction) -> None:
        now = self._clock()
        await parts.postpone_first(transaction, now, now + _AGAIN)

    async def _wait(self, next_due: int | None) -> None:
        """Until new parts come, or the next message is due."""
        seconds = None if next_due is None else min(max(_SOONEST, (next_due - self._clock()) / SECOND), _LOOKS_EVERY)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
