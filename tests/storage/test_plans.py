"""Every filter of the log is read by an index, whether its rows are few or many, and nothing reads a whole table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.words import query
from receiver.storage import events
from receiver.storage.events import Wanted
from receiver.storage.leading import MANY
from tests.storage.making import a_source, saved
from tests.storage.opening import opened
from tests.storage.test_message_list import plan_of
from tests.storage.test_rows import write
from tests.storage.test_search import a_row, index

BY_WORDS = "SCAN texts VIRTUAL TABLE INDEX"
ALONG = "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
ROWS = 700

FEW: Sequence[tuple[dict[str, Any], str]] = (
    ({"message_id": "m"}, "events_by_message (message_id=?"),
    ({"vendor_message_id": "m"}, "events_by_vendor_message (vendor_message_id=?"),
    ({"client_reference": "r"}, "events_by_reference (client_reference=?"),
    ({"from_": "+447700900123"}, "events_by_sender (from_address=?"),
    ({"from_": "+4477*"}, "events_by_sender (from_address>? AND from_address<?)"),
    ({"to": "60777"}, "events_by_recipient (to_address=?"),
    ({"to": "60*"}, "events_by_recipient (to_address>? AND to_address<?)"),
    ({"status": "sent"}, "events_by_status (status=?"),
    ({"source": "src_1"}, "events_by_source (source_id=?"),
    ({"vendor": "generic"}, "events_by_source (source_id=?"),
    ({"types": ["contact.opted_out"]}, "events_by_rare_type (type=?"),
    ({"types": ["contact.*"]}, "events_by_rare_type (type>? AND type<?)"),
    ({"from_": "+4477*", "status": "failed", "source": "src_1"}, "events_by_status (status=?"),
    ({"types": ["message.received"], "to": "60777"}, "events_by_recipient (to_address=?"),
)
MANY_ROWS: Sequence[tuple[dict[str, Any], str]] = (
    ({}, ALONG),
    ({"types": ["message.received"]}, ALONG),
    ({"from_": "+4477*"}, ALONG),
    ({"status": "delivered"}, ALONG),
    ({"vendor": "generic"}, ALONG),
    ({"since": 1, "until": 10**9}, ALONG),
    ({"types": ["contact.*", "message.status"]}, ALONG),
    ({"from_": "+447700900123"}, "events_by_sender (from_address=? AND rowid>? AND rowid<?)"),
    ({"to": "60777", "vendor": "generic"}, "events_by_recipient (to_address=? AND rowid>? AND rowid<?)"),
    ({"source": "src_1", "types": ["message.received"]}, "events_by_source (source_id=? AND rowid>? AND rowid<?)"),
    ({"status": "failed", "source": "src_1"}, "events_by_status (status=? AND rowid>? AND rowid<?)"),
    ({"types": ["contact.opted_out"]}, "events_by_rare_type (type=? AND rowid>? AND rowid<?)"),
)


async def filled(database: Any) -> None:
    await saved(database, a_source("src_1"))
    await write(database, events.insert, [a_row(number, "hello") for number in range(1, ROWS)])


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(("wanted", "expected"), FEW)
async def test_a_filter_that_leaves_few_is_read_by_its_index(
    tmp_path: Path, wanted: dict[str, Any], expected: str, newest_first: bool
):
    async with opened(tmp_path) as database:
        await filled(database)
        plan = await plan_of(
            database, events.look, Wanted(**wanted), after=7, limit=50, newest_first=newest_first, many=MANY, sorts=True
        )
        assert expected in plan[0]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(("wanted", "expected"), MANY_ROWS)
async def test_a_filter_that_leaves_many_is_read_in_the_order_of_the_log(
    tmp_path: Path, wanted: dict[str, Any], expected: str, newest_first: bool
):
    async with opened(tmp_path) as database:
        await filled(database)
        plan = await plan_of(
            database, events.look, Wanted(**wanted), after=None, limit=50, newest_first=newest_first, many=0
        )
        assert expected in plan[0]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("wanted", [{}, {"source": "src_1"}, {"from_": "+4477*", "until": 10**9}])
async def test_words_are_read_by_their_index_in_the_order_of_the_log(
    tmp_path: Path, wanted: dict[str, Any], newest_first: bool
):
    async with opened(tmp_path) as database:
        await filled(database)
        await index(database)
        words = query("hello wor*")
        plan = await plan_of(
            database, events.look, Wanted(words=words, **wanted), after=None, limit=50, newest_first=newest_first
        )
        assert plan[0].startswith(BY_WORDS)
        assert plan[1:] == ["SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"]
