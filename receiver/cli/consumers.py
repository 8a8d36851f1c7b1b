"""`receiver consumer …`: subscribers that cannot be called, and read by themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from receiver.cli.events import HEADINGS, row
from receiver.cli.options import as_json, identified, paged, query_of, reaching
from receiver.cli.output import Document, flat, record, show_json, show_page, table
from receiver.cli.reach import Reach

PATH = "/v1/consumers"

_named = click.argument("name")


@click.group()
def consumer() -> None:
    """Consumers: programs that ask for events, and say which they are done with."""


@consumer.command()
@_named
@click.option("--type", "types", multiple=True, metavar="TYPE", help="A type, or a prefix with *.  [default: *]")
@click.option("--vendor", "vendors", multiple=True, help="Only events of this vendor.")
@click.option("--source", "sources", multiple=True, metavar="ID", help="Only events of this source.")
@click.option("--from", "from", multiple=True, metavar="ADDRESS", help="Only from here; a prefix with * will do.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="Only to here; a prefix with * will do.")
@click.option("--country", "countries", multiple=True, metavar="CC", help="Only people of this country.")
@click.option("--keyword", "keywords", multiple=True, help="Only messages with this keyword.")
@click.option("--status", "statuses", multiple=True, help="Only reports of this status.")
@click.option("--final-only", is_flag=True, help="Only final reports.")
@click.option("--start", metavar="WHERE", help="now, beginning, a time, or the id of an event.  [default: now]")
@click.option("--description", help="Yours to choose.")
@as_json
@reaching
def add(reach: Reach, /, *, as_json: bool, **given: Any) -> None:
    """Make a consumer."""
    _show(reach.change("POST", PATH, _body(given)), as_json=as_json)


@consumer.command("list")
@paged
@as_json
@reaching
def listed(reach: Reach, /, *, as_json: bool, **given: object) -> None:
    """List consumers, newest first."""
    page = reach.read(PATH, query_of(given))
    headings = ("name", "behind", "acknowledged", "types")
    show_page(page, headings, _row, "No consumers. Make one: receiver consumer add NAME", as_json=as_json)


@consumer.command()
@identified
@as_json
@reaching
def show(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Show a consumer and where it stands."""
    _show(reach.read(f"{PATH}/{identifier}"), as_json=as_json)


@consumer.command()
@identified
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@click.option("--wait", type=click.IntRange(0, 30), default=0, metavar="SECONDS", help="Wait so long for an event.")
@click.option("--ack", is_flag=True, help="Acknowledge what was printed.")
@as_json
@reaching
def read(reach: Reach, /, identifier: str, *, ack: bool, as_json: bool, **given: object) -> None:
    """Print what is not acknowledged yet."""
    page = reach.read(f"{PATH}/{identifier}/events", query_of(given))
    if as_json:
        show_json(page)
    elif page["data"]:
        click.echo(table(HEADINGS, [row(event) for event in page["data"]]))
    else:
        click.echo("No events now." if page["next"] is None else "No events so far; there is more to look through.")
    if ack:
        reach.change("POST", f"{PATH}/{identifier}/ack", {"cursor": page["last"]})
    elif page["data"] and not as_json:
        click.echo(f"\nWhen that is done: receiver consumer ack {identifier} {page['last']}")


@consumer.command()
@identified
@click.argument("cursor")
@as_json
@reaching
def ack(reach: Reach, identifier: str, cursor: str, *, as_json: bool) -> None:
    """Say that all up to a cursor, or to an event, is done."""
    _show(reach.change("POST", f"{PATH}/{identifier}/ack", {"cursor": cursor}), as_json=as_json)


@consumer.command()
@identified
@click.argument("where")
@as_json
@reaching
def seek(reach: Reach, identifier: str, where: str, *, as_json: bool) -> None:
    """Put a consumer at now, beginning, a time, or the id of an event."""
    _show(reach.change("POST", f"{PATH}/{identifier}/seek", {"to": where}), as_json=as_json)


@consumer.command()
@identified
@reaching
def remove(reach: Reach, identifier: str) -> None:
    """Remove a consumer; the log stays."""
    reach.change("DELETE", f"{PATH}/{identifier}")
    click.echo(f"Removed {identifier}.")


_FILTER = ("vendors", "sources", "from", "to", "countries", "keywords", "statuses", "final_only")


def _body(given: Mapping[str, Any]) -> Document:
    """What was given, and nothing else."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}
    chosen = {name: values.pop(name) for name in _FILTER if name in values}
    return values | ({"filter": chosen} if chosen else {})


def _row(item: Document) -> Sequence[object]:
    return item["name"], item["behind"], item["acknowledged_at"], item["types"]


def _show(item: Document, *, as_json: bool) -> None:
    if as_json:
        show_json(item)
    else:
        click.echo(record(flat(item)))
