"""`receiver trigger`: posts a real-shaped request to a source, as its vendor would."""

import difflib
import time
from collections.abc import Mapping, Sequence

import click
import httpx2

from receiver.cli.aim import aimed
from receiver.cli.failure import FAILED, Failure, described
from receiver.cli.options import as_json, checked_url, credentials_of
from receiver.cli.output import show_json, table
from receiver.fixtures import Fixture, find, load_all

PATIENCE_SECONDS = 20.0
_TITLE_CHARS = 200

_NEXT: Mapping[int, str] = {
    401: "Refused: sign it with --sign, and --credential NAME=VALUE as the source has it; RECEIVER_PUBLIC_URL must "
    "be the URL that was posted to.",
    403: "Refused: the source's options.allow does not name this network.",
    404: "No source has this URL: receiver source list",
    405: "The vendor never uses this method: is it a source of this vendor?",
    503: "Not kept: receiver check",
}


@click.command()
@click.argument("case", metavar="[VENDOR.CASE]", required=False)
@click.option("--to", "url", metavar="URL", help="A source's URL: receiver source show ID")
@click.option("--sign", is_flag=True, help="Sign it anew for that URL.")
@click.option(
    "--credential", "credentials", multiple=True, metavar="NAME=VALUE", help="To sign with instead of the case's own."
)
@as_json
def trigger(case: str | None, url: str | None, credentials: Sequence[str], *, sign: bool, as_json: bool) -> None:
    """Post a vendor's request to a source; without a name, list what there is."""
    if case is None:
        if url is not None or sign or credentials:
            raise click.UsageError("VENDOR.CASE is missing; `receiver trigger` alone lists what there is")
        _list(as_json=as_json)
        return
    fixture = _found(case)
    if url is None:
        raise click.UsageError(f"--to is missing: the URL of a {fixture.vendor} source")
    if credentials and not sign:
        raise click.UsageError("--credential goes with --sign")
    _post(fixture, _request(fixture, checked_url(url, "--to"), credentials, sign=sign))


def _list(*, as_json: bool) -> None:
    cases = [{"name": item.name, "title": item.expected.title, "outcome": item.expected.outcome} for item in load_all()]
    if as_json:
        show_json({"data": cases})
        return
    rows = [(it["name"], it["outcome"], it["title"]) for it in cases]
    click.echo(table(("case", "outcome", "what it is"), rows, longest=_TITLE_CHARS))
    click.echo("\nPost one: receiver trigger VENDOR.CASE --to URL [--sign]")


def _found(name: str) -> Fixture:
    try:
        return find(name)
    except KeyError:
        close = difflib.get_close_matches(name, [item.name for item in load_all()], n=1)
        hint = f"; did you mean {close[0]}?" if close else "; `receiver trigger` alone lists them"
        raise click.BadParameter(f"no such case{hint}", param_hint="VENDOR.CASE") from None


def _request(fixture: Fixture, url: str, credentials: Sequence[str], *, sign: bool) -> httpx2.Request:
    try:
        return aimed(fixture, url, time.time_ns() // 1000, sign=sign, credentials=credentials_of(credentials))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _post(fixture: Fixture, request: httpx2.Request) -> None:
    try:
        with httpx2.Client(timeout=PATIENCE_SECONDS) as client:
            answer = client.send(request)
    except httpx2.TransportError as error:
        raise Failure(f"the source cannot be reached: {described(error)}") from None
    kind = answer.headers.get("content-type")
    click.echo(f"{fixture.name}: {answer.status_code}, {len(answer.content)} bytes{f' of {kind}' if kind else ''}")
    if answer.is_success:
        click.echo(f"Taken. What it meant: receiver events list --vendor {fixture.vendor}")
        return
    click.echo(_NEXT.get(answer.status_code, "Not taken."), err=True)
    raise click.exceptions.Exit(FAILED)
