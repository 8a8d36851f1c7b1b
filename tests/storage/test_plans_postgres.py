"""On PostgreSQL: every filter of the API, and every look of the way out, is served by an index."""

import re
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.words import query
from receiver.storage import (
    corrections,
    deliveries,
    events,
    jobs,
    message_list,
    receipts,
    search,
    subscriptions,
    timeline,
    windows,
)
from receiver.storage.columns import numbered
from receiver.storage.events import Wanted
from receiver.storage.leading import leading
from receiver.storage.message_list import FAILED
from tests.storage.making import a_source, saved
from tests.storage.opening import change, opened
from tests.storage.test_search import index

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]

EVENTS = """INSERT INTO events (id, type, accepted_at, vendor, source_id, receipt_id, message_id, vendor_message_id,
        client_reference, from_address, to_address, status, body)
    SELECT 'evt_' || lpad(n::text, 8, '0'),
        CASE WHEN n % 500 = 0 THEN 'contact.opted_out' WHEN n % 2 = 0 THEN 'message.status' ELSE 'message.received' END,
        n * 1000000::bigint, 'twilio', 'src_' || n % 300, 'rcp_' || n, 'msg_' || lpad(n::text, 8, '0'), 'vm_' || n, 'ref_' || n,
        '+4477009' || lpad((n % 5000)::text, 5, '0'), '+1555' || lpad((n % 4000)::text, 5, '0'),
        CASE WHEN n % 900 = 0 THEN 'rejected' WHEN n % 2 = 0 THEN 'delivered' END,
        '{"data":{"message_id":"msg_' || lpad(n::text, 8, '0') || '","text":"hello ' || n % 1000 || '"}}'
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
MESSAGES = """INSERT INTO messages (id, source_id, vendor, direction, batch_id, from_address, to_address, conversation,
        status, final, created_at, updated_at, read_at)
    SELECT message_id, source_id, vendor, CASE WHEN status IS NULL THEN 'in' ELSE 'out' END,
        CASE WHEN status IS NOT NULL THEN 'batch_' || seq % 100 END, from_address, to_address, '', status,
        CASE WHEN status IS NOT NULL THEN 1 END, accepted_at, accepted_at,
        CASE WHEN status IS NULL AND seq % 3 > 0 THEN 1 END
    FROM events"""

SECOND = 1_000_000


LARGE = ("events_other", "deliveries", "receipts_other", "messages", "texts")


FEW_ROWS = 50.0
"""In the planner's own measure; going through all of one of the large tables is some hundred."""


def cost(plan: str) -> float:
    found = re.search(r"cost=[\d.]+\.\.([\d.]+)", plan)
    assert found
    return float(found[1])


