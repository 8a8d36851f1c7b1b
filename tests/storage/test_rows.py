"""Sources, subscriptions, keys and the log's pages: what goes in comes out, and only what is asked for."""

from inspect import isawaitable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from receiver.storage import events, keys, sources, subscriptions
from receiver.storage.database import Engine
from receiver.storage.events import Wanted
from receiver.storage.keys import Key
from receiver.storage.leading import MANY
from receiver.storage.subscriptions import Secret
from receiver.storage.text_index import SQLITE
from receiver.vendors import VENDORS
from tests.storage.making import MOMENT, a_source, a_subscription, saved
from tests.storage.opening import fetch, opened

pytestmark = pytest.mark.usefixtures("engine")


async def read(database: Any, function: Any, *arguments: Any, **given: Any) -> Any:
    async with database.reading() as reader:
        return await function(reader, *arguments, **given)


async def write(database: Any, function: Any, *arguments: Any) -> Any:
    async with database.writing() as transaction:
        done = function(transaction, *arguments)
        return await done if isawaitable(done) else done


FULL = a_subscription(
    types=["message.*", "contact.opted_out"], filter={"from": ["+44*"], "final_only": True},
    secrets=[Secret("whsec_new"), Secret("whsec_old", MOMENT + 5)], headers={"x-key": "v"}, retry_schedule=[0.5, 60],
    state="paused", description="words", max_concurrency=9,
)  # fmt: skip


async def test_a_subscription_comes_back_as_it_was_saved(tmp_path: Path):
    async with opened(tmp_path) as database:
        await saved(database, FULL)
        assert await read(database, subscriptions.get, "sub_1") == FULL
        assert await read(database, subscriptions.get, "sub_2") is None
        await saved(database, a_subscription(url="https://other.example.com"))
        changed = await read(database, subscriptions.get, "sub_1")
        assert (changed.url, changed.filter, changed.retry_schedule) == ("https://other.example.com", None, None)
        await write(database, subscriptions.succeeded, {"sub_1": MOMENT + 7})
        assert (await read(database, subscriptions.get, "sub_1")).last_success_at == MOMENT + 7


async def test_subscriptions_are_listed_newest_first_and_by_url(tmp_path: Path):
    async with opened(tmp_path) as database:
        for number in range(4):
            await saved(database, a_subscription(f"sub_{number}", url=f"https://{number % 2}.example.com"))
        await write(database, subscriptions.remove, "sub_3", MOMENT)

        async def ids(**given: Any) -> list[str]:
            wanted = {"url": None, "before": None, "limit": 10} | given
            return [item.id for item in await read(database, subscriptions.page, **wanted)]

        assert await ids() == ["sub_2", "sub_1", "sub_0"]
        assert await ids(limit=1, before="sub_2") == ["sub_1"]
        assert await ids(url="https://0.example.com") == ["sub_2", "sub_0"]
        assert await read(database, subscriptions.count) == 3
        assert [await read(database, subscriptions.known, name) for name in ("sub_3", "sub_4")] == [True, False]


async def test_a_removed_subscription_leaves_no_secret_behind(tmp_path: Path):
    async with opened(tmp_path) as database:
        await saved(database, FULL)
        await write(database, subscriptions.remove, "sub_1", MOMENT)
        assert await fetch(database, "SELECT secrets, headers FROM subscriptions") == [("[]", "{}")]


async def test_a_source_comes_back_as_it_was_saved(tmp_path: Path):
    row = a_source(vendor="twilio", credentials={"auth_token": ["one", "two"]}, options={"allow": ["10.0.0.0/8"]})
    async with opened(tmp_path) as database:
        await saved(database, row)
        assert await read(database, sources.get, "src_1") == row
        source = row.source(VENDORS["twilio"])
        assert source.secrets("auth_token") == ("one", "two")
        assert [str(network) for network in source.options.allow] == ["10.0.0.0/8"]
        await write(database, sources.failed, "src_1", "signature", MOMENT + 1)
        await write(database, sources.seen, {"src_1": MOMENT + 2, "src_9": MOMENT})
        found = await read(database, sources.get, "src_1")
        assert (found.last_error, found.last_error_at, found.last_seen_at) == ("signature", MOMENT + 1, MOMENT + 2)
        await saved(database, a_source(token="token-2", vendor="twilio", name="renamed"))
        found = await read(database, sources.get, "src_1")
        assert (found.token, found.name, found.last_seen_at) == ("token-2", "renamed", MOMENT + 2)


