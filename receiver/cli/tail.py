"""`receiver events tail` and `receiver listen`: events as they come, on a screen or at a local URL."""

import asyncio
import os
import time
from contextlib import suppress

import click
import httpx2
import orjson

from receiver import __version__
from receiver.cli.failure import described, told
from receiver.cli.following import followed
from receiver.cli.inshort import gist, way
from receiver.cli.options import as_json, checked_url, filtered, query_of, reaching
from receiver.cli.output import Document, cell, cut
from receiver.cli.reach import Query, Reach
from receiver.delivery.signing import format_secret, parse_secret, sign
from receiver.formats.standard import render

PATIENCE_SECONDS = 20.0
_LIST = "/v1/events"
_after = click.option("--after", metavar="CURSOR", help="Begin behind a cursor or an event, not now.")


@click.command()
@filtered
@_after
@click.option(
    "-n", "--last", type=click.IntRange(0, 500), default=10, show_default=True, help="So many that were there before."
)
@as_json
@reaching
def tail(reach: Reach, /, after: str | None, last: int, *, as_json: bool, **given: object) -> None:
    """Show events as they come, until Ctrl-C; with --json the JSON of each on a line."""
    query = query_of(given)

    def show(content: str) -> None:
        click.echo(content if as_json else _line(orjson.loads(content)))

    if after is None and last:
        page = reach.read(_LIST, [*query, ("order", "desc"), ("limit", str(last))])
        for event in reversed(page["data"]):
            show(orjson.dumps(event).decode())
            after = event["id"]

    async def go_on() -> None:
        async for content in followed(reach, query, after, _say):
            show(content)

    with told(), suppress(KeyboardInterrupt):
        asyncio.run(go_on())


@click.command()
@click.option("--forward-to", "destination", metavar="URL", required=True, help="Where each event is posted to.")
@filtered
@_after
@click.option("--secret", help="whsec_…; made where it is left out.")
@reaching
def listen(reach: Reach, /, destination: str, after: str | None, secret: str | None, **given: object) -> None:
    """Post events to a local URL as they come, signed, until Ctrl-C; one attempt each, in the order of the log."""
    checked_url(destination, "--forward-to")
    with told(), suppress(KeyboardInterrupt):
        asyncio.run(_forward(reach, query_of(given), after, destination, _key(secret)))


async def _forward(reach: Reach, query: Query, after: str | None, destination: str, key: bytes) -> None:
    click.echo(f"Events go to {destination}, signed with {format_secret(key)} (Ctrl-C ends)")
    async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False, follow_redirects=False) as client:
        async for content in followed(reach, query, after, _say):
            event = orjson.loads(content)
            began = time.monotonic()
            outcome = await _posted(client, destination, event["id"], content.encode(), key)
            milliseconds = round((time.monotonic() - began) * 1000)
            click.echo(f"{event['id']}  {cell(event['type'])}  →  {outcome} after {milliseconds} ms")


async def _posted(client: httpx2.AsyncClient, destination: str, event_id: str, content: bytes, key: bytes) -> str:
    """As a subscription would be told of it (https://github.com/standard-webhooks/standard-webhooks)."""
    headers, body = render(content)
    now = int(time.time())
    signed = [
        (b"webhook-id", event_id.encode()),
        (b"webhook-timestamp", str(now).encode()),
        (b"webhook-signature", sign([key], event_id, now, body).encode()),
        (b"user-agent", f"receiver/{__version__}".encode()),
    ]
    try:
        answer = await client.post(destination, content=body, headers=[*headers, *signed])
    except httpx2.TransportError as error:
        return f"not taken ({described(error)})"
    return str(answer.status_code)


def _key(secret: str | None) -> bytes:
    if secret is None:
        return os.urandom(32)
    try:
        return parse_secret(secret)
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("secret: "), param_hint="--secret") from None


def _line(event: Document) -> str:
    cells = [event["id"], event["timestamp"], event["type"], event["data"].get("vendor"), way(event)]
    return "  ".join([*map(cell, cells), cut(cell(gist(event)))])


def _say(notice: str) -> None:
    click.echo(notice, err=True)
