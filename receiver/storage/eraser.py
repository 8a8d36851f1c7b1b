"""Carries out erasures: durable jobs that go through every place of `erasing`, noticed by nobody, over any restart.

At the end the job itself forgets whom it was about, the index of texts is written anew, the write-ahead log is emptied,
and only then it is done.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from receiver.observe import log
from receiver.storage import conversations, jobs, processes, search
from receiver.storage.background import Background
from receiver.storage.batch import Batch, Operation
from receiver.storage.database import Broken, Erasable, Reader, Transaction
from receiver.storage.erasing import ALIAS, Erasure, Look, Place
from receiver.storage.jobs import Job
from receiver.storage.places import OF_EVENTS
from receiver.storage.pseudonyms import secret_of

WINDOW = 100
_LOOKS_NOTED = 50
"""Looks that found nothing, until how far they came is noted."""
_INDEX: Final = "index"
_MERGING: Final = "index, begun"
"""The steps behind all places: the index of texts has what was taken out of it until it is written anew."""
_LAST: Final = jobs.ERASED
"""What was overwritten may still stand in the write-ahead log, and in the memory of other processes."""


class Revise(Protocol):
    def __call__(self, bodies: Mapping[str, bytes], renamed: Callable[[str], str], /) -> None:
        """Deliveries in memory follow: the events' new bodies by their ids, and conversations by their old keys."""
        ...


@dataclass(frozen=True, slots=True)
class _Step:
    job: Job
    look: Look


