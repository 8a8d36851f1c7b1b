"""Group commit: what shares a transaction, who is told what and when, and how one bad item fails alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from receiver.storage.batch import Batch, Operation
from receiver.storage.database import Broken, Transaction, Unavailable


class Ledger:
    """A database for the batch alone: notes what each transaction did, and ends it when and how it is told to."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.at_commit: list[Exception] = []

    def reading(self) -> Any:
        raise AssertionError("a batch does not read")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        self.notes.append("begin")
        try:
            yield self
            await self.may_commit.wait()
            if self.at_commit:
                raise self.at_commit.pop(0)  # noqa: TRY301 — as a COMMIT does
        except BaseException:
            self.notes.append("rollback")
            raise
        self.notes.append("commit")

    async def close(self) -> None: ...


def noting(ledger: Ledger, name: str = "apply") -> Operation[Any, str]:
    """An operation that notes its items; an item that is an exception is raised."""

    async def apply(_: Transaction, items: Sequence[Any]) -> Sequence[str]:
        ledger.notes.append((name, [*items]))
        await asyncio.sleep(0)
        for item in items:
            if isinstance(item, Exception):
                raise item
        return [f"{item} done" for item in items]

    return Operation(apply, lambda results: ledger.notes.append(("told", [*results])))


@asynccontextmanager
async def running(batch: Batch) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(batch.run())
    try:
        yield task
    finally:
        batch.close()
        with suppress(Broken):
            await task


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 — what is waited for is a note, not an event
            await asyncio.sleep(0)


def submitted(batch: Batch, operation: Operation[Any, Any], *items: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(batch.submit(operation, item)) for item in items]


async def test_calls_that_arrive_while_a_commit_runs_share_the_next():
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)
    async with running(batch):
        ledger.may_commit.clear()
        first = submitted(batch, operation, 1)
        await until(lambda: ("apply", [1]) in ledger.notes)
        later = submitted(batch, operation, 2, 3, 4)
        await asyncio.sleep(0)
        assert batch.waiting == 3
        ledger.may_commit.set()
        assert await asyncio.gather(*first, *later) == ["1 done", "2 done", "3 done", "4 done"]
    assert ledger.notes == [
        "begin", ("apply", [1]), "commit", ("told", ["1 done"]),
        "begin", ("apply", [2, 3, 4]), "commit", ("told", ["2 done", "3 done", "4 done"]),
    ]  # fmt: skip


async def test_operations_of_every_kind_share_one_transaction_each_with_its_items_in_order():
    ledger = Ledger()
    batch, one, other = Batch(ledger), noting(ledger, "one"), noting(ledger, "other")
    calls = [*submitted(batch, one, 1), *submitted(batch, other, 2), *submitted(batch, one, 3)]
    await asyncio.sleep(0)
    async with running(batch):
        assert await asyncio.gather(*calls) == ["1 done", "2 done", "3 done"]
    assert ledger.notes[:4] == ["begin", ("one", [1, 3]), ("other", [2]), "commit"]


async def test_no_more_than_the_most_go_into_one_transaction():
    ledger = Ledger()
    batch, operation = Batch(ledger, most=3), noting(ledger)
    calls = submitted(batch, operation, *range(7))
    await asyncio.sleep(0)
    async with running(batch):
        await asyncio.gather(*calls)
    assert [note[1] for note in ledger.notes if note[0] == "apply"] == [[0, 1, 2], [3, 4, 5], [6]]


async def test_committed_is_told_after_commit_and_before_any_caller_is():
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)

    async def caller(item: int) -> None:
        await batch.submit(operation, item)
        ledger.notes.append(f"caller {item}")

    async with running(batch), asyncio.TaskGroup() as group:
        group.create_task(caller(1))
        group.create_task(caller(2))
    assert ledger.notes[-4:] == ["commit", ("told", ["1 done", "2 done"]), "caller 1", "caller 2"]


