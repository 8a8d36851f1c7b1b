"""Answers to our questions, kept as receipts with the method POLL, are read again like any request."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from receiver.intake.reparse import plan
from receiver.storage import receipts
from tests.polling.asking import Asker, asker, until
from tests.polling.fakes import KEYID, ISendPro
from tests.polling.server import serving
from tests.polling.test_reconcile import HOUR, opened, passed, told
from tests.polling.turning import turning

pytestmark = pytest.mark.usefixtures("engine")

SENT: list[list[str]] = [
    ["2026-11-20 14:22:07", "33601020304", "ACME", "order-1", "0"],
    ["2026-11-20 14:22:07", "33601020305", "ACME", "order-2", "1"],
]
STATUSES = {"0": "delivered", "1": "sent"}
OPTIONS: dict[str, Any] = {"statuses": STATUSES, "international": True, "timezone": "Europe/Paris"}
ASKED = {"feeds": ["campaign"], "every": 3600}


def kept(it: Asker, outcome: str) -> Callable[[], Awaitable[bool]]:
    async def found() -> bool:
        return [item["outcome"] for item in await polled(it)] == [outcome]

    return found


async def polled(it: Asker) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await it.api("GET", "/v1/receipts"))["data"]
    assert {item["method"] for item in found} <= {"POLL"}
    return found


async def reparsed(it: Asker) -> int:
    """How many events a job makes of all that was kept."""
    job = (await it.api("POST", "/v1/receipts/reparse", since="2020-01-01T00:00:00Z"))["job"]
    shown: dict[str, Any] = {}

    async def done() -> bool:
        nonlocal shown
        shown = await it.api("GET", f"/v1/jobs/{job['id']}")
        return str(shown["state"]) != "running"

    await until(done)
    assert (shown["state"], shown["done"]) == ("done", 1)
    return int(shown["released"])


async def mend(it: Asker, source: Any, poll: Any, **options: Any) -> None:
    """The vendor says nothing new afterwards, so nothing but reading again helps."""
    poll = {**source["options"]["poll"], **poll}
    await it.api("PATCH", f"/v1/sources/{source['id']}", options={**OPTIONS, **options, "poll": poll})


async def test_words_whose_meaning_was_declared_later_correct_the_reports_of_an_answer(tmp_path: Path) -> None:
    vendor = ISendPro()
    vendor.sent = [*SENT]
    async with serving(vendor) as fake, asker(tmp_path) as it:
        source = await it.source("isendpro", fake, {"keyid": KEYID}, ASKED, **OPTIONS | {"statuses": {}})
        await until(kept(it, "stored"))
        first = await it.events()
        assert [event["data"]["status"] for event in first] == ["unknown", "unknown"]
        await mend(it, source, {})
        assert await reparsed(it) == 2
        made = [event for event in await it.events() if event not in first]
        assert [(event["data"]["client_reference"], event["data"]["status"]) for event in made] == [
            ("order-1", "delivered"),
            ("order-2", "sent"),
        ]
        assert [event["supersedes"] for event in made] == [event["id"] for event in first]
        assert await it.fetch("SELECT status FROM messages ORDER BY id") == [("delivered",), ("sent",)]
        assert await reparsed(it) == 0


async def test_columns_that_were_named_later_make_the_events_of_an_answer(tmp_path: Path) -> None:
    vendor = ISendPro()
    vendor.sent = [*SENT]
    async with serving(vendor) as fake, asker(tmp_path) as it:
        wrong = {"columns": {"client_reference": "another"}}
        source = await it.source("isendpro", fake, {"keyid": KEYID}, ASKED | wrong, **OPTIONS)
        await until(kept(it, "ignored"))
        assert await it.events() == []
        await mend(it, source, {"columns": {}})
        assert await reparsed(it) == 2
        assert [event["data"]["status"] for event in await it.events()] == ["delivered", "sent"]
        assert await kept(it, "stored")()
        assert await reparsed(it) == 0


async def test_a_message_that_was_closed_stays_as_it_is(tmp_path: Path) -> None:
    async with turning(tmp_path) as it:
        door = await opened(it, reconcile={"after": HOUR, "close_after": HOUR})
        await told(it, door, client_reference="order-1", to="447700900123", status="out")
        await passed(it, it.reconciler, HOUR + 1)
        kept = await it.fetch("SELECT id, method FROM receipts ORDER BY id")
        assert [method for _, method in kept] == ["GET", "POLL"]
        async with it.made.database.reading() as reader:
            for receipt_id, _ in kept:
                receipt = await receipts.get(reader, receipt_id)
                assert receipt is not None
                made = await plan(reader, receipt, it.made.catalog, it.asking.intake.public_url)
                assert (made.error, made.skipped, made.differs) == (None, None, False)
