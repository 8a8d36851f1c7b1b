"""`receiver subscription …`: the URLs that are told of events."""

from collections.abc import Sequence
from typing import Any

import click

from receiver.cli.failure import Failure
from receiver.cli.jobs import WISHES, ask, in_time, waiting
from receiver.cli.options import as_json, identified, paged, pairs, query_of, reaching
from receiver.cli.output import Document, flat, record, show_json, show_page, warn
from receiver.cli.reach import Reach
from receiver.settings import seconds

PATH = "/v1/subscriptions"
_MASK = "***"


class _Seconds(click.ParamType[float]):
    name = "seconds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def subscription() -> None:
    """Subscriptions: one for each URL that wants to hear of events."""


@subscription.command()
@click.argument("destination", metavar="URL")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="A type, or a prefix with *.  [default: *]")
@click.option("--vendor", "vendors", multiple=True, help="Only events of this vendor.")
@click.option("--source", "sources", multiple=True, metavar="ID", help="Only events of this source.")
@click.option("--from", "from", multiple=True, metavar="ADDRESS", help="Only from here; a prefix with * will do.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="Only to here; a prefix with * will do.")
@click.option("--country", "countries", multiple=True, metavar="CC", help="Only people of this country.")
@click.option("--keyword", "keywords", multiple=True, help="Only messages with this keyword.")
@click.option("--status", "statuses", multiple=True, help="Only reports of this status.")
@click.option("--final-only", is_flag=True, help="Only final reports.")
@click.option("--format", "format_", help="How events are written.  [default: standard]")
@click.option("--secret", help="whsec_…; made where it is left out.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Added to every delivery.")
@click.option("--max-concurrency", type=int, help="Attempts at once.")
@click.option("--rate", "rate_per_second", type=float, metavar="N", help="Attempts a second, at most.")
@click.option("--ordered", type=click.Choice(["conversation"]), help="Each conversation strictly in order.")
@click.option("--handshake", is_flag=True, help="Ask the URL first whether deliveries are welcome.")
@click.option("--start", metavar="WHERE", help="now, beginning, a time, or the id of an event.  [default: now]")
@click.option("--retry", "retry_schedule", multiple=True, type=_Seconds(), help="Delay after a failure, such as 5s.")
@click.option("--paused", is_flag=True, help="Hold deliveries back until it is resumed.")
@click.option("--description", help="Yours to choose.")
@as_json
@reaching
def add(reach: Reach, /, destination: str, *, as_json: bool, **given: Any) -> None:
    """Register URL for events and print the secret that signs them."""
    item = reach.change("POST", PATH, {"url": destination, **_body(given)})
    _show(item, as_json=as_json)


@subscription.command("list")
@click.option("--destination", metavar="URL", help="Only those of exactly this URL.")
@paged
@as_json
@reaching
def listed(reach: Reach, destination: str | None, limit: int, after: str | None, *, as_json: bool) -> None:
    """List subscriptions, newest first."""
    page = reach.read(PATH, query_of({"url": destination, "limit": limit, "after": after}))
    headings = ("id", "state", "waiting", "last success", "types", "url")
    show_page(page, headings, _row, "No subscriptions. Make one: receiver subscription add URL", as_json=as_json)


@subscription.command()
@identified
@as_json
@reaching
def test(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Send one test.ping now and tell how it went."""
    attempt = reach.act(f"{PATH}/{identifier}/test")
    if as_json:
        show_json(attempt)
    elif attempt["error"] is None:
        click.echo(f"Answered {attempt['status']} after {attempt['duration_ms']} ms.")
    if attempt["error"] is not None:
        detail = attempt["detail"] or (f"answered {attempt['status']}" if attempt["status"] else "no answer")
        raise Failure(f"{attempt['error']} after {attempt['duration_ms']} ms: {detail}")


@subscription.command()
@identified
@reaching
def pause(reach: Reach, identifier: str) -> None:
    """Hold deliveries back."""
    reach.change("PATCH", f"{PATH}/{identifier}", {"paused": True})
    click.echo(f"Paused {identifier}; its deliveries are held.")


@subscription.command()
@identified
@reaching
def resume(reach: Reach, identifier: str) -> None:
    """Send again, also to one that was disabled."""
    reach.change("PATCH", f"{PATH}/{identifier}", {"paused": False})
    click.echo(
        f"Resumed {identifier}. What was held meanwhile stays so until: receiver subscription recover {identifier}"
    )


@subscription.command()
@identified
@click.option(
    "--state", "states", multiple=True, type=click.Choice(WISHES), help="What to send.  [default: failed, held]"
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only of this type, or a prefix with *.")
@in_time
@waiting
@as_json
@reaching
def recover(reach: Reach, /, identifier: str, *, wait: bool, as_json: bool, **given: Any) -> None:
    """Send again what a subscription did not take."""
    ask(reach, f"{PATH}/{identifier}/recover", given, wait=wait, as_json=as_json)


@subscription.command()
@identified
@click.option("--overlap", type=_Seconds(), default="24h", show_default=True, help="How long both secrets sign.")
@as_json
@reaching
def rotate(reach: Reach, identifier: str, overlap: float, *, as_json: bool) -> None:
    """Give a subscription a new secret and print it."""
    body = {"overlap_seconds": round(overlap)}
    _show(reach.change("POST", f"{PATH}/{identifier}/rotate-secret", body), as_json=as_json)


@subscription.command()
@identified
@reaching
def remove(reach: Reach, identifier: str) -> None:
    """Remove a subscription; nothing more is sent to it."""
    reach.change("DELETE", f"{PATH}/{identifier}")
    click.echo(f"Removed {identifier}.")


_FILTERS = ("vendors", "sources", "from", "to", "countries", "keywords", "statuses", "final_only")
_LISTS = ("types", "retry_schedule")
_PLAIN = ("secret", "max_concurrency", "rate_per_second", "ordered", "start", "description")
_FLAGS = ("paused", "handshake")


def _body(given: Any) -> dict[str, Any]:
    """The API's body from what was given; the API has the defaults of the rest."""
    body: dict[str, Any] = {name: list(given[name]) for name in _LISTS if given[name]}
    body |= {name: given[name] for name in _PLAIN if given[name] is not None}
    wanted = {name: list(given[name]) if name != "final_only" else True for name in _FILTERS if given[name]}
    if wanted:
        body["filter"] = wanted
    if given["headers"]:
        body["headers"] = dict(pairs(given["headers"], "--header"))
    if given["format_"] is not None:
        body["format"] = given["format_"]
    return body | {name: True for name in _FLAGS if given[name]}


def _row(item: Document) -> Sequence[object]:
    return item["id"], item["state"], item["waiting"], item["last_success_at"], item["types"], item["url"]


def _show(item: Any, *, as_json: bool) -> None:
    if as_json:
        show_json(item)
        return
    shown = {name: value for name, value in item.items() if name not in ("warnings", "paused")}
    click.echo(record(flat(shown)))
    if item["secret"] != _MASK:
        click.echo("\nThe secret is shown only now; subscribers verify webhook-signature with it.")
    warn(item["warnings"])
