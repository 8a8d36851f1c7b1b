"""`receiver messages …`: what was received and what reports are about, with its state; the inbox."""

from collections.abc import Sequence

import click

from receiver.cli.inshort import gist
from receiver.cli.options import as_json, identified, paged, query_of, reaching
from receiver.cli.output import Document, flat, indented, record, show_json, show_page, table
from receiver.cli.reach import Reach
from receiver.storage.message_list import FAILED

PATH = "/v1/messages"
HEADINGS = ("id", "first heard", "", "way", "state", "text")


@click.group()
def messages() -> None:
    """Messages: what events are about, each with its state."""


@messages.command("list")
@click.option("--direction", type=click.Choice(["in", "out"]))
@click.option("--status", multiple=True, help="Several: any of them.")
@click.option("--failed", is_flag=True, help="Undelivered, rejected, failed or expired.")
@click.option("--unread/--read", default=None, help="Inbound ones that nobody marked as read, or those that were.")
@click.option("--from", metavar="ADDRESS", help="Exact, or a prefix with *.")
@click.option("--to", metavar="ADDRESS", help="Exact, or a prefix with *.")
@click.option("--between", nargs=2, metavar="ADDRESS ADDRESS", help="Of two numbers, either way.")
@click.option("--source", metavar="ID")
@click.option("--vendor")
@click.option("--batch", "batch_id", metavar="ID", help="The vendor's id of a batch or campaign.")
@click.option("--vendor-message-id", metavar="ID")
@click.option("--client-reference", metavar="TEXT")
@click.option("--since", metavar="TIME", help="First heard of then or later, such as 2026-11-20T14:47:03Z.")
@click.option("--until", metavar="TIME", help="First heard of before then.")
@click.option("-q", "q", metavar="WORDS", help="Words of the text, all of them; * behind one: its beginning.")
@paged
@as_json
@reaching
def listed(
    reach: Reach, /, *, as_json: bool, failed: bool, unread: bool | None, status: tuple[str, ...], **given: object
) -> None:
    """List messages, newest first."""
    asked = {"status": status + (FAILED if failed else ()), "unread": None if unread is None else str(unread).lower()}
    page = reach.read(PATH, query_of(given | asked))
    show_page(page, HEADINGS, row, "No messages.", as_json=as_json)


@messages.command()
@identified
@as_json
@reaching
def show(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Show a message, what was heard of it, and who was told."""
    message = reach.read(f"{PATH}/{identifier}")
    if as_json:
        show_json(message)
        return
    click.echo(record(flat({name: value for name, value in message.items() if name not in ("timeline", "more")})))
    headings = ("time", "event", "what", "", "told")
    click.echo("\nTimeline\n" + indented(table(headings, [_step(step) for step in message["timeline"]])))
    if message["more"]:
        click.echo(f"\nAll of it: receiver events list --message-id {message['id']} --order asc")


@messages.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--from", "from_", metavar="ADDRESS", help="Exact, or a prefix with *.")
@click.option("--to", metavar="ADDRESS", help="Exact, or a prefix with *.")
@click.option("--source", metavar="ID")
@click.option("--vendor")
@click.option("--since", metavar="TIME")
@click.option("--until", metavar="TIME")
@click.option("-q", "q", metavar="WORDS")
@click.option("--all", "every", is_flag=True, help="Every unread message.")
@as_json
@reaching
def read(reach: Reach, /, *, as_json: bool, ids: tuple[str, ...], every: bool, **given: str | None) -> None:
    """Mark inbound messages as read: those named, or all that the options leave."""
    body: dict[str, object] = {name.rstrip("_"): value for name, value in given.items() if value is not None}
    if bool(ids) + bool(body) + every != 1:
        raise click.UsageError("give ids, or filters, or --all")
    answer = reach.change("POST", f"{PATH}/read", {"ids": list(ids)} if ids else body)
    if as_json:
        show_json(answer)
    else:
        click.echo(f"{answer['marked']} marked as read.")


@messages.command()
@identified
@reaching
def delete(reach: Reach, identifier: str) -> None:
    """Take a message out of the lists; its events stay in the log."""
    reach.change("DELETE", f"{PATH}/{identifier}")
    click.echo("Deleted.")


def row(item: Document) -> Sequence[object]:
    """Under HEADINGS."""
    way = f"{item['from'] or '–'} → {item['to'] or '–'}"
    state = item["status"] or ("read" if item["read_at"] else "unread")
    files = f"[{len(item['media'])} files]" if item["media"] else ""
    text = " ".join(filter(None, [item["text"], files]))
    return item["id"], item["created_at"], item["direction"], way, state, text


def _step(step: Document) -> Sequence[object]:
    event = step["event"]
    remark = "stale" if step["stale"] else "" if step["moved"] or event["type"] != "message.status" else "no news"
    told = ", ".join(f"{one['subscription_id']} {one['state']}" for one in step["told"])
    return event["timestamp"], event["type"], gist(event)[:60], remark, told
