"""Exports: everything that filters leave, each once and in order, at flat memory, while rows arrive."""

import asyncio
import csv
import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from receiver.api.reading import along
from receiver.storage import events
from receiver.storage.events import Wanted
from receiver.storage.sqlite import InThread, SqliteDatabase
from tests.api.running import START, Api, pointers, problem, running_api
from tests.api.test_events import message, received, report
from tests.wire import wire, world_client

pytestmark = pytest.mark.usefixtures("engine")

DAY = "since=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z"


async def exported(api: Api, query: str = "") -> httpx2.Response:
    answer = await api.client.get(f"/v1/events/export{query}")
    assert answer.status_code == 200, answer.text
    return answer


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def unzipped(answer: httpx2.Response) -> tuple[str, bytes]:
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        (name,) = file.namelist()
        return name, file.read(name)


async def test_ndjson_is_the_stored_json_a_line_each(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 3)
        await api.receive(source, message(4, text="two\nlines \u2028 and caf\u00e9"))
        answer = await exported(api)
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert answer.headers["content-disposition"] == 'attachment; filename="events.ndjson"'
        async with api.database.reading() as reader:
            stored = [row[0] for row in await reader.fetch("SELECT body FROM events ORDER BY seq")]
        assert answer.content == "".join(f"{body}\n" for body in stored).encode()


