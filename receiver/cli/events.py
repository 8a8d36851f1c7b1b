"""`receiver events …`: the log of what was received and understood."""

from collections.abc import Sequence

import click

from receiver.cli.export import export
from receiver.cli.inshort import gist, way
from receiver.cli.options import as_json, filtered, identified, paged, query_of, reaching
from receiver.cli.output import Document, flat, record, show_json, show_page
from receiver.cli.reach import Reach
from receiver.cli.tail import tail

PATH = "/v1/events"
HEADINGS = ("id", "time", "type", "vendor", "way", "what")


@click.group()
def events() -> None:
    """Events: what vendors' requests meant."""


events.add_command(tail)
events.add_command(export)


@events.command("list")
@filtered
@click.option(
    "--order", type=click.Choice(["asc", "desc"]), default="desc", show_default=True, help="asc: oldest first."
)
@paged
@as_json
@reaching
def listed(reach: Reach, /, *, as_json: bool, **given: object) -> None:
    """List events, newest first."""
    page = reach.read(PATH, query_of(given))
    show_page(page, HEADINGS, row, "No events.", as_json=as_json)


@events.command()
@identified
@as_json
@reaching
def show(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Show an event in full."""
    event = reach.read(f"{PATH}/{identifier}")
    if as_json:
        show_json(event)
        return
    head = {name: event[name] for name in ("id", "type", "timestamp", "supersedes") if event[name] is not None}
    click.echo(record(head | flat(event["data"])))


def row(event: Document) -> Sequence[object]:
    """Under HEADINGS."""
    return (event["id"], event["timestamp"], event["type"], event["data"].get("vendor"), way(event), gist(event))
