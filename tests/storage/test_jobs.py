"""Jobs as rows: whose turn it is, what a step writes, and that an ended one stays ended."""

from pathlib import Path
from typing import Any

import pytest

from receiver.sms.matching import Filter
from receiver.storage import jobs, subscriptions, windows
from receiver.storage.catalog import Catalog
from receiver.storage.database import Transaction
from receiver.storage.jobs import Job, Request
from tests.storage.making import MOMENT, a_subscription, saved
from tests.storage.opening import change, opened

pytestmark = pytest.mark.usefixtures("engine")


def a_job(identifier: str = "job_1", **given: Any) -> Job:
    made: dict[str, Any] = {
        "kind": "recover", "subscription_id": "sub_1", "request": Request(wishes=["held"]), "position": "", "total": 9,
        "created_at": MOMENT, "updated_at": MOMENT,
    }  # fmt: skip
    return Job(id=identifier, **made | given)


async def put(database: Any, *rows: Job) -> None:
    async with database.writing() as transaction:
        for row in rows:
            await jobs.insert(transaction, row)


async def got(database: Any, identifier: str = "job_1") -> Job | None:
    async with database.reading() as reader:
        return await jobs.get(reader, identifier)


async def test_a_job_comes_back_as_it_was_put(tmp_path: Path):
    request = Request(
        wishes=["failed", "missing"], types=["message.*"], filter=Filter.model_validate({"from": ["+44*"]}),
        since=MOMENT, until=MOMENT + 1, last="dlv_9", subscription_ids=["sub_1"],
    )  # fmt: skip
    whole = a_job(request=request, position="dlv_3", done=3, released=2, state="failed", error="KeyError")
    async with opened(tmp_path) as database:
        await put(database, whole, a_job("job_2", request=Request(wishes=["all"], last=7)))
        assert await got(database) == whole
        assert await got(database, "job_2") == a_job("job_2", request=Request(wishes=["all"], last=7))
        assert await got(database, "job_3") is None


async def test_jobs_take_turns_and_one_that_has_ended_has_none(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, *[a_job(f"job_{number}") for number in range(4)])
        async with database.writing() as transaction:
            assert await jobs.finish(transaction, a_job("job_2"), "canceled", MOMENT + 1)
        seen, last = [], ""
        async with database.writing() as transaction:
            for _ in range(4):
                found = await jobs.running(transaction, last)
                assert found is not None
                last = found.id
                seen.append(last)
        assert seen == ["job_0", "job_1", "job_3", "job_0"]
        await change(database, "UPDATE jobs SET state = 'done'")
        async with database.writing() as transaction:
            assert await jobs.running(transaction, "") is None


async def test_a_step_adds_up_and_an_ended_job_is_not_moved_or_ended_again(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, a_job())
        for position in ("dlv_1", "dlv_2"):
            async with database.writing() as transaction:
                job = await jobs.get(transaction, "job_1")
                assert job is not None
                await jobs.advance(transaction, job, position=position, done=3, released=2, now=MOMENT + 5)
        moved = await got(database)
        assert moved is not None
        assert (moved.position, moved.done, moved.released, moved.updated_at) == ("dlv_2", 6, 4, MOMENT + 5)
        async with database.writing() as transaction:
            assert await jobs.finish(transaction, moved, "canceled", MOMENT + 6)
            assert not await jobs.finish(transaction, moved, "done", MOMENT + 7)
            await jobs.advance(transaction, moved, position="dlv_9", done=1, released=1, now=MOMENT + 7)
        ended = await got(database)
        assert ended is not None
        assert (ended.state, ended.position, ended.done, ended.total) == ("canceled", "dlv_2", 6, 9)


async def test_what_is_done_is_the_total_of_a_job_that_ran_to_its_end(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, a_job(done=4))
        async with database.writing() as transaction:
            await jobs.finish(transaction, a_job(done=4), "done", MOMENT)
        ended = await got(database)
        assert ended is not None
        assert (ended.done, ended.total) == (4, 4)


