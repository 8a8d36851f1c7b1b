"""Pages of a table, newest first: ids grow with time, so the last id of one page is where the next begins."""

from collections.abc import Mapping, Sequence
from typing import LiteralString

from receiver.storage.database import Reader, Row


async def newest_first(
    reader: Reader,
    select: LiteralString,
    conditions: Mapping[LiteralString, str | int | None],
    *,
    before: str | None,
    limit: int,
) -> Sequence[Row]:
    """From behind `before`. Each condition has one placeholder and holds where there is a value for it."""
    given = {sql: value for sql, value in conditions.items() if value is not None}
    where: LiteralString = " AND ".join(["id < ?", *given])
    return await reader.fetch(
        select + " WHERE " + where + " ORDER BY id DESC LIMIT ?", before or "~", *given.values(), limit
    )