async def test_a_removed_source_is_gone_but_for_its_name_in_the_log(tmp_path: Path):
    async with opened(tmp_path) as database:
        await saved(database, a_source(credentials={"secret": ["s"]}), a_source("src_2", "token-2"))
        assert await write(database, sources.remove, "src_1", MOMENT)
        assert not await write(database, sources.remove, "src_1", MOMENT)
        assert await read(database, sources.get, "src_1") is None
        assert [row.id for row in await read(database, sources.page, before=None, limit=10)] == ["src_2"]
        assert [row.id for row in await read(database, sources.active)] == ["src_2"]
        assert await read(database, sources.count) == 1
        assert [await read(database, sources.known, name) for name in ("src_1", "src_3")] == [True, False]
        assert await fetch(database, "SELECT credentials FROM sources WHERE id = 'src_1'") == [("{}",)]


async def test_a_key_is_found_by_its_text_alone_and_never_kept(tmp_path: Path):
    key = Key(id="key_1", name="mine", scopes=["read", "write"], created_at=MOMENT)
    async with opened(tmp_path) as database:
        assert not await read(database, keys.any_valid)
        await write(database, keys.insert, key, "key_secret-text")
        assert await read(database, keys.find, "key_secret-text") == key
        assert await read(database, keys.find, "key_secret-texT") is None
        assert await read(database, keys.get, "key_1") == key
        assert await read(database, keys.any_valid)
        assert "secret-text" not in repr(await fetch(database, "SELECT * FROM keys"))
        assert await write(database, keys.revoke, "key_1", MOMENT + 1)
        assert await write(database, keys.revoke, "key_1", MOMENT + 2)
        assert not await write(database, keys.revoke, "key_2", MOMENT)
        assert await read(database, keys.find, "key_secret-text") is None
        assert not await read(database, keys.any_valid)
        (revoked,) = await read(database, keys.page, before=None, limit=10)
        assert revoked.revoked_at == MOMENT + 1
        assert await read(database, keys.page, before="key_1", limit=10) == []


LOG = (
    # id, type, accepted_at, vendor, source_id, message_id, vendor_message_id, client_reference, from, to, status
    ("evt_1", "message.received", 10, "twilio", "src_1", "msg_1", "SM1", None, "+447700900123", "+15550100", None),
    ("evt_2", "message.status", 20, "twilio", "src_1", "msg_2", "SM2", "ref", "+15550100", "+447700900123", "sent"),
    ("evt_3", "contact.opted_out", 20, "sendsms", "src_2", "msg_1", None, None, "+447700900456", None, None),
    ("evt_4", "receipt.quarantined", 30, "sendsms", "src_2", None, None, None, None, None, None),
    ("evt_5", "message.status", 40, "sendsms", "src_2", "msg_2", "SM2", "ref", "+1555*%_", "+33", "delivered"),
)