@pytest.mark.parametrize("state", ["done", "canceled", "failed"])
async def test_however_a_start_ends_the_intake_is_told_that_the_subscription_is_its_own_again(tmp_path: Path, state):
    async with opened(tmp_path) as database:
        await saved(database, a_subscription("sub_1", catching_up=True), a_subscription("sub_2", catching_up=True))
        catalog = Catalog()
        async with database.reading() as reader:
            await catalog.refresh(reader)
        assert catalog.matchers("message.received") == []
        async with database.writing() as transaction:
            await jobs.insert(transaction, a_job(kind="start"))
            await jobs.finish(transaction, a_job(kind="start"), state, MOMENT + 1)
        async with database.reading() as reader:
            await catalog.refresh(reader)
            found = await subscriptions.get(reader, "sub_1")
        assert found is not None
        assert not found.catching_up
        assert [item.id for item, _ in catalog.matchers("message.received")] == ["sub_1"]


async def test_jobs_are_listed_newest_first_by_subscription_and_state(tmp_path: Path):
    async with opened(tmp_path) as database:
        await put(database, *[a_job(f"job_{n}", subscription_id=f"sub_{n % 2}") for n in range(5)])
        await change(database, "UPDATE jobs SET state = 'done' WHERE id = 'job_2'")

        async def listed(**given: Any) -> list[str]:
            wanted: dict[str, Any] = {"subscription": None, "state": None, "before": None, "limit": 10, **given}
            async with database.reading() as reader:
                return [row.id[-1] for row in await jobs.page(reader, **wanted)]

        assert await listed() == ["4", "3", "2", "1", "0"]
        assert await listed(before="job_3", limit=2) == ["2", "1"]
        assert await listed(subscription="sub_0", state="running") == ["4", "0"]


async def test_the_span_of_a_time_holds_all_of_it_though_the_clock_was_set_back(tmp_path: Path):
    async with opened(tmp_path) as database:
        async with database.reading() as reader:
            assert (await windows.span(reader)).size == 0
        for seq, moment in enumerate([100, 200, 50, 60, 210, 300], 1):
            await change(
                database,
                "INSERT INTO events (id, type, accepted_at, body) VALUES (?, 'x', ?, '{}')",
                f"evt_{seq}",
                moment,
            )
        async with database.reading() as reader:
            assert await windows.span(reader) == (1, 6)
            assert await windows.span(reader, 60) == (1, 6)
            assert await windows.span(reader, 61, 250) == (1, 5)
            assert await windows.span(reader, None, 100) == (3, 4)
            assert (await windows.span(reader, 301)).size == 0


class Explaining:
    """Notes how each statement would be done, and does it."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.engine = transaction.engine
        self.plans: list[str] = []

    async def fetch(self, sql: Any, *values: Any) -> Any:
        await self._note(sql, values)
        return await self._transaction.fetch(sql, *values)

    async def many(self, before: Any, rows: Any, after: Any = "", *values: Any) -> Any:
        marks = ",".join("?" * len(rows[0]))
        await self._note(f"{before} VALUES ({marks}) {after}", (*rows[0], *values))
        return await self._transaction.many(before, rows, after, *values)

    async def _note(self, sql: Any, values: Any) -> None:
        rows = await self._transaction.fetch(f"EXPLAIN QUERY PLAN {sql}", *values)
        self.plans.append(" | ".join(row[3] for row in rows))


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_what_a_step_reads_is_served_by_indexes(tmp_path: Path):
    """Its cost must not grow with what was there before."""
    async with opened(tmp_path) as database, database.writing() as transaction:
        it: Any = Explaining(transaction)
        await jobs.running(it, "job_1")
        await windows.span(it)
        await windows.span(it, 5, 9)
        await windows.owed(it, "sub_1")
        await windows.events_behind(it, 5, 9, 10)
        await windows.events_of(it, ["evt_1"])
        await windows.deliveries_behind(it, "sub_1", "dlv_1", "dlv_9", 10)
        await windows.standing(it, [("evt_1", "sub_1")])
    assert len(it.plans) == 9
    for plan in it.plans:
        read = [step for step in plan.split(" | ") if step.startswith(("SCAN", "SEARCH", "USE"))]
        odd = [step for step in read if not step.startswith("SEARCH")]
        assert all(
            step in ("SCAN CONSTANT ROW", "SCAN horizon", "SCAN wanted", "SCAN 1-ROW VALUES CLAUSE") for step in odd
        ), plan
