"""A writer that hangs: callers are told, the process is red, and ends when it goes on, though a thread of it never will."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from receiver.observe import Health
from receiver.storage.batch import Batch
from receiver.storage.database import Unavailable
from receiver.storage.watch import CAUSE, Limits, watch
from tests.faults.blocked import blocked, hanging, make_hang
from tests.faults.disk_process import answered, furnish, load, statuses
from tests.faults.power_run import Verdict, a_body, judged
from tests.storage.hooked import Hooked
from tests.storage.opening import opened

SHORT = Limits(late=0.3, stuck=60.0)


async def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 — what is waited for is a state, not an event
            await asyncio.sleep(0.01)


@dataclass
class Stalling:
    stalled: float = 0.0


async def test_a_late_commit_turns_the_process_red_until_it_is_over() -> None:
    batch, health, given_up = Stalling(), Health(), list[str]()
    watching = asyncio.create_task(watch(batch, health, SHORT, lambda: given_up.append("")))
    await asyncio.sleep(0)
    assert health.causes() == ()
    batch.stalled = 0.3
    await until(health.causes)
    assert health.causes() == (CAUSE,)
    batch.stalled = 0.0
    await until(lambda: not health.causes())
    batch.stalled = 60.0
    await asyncio.wait_for(watching, 10)
    assert (health.causes(), len(given_up)) == ((CAUSE,), 1)


async def test_a_hanging_writer_is_told_to_all_and_forgotten_once_it_goes_on(tmp_path: Path) -> None:
    async with blocked(tmp_path, SHORT) as it:
        assert (await it.post(1), await it.ready()) == (200, (200, []))
        hanging_one = it.hang()
        first = await asyncio.gather(*(it.post(number) for number in range(2, 6)))
        assert {*first} == {503}
        await until(it.app.health.causes)
        assert await it.ready() == (503, [CAUSE])
        events = (await it.client.get("/v1/events")).json()["data"]
        assert [event["data"]["vendor_message_id"] for event in events] == ["m1"]
        assert (await it.client.get("/livez")).status_code == 200
        it.free.set()
        with pytest.raises(Unavailable):
            await hanging_one  # its caller was told long ago
        await until(lambda: not it.app.health.causes())
        assert (await it.post(6), await it.ready()) == (200, (200, []))
        assert not it.app.failed.is_set()


async def test_while_a_commit_is_overdue_callers_are_refused_at_once(tmp_path: Path) -> None:
    """Without waiting for what those before them have waited for in vain."""
    async with opened(tmp_path) as sqlite:
        database = Hooked(sqlite)
        batch = Batch(database, patience=0.2)
        running = asyncio.create_task(batch.run())
        database.may_commit.clear()
        waiting = asyncio.create_task(batch.write(_nothing))
        with pytest.raises(Unavailable, match="in time"):
            await waiting
        await until(lambda: batch.stalled >= 0.2)
        with pytest.raises(Unavailable, match="does not answer"):
            await batch.write(_nothing)
        assert batch.waiting == 0
        database.may_commit.set()
        await until(lambda: batch.stalled == 0.0)
        await batch.write(_nothing)
        batch.close()
        await running


async def _nothing(_transaction: object) -> None: ...


@pytest.mark.parametrize("ending", [(), (signal.SIGTERM,)], ids=["by itself", "by SIGTERM"])
def test_a_process_whose_writer_hangs_for_good_ends_with_an_error(tmp_path: Path, ending: Sequence[int]) -> None:
    """Asked to end or not: the interpreter would wait for the thread for ever."""
    bodies = [a_body(number) for number in range(20)]
    with hanging(tmp_path, Limits(late=0.5, stuck=1.5)) as it:
        assert furnish(it) == 201
        found = asyncio.run(load(it, bodies))
        assert {*statuses(found)} == {200}
        make_hang(it, 3600)
        told = 200
        late = [a_body(number) for number in range(20, 30)]
        for body in late:
            told = it.post(body)
            if told != 200:
                break
        for number in ending:
            it.child.send_signal(number)
        code, said = it.end(seconds=30)
    assert told in {503, 0}
    assert (code, "database.stuck" in said) == (1, True)
    assert asyncio.run(judged(tmp_path, answered(found), bodies + late)) == Verdict("", 0)


def test_a_process_that_was_stopped_for_long_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    """A laptop that slept, a debugger, SIGSTOP: the clock went on, the process did not."""
    with hanging(tmp_path, Limits(late=0.5, stuck=4.0)) as it:
        assert furnish(it) == 201
        make_hang(it, 1.5)
        time.sleep(0.5)
        it.child.send_signal(signal.SIGSTOP)
        time.sleep(5.0)
        it.child.send_signal(signal.SIGCONT)
        assert it.post(a_body(1)) in {200, 503}  # the commit was under way
        deadline = time.monotonic() + 20
        while it.post(a_body(2)) != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        code, said = it.end(signal.SIGTERM)
    assert (code, "database.stuck" in said) == (0, False)
