"""On PostgreSQL: every filter of the API, and every look of the way out, is served by an index."""

from pathlib import Path
from typing import Any

import pytest

from receiver.storage import deliveries, events, jobs, receipts, subscriptions, windows
from receiver.storage.events import Wanted
from tests.storage.opening import change, opened

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]

EVENTS = """INSERT INTO events (id, type, accepted_at, vendor, source_id, receipt_id, message_id, vendor_message_id,
        client_reference, from_address, to_address, status, body)
    SELECT 'evt_' || lpad(n::text, 8, '0'),
        CASE WHEN n % 500 = 0 THEN 'contact.opted_out' WHEN n % 2 = 0 THEN 'message.status' ELSE 'message.received' END,
        n * 1000000::bigint, 'twilio', 'src_' || n % 300, 'rcp_' || n, 'msg_' || n, 'vm_' || n, 'ref_' || n,
        '+4477009' || lpad((n % 5000)::text, 5, '0'), '+1555' || lpad((n % 4000)::text, 5, '0'),
        CASE WHEN n % 900 = 0 THEN 'rejected' ELSE 'delivered' END, '{}'
    FROM generate_series(1, 20000) AS n"""
DELIVERIES = """INSERT INTO deliveries (id, subscription_id, event_id, state, attempts, next_at, created_at, updated_at,
        conversation, leased_by)
    SELECT 'dlv_' || lpad(n::text, 8, '0'), 'sub_' || n % 50, 'evt_' || lpad(n::text, 8, '0'),
        CASE WHEN n % 400 = 0 THEN 'waiting' WHEN n % 401 = 0 THEN 'dead' WHEN n % 402 = 0 THEN 'queued'
            ELSE 'succeeded' END, 1, CASE WHEN n % 400 = 0 THEN n END, n, n, 'c' || n % 700, 1
    FROM generate_series(1, 20000) AS n"""
RECEIPTS = """INSERT INTO receipts (id, source_id, vendor, received_at, outcome, peer, method, target, headers, body)
    SELECT 'rcp_' || lpad(n::text, 8, '0'), 'src_' || n % 300, 'twilio', n,
        CASE WHEN n % 500 = 0 THEN 'quarantined' ELSE 'stored' END, '', 'POST', '', '', '' FROM generate_series(1, 20000) AS n"""


SECOND = 1_000_000


class Planning:
    """Notes how each statement would be done, and does it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.engine = inner.engine
        self.plans: list[tuple[str, str]] = []

    async def fetch(self, sql: Any, *values: Any) -> Any:
        lines = await self._inner.fetch("EXPLAIN " + sql, *values)
        self.plans.append((sql, "\n".join(line for (line,) in lines)))
        return await self._inner.fetch(sql, *values)

    async def many(self, before: Any, rows: Any, after: Any = "", *values: Any) -> Any:
        sql, arrays = await self._inner._laid_out(before, rows, after)
        lines = await self._inner._fetched("EXPLAIN " + sql, [*arrays, *values])
        self.plans.append((before + after, "\n".join(line for (line,) in lines)))
        return await self._inner.many(before, rows, after, *values)

    async def lock(self, names: Any) -> None:
        await self._inner.lock(names)

    def served(self) -> None:
        assert self.plans
        for sql, plan in self.plans:
            scanned = [line for line in plan.splitlines() if "Seq Scan on" in line]
            large = [
                line for line in scanned if any(f" {table}" in line for table in ("events", "deliveries", "receipts"))
            ]
            assert [line for line in large if "_other" in line or "deliveries" in line] == [], f"{sql}\n{plan}"


async def filled(database: Any) -> None:
    for sql in (EVENTS, DELIVERIES, RECEIPTS):
        await change(database, sql)
    async with database.writing() as transaction:
        await transaction.script("ANALYZE")


FILTERS = [
    Wanted(), Wanted(types=("contact.*",)), Wanted(vendor="twilio", source="src_7"), Wanted(source="src_7"),
    Wanted(from_="+447700900123"), Wanted(from_="+4477009001*"), Wanted(to="+155500123"), Wanted(message_id="msg_9"),
    Wanted(vendor_message_id="vm_9"), Wanted(client_reference="ref_9"), Wanted(status="rejected"),
    Wanted(since=19_000 * SECOND), Wanted(until=100 * SECOND), Wanted(since=500 * SECOND, until=900 * SECOND, types=("message.status",)),
    Wanted(from_="+447700900123", status="rejected", since=100 * SECOND),
]  # fmt: skip


async def test_every_filter_of_the_api(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.reading() as reader:
            it: Any = Planning(reader)
            for wanted in FILTERS:
                for newest_first in (True, False):
                    await events.page(it, wanted, after=None, limit=50, newest_first=newest_first)
            await events.page(it, Wanted(types=("message.received",)), after=19_000, limit=50)
            await events.get(it, "evt_00000009")
            await events.last_id(it)
            for given in ({"subscription": "sub_7"}, {"event": "evt_00000400"}, {"state": "dead"}, {}):
                await deliveries.page(it, **given, limit=50)
            await deliveries.page(it, subscription="sub_0", state="waiting", limit=50)
            for source, outcome in ((None, None), ("src_7", None), (None, "quarantined")):
                await receipts.page(it, source=source, outcome=outcome, since=None, before=None, limit=50)
            await subscriptions.backlogs(it, ["sub_0", "sub_1"])
        it.served()


async def test_every_look_of_the_way_out_and_of_jobs(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.writing() as transaction:
            it: Any = Planning(transaction)
            await deliveries.take(it, "sub_0", fresh=9, retried=9, now=20_000)
            await deliveries.due(it)
            await deliveries.due(it, "sub_0")
            await deliveries.dues(it, ["sub_0", "sub_1"])
            await deliveries.held_by(it, 1, 5)
            await deliveries.advance(it, [("sub_2", "c2"), ("sub_3", "c3")], 5)
            await jobs.running(it, "job_1")
            await windows.events_behind(it, 5, 9, 10)
            await windows.events_of(it, ["evt_00000001"])
            await windows.deliveries_behind(it, "sub_1", "dlv_1", "dlv_9", 10)
            await windows.standing(it, [("evt_00000001", "sub_1")])
            await windows.owed(it, "sub_1")
        it.served()
