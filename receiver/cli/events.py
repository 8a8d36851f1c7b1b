"""`receiver events …`: the log of what was received and understood."""

from collections.abc import Sequence

import click

from receiver.cli.inshort import gist, way
from receiver.cli.options import as_json, identified, paged, query_of, reaching
from receiver.cli.output import Document, flat, record, show_json, show_page
from receiver.cli.reach import Reach

PATH = "/v1/events"


@click.group()
def events() -> None:
    """Events: what vendors' requests meant."""


@events.command("list")
@click.option("--type", multiple=True, metavar="TYPE", help="A type, or a prefix with *; several: any of them.")
@click.option("--vendor")
@click.option("--source", metavar="ID")
@click.option("--from", metavar="ADDRESS", help="Exact, or a prefix with *.")
@click.option("--to", metavar="ADDRESS", help="Exact, or a prefix with *.")
@click.option("--message-id", metavar="ID")
@click.option("--vendor-message-id", metavar="ID")
@click.option("--client-reference", metavar="TEXT")
@click.option("--status")
@click.option("--since", metavar="TIME", help="Accepted then or later, such as 2026-11-20T14:47:03Z.")
@click.option("--until", metavar="TIME", help="Accepted before then.")
@click.option("-q", "q", metavar="WORDS", help="Words of a message's text, all of them; * behind one: its beginning.")
@click.option(
    "--order", type=click.Choice(["asc", "desc"]), default="desc", show_default=True, help="asc: oldest first."
)
@paged
@as_json
@reaching
def listed(reach: Reach, /, *, as_json: bool, **given: object) -> None:
    """List events, newest first."""
    page = reach.read(PATH, query_of(given))
    headings = ("id", "time", "type", "vendor", "way", "what")
    show_page(page, headings, _row, "No events.", as_json=as_json)


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


def _row(event: Document) -> Sequence[object]:
    return (event["id"], event["timestamp"], event["type"], event["data"].get("vendor"), way(event), gist(event))
