"""The loop of jobs: woken, stopped, and beside everything else."""

import asyncio
from pathlib import Path

from tests.delivery.dispatching import until, way_out
from tests.delivery.recovering import (
    ask,
    ended,
    eventually,
    held,
    job,
    jobs_of,
    owed,
    running,
)


async def test_the_loop_sleeps_until_it_is_woken_and_stops_between_steps(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await held(it, 200)
        async with running(it, window=1) as worker:
            tries = it.database.tries
            await asyncio.sleep(0.05)
            assert it.database.tries - tries <= 1  # it found nothing, once
            job_id = await ask(it, "held")
            worker.wake()

            async def begun() -> bool:
                return (await job(it, job_id)).done > 0

            await eventually(begun)
            await worker.stop()
            done = (await job(it, job_id)).done
            await asyncio.sleep(0.05)
            assert (await job(it, job_id)).done == done < 200
        async with running(it, window=50):
            await ended(it, job_id)
        assert await it.states() == {"waiting": 200}


async def test_one_that_waits_for_the_database_can_be_stopped(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await held(it, 1)
        await ask(it, "held")
        it.database.failing = 1
        async with running(it, pause=300.0) as worker:
            await until(lambda: it.database.failing == 0)
            async with asyncio.timeout(20):
                await worker.stop()


async def test_a_database_that_is_broken_ends_the_loop(tmp_path: Path):
    async with way_out(tmp_path, run=False) as it:
        await held(it, 1)
        await ask(it, "held")
        it.database.broken = True
        async with asyncio.timeout(20):
            await jobs_of(it).run()


async def test_what_comes_meanwhile_does_not_wait_for_a_job(tmp_path: Path):
    """The others' commits go in between: none of them waits for more than a step."""
    async with way_out(tmp_path, run=False) as it:
        await held(it, 400)
        await it.subscribe("b")
        job_id = await ask(it, "held")
        async with running(it, window=1):
            before = (await job(it, job_id)).done
            for _ in range(5):
                await it.record()
            during = (await job(it, job_id)).done
        assert before <= during < 400
        assert len(await owed(it, "b")) == 5
