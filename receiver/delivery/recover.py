"""Does what was asked for as jobs: deliveries sent again, events replayed, a new subscription led through the log,
and what `others` are handed in for.

Each step is one item of a batch, so everything else goes in between; jobs take turns. What a step releases is sent by
the dispatcher like any other delivery.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

from receiver.delivery.steps import WINDOW, take_step
from receiver.observe import log
from receiver.storage import jobs
from receiver.storage.batch import Batch
from receiver.storage.catalog import Catalog
from receiver.storage.database import Broken, Transaction, Unavailable
from receiver.storage.ids import Ids
from receiver.storage.jobs import Job, Kind, Step

TakeStep = Callable[[Transaction, Job, int], Awaitable[Step]]


class Jobs:
    """`run` owns the loop, `wake` tells it of a new job.

    wake_lane   told of each subscription that has deliveries due in store
    window      how much one step looks at
    pause       seconds to wait when the database does not answer
    others      the steps of other kinds of jobs
    stepped     told of each step that was committed
    """

    def __init__(
        self, *, batch: Batch, catalog: Catalog, ids: Ids, clock: Callable[[], int], wake_lane: Callable[[str], None],
        window: int = WINDOW, pause: float = 1.0,
        others: Mapping[Kind, TakeStep] = MappingProxyType({}), stepped: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._batch = batch
        self._catalog = catalog
        self._ids = ids
        self._clock = clock
        self._wake_lane = wake_lane
        self._window = window
        self._pause = pause
        self._others = others
        self._stepped = stepped
        self._last = ""
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
                while not self._stopping.is_set() and await self.step():
                    pass
                await self._woken.wait()
        except Broken:
            return
        finally:
            self._idle.set()

    async def step(self) -> bool:
        """One step of the job whose turn it is; False when none is running. Raises Broken."""
        before, picked = self._last, [""]

        async def next_step(transaction: Transaction) -> Step | None:
            job = await jobs.running(transaction, before)
            if job is None:
                return None
            picked[0] = self._last = job.id
            return await self._take(transaction, job, self._clock())

        def follow(step: Step | None) -> None:
            """Whoever waits for the step may have been told long ago that the database does not answer."""
            if step is not None:
                self._follow(picked[0], step)

        try:
            step = await self._batch.write(next_step, follow)
        except Broken:
            raise
        except Unavailable as error:
            log("job.waits", level="warning", exc=error, job_id=picked[0])
            await self._wait()
        except Exception as error:  # noqa: BLE001 — one job that cannot be done must not hold up the others
            await self._failed(picked[0], error)
        else:
            return step is not None
        return True

    async def _take(self, transaction: Transaction, job: Job, now: int) -> Step:
        other = self._others.get(job.kind)
        if other is None:
            return await take_step(transaction, job, self._catalog, self._ids.new, now, self._window)
        step = await other(transaction, job, now)
        await jobs.put_down(transaction, job, step, now)
        return step

    def _follow(self, job_id: str, step: Step) -> None:
        """After COMMIT."""
        self._stepped()
        for subscription_id in step.touched:
            self._wake_lane(subscription_id)
        if step.state != "running":
            log("job.ended", job_id=job_id, state=step.state)

    async def _failed(self, job_id: str, error: Exception) -> None:
        log("job.failed", level="error", exc=error, job_id=job_id)

        async def give_up(transaction: Transaction) -> bool:
            job = await jobs.get(transaction, job_id)
            return job is not None and await jobs.finish(
                transaction, job, "failed", self._clock(), type(error).__name__
            )

        try:
            if await self._batch.write(give_up):
                return
        except Broken:
            raise
        except Exception as trouble:  # noqa: BLE001 — told below
            log("job.failed", level="error", exc=trouble, job_id=job_id)
        await self._wait()  # it will fail again, but not at once

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._pause)