class Eraser:
    """`run` owns the loop, `wake` tells it of a new job. `pause` is between two tries where something is in the way."""

    def __init__(
        self, *, database: Erasable, batch: Batch, places: Sequence[Place], clock: Callable[[], int],
        monotonic: Callable[[], float], entropy: Callable[[int], bytes], revise: Revise,
        wake_lane: Callable[[str], None], alone: bool = True, window: int = WINDOW, pause: float = 1.0,
    ) -> None:  # fmt: skip
        self._database = database
        self._batch = batch
        self._places = {place.name: place for place in places}
        self._order = [*self._places, _INDEX]
        self._clock = clock
        self._entropy = entropy
        self._revise = revise
        self._wake_lane = wake_lane
        self._alone = alone
        self._window = window
        self._pause = pause
        self._background = Background(batch, monotonic)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """After the step that is under way; the next start goes on behind it."""
        self._background.stopping.set()
        self._woken.set()

    async def run(self) -> None:
        """Until stopped, or until the database can no longer be trusted."""
        while not self._background.stopping.is_set():
            self._woken.clear()
            try:
                if not await self.once():
                    await self._woken.wait()
            except Broken:
                return
            except Exception as error:  # noqa: BLE001 — an erasure is never given up
                log("erasure.waits", level="warning", exc=error)
                await self._background.wait(self._pause)

    async def once(self) -> bool:
        """The oldest erasure, to its end or until stopped; False when there is none."""
        async with self._database.reading() as reader:
            job = await jobs.erasing(reader)
        if job is None:
            return False
        if not job.position:
            job = await self._begun(job)
        while job.state == "running" and not self._background.stopping.is_set():
            began = await self._background.turn()
            if job.position in (_INDEX, _MERGING):
                job = await self._merged(job, began)
            else:
                job = await (self._emptied(job) if job.position == _LAST else self._place(job, began))
        return True

    async def _begun(self, job: Job) -> Job:
        async with self._database.reading() as reader:
            total = await _size(reader)
        begun = replace(job, position=f"{self._order[0]} ", total=total)
        await self._batch.write(lambda transaction: jobs.reach(transaction, begun, self._clock()))
        return begun

    async def _place(self, job: Job, began: float) -> Job:
        """One place, from where the job is in it to its end."""
        secret = await self._batch.write(lambda transaction: secret_of(transaction, self._entropy))
        erasure, looks, end = Erasure.of(job, secret), 0, False
        name, _, position = job.position.partition(" ")
        place = self._places[name]
        while not end and not self._background.stopping.is_set():
            async with self._database.reading() as reader:
                look = await place.look(reader, erasure, position, self._window)
            looks, end, position = looks + 1, look.end, look.position
            job = replace(job, position=f"{name} {position}", done=job.done + look.seen)
            if end:
                job = replace(job, position=self._behind(name))
            if look.rows or end or looks % _LOOKS_NOTED == 0 or self._background.stopping.is_set():
                job = await self._write(place, erasure, _Step(job, look))
            await self._background.rest(began)
            began = await self._background.turn()
        return job

    def _behind(self, name: str) -> str:
        following = self._order[self._order.index(name) + 1]
        return following if following == _INDEX else f"{following} "

    async def _write(self, place: Place, erasure: Erasure, step: _Step) -> Job:
        """Deliveries in memory follow twice: before, so that no answer to what was sent until then is noted after it;
        and once it is committed, for those that were taken in between.
        """
        bodies = {row[1]: row[3] for row in step.look.rows} if place.name in OF_EVENTS else {}
        self._revise(bodies, erasure.alias)

        async def apply(transaction: Transaction, _items: Sequence[None]) -> Sequence[Job]:
            rows, now = step.look.rows, self._clock()
            changed = await place.erase(transaction, erasure, rows, now) if rows else 0
            job = replace(step.job, released=step.job.released + changed)
            await jobs.reach(transaction, job, now)
            if job.position == _INDEX:
                await jobs.forget(transaction, job.id)
            return [job]

        def committed(_jobs: Sequence[Job]) -> None:
            self._revise(bodies, erasure.alias)

        return await self._batch.submit(Operation(apply, committed), None)

    async def _merged(self, job: Job, began: float) -> Job:
        """One step through the index of texts, unless nothing was changed."""

        async def change(transaction: Transaction) -> Job:
            more = job.released > 0 and await search.compact(transaction, begin=job.position == _INDEX)
            reached = replace(job, position=_MERGING if more else _LAST)
            await jobs.reach(transaction, reached, self._clock())
            return reached

        reached = await self._batch.write(change)
        await self._background.rest(began)
        return reached

    async def _emptied(self, job: Job) -> Job:
        """Ends the job when nothing of what was overwritten is left; a reader in the way is waited for, and a process
        that holds in memory what was read before.
        """
        await self._appoint()
        if not (await self._followed(job) and await self._database.scrub()):
            await self._background.wait(self._pause)
            return job
        await self._batch.write(lambda transaction: jobs.finish(transaction, job, "done", self._clock()))
        log("erasure.done", job_id=job.id, rows=job.released)
        return replace(job, state="done")

    async def _followed(self, job: Job) -> bool:
        if self._alone:
            return True
        async with self._database.reading() as reader:
            return await processes.all_followed(reader, job.id, self._clock())

    async def _appoint(self) -> None:
        """What stood behind a delivery that ended under its conversation's old key has its turn."""
        async with self._database.reading() as reader:
            rows = await reader.fetch(
                """SELECT DISTINCT subscription_id, conversation FROM deliveries
                   WHERE state = 'queued' AND state IN ('queued', 'waiting', 'sending', 'retrying')
                       AND conversation || '' LIKE ?""",  # not by the index of all that ever were in order
                f"{ALIAS}%",
            )  # fmt: skip
        pairs = [(row[0], row[1]) for row in rows]
        if pairs:
            await self._batch.write(lambda transaction: conversations.appoint(transaction, pairs, self._clock()))
        for subscription_id in {pair[0] for pair in pairs}:
            self._wake_lane(subscription_id)


async def _size(reader: Reader) -> int:
    """Rows to look at, about."""
    ((total,),) = await reader.fetch(
        """SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM receipts) + (SELECT count(*) FROM messages)
               + (SELECT count(*) FROM identities) + (SELECT count(*) FROM attempts)"""
    )
    return int(total)