async def logged(database: Any) -> None:
    await saved(database, a_source("src_1", "one", vendor="twilio"), a_source("src_2", "two", vendor="sendsms"))
    rows = [(*row[:5], "rcp_1", *row[5:], f"body of {row[0]}") for row in LOG]
    await write(database, events.insert, rows)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "12345"),
        ({"types": ["message.*"]}, "125"),
        ({"types": ["message.status", "receipt.*"]}, "245"),
        ({"types": ["*"]}, "12345"),
        ({"types": ["nothing.*"]}, ""),
        ({"vendor": "twilio"}, "12"),
        ({"source": "src_2"}, "345"),
        ({"message_id": "msg_1"}, "13"),
        ({"vendor_message_id": "SM2"}, "25"),
        ({"client_reference": "ref", "vendor": "sendsms"}, "5"),
        ({"status": "sent"}, "2"),
        ({"from_": "+447700900123"}, "1"),
        ({"from_": "+4477*"}, "13"),
        ({"from_": "+1555*"}, "25"),
        ({"from_": "+1555*%_"}, "5"),
        ({"from_": "*"}, "1235"),
        ({"to": "+1*"}, "1"),
        ({"since": 20}, "2345"),
        ({"until": 20}, "1"),
        ({"since": 20, "until": 40, "types": ["message.status"]}, "2"),
    ],
)
async def test_a_page_of_the_log_holds_what_is_asked_for_in_its_order(
    tmp_path: Path, wanted: dict[str, Any], found: str
):
    async with opened(tmp_path) as database:
        await logged(database)
        for newest_first, many in product((False, True), (0, 2, MANY)):  # whichever index leads, if any
            page = await read(
                database, events.page, Wanted(**wanted), after=None, limit=10, newest_first=newest_first, many=many
            )
            expected = found[::-1] if newest_first else found
            assert [item.body for item in page] == [f"body of evt_{number}" for number in expected]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_no_event_of_a_time_is_left_out_because_one_accepted_earlier_was_committed_later(
    tmp_path: Path, newest_first: bool
):
    """The one is accepted two seconds after the other, and stands before it in the log."""
    one, other = MOMENT + 2_000_000, MOMENT
    async with opened(tmp_path) as database:
        rows = [
            (f"evt_{at}", "receipt.quarantined", at, "generic", "src_1", "rcp_1", *[None] * 6, str(at))
            for at in (one, other)
        ]
        await write(database, events.insert, rows)

        async def found(**given: Any) -> list[str]:
            page = await read(database, events.page, Wanted(**given), after=None, limit=10, newest_first=newest_first)
            return [item.body for item in page]

        assert await found(since=MOMENT + 1_000_000) == [str(one)]
        assert await found(until=MOMENT + 1_000_000) == [str(other)]
        both = [str(one), str(other)]
        assert await found(since=MOMENT, until=MOMENT + 5_000_000) == (both[::-1] if newest_first else both)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_the_filter_with_the_fewest_events_leads(tmp_path: Path):
    """Read along, or by the other index, each of these would go through all 3,000."""
    async with opened(tmp_path) as database:
        rows = [
            (f"evt_{number:05}", "message.status", number, "twilio", "src_1", "rcp_1", "msg_1", None, None,
             "+15550100", "+447700900123" if number == 7 else "+15550199", "delivered", "body")
            for number in range(3000)
        ]  # fmt: skip
        await write(database, events.insert, rows)
        wanted = Wanted(from_="+15550100", to="+447700900123", status="delivered", source="src_1", since=3, until=9)
        seen: list[tuple[str, tuple[Any, ...]]] = []
        async with database.reading() as reader:

            class Watched:
                engine: Engine = "sqlite"
                texts = SQLITE

                async def fetch(self, sql: Any, *values: Any) -> Any:
                    seen.append((sql, values))
                    return await reader.fetch(sql, *values)

            (found,) = await events.page(Watched(), wanted, after=None, limit=50)
            sql, values = seen[-1]
            plan = await reader.fetch("EXPLAIN QUERY PLAN " + sql, *values)
        assert found.seq == 8
        assert [row[3] for row in plan] == [
            "SEARCH events USING INDEX events_by_recipient (to_address=? AND rowid>? AND rowid<?)"
        ]


async def test_pages_follow_on_without_gap_or_repeat(tmp_path: Path):
    async with opened(tmp_path) as database:
        await logged(database)
        for newest_first in (False, True):
            seen: list[int] = []
            while page := await read(
                database, events.page, Wanted(), after=seen[-1] if seen else None, limit=2, newest_first=newest_first
            ):
                seen += [item.seq for item in page]
            assert seen == sorted(seen, reverse=newest_first)
            assert len(seen) == 5


async def test_an_event_is_found_by_its_id(tmp_path: Path):
    async with opened(tmp_path) as database:
        assert await read(database, events.newest_id) is None
        await logged(database)
        assert await read(database, events.get, "evt_3") == "body of evt_3"
        assert await read(database, events.get, "evt_9") is None
        assert await read(database, events.position, "evt_9") is None
        assert await read(database, events.position, "evt_3") == 3
        assert await read(database, events.newest_id) == "evt_5"
