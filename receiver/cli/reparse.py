"""`receiver reparse`: requests that were kept, read again when adapter or options were put right."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from receiver.cli.jobs import ask, waiting
from receiver.cli.options import as_json, reaching
from receiver.cli.output import Document, show_json, table
from receiver.cli.reach import Reach
from receiver.storage.receipts import Outcome

PATH = "/v1/receipts/reparse"
_OUTCOMES: Sequence[str] = Outcome.__args__  # type: ignore[attr-defined]  # of a Literal


@click.command()
@click.argument("receipts", nargs=-1, metavar="[RECEIPT]...")
@click.option("--source", metavar="ID", help="Of this source.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Of this outcome, such as quarantined.")
@click.option("--since", metavar="TIME", help="Received then or later, such as 2026-11-20T14:47:03Z.")
@click.option("--until", metavar="TIME", help="Received before then.")
@click.option("--dry-run", is_flag=True, help="Change nothing, show what would come of it.")
@waiting
@as_json
@reaching
def reparse(
    reach: Reach, /, receipts: Sequence[str], *, dry_run: bool, wait: bool, as_json: bool, **given: Any
) -> None:  # fmt: skip
    """Read requests again: RECEIPTs, or those of a source, an outcome or a time."""
    chosen = {"ids": list(receipts), **given}
    if not any(chosen.values()):
        raise click.UsageError("give RECEIPTs, or which of them by --source, --outcome, --since or --until")
    if not dry_run:
        ask(reach, PATH, chosen, wait=wait, as_json=as_json)
        return
    if wait:
        raise click.UsageError("--wait is for what is done; --dry-run only looks")
    body = {name: value for name, value in chosen.items() if value}
    pages = list(_pages(reach, body))
    found = [item for page in pages for item in page["data"]]
    read = sum(page["read"] for page in pages)
    if as_json:
        show_json({"read": read, "data": found})
        return
    rows = [row for item in found for row in _rows(item)]
    if rows:
        click.echo(table(("receipt", "outcome", "becomes", "event", "supersedes", "what"), rows))
    click.echo(f"{read} read; {len(found)} would change or cannot be read.")


def _pages(reach: Reach, body: Mapping[str, Any]) -> Iterator[Any]:
    """Page after page; on a terminal with how many receipts were read so far."""
    after: dict[str, Any] = {}
    read = 0
    while True:
        page = reach.act(PATH, {**body, "dry_run": True, "limit": 200, **after})
        yield page
        read += page["read"]
        if page["next"] is None:
            break
        if sys.stderr.isatty():
            click.echo(f"\r{read} read", nl=False, err=True)
        after = {"after": page["next"]}
    if after and sys.stderr.isatty():
        click.echo("\r", nl=False, err=True)


def _rows(item: Document) -> Sequence[Sequence[object]]:
    """One line a difference; one where there is none to show."""
    first = (item["receipt_id"], item["outcome"], item["becomes"])
    lines = [
        (*first, (it["after"] or it["before"])["type"], (it["before"] or {}).get("id"), _what(it))
        for it in item["differences"]
    ]  # fmt: skip
    return lines or [(*first, None, None, item["skipped"] or item["error"])]


def _what(difference: Document) -> str:
    if difference["action"] == "corrected":
        return f"corrected: {', '.join(difference['fields'])}"
    return {"part": "a part, waits for the others", "stands": "no longer found, stays"}.get(
        difference["action"], str(difference["action"])
    )
