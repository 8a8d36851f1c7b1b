"""Lists of messages: every filter finds its own by whichever index leads, and is served by one."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.state import State
from receiver.sms.words import query
from receiver.storage import events, lateness, message_list, messages
from receiver.storage.database import Engine
from receiver.storage.ids import Ids
from receiver.storage.leading import MANY
from receiver.storage.message_list import Wanted
from receiver.storage.text_index import SQLITE
from tests.storage.making import a_source, saved
from tests.storage.opening import change, fetch, opened
from tests.storage.test_rows import read, write
from tests.storage.test_search import index

pytestmark = pytest.mark.usefixtures("engine")

HOUR = 3_600_000_000
START = 1_700_000_000_000_000
PERSON, OURS, OTHER = "+447700900123", "60777", "+12125550123"


def ids(count: int) -> Sequence[str]:
    """One an hour."""
    moments = iter(range(count))
    return [Ids(lambda: START + next(moments) * HOUR, bytes).new("msg") for _ in range(count)]


IDS = ids(8)
MESSAGES: Sequence[dict[str, Any]] = (
    {"from": PERSON, "to": OURS, "text": "hello"},
    {"from": OURS, "to": PERSON, "status": "delivered", "batch": "b1"},
    {"from": OURS, "to": OTHER, "status": "failed", "batch": "b1"},
    {"from": OTHER, "to": OURS, "text": "stop", "source": "src_2"},
    {"from": OURS, "to": PERSON, "status": "sent", "source": "src_2", "batch": "b1"},
    {"from": PERSON, "to": OURS, "text": "Hello again"},
    {"from": None, "to": None, "status": "rejected"},
    {"from": OTHER, "to": PERSON, "text": "bye"},
)


async def filled(database: Any) -> None:
    await saved(database, a_source("src_1"), a_source("src_2", "token-2", vendor="twilio"))
    rows, logged = [], []
    for number, (identifier, given) in enumerate(zip(IDS, MESSAGES, strict=True)):
        status, source, at = given.get("status"), given.get("source", "src_1"), START + number * HOUR
        vendor = "twilio" if source == "src_2" else "generic"
        state = State(status=status, final=status != "sent", key="1", parts=None) if status else None
        rows.append((
            identifier, source, vendor, "out" if state else "in", None, None, given.get("batch"), "sms", given["from"],
            given["to"], "c", status, int(state.final) if state else None, "1" if state else None, None, at, at,
        ))  # fmt: skip
        body = f'{{"data":{{"message_id":"{identifier}","text":"{given.get("text", "")}"}}}}'
        logged.append((
            f"evt_{number:026}", "message.status" if state else "message.received", at, vendor, source, "rcp_1",
            identifier, None, None, given["from"], given["to"], status, body,
        ))  # fmt: skip
    await write(database, messages.save, rows)
    await write(database, events.insert, logged)


def at(number: int) -> int:
    return START + number * HOUR


FILTERS: Sequence[tuple[dict[str, Any], str]] = (
    ({}, "76543210"),
    ({"direction": "in"}, "7530"),
    ({"direction": "out"}, "6421"),
    ({"unread": True}, "753"),
    ({"unread": False}, "0"),
    ({"unread": True, "direction": "out"}, ""),
    ({"statuses": ["delivered"]}, "1"),
    ({"statuses": ["failed"]}, "2"),
    ({"statuses": message_list.FAILED}, "62"),
    ({"statuses": ["sent", "rejected"]}, "64"),
    ({"from_": PERSON}, "50"),
    ({"from_": "+4477*"}, "50"),
    ({"to": "+*"}, "7421"),
    ({"to": PERSON, "direction": "out"}, "41"),
    ({"from_": OURS, "statuses": ["sent"]}, "4"),
    ({"between": (PERSON, OURS)}, "5410"),
    ({"between": (OURS, PERSON), "direction": "in"}, "50"),
    ({"between": (PERSON, "+1")}, ""),
    ({"source": "src_2"}, "43"),
    ({"vendor": "twilio"}, "43"),
    ({"vendor": "sendsms"}, ""),
    ({"batch_id": "b1"}, "421"),
    ({"batch_id": "b1", "source": "src_1"}, "21"),
    ({"since": at(5)}, "765"),
    ({"until": at(2)}, "10"),
    ({"since": at(1) + 1, "until": at(3)}, "2"),
    ({"since": at(2), "from_": PERSON, "unread": True}, "5"),
)


@pytest.mark.parametrize(("wanted", "expected"), FILTERS)
async def test_a_list_holds_what_is_asked_for_newest_first(tmp_path: Path, wanted: dict[str, Any], expected: str):
    async with opened(tmp_path) as database:
        await filled(database)
        assert await write_read(database, IDS[0]) == 1
        for many, window in product((0, 3, MANY), (2, 5000)):  # whichever index leads, if any
            found: list[str] = []
            before = None
            while True:
                look = await read(
                    database, message_list.look, Wanted(**wanted), before=before, limit=2, many=many, window=window
                )
                found += [row.id for row in look.rows]
                before = look.rows[-1].id if len(look.rows) == 2 else look.upto
                if before is None:
                    break
            assert found == [IDS[int(number)] for number in expected], (many, window)


async def test_what_is_inbound_is_in_order_wherever_the_looks_for_what_is_read_and_unread_end(tmp_path: Path):
    """The first half is read but for some, the second unread, and only a third of it all is wanted."""
    names = ids(60)
    async with opened(tmp_path) as database:
        rows = [
            (name, "src_1", "generic", "in", None, None, None, "sms", f"+{number % 3}", OURS, "c", None, None, None, None,
             at(number), at(number))
            for number, name in enumerate(names)
        ]  # fmt: skip
        await write(database, messages.save, rows)
        await write_read(database, *(name for number, name in enumerate(names) if number < 30 or number % 7 == 0))
        for window, limit in product((1, 4, 9), (1, 3, 50)):
            found: list[str] = []
            before = None
            while True:
                wanted = Wanted(direction="in", from_="+1")
                look = await read(
                    database, message_list.look, wanted, before=before, limit=limit, many=0, window=window
                )
                found += [row.id for row in look.rows]
                before = look.rows[-1].id if len(look.rows) == limit else look.upto
                if before is None:
                    break
            assert found == [name for number, name in enumerate(names) if number % 3 == 1][::-1], (window, limit)


async def write_read(database: Any, *identifiers: str) -> int:
    async with database.writing() as transaction:
        return await message_list.mark_read(transaction, identifiers, START)


class Watched:
    """A reader that keeps what it was asked."""

    texts = SQLITE
    engine: Engine = "sqlite"

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    async def fetch(self, sql: Any, *values: Any) -> Any:
        self.asked.append((sql, values))
        return await self._reader.fetch(sql, *values)


_HARMLESS = ("CONSTANT ROW", "VIRTUAL TABLE", "horizon", "found", "sources", "USING INDEX messages_")
"""What may be scanned: the one row of a view, what is cut short by a LIMIT, a partial index of nothing but what is wanted, a small table."""


async def plan_of(
    database: Any, function: Any, *arguments: Any, sorts: bool = False, **given: Any
) -> list[str]:  # fmt: skip
    """How SQLite goes about the statement that finds the rows, and that nothing it was asked reads a whole table or,
    unless that is all right, puts rows in order.
    """
    async with database.reading() as reader:
        watched = Watched(reader)
        await function(watched, *arguments, **given)
        plans = [
            [row[3] for row in await reader.fetch("EXPLAIN QUERY PLAN " + sql, *values)]
            for sql, values in watched.asked
        ]
    for plan in plans:
        for line in plan:
            assert not line.startswith("SCAN") or any(word in line for word in _HARMLESS), line
            assert sorts or "TEMP B-TREE FOR ORDER BY" not in line, plan
    return plans[-1]


IN_ORDER = "SEARCH messages USING PRIMARY KEY (id>? AND id<?)"
BY_IDS = "SEARCH messages USING PRIMARY KEY (id=?)"
PLANS: Sequence[tuple[dict[str, Any], int, str, str | None]] = (
    ({"direction": "out"}, 0, IN_ORDER, None),
    ({"direction": "in"}, 0, "SEARCH messages USING INDEX messages_read (id>? AND id<?)", None),
    ({"unread": False}, 0, "SEARCH messages USING INDEX messages_read (id>? AND id<?)", None),
    ({"unread": True}, 0, "SEARCH messages USING INDEX messages_unread (id>? AND id<?)", None),
    ({"statuses": ["failed"]}, 0, "SEARCH messages USING INDEX messages_failed (id>? AND id<?)", None),
    ({"statuses": ["delivered"]}, 0, IN_ORDER, None),
    ({"batch_id": "b1"}, 0, "SEARCH messages USING INDEX messages_by_batch (batch_id=? AND id>? AND id<?)", None),
    ({"from_": PERSON}, MANY, BY_IDS, "events_by_sender (from_address=?)"),
    ({"from_": "+4477*"}, MANY, BY_IDS, "events_by_sender (from_address>? AND from_address<?)"),
    ({"to": PERSON, "unread": True}, MANY, BY_IDS, "events_by_recipient (to_address=?)"),
    ({"source": "src_2"}, MANY, BY_IDS, "events_by_source (source_id=?)"),
    ({"vendor": "twilio"}, MANY, BY_IDS, "events_by_source (source_id=?)"),
    ({"vendor_message_id": "v"}, MANY, BY_IDS, "events_by_vendor_message (vendor_message_id=?)"),
    ({"client_reference": "r"}, MANY, BY_IDS, "events_by_reference (client_reference=?)"),
    ({"between": (OTHER, PERSON)}, MANY, BY_IDS, "events_by_sender (from_address=?)"),
    ({"from_": PERSON}, 0, IN_ORDER, None),
    ({"since": START, "until": START + HOUR}, 0, IN_ORDER, None),
)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("wanted", "many", "expected", "through"), PLANS)
async def test_every_list_is_read_by_an_index(
    tmp_path: Path, wanted: dict[str, Any], many: int, expected: str, through: str | None
):
    async with opened(tmp_path) as database:
        await filled(database)
        plan = await plan_of(database, message_list.look, Wanted(**wanted), before=None, limit=50, many=many)
        assert plan[0] == expected
        if through is not None:
            assert any(through in line for line in plan), plan


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_counts_texts_and_timelines_are_read_by_an_index(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        for function, arguments, expected in (
            (message_list.counts, ("b1", None), "messages_by_batch (batch_id=?)"),
            (message_list.texts, ([IDS[0], IDS[3]],), "events_by_message (message_id=?)"),
            (message_list.text_position, (IDS[0],), "events_by_message (message_id=?)"),
            (message_list.some, ([IDS[0]],), "PRIMARY KEY (id=?)"),
        ):
            async with database.reading() as reader:
                watched = Watched(reader)
                await function(watched, *arguments)
                ((sql, values),) = watched.asked
                plan = await reader.fetch("EXPLAIN QUERY PLAN " + sql, *values)
            assert expected in plan[0][3]


async def found(database: Any, words: str, **given: Any) -> list[str]:
    seen = await read(database, message_list.search, Wanted(**given), query(words), after=None, limit=50)
    return [row.message.id for row in seen.rows]


async def test_messages_are_found_by_their_words_and_other_filters(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        await write_read(database, IDS[5])
        for _ in range(2):
            assert await found(database, "hello") == [IDS[5], IDS[0]]
            assert await found(database, "hello", unread=True) == [IDS[0]]
            assert await found(database, "hello", unread=False) == [IDS[5]]
            assert await found(database, "hello", direction="in", since=at(2)) == [IDS[5]]
            assert await found(database, "hello", between=(OURS, PERSON)) == [IDS[5], IDS[0]]
            assert await found(database, "bye", between=(OURS, PERSON)) == []
            assert await found(database, "stop", source="src_2", vendor="twilio", from_="+1*") == [IDS[3]]
            for given in ({"direction": "out"}, {"statuses": ["sent"]}, {"batch_id": "b1"}):
                assert await found(database, "hello", **given) == []
            await index(database)


async def test_of_a_corrected_message_only_the_last_text_counts(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        body = f'{{"data":{{"message_id":"{IDS[0]}","text":"goodbye"}}}}'
        row = (f"evt_{99:026}", "message.received", at(9), "generic", "src_1", "rcp_1", IDS[0], None, None, PERSON, OURS,
               None, body)  # fmt: skip
        await write(database, events.insert, [row])
        assert await found(database, "hello") == [IDS[5]]
        assert await found(database, "goodbye") == [IDS[0]]
        assert (await read(database, message_list.texts, [IDS[0]]))[IDS[0]] == body
        assert await read(database, message_list.text_position, IDS[0]) == 9
        assert await read(database, message_list.text_position, IDS[1]) is None


async def test_reading_is_for_what_is_inbound_and_once(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        assert await write_read(database, *IDS, "msg_nobody") == 4
        assert await write_read(database, *IDS) == 0
        assert await fetch(database, "SELECT count(*) FROM messages WHERE read_at IS NOT NULL") == [(4,)]


async def test_what_is_deleted_is_in_no_list_and_a_late_report_does_not_bring_it_back(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        async with database.writing() as transaction:
            assert await message_list.delete(transaction, IDS[1], START)
            assert not await message_list.delete(transaction, IDS[1], START)
            assert not await message_list.delete(transaction, "msg_nobody", START)
        kept = await fetch(database, "SELECT * FROM messages WHERE id = ?", IDS[1])
        await write(database, messages.save, [kept[0][:17]])
        assert await read(database, message_list.get, IDS[1]) is None
        assert await read(database, message_list.some, IDS[:2]) == [await read(database, message_list.get, IDS[0])]
        assert await read(database, message_list.counts, "b1", None) == {"failed": 1, "sent": 1}
        assert await read(database, message_list.counts, "b1", "src_2") == {"sent": 1}
        look = await read(database, message_list.look, Wanted(), before=None, limit=50)
        assert IDS[1] not in [row.id for row in look.rows]
        await change(database, "UPDATE messages SET deleted_at = 1")
        assert await found(database, "hello") == []


async def test_a_message_that_was_deleted_is_known_and_one_that_never_was_is_not(tmp_path: Path):
    async with opened(tmp_path) as database:
        await filled(database)
        await change(database, "UPDATE messages SET deleted_at = 1")
        assert await read(database, message_list.known, IDS[0])
        assert not await read(database, message_list.known, "msg_nobody")


async def test_nothing_is_asked_of_the_database_for_no_messages(tmp_path: Path):
    async with opened(tmp_path) as database:
        assert await read(database, message_list.some, []) == []
        assert await read(database, message_list.texts, []) == {}


async def test_a_message_whose_id_is_of_before_the_clock_was_set_back_is_found_by_its_time(tmp_path: Path):
    """Ids go on increasing: the last one was made at the seventh hour, as its id says, when the clock said the first."""
    async with opened(tmp_path) as database:
        await filled(database)
        await change(database, "UPDATE messages SET created_at = ? WHERE id = ?", at(1), IDS[7])
        wanted = Wanted(until=at(2))
        seen = await read(database, message_list.look, wanted, before=None, limit=50)
        assert [row.id for row in seen.rows] == [IDS[1], IDS[0]]
        async with database.writing() as transaction:
            await lateness.note(transaction, at(1), by=6 * HOUR)
        seen = await read(database, message_list.look, wanted, before=None, limit=50)
        assert [row.id for row in seen.rows] == [IDS[7], IDS[1], IDS[0]]
