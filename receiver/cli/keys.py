"""`receiver keys …`: who may use the HTTP API."""

from collections.abc import Sequence

import click

from receiver.cli.options import as_json, identified, paged, query_of, reaching
from receiver.cli.output import Document, record, show_json, show_page
from receiver.cli.reach import Reach

PATH = "/v1/keys"


@click.group()
def keys() -> None:
    """API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["read", "write", "admin"]), default=["read"],
    show_default=True, help="What it may do; write may also read, admin everything.",
)  # fmt: skip
@as_json
@reaching
def create(reach: Reach, name: str, scopes: Sequence[str], *, as_json: bool) -> None:
    """Make an API key and print it, this once."""
    item = reach.change("POST", PATH, {"name": name, "scopes": list(scopes)})
    if as_json:
        show_json(item)
        return
    click.echo(record({part: item[part] for part in ("id", "name", "scopes", "key")}))
    click.echo("\nThe key is shown only now. Send it as Authorization: Bearer <key>.")


@keys.command("list")
@paged
@as_json
@reaching
def listed(reach: Reach, limit: int, after: str | None, *, as_json: bool) -> None:
    """List API keys, newest first, revoked ones too."""
    page = reach.read(PATH, query_of({"limit": limit, "after": after}))
    headings = ("id", "scopes", "made", "revoked", "name")
    show_page(page, headings, _row, "No keys. Make one: receiver keys create NAME", as_json=as_json)


@keys.command()
@identified
@reaching
def revoke(reach: Reach, identifier: str) -> None:
    """Revoke an API key for good."""
    reach.change("DELETE", f"{PATH}/{identifier}")
    click.echo(f"Revoked {identifier}.")


def _row(item: Document) -> Sequence[object]:
    return item["id"], item["scopes"], item["created_at"], item["revoked_at"], item["name"]