async def test_one_bad_item_fails_alone_and_the_others_are_committed():
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)
    bad = ValueError("this one")
    calls = submitted(batch, operation, 1, bad, 3)
    await asyncio.sleep(0)
    async with running(batch):
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert results == ["1 done", bad, "3 done"]
    assert ledger.notes == [
        "begin", ("apply", [1, bad, 3]), "rollback",
        "begin", ("apply", [1]), "commit", ("told", ["1 done"]),
        "begin", ("apply", [bad]), "rollback",
        "begin", ("apply", [3]), "commit", ("told", ["3 done"]),
    ]  # fmt: skip


async def test_a_caller_that_goes_away_takes_nothing_with_it():
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)
    async with running(batch):
        ledger.may_commit.clear()
        calls = submitted(batch, operation, 1, 2)
        await until(lambda: ("apply", [1, 2]) in ledger.notes)
        calls[0].cancel()
        waiting = submitted(batch, operation, 3)
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        ledger.may_commit.set()
        assert await calls[1] == "2 done"
    assert ("told", ["1 done", "2 done"]) in ledger.notes
    assert ("told", ["3 done"]) in ledger.notes


async def test_more_than_the_capacity_is_refused_at_once_and_waits_for_nobody():
    ledger = Ledger()
    batch, operation = Batch(ledger, capacity=2), noting(ledger)
    calls = submitted(batch, operation, 1, 2)
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await batch.submit(operation, 3)
    async with running(batch):
        assert await asyncio.gather(*calls) == ["1 done", "2 done"]
        assert await batch.submit(operation, 4) == "4 done"


async def test_close_commits_what_waits_and_takes_no_more():
    ledger = Ledger()
    batch, operation = Batch(ledger, most=2), noting(ledger)
    calls = submitted(batch, operation, *range(5))
    await asyncio.sleep(0)
    batch.close()
    with pytest.raises(Unavailable):
        await batch.submit(operation, 6)
    await asyncio.wait_for(batch.run(), 5)
    assert len(await asyncio.gather(*calls)) == 5


async def test_closing_an_idle_batch_ends_it():
    batch = Batch(Ledger())
    task = asyncio.create_task(batch.run())
    await asyncio.sleep(0)
    batch.close()
    await asyncio.wait_for(task, 5)


async def test_a_passing_failure_is_told_to_that_batch_and_the_next_goes_on():
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)
    ledger.at_commit = [Unavailable("full")]
    calls = submitted(batch, operation, 1, 2)
    await asyncio.sleep(0)
    async with running(batch):
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert await batch.submit(operation, 3) == "3 done"
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert "told" not in [note[0] for note in ledger.notes[: ledger.notes.index("rollback")]]


async def test_each_caller_gets_an_error_of_its_own():
    """One that many tasks raise would gather the tracebacks of all of them."""
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)
    ledger.at_commit = [Unavailable("full")]
    calls = submitted(batch, operation, 1, 2)
    await asyncio.sleep(0)
    async with running(batch):
        one, other = await asyncio.gather(*calls, return_exceptions=True)
    assert one is not other
    assert str(one) == str(other) == "full"


async def test_a_broken_database_fails_all_who_wait_and_ends_the_run():
    ledger = Ledger()
    batch, operation = Batch(ledger, most=1), noting(ledger)
    ledger.at_commit = [Broken("disk")]
    calls = submitted(batch, operation, 1, 2, 3)
    await asyncio.sleep(0)
    with pytest.raises(Broken):
        await asyncio.wait_for(batch.run(), 5)
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(result) for result in results] == [Broken] * 3
    with pytest.raises(Unavailable):
        await batch.submit(operation, 4)


async def test_a_database_that_breaks_while_items_are_tried_alone_leaves_nobody_waiting():
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)
    bad = ValueError("this one")
    calls = submitted(batch, operation, bad, 2, 3, 4)
    await asyncio.sleep(0)
    ledger.at_commit = [Broken("disk")]
    with pytest.raises(Broken):
        await asyncio.wait_for(batch.run(), 5)
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(result) for result in results] == [ValueError, Broken, Broken, Broken]


