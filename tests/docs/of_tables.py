"""The generated parts of docs/read.md: the columns of tables."""

from collections.abc import Callable, Mapping

from receiver.formats import campaign, event_table
from tests.docs.markdown import code, table


def event_columns() -> str:
    return table(("column", "what it holds"), [(code(name), meaning) for name, meaning in event_table.COLUMNS.items()])


def campaign_columns() -> str:
    rows = [(code(name), meaning, basis) for name, (meaning, basis) in campaign.COLUMNS.items()]
    return table(("column", "what it holds", "its name"), rows)


PARTS: Mapping[str, Callable[[], str]] = {"event-columns": event_columns, "campaign-columns": campaign_columns}
