"""/v1/receipts/reparse: what is chosen, in which steps and pages it is read, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from receiver.intake import apply
from receiver.sms.timestamps import to_text
from receiver.storage.receipts import Outcome
from tests.api.reparsing import (
    asked,
    dry,
    fields,
    fix,
    log,
    message,
    receipt,
    source_of,
    tell,
)
from tests.api.running import Api, pointers, running_api

pytestmark = pytest.mark.usefixtures("engine")


async def test_a_job_goes_through_many_in_bounded_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text=None))
        for number in range(apply.READ + 5):
            await tell(api, source, message(number))
        await fix(api, source)
        await api.client.post("/v1/receipts/reparse", json={})
        assert await api.jobs.step()
        ((done, state),) = await progress(api)
        assert (done, state) == (apply.READ, "running")
        await api.work()
        assert await progress(api) == [(apply.READ + 5, "done")]
        assert len([event for event in await log(api) if event["supersedes"]]) == apply.READ + 5
        monkeypatch.setattr(apply, "LOOKED_AT", 10)
        assert await asked(api)


@pytest.mark.parametrize(("name", "most"), [("EVENTS", 2), ("BYTES", 100), ("READ", 2)])
async def test_a_step_ends_when_it_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int):
    monkeypatch.setattr(apply, name, most)
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text=None))
        for number in range(3):
            await tell(api, source, message(number))
        await fix(api, source)
        await api.client.post("/v1/receipts/reparse", json={})
        assert await api.jobs.step()
        ((done, state),) = await progress(api)
        assert (0 < done < 3, state) == (True, "running")
        await api.work()
        assert await progress(api) == [(3, "done")]


async def progress(api: Api) -> list[Any]:
    async with api.database.reading() as reader:
        return [*await reader.fetch("SELECT done, state FROM jobs")]


async def test_a_dry_run_comes_in_pages(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api, **fields(text=None))
        for number in range(5):
            await tell(api, source, message(number))
        await fix(api, source)
        found: list[str] = []
        after = None
        for _ in range(3):
            page = await dry(api, limit=2, **({"after": after} if after else {}))
            found += [item["receipt_id"] for item in page["data"]]
            after = page["next"]
        assert after is None
        assert found == [item.receipt.id for item in api.recorded]


@pytest.mark.parametrize("outcome", ["stored", "quarantined"])
async def test_what_is_chosen_is_read_and_nothing_else(tmp_path: Path, outcome: Outcome):
    async with running_api(tmp_path) as api:
        source, other = await source_of(api), await source_of(api)
        ids = [
            await tell(api, source, message(1)),
            await tell(api, source, {"odd": 1}),
            await tell(api, other, message()),
        ]

        async def read(**body: Any) -> int:
            return int((await dry(api, **body))["read"])

        moment = (await receipt(api, ids[1]))["received_at"]
        assert await read(outcome=outcome) == {"stored": 2, "quarantined": 1}[outcome]
        assert await read(source=source["id"]) == 2
        assert await read(since=moment) == 2
        assert await read(until=moment) == 1
        assert await read(since=to_text(api.context.clock())) == 0
        assert await read(ids=[ids[2], ids[0]]) == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"source": "src_no"}, "/source"),
        ({"ids": ["rcp_no"]}, "/ids/0"),
        ({"ids": []}, "/ids"),
        ({"outcome": "lost"}, "/outcome"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "/until"),
        ({"limit": 0}, "/limit"),
        ({"other": 1}, "/other"),
    ],
)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, body: dict[str, Any], pointer: str):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.post("/v1/receipts/reparse", json=body)) == [pointer]
