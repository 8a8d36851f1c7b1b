"""Jobs beside the dispatcher: asked for as the API does, taken step by step or left to run."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from receiver.delivery.recover import Jobs
from receiver.storage import deliveries, jobs, subscriptions
from receiver.storage.jobs import Job, Request
from receiver.storage.subscriptions import Subscription
from tests.delivery.dispatching import WayOut


def jobs_of(it: WayOut, **given: Any) -> Jobs:
    return Jobs(
        batch=it.batch, catalog=it.catalog, ids=it.ids, clock=it.clock, wake_lane=it.dispatcher.wake,
        **{"pause": 0.01, **given},
    )  # fmt: skip


async def ask(it: WayOut, *wishes: Any, name: str | None = "a", kind: Any = "recover", **given: Any) -> str:
    """A job from the beginning of everything; its id."""
    request = Request(wishes=wishes, **given)
    if request.last is None and kind != "start":
        ((newest,),) = await it.fetch("SELECT coalesce(max(seq), 0) FROM events")
        request = replace(request, last=newest if request.through_log else "dlv_~")
    job = Job(
        id=it.ids.new("job"), kind=kind, subscription_id=None if name is None else f"sub_{name}", request=request,
        position="0" if request.through_log else "", total=0, created_at=it.clock(), updated_at=it.clock(),
    )  # fmt: skip
    await it.batch.write(lambda transaction: jobs.insert(transaction, job))
    return job.id


async def start(it: WayOut, name: str = "a", **given: Any) -> str:
    """A subscription that is to have the whole log, and the job that brings it."""
    await it.subscribe(name, catching_up=True, **given)
    return await ask(it, "missing", name=name, kind="start")


async def work(it: WayOut, **given: Any) -> int:
    """Every job to its end; how many steps it took."""
    worker, steps = jobs_of(it, **given), 0
    while await worker.step():
        steps += 1
    return steps


async def job(it: WayOut, job_id: str) -> Job:
    async with it.database.reading() as reader:
        found = await jobs.get(reader, job_id)
    assert found is not None
    return found


async def disable(it: WayOut, name: str = "a") -> None:
    await it.batch.write(lambda transaction: subscriptions.disable(transaction, f"sub_{name}", "gone", it.clock()))
    await it.refresh()


async def activate(it: WayOut, name: str = "a") -> Subscription:
    return await it.change(f"sub_{name}", state="active", disabled_by=None)


async def put_in(it: WayOut, event_id: str, state: str, name: str = "a") -> None:
    """As if that had become of the delivery."""
    row = await it.delivery(event_id, name)
    attempts = 0 if state in ("held", "waiting") else 2
    next_at = it.clock() + 10**12 if state in ("waiting", "retrying") else None
    await it.batch.write(
        lambda transaction: transaction.fetch(
            "UPDATE deliveries SET state = ?, attempts = ?, next_at = ? WHERE id = ?", state, attempts, next_at, row.id
        )
    )


async def owed(it: WayOut, name: str = "a") -> Sequence[str]:
    """The events that a subscription is or was owed, oldest first."""
    async with it.database.reading() as reader:
        rows = await deliveries.page(reader, subscription=f"sub_{name}", limit=100_000)
    return sorted(row.event_id for row in rows)


async def arrived(it: WayOut, number: int, name: str = "a") -> Counter[str]:
    """How often each event was sent to it, once so many requests were made and recorded."""

    async def all_of_them() -> bool:
        return (await it.states(name)).get("succeeded", 0) >= number

    await eventually(all_of_them)
    return Counter(it.subscribers.events(name))


async def ended(it: WayOut, *job_ids: str) -> None:
    async def all_of_them() -> bool:
        return "running" not in [(await job(it, job_id)).state for job_id in job_ids]

    await eventually(all_of_them)


async def eventually(what: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(6000):
        if await what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


@asynccontextmanager
async def running(it: WayOut, **given: Any) -> AsyncIterator[Jobs]:
    """Jobs done by a task of their own."""
    worker = jobs_of(it, **given)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await task


async def held(it: WayOut, number: int) -> list[str]:
    """Events recorded while their subscription was disabled; it is active again."""
    await it.subscribe("a", max_concurrency=1)
    await disable(it)
    events = [event for _ in range(0, number, 500) for event in await it.record(min(500, number))]
    await activate(it)
    it.clock.advance(1)
    return events
