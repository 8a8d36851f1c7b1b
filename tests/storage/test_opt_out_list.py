"""Pages of the opt-out list, by any filters, each read by an index."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from receiver.storage import opt_outs
from receiver.storage.leading import MANY
from tests.storage.opening import opened
from tests.storage.test_message_list import plan_of
from tests.storage.test_rows import read

LINES = (
    ("src_1", "+447700900123", "account", "", 1),
    ("src_2", "+447700900123", "sender", "60777", 0),
    ("", "+447700900456", "account", "", 1),
    ("src_1", "+12125550123", "group", "MG1", 1),
    ("src_1", "60777", "unknown", "", 0),
)


async def filled(database: Any) -> None:
    rows = [(*line, "keyword", f"evt_{number}", number) for number, line in enumerate(LINES)]
    async with database.writing() as transaction:
        assert await opt_outs.change(transaction, rows) == {row[6] for row in rows}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "43210"), ({"opted_out": True}, "320"), ({"opted_out": False}, "41"), ({"scope": "account"}, "20"),
        ({"source": "src_1"}, "430"), ({"source": ""}, "2"), ({"number": "+447700900123"}, "10"),
        ({"number": "+4477*"}, "210"), ({"number": "+4477*", "scope": "account", "opted_out": True}, "20"),
        ({"number": "+9*"}, ""),
    ],
)  # fmt: skip
async def test_a_page_holds_what_is_asked_for_what_changed_last_first(
    tmp_path: Path, wanted: dict[str, Any], expected: str
):
    async with opened(tmp_path) as database:
        await filled(database)
        for many, window in product((0, MANY), (2, 5000)):
            found: list[str] = []
            before = None
            while True:
                look = await read(database, opt_outs.look, **wanted, before=before, limit=2, many=many, window=window)
                found += [row.event_id[-1] for row in look.rows]
                before = look.rows[-1].event_id if len(look.rows) == 2 else look.upto
                if before is None:
                    break
            assert "".join(found) == expected


async def test_only_what_changes_is_written_again(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.writing() as transaction:
            again = [
                (*LINES[0], "api", "evt_8", 8),
                (*LINES[1][:4], 1, "api", "evt_9", 9),
            ]
            assert await opt_outs.change(transaction, again) == {"evt_9"}
        first, second = await read(database, opt_outs.of_number, "+447700900123")
        assert (first.event_id, first.opted_out, first.via, first.changed_at) == ("evt_9", True, "api", 9)
        assert (second.event_id, second.via) == ("evt_0", "keyword")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "SEARCH opt_outs USING INDEX opt_outs_by_change (event_id>? AND event_id<?)"),
        ({"scope": "account"}, "SEARCH opt_outs USING INDEX opt_outs_by_change (event_id>? AND event_id<?)"),
        ({"source": "src_1"}, "SEARCH opt_outs USING INDEX opt_outs_by_change (event_id>? AND event_id<?)"),
    ],
)
async def test_the_list_is_read_in_its_order_by_an_index(tmp_path: Path, wanted: dict[str, Any], expected: str):
    async with opened(tmp_path) as database:
        await filled(database)
        assert await plan_of(database, opt_outs.look, **wanted, before=None, limit=50) == [expected]


async def test_a_number_is_found_by_an_index_and_its_few_lines_put_in_order(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        for wanted in ("+447700900123", "+4477*"):
            plan = await plan_of(database, opt_outs.look, number=wanted, before=None, limit=50, sorts=True)
            assert "opt_outs_by_number" in plan[0]