async def test_callers_are_answered_even_when_what_follows_a_commit_fails():
    ledger = Ledger()

    async def apply(_: Transaction, items: Sequence[int]) -> Sequence[int]:
        return items

    def fail(_: Sequence[int]) -> None:
        raise RuntimeError("a bug behind the commit")

    batch = Batch(ledger, most=1)
    call, next_call = submitted(batch, Operation(apply, fail), 1, 2)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(batch.run(), 5)
    assert await asyncio.wait_for(call, 5) == 1
    with pytest.raises(Unavailable):
        await asyncio.wait_for(next_call, 5)


async def test_a_run_that_is_cancelled_leaves_nobody_waiting():
    ledger = Ledger()
    batch, operation = Batch(ledger, most=1), noting(ledger)
    ledger.may_commit.clear()
    calls = submitted(batch, operation, 1, 2)
    task = asyncio.create_task(batch.run())
    await until(lambda: ("apply", [1]) in ledger.notes)
    task.cancel()
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_is_told_after_a_while_though_its_call_is_committed_later():
    ledger = Ledger()
    batch, operation = Batch(ledger, patience=0.05), noting(ledger)
    async with running(batch):
        ledger.may_commit.clear()
        first = submitted(batch, operation, 1)
        await until(lambda: ("apply", [1]) in ledger.notes)
        second = submitted(batch, operation, 2)
        results = await asyncio.wait_for(asyncio.gather(*first, *second, return_exceptions=True), 5)
        assert [type(result) for result in results] == [Unavailable, Unavailable]
        ledger.may_commit.set()
    assert [note for note in ledger.notes if note[0] == "told"] == [("told", ["1 done"]), ("told", ["2 done"])]


async def test_write_gives_the_result_of_one_change():
    ledger = Ledger()
    batch = Batch(ledger)

    async def change(transaction: Transaction) -> str:
        ledger.notes.append(transaction is ledger)  # type: ignore[comparison-overlap]
        return "changed"

    async with running(batch):
        assert await batch.write(change) == "changed"
    assert ledger.notes == ["begin", True, "commit"]


async def test_whoever_is_told_of_one_change_is_told_after_commit_though_its_caller_went_away():
    ledger, told = Ledger(), list[Any]()
    batch = Batch(ledger)

    async def change(transaction: Any) -> str:
        return "done"

    async with running(batch):
        ledger.may_commit.clear()
        caller = asyncio.create_task(batch.write(change, told.append))
        await asyncio.sleep(0.01)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert told == []
        ledger.may_commit.set()
        await batch.write(change)
    assert told == ["done"]


async def test_a_bad_item_whose_caller_went_away_troubles_nobody():
    ledger = Ledger()
    batch, operation = Batch(ledger), noting(ledger)
    ledger.may_commit.clear()
    calls = submitted(batch, operation, ValueError("nobody asks"), 2)
    async with running(batch):
        await until(lambda: ledger.notes)
        calls[0].cancel()
        ledger.may_commit.set()
        assert await asyncio.wait_for(calls[1], 5) == "2 done"


async def test_every_commit_is_told_of_before_its_callers_are_and_nothing_else():
    ledger = Ledger()
    batch, operation = Batch(ledger, committed=lambda: ledger.notes.append("news")), noting(ledger)

    async def nothing(_transaction: Transaction) -> None: ...

    async with running(batch):
        await batch.submit(operation, 1)
        await batch.write(nothing)
        ledger.at_commit = [Unavailable("full")]
        with pytest.raises(Unavailable):
            await batch.write(nothing)
    assert ledger.notes == [
        "begin", ("apply", [1]), "commit", "news", ("told", ["1 done"]), "begin", "commit", "news", "begin", "rollback",
    ]  # fmt: skip
