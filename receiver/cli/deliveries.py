"""`receiver deliveries …`: what is owed to subscriptions, and every attempt to bring it."""

from collections.abc import Sequence

import click

from receiver.api.deliveries import State
from receiver.cli.options import as_json, identified, paged, query_of, reaching
from receiver.cli.output import Document, flat, indented, record, show_json, show_page, table
from receiver.cli.reach import Reach

PATH = "/v1/deliveries"
_STATES: Sequence[str] = State.__args__  # type: ignore[attr-defined]  # of a Literal


@click.group()
def deliveries() -> None:
    """Deliveries: one event owed to one subscription each."""


@deliveries.command("list")
@click.option("--subscription", "subscription_id", metavar="ID")
@click.option("--event", "event_id", metavar="ID")
@click.option("--state", type=click.Choice(_STATES))
@paged
@as_json
@reaching
def listed(reach: Reach, /, *, as_json: bool, **given: object) -> None:
    """List deliveries, newest first."""
    page = reach.read(PATH, query_of(given))
    headings = ("id", "state", "attempts", "next at", "event", "subscription")
    show_page(page, headings, _row, "No deliveries.", as_json=as_json)


@deliveries.command()
@identified
@as_json
@reaching
def show(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Show a delivery and its attempts."""
    item = reach.read(f"{PATH}/{identifier}")
    if as_json:
        show_json(item)
        return
    click.echo(record(flat({name: value for name, value in item.items() if name != "attempts"})))
    if item["attempts"]:
        headings = ("no", "started", "ms", "status", "error", "detail or answer")
        click.echo("\nAttempts\n" + indented(table(headings, [_attempt(attempt) for attempt in item["attempts"]])))


@deliveries.command()
@identified
@as_json
@reaching
def retry(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Try a delivery again now, or as soon as a receiver runs."""
    item = reach.change("POST", f"{PATH}/{identifier}/retry")
    if as_json:
        show_json(item)
    else:
        click.echo(f"{item['id']} is {item['state']} and due at {item['next_at']}.")


def _row(item: Document) -> Sequence[object]:
    return (
        item["id"],
        item["state"],
        item["attempts_made"],
        item["next_at"],
        item["event_id"],
        item["subscription_id"],
    )


def _attempt(item: Document) -> Sequence[object]:
    said = item["detail"] or item["answer"]
    return item["number"], item["started_at"], item["duration_ms"], item["status"], item["error"], said
