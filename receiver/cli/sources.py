"""`receiver source …`: the configured accounts of vendors."""

from collections.abc import Sequence
from typing import Any

import click

from receiver.cli.options import as_json, credentials_of, identified, options_of, paged, query_of, reaching
from receiver.cli.output import Document, flat, record, show_json, show_page, warn
from receiver.cli.reach import Reach

PATH = "/v1/sources"


@click.group()
def source() -> None:
    """Sources: one for each account that a vendor calls back for."""


@source.command()
@click.argument("vendor")
@click.option("--name", help="Yours to choose.")
@click.option(
    "--credential", "credentials", multiple=True, metavar="NAME=VALUE", help="NAME alone: its value is asked for."
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help='Such as timezone=Europe/Paris, fields.text=body, allow=["10.0.0.0/8"].',
)
@as_json
@reaching
def add(
    reach: Reach, vendor: str, name: str | None, credentials: Sequence[str], options: Sequence[str], *, as_json: bool
) -> None:
    """Make a source of VENDOR and print what to paste where."""
    body: dict[str, Any] = {"vendor": vendor, "credentials": credentials_of(credentials)}
    body |= {"options": options_of(options)} | ({"name": name} if name is not None else {})
    _show(reach.change("POST", PATH, body), as_json=as_json)


@source.command("list")
@paged
@as_json
@reaching
def listed(reach: Reach, limit: int, after: str | None, *, as_json: bool) -> None:
    """List sources, newest first."""
    page = reach.read(PATH, query_of({"limit": limit, "after": after}))
    headings = ("id", "vendor", "last seen", "last error", "name")
    show_page(page, headings, _row, "No sources. Make one: receiver source add VENDOR", as_json=as_json)


@source.command()
@identified
@as_json
@reaching
def show(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Show a source with its URL; credentials are masked."""
    _show(reach.read(f"{PATH}/{identifier}"), as_json=as_json)


@source.command()
@identified
@as_json
@reaching
def rotate(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Give a source a new URL; the old one answers 404 from now on."""
    _show(reach.change("POST", f"{PATH}/{identifier}/rotate-token"), as_json=as_json)


@source.command()
@identified
@click.argument("vendor_message_ids", nargs=-1, required=True, metavar="VENDOR_MESSAGE_ID...")
@as_json
@reaching
def ask(reach: Reach, identifier: str, vendor_message_ids: Sequence[str], *, as_json: bool) -> None:
    """Have the vendor asked for the state of outbound messages until it is final."""
    answer = reach.change("POST", f"{PATH}/{identifier}/ask", {"vendor_message_ids": list(vendor_message_ids)})
    if as_json:
        show_json(answer)
        return
    click.echo(f"Final reports that are waited for: {answer['waiting']}.")


@source.command()
@identified
@reaching
def remove(reach: Reach, identifier: str) -> None:
    """Remove a source; its URL answers 404 from now on, its events stay."""
    reach.change("DELETE", f"{PATH}/{identifier}")
    click.echo(f"Removed {identifier}.")


def _row(item: Document) -> Sequence[object]:
    return item["id"], item["vendor"], item["last_seen_at"], item["last_error"], item["name"]


def _by_feed(poll: Document | None) -> Document | None:
    """What is asked for, each by its name."""
    if poll is None:
        return None
    return {**{feed["feed"]: {**feed, "feed": None} for feed in poll["feeds"]}, "waiting": poll["waiting"]}


def _show(item: Any, *, as_json: bool) -> None:
    if as_json:
        show_json(item)
        return
    shown = {name: value for name, value in item.items() if name != "warnings"}
    click.echo(record(flat(shown | {"poll": _by_feed(item["poll"])})))
    warn(item["warnings"])
