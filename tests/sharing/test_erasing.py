"""An erasure reaches what other processes hold in memory, whichever process it was asked of."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from receiver.storage.database import Transaction
from tests.delivery.dispatching import Gate, answers
from tests.sharing.running import Group, Process, group, until

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]

PERSON, OTHER = "447700900101", "447700900102"


async def tell(process: Process, path: str, number: int, sender: str = PERSON) -> None:
    fields = {"vendor_message_id": f"m{number}", "from": sender, "to": "447700900999", "text": "hello"}
    assert await process.tell(path, **fields) == 200


async def erase(process: Process) -> str:
    headers = {"authorization": "Bearer an-admin-key-of-the-settings"}
    answer = await process.client.delete("/v1/subjects/" + quote("+" + PERSON), headers=headers)
    assert answer.status_code == 204
    return answer.headers["location"].rpartition("/")[2]


async def until_at(it: Group, state: str, position: str = "") -> None:
    for _ in range(3000):
        rows = await it.look("SELECT state, position FROM jobs WHERE kind = 'erase'")
        if rows and rows[0][0] == state and rows[0][1].startswith(position):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{rows} never became {state} {position}")


def texts(it: Group) -> list[Any]:
    return [orjson.loads(sent.body)["data"]["text"] for sent in it.subscribers.sent]


async def held_by_both(it: Group, gate: Gate) -> str:
    """Each process has one attempt under way, and two deliveries that wait for it in memory."""
    path = await it.source()
    it.subscribers.behaviours["a"] = gate
    await it.processes[0].subscribe(max_concurrency=2, types=["message.received"])
    await until(lambda: all(len(process.app.catalog.subscriptions) == 1 for process in it.processes))
    for process in it.processes:
        process.app.sharing.heed()
    await until(lambda: all(lane.most == 1 for process in it.processes for lane in process.app.parts.lanes.sending))
    for number in range(6):
        await tell(it.processes[number % 2], path, number)
    await tell(it.processes[1], path, 6, OTHER)
    await until(lambda: len(it.subscribers.sent) == 2)
    await it.until_states(sending=7)
    return path


@pytest.mark.parametrize("asked", [0, 1], ids=["asked of the one that erases", "asked of the other"])
async def test_when_it_is_done_no_process_sends_what_it_had_read_before(tmp_path: Path, asked):
    async with group(tmp_path) as it:
        gate = Gate(answers(200, b"you said hello"))
        await held_by_both(it, gate)
        await erase(it.processes[asked])
        await until_at(it, "done")
        gate.opened.set()
        await it.until_states(succeeded=7)
        assert sorted(texts(it), key=str) == [None] * 4 + ["hello"] * 3  # two were under way, one is another person's
        kept = await it.look("SELECT answer, count(*) FROM attempts GROUP BY answer ORDER BY 2")
        assert kept == [(b"", 2), (b"you said hello", 5)]
        seen = await it.look("SELECT count(*) FROM processes WHERE revised = (SELECT id FROM jobs)")
        assert seen == [(2,)]


async def test_it_is_not_done_before_every_process_that_lives_has_followed(tmp_path: Path):
    async with group(tmp_path) as it:
        gate = Gate()
        await held_by_both(it, gate)
        first, second = sorted(it.processes, key=lambda process: process.number)
        await second.freeze()
        await erase(first)
        await until_at(it, "running", "log")
        await asyncio.sleep(1.5)
        await until_at(it, "running", "log")
        await it.disbelieve(second.number)  # it begins nothing any more
        await until_at(it, "done")
        gate.opened.set()


async def test_the_word_may_be_lost(tmp_path: Path):
    async with group(tmp_path) as it:
        gate = Gate()
        await held_by_both(it, gate)
        for process in it.processes:
            process.app._among[1].cancel()  # who listens
        await erase(it.processes[0])
        it.processes[0].app.parts.eraser.wake()
        it.processes[1].app.parts.eraser.wake()
        await until_at(it, "done")
        gate.opened.set()
        await it.until_states(succeeded=7)
        assert texts(it).count("hello") == 3


async def test_what_is_handed_over_while_it_is_looked_is_followed_too(tmp_path: Path):
    """A delivery that was read before the erasure, and comes into memory after the look at it had been asked for."""
    async with group(tmp_path) as it:
        gate = Gate()
        path = await held_by_both(it, gate)
        first, second = sorted(it.processes, key=lambda process: process.number)
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_transaction: Transaction) -> None:
            reached.set()
            await go_on.wait()

        blocking = asyncio.create_task(second.app.batch.write(slow))
        telling = asyncio.create_task(tell(second, path, 7))
        await reached.wait()
        second.app.sharing.heed()
        await asyncio.sleep(0.1)
        go_on.set()
        await asyncio.gather(blocking, telling)
        await it.until_states(sending=8)
        await erase(first)
        await until_at(it, "done")
        gate.opened.set()
        await it.until_states(succeeded=8)
        assert texts(it).count("hello") == 3


async def test_old_versions_of_rows_are_taken_out_of_the_tables(tmp_path: Path):
    async with group(tmp_path, 1) as it:
        (one,) = it.processes
        path = await it.source()
        await tell(one, path, 1)
        await erase(one)
        await until_at(it, "done")
        rows = await it.look("SELECT relname::text FROM pg_stat_user_tables WHERE last_vacuum IS NOT NULL")
        found = {name for (name,) in rows}
        assert {"texts", "messages", "identities", "deliveries", "opt_outs", "sources", "jobs"} <= found
        for table in ("events", "receipts", "attempts"):
            assert [name for name in found if name.startswith(f"{table}_20")]  # its parts