async def test_an_empty_log_is_an_empty_file_or_headings_alone(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert (await exported(api)).content == b""
        assert table((await exported(api, "?format=csv")).text) == []
        assert (await exported(api, "?format=csv")).text.startswith("id,type,timestamp,")


async def test_filters_and_after_are_those_of_the_list(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 4)
        await api.receive(source, report(1))
        page = (await api.client.get("/v1/events?limit=2")).json()
        found = [orjson.loads(line) for line in (await exported(api, f"?after={page['last']}")).content.splitlines()]
        assert [event["data"].get("text") for event in found] == ["hello 2", "hello 3", None]
        rows = table((await exported(api, "?format=csv&from=%2B44770090010*&type=message.received")).text)
        assert [row["text"] for row in rows] == ["hello 0", "hello 1", "hello 2", "hello 3"]
        assert pointers(await api.client.get("/v1/events/export?format=xml")) == ["/format"]
        assert pointers(await api.client.get("/v1/events/export?limit=5")) == ["/limit"]
        assert problem(await api.client.get("/v1/events/export?after=nonsense")) == (400, "bad_cursor")


async def test_a_table_holds_no_formula(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        await api.receive(source, message(0, text='=HYPERLINK("http://evil.example","click"),\r\n+1'))
        answer = await exported(api, "?format=csv")
        assert answer.headers["content-type"].startswith("text/csv")
        (row,) = table(answer.text)
        assert row["text"] == '\'=HYPERLINK("http://evil.example","click"),\r\n+1'
        assert row["from"] == "'+447700900100"


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
async def test_zipped_it_is_the_same_file(tmp_path: Path, kind):
    async with running_api(tmp_path) as api:
        await received(api, 5)
        name, content = unzipped(await exported(api, f"?format={kind}&compress=zip"))
        assert name == f"events.{kind}"
        assert content == (await exported(api, f"?format={kind}")).content
        assert pointers(await api.client.get("/v1/events/export?compress=gzip")) == ["/compress"]


async def filled(database: Any, count: int) -> None:
    """Large events straight into the log."""
    for start in range(0, count, 500):
        async with database.writing() as transaction:
            events.insert(
                transaction,
                [
                    (f"evt_{number:08d}", "message.received", START, None, None, None, None, None, None, None, None, None,
                     orjson.dumps({"id": f"evt_{number:08d}", "type": "message.received", "timestamp": "",
                                   "supersedes": None, "data": {"text": "x" * 2000}}).decode())
                    for number in range(start, min(count, start + 500))
                ],
            )  # fmt: skip


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
async def test_memory_is_flat_and_what_arrives_meanwhile_is_not_in_it(tmp_path: Path, kind):
    async with wire(tmp_path) as it:
        await filled(it.app.database, 6000)
        size, ids, most = 0, [], 0
        async with world_client(it.port) as client:
            tracemalloc.start()
            async with client.stream("GET", f"/v1/events/export?format={kind}") as answer:
                rest = ""
                async for piece in answer.aiter_text():
                    if not size:
                        await it.app.batch.write(late)
                    size += len(piece)
                    *lines, rest = (rest + piece).split("\n")
                    ids += [line.partition("evt_")[2][:8] for line in lines if "evt_" in line]
                    most = max(most, tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
        assert ids == [f"{number:08d}" for number in range(6000)]
        assert size > 12_000_000
        assert most < 8_000_000


async def late(transaction: Any) -> None:
    events.insert(transaction, [("evt_late", "message.received", START, *[None] * 9, '{"id":"evt_late"}')])


async def transactions_besides(database: Any) -> int:
    """Those that are open, as the engine itself sees it."""
    if isinstance(database, SqliteDatabase):
        assert isinstance(database._writer, InThread)
        ((busy, _, _),) = await database._writer.connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(busy)
    async with database.reading() as reader:
        ((open_ones,),) = await reader.fetch(
            """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"""
        )
    return int(open_ones)


async def test_no_transaction_is_held_while_nobody_reads(tmp_path: Path):
    async with wire(tmp_path) as it:
        await filled(it.app.database, 6000)
        async with world_client(it.port) as client, client.stream("GET", "/v1/events/export") as answer:
            pieces = answer.aiter_raw()
            await anext(pieces)
            await asyncio.sleep(0.3)  # the sender has filled what may wait
            await it.app.batch.write(late)
            async with it.app.database.writing() as transaction:
                await transaction.fetch("SELECT 1")
            assert await transactions_besides(it.app.database) == 0


async def test_it_gives_way_to_writes_that_wait(tmp_path: Path):
    began, go, others = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def held(_: Any) -> None:
        began.set()
        await go.wait()

    async with running_api(tmp_path) as api:
        await filled(api.context.database, 300)
        under_way = asyncio.create_task(api.context.batch.write(held))
        await began.wait()
        waiting = asyncio.create_task(api.context.batch.write(held))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.04, others.set)
        answer = await exported(api)
        served = others.is_set()
        go.set()
        await asyncio.gather(under_way, waiting)
        assert served
        assert len(answer.content.splitlines()) == 300


async def test_an_export_that_the_end_cuts_off_is_no_whole_file(tmp_path: Path):
    async with wire(tmp_path) as it:
        await filled(it.app.database, 6000)

        async def read() -> None:
            async with world_client(it.port) as client, client.stream("GET", "/v1/events/export") as answer:
                async for _ in answer.aiter_raw():
                    it.app.live.close()

        with pytest.raises(httpx2.RemoteProtocolError):
            await read()


async def test_one_that_fails_before_its_first_piece_is_a_problem(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 1)
        api.context.live.close()
        assert problem(await api.client.get("/v1/events/export")) == (503, "unavailable")


async def test_a_campaign_report_is_a_row_for_each_message_of_the_period(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        names = {"ok": "delivered", "gone": "sent"}
        other = await api.mapped_source(options={"statuses": names})
        await api.receive(source, message(1))
        for number in (1, 2):
            await api.receive(other, orjson.dumps({"vendor_message_id": f"o-{number}", "status": "gone"}))
        await api.receive(other, orjson.dumps({"vendor_message_id": "o-1", "status": "ok", "to": "447700900555"}))
        await api.receive(source, report(3))
        answer = await api.client.get(f"/v1/campaign-report?{DAY}")
        assert answer.headers["content-disposition"] == 'attachment; filename="campaign.csv"'
        rows = table(answer.text)
        assert [(row["vendor_message_id"], row["statut"], row["final"]) for row in rows] == [
            ("o-1", "delivered", "true"), ("o-2", "sent", "false"), ("out-3", "delivered", "true"),
        ]  # fmt: skip
        assert rows[0]["num"] == "'+447700900555"
        answer = await api.client.get(f"/v1/campaign-report?{DAY}&source={other['id']}&compress=zip")
        name, content = unzipped(answer)
        assert name == "campaign.csv"
        assert [row["vendor_message_id"] for row in table(content.decode())] == ["o-1", "o-2"]
        earlier = "since=2025-01-01T00:00:00Z&until=2026-01-01T00:00:00Z"
        assert table((await api.client.get(f"/v1/campaign-report?{earlier}")).text) == []


async def test_a_campaign_report_of_one_batch(tmp_path: Path):
    async with running_api(tmp_path) as api:
        fields = {"vendor_message_id": "id", "batch_id": "batch", "status": "status"}
        source = await api.make_source(options={"fields": fields, "statuses": {"ok": "delivered"}})
        for number in range(4):
            body = {"id": f"m{number}", "batch": f"b{number % 2}", "status": "ok"}
            await api.receive(source, orjson.dumps(body))
        rows = table((await api.client.get(f"/v1/campaign-report?{DAY}&batch_id=b1")).text)
        assert [row["vendor_message_id"] for row in rows] == ["m1", "m3"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", ["/since", "/until"]),
        ("since=2026-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", ["/until"]),
        (f"{DAY}&format=csv", ["/format"]),
    ],
)
async def test_a_period_that_is_none_is_refused(tmp_path: Path, query, pointer):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.get(f"/v1/campaign-report?{query}")) == pointer


async def test_a_reader_of_a_still_log_ends_where_the_log_does(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await received(api, 3)
        api.context.live.still = True
        found = [row async for stretch in along(api.context, Wanted(), 0, rows=2) for row in stretch.rows]
        assert len(found) == 3
