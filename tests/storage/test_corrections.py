"""Events as they stand, and by which way the database finds them and the parts of long messages."""

from pathlib import Path
from typing import Any

import pytest

from receiver.storage import corrections, parts
from tests.storage.opening import opened

FOUND = (
    (
        "SEARCH events USING INDEX events_by_time (accepted_at=?)",
        lambda reader: corrections.standing(reader, "rcp_1", 7),
    ),
    ("USING INDEX corrections_by_receipt (receipt_id=?)", lambda reader: corrections.standing(reader, "rcp_1", 7)),
    (
        "SEARCH events USING INDEX events_by_message (message_id=?)",
        lambda reader: corrections.reports(reader, "msg_1", 9),
    ),
    ("USING COVERING INDEX corrections_by_superseded", lambda reader: corrections.reports(reader, "msg_1", 9)),
    ("USING INDEX long_messages_due (due_at<?)", lambda reader: parts.due(reader, 7, 9)),
    ("USING INDEX long_messages_open (began_at<?)", lambda reader: parts.close_old(reader, 7, 9)),
    ("USING COVERING INDEX message_parts_by_receipt (receipt_id=?)", lambda reader: parts.of_receipt(reader, "rcp_1")),
    ("long_messages_due", parts.next_due),
)


class Planned:
    """A reader that explains what it is asked for; `plan` is how it would be found."""

    engine = "sqlite"

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.plan = ""

    async def fetch(self, sql: Any, *values: Any) -> Any:
        self.plan += "\n".join(row[3] for row in await self._reader.fetch("EXPLAIN QUERY PLAN " + sql, *values))
        return await self._reader.fetch(sql, *values)

    async def many(self, before: Any, rows: Any, after: Any = "", *values: Any) -> Any:
        return await self._reader.many(before, rows, after, *values) if rows else []

    def later(self, before: Any, rows: Any, after: Any = "") -> None:
        assert not rows


@pytest.mark.parametrize(("way", "asked"), FOUND)
async def test_it_is_found_by_an_index(tmp_path: Path, way: str, asked: Any):
    async with opened(tmp_path) as database, database.reading() as reader:
        planned = Planned(reader)
        await asked(planned)
        assert way in planned.plan