class Planning:
    """Notes how each statement would be done, and does it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.engine = inner.engine
        self.texts = inner.texts
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
        """What is over after a few rows, by its LIMIT and by the statistics, may go through a table."""
        assert self.plans
        for sql, plan in self.plans:
            if cost(plan) < FEW_ROWS:
                continue
            scanned = [line for line in plan.splitlines() if "Seq Scan on" in line]
            large = [line for line in scanned if any(f" {table}" in line for table in LARGE)]
            assert large == [], f"{sql}\n{plan}"


async def filled(database: Any) -> None:
    await saved(database, a_source("src_7", vendor="twilio"))
    for sql in (EVENTS, DELIVERIES, RECEIPTS, MESSAGES):
        await change(database, sql)
    async with database.writing() as transaction:
        await transaction.script("ANALYZE")


FILTERS = [
    Wanted(), Wanted(types=("contact.*",)), Wanted(vendor="twilio", source="src_7"), Wanted(source="src_7"),
    Wanted(from_="+447700900123"), Wanted(from_="+4477009001*"), Wanted(to="+155500123"), Wanted(message_id="msg_00000009"),
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


OF_MESSAGES = [
    message_list.Wanted(), message_list.Wanted(direction="in"), message_list.Wanted(direction="out"),
    message_list.Wanted(unread=True), message_list.Wanted(unread=False), message_list.Wanted(statuses=FAILED),
    message_list.Wanted(statuses=("delivered",)), message_list.Wanted(batch_id="batch_4"),
    message_list.Wanted(from_="+447700900123"), message_list.Wanted(from_="+44770090012*", direction="in"),
    message_list.Wanted(to="+155500123", unread=True), message_list.Wanted(to="+1555*"),
    message_list.Wanted(between=("+447700900123", "+155500123")), message_list.Wanted(source="src_7"),
    message_list.Wanted(source="src_7", statuses=("rejected",)), message_list.Wanted(vendor="twilio"),
    message_list.Wanted(vendor_message_id="vm_9"), message_list.Wanted(client_reference="ref_9"),
    message_list.Wanted(since=1, until=2**50), message_list.Wanted(batch_id="batch_4", from_="+4477*"),
]  # fmt: skip


@pytest.mark.parametrize("many", [0, 100])
async def test_every_filter_of_messages(tmp_path: Path, many: int):
    """Whether what it finds is few or more than are counted."""
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.reading() as reader:
            it: Any = Planning(reader)
            for wanted in OF_MESSAGES:
                await message_list.look(it, wanted, before=None, limit=50, many=many, window=2000)
                await message_list.look(it, wanted, before="msg_00000100", limit=50, many=many, window=2000)
            await message_list.get(it, "msg_00000009")
            await message_list.some(it, ["msg_00000009", "msg_00000010"])
            await message_list.texts(it, ["msg_00000009", "msg_00000010"])
            await message_list.text_position(it, "msg_00000009")
        it.served()


async def test_whatever_belongs_to_one_thing(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.reading() as reader:
            it: Any = Planning(reader)
            await timeline.heard(it, "msg_00000010", 100)
            await timeline.told(it, ["evt_00000010"], 5)
            await corrections.standing(it, "rcp_10", 10 * SECOND)
            await corrections.one(it, "evt_00000010")
            await corrections.reports(it, "msg_00000010", 100)
            await receipts.get(it, "rcp_00000010")
            await receipts.behind(it, "rcp_00000010", "rcp_00000090", 50)
            await message_list.counts(it, "batch_4", "src_7")
            await message_list.known(it, "msg_00000010")
        it.served()
        assert len(it.plans) == 10


async def test_words_of_texts(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        await index(database)
        async with database.writing() as transaction:
            await transaction.script("SELECT gin_clean_pending_list('texts_words'); ANALYZE")
        async with database.reading() as reader:
            it: Any = Planning(reader)
            await search.position(it)
            for asked in ("hello 77", "hello", "77*"):
                for newest_first in (True, False):
                    await events.look(it, Wanted(words=query(asked)), after=None, limit=50, newest_first=newest_first)
                for wanted in (
                    message_list.Wanted(),
                    message_list.Wanted(from_="+4477*"),
                    message_list.Wanted(source="src_7"),
                ):
                    await message_list.search(it, wanted, query(asked), after=None, limit=50)
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


class Guessing(Planning):
    """Notes how each statement would be done by a plan for whatever values, as a connection has it that was asked the
    same some times before.
    """

    async def fetch(self, sql: Any, *values: Any) -> Any:
        connection = self._inner._connection
        literals = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in values)
        await connection.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE asked AS {numbered(sql)}")
        lines = await connection.fetch(f"EXPLAIN EXECUTE asked{f'({literals})' if values else ''}")
        await connection.execute("DEALLOCATE asked")
        self.plans.append((sql, "\n".join(line for (line,) in lines)))
        return await self._inner.fetch(sql, *values)

    def by_their_own_index(self) -> None:
        """Neither through the table, nor along the log or all messages."""
        assert self.plans
        for sql, plan in self.plans:
            for other in (
                "Seq Scan on events",
                "Seq Scan on messages",
                "events_other_seq_idx",
                "messages_pkey",
            ):
                assert other not in plan, f"{sql}\n{plan}"


@pytest.mark.parametrize("many", [100, 5_000])
async def test_whose_rows_all_lie_far_back_is_not_looked_for_in_all_of_the_log(tmp_path: Path, many: int):
    """Among few others, so that every second row could be one, as far as the statistics tell."""
    few = EVENTS.replace("n % 300", "n % 3").replace("n % 5000", "n % 3").replace("n % 900 = 0", "n < 3000")
    async with opened(tmp_path, readers=1) as database:
        for sql in (few, MESSAGES.replace("seq % 100", "CASE WHEN seq < 3000 THEN 7 ELSE seq % 3 END")):
            await change(database, sql)
        old = "UPDATE events SET from_address = '+44old', source_id = 'src_old' WHERE seq <= 3000"
        await change(database, old)
        async with database.writing() as transaction:
            await transaction.script("ANALYZE")
        async with database.reading() as reader:
            it: Any = Guessing(reader)
            for wanted in (
                Wanted(from_="+44old"), Wanted(from_="+44o*"), Wanted(source="src_old"), Wanted(status="rejected"),
                Wanted(from_="+44old", source="src_old"), Wanted(types=("contact.opted_out",)),
            ):  # fmt: skip
                conditions = events._conditions(wanted)
                ground = events._Ground(0, 20_000, 50, newest_first=True)
                lead = await leading(it, "events", conditions, many)
                if lead.condition is not None:
                    await events._read(it, ground, conditions, lead, 2_000)
                if wanted in (Wanted(from_="+44old"), Wanted(source="src_old")):
                    assert "Sort" not in it.plans[-1][1]
            old_ones = message_list.Wanted(batch_id="batch_7")
            await message_list.look(it, old_ones, before=None, limit=50, many=many, window=2_000)
        it.by_their_own_index()
