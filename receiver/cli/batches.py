"""`receiver batches ID`: what became of a vendor's batch or campaign."""

from urllib.parse import quote

import click

from receiver.cli.messages import HEADINGS, row
from receiver.cli.options import as_json, paged, query_of, reaching
from receiver.cli.output import record, show_json, show_page
from receiver.cli.reach import Reach

PATH = "/v1/batches"


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--source", metavar="ID", help="Of this source alone: vendors give such ids for themselves.")
@paged
@as_json
@reaching
def batches(reach: Reach, /, identifier: str, *, as_json: bool, **given: object) -> None:
    """Count the messages of a vendor's batch or campaign by their state, and list them, newest first."""
    page = reach.read(f"{PATH}/{quote(identifier, safe='')}", query_of(given))
    if as_json:
        show_json(page)
        return
    counts = page["counts"]
    click.echo(record({"messages": counts["total"], **counts["by_status"]}) + "\n")
    show_page(page, HEADINGS, row, "No more of them.", as_json=False)
