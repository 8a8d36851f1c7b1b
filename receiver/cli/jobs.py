"""`receiver jobs …` and `receiver replay`: long work of the running receiver, asked for, watched and canceled."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec
from urllib.parse import quote

import click

from receiver.api.jobs import State
from receiver.cli.failure import Failure
from receiver.cli.options import as_json, identified, paged, query_of, reaching
from receiver.cli.output import Document, flat, record, show_json, show_page
from receiver.cli.reach import Reach, settings_of, someone_runs
from receiver.storage.jobs import Wish

PATH = "/v1/jobs"
WISHES: Sequence[str] = Wish.__args__  # type: ignore[attr-defined]  # of a Literal
_STATES: Sequence[str] = State.__args__  # type: ignore[attr-defined]  # of a Literal

P = ParamSpec("P")

_LOOK_SECONDS = 0.25
_BAR_AFTER_SECONDS = 2.0

waiting = click.option("--wait", is_flag=True, help="Come back when it is done.")
_since = click.option("--since", metavar="TIME", help="Events accepted then or later, such as 2026-11-20T14:47:03Z.")
_until = click.option("--until", metavar="TIME", help="Events accepted before then.")


def in_time(command: Callable[P, None]) -> Callable[P, None]:
    """`--since` and `--until`."""
    return _since(_until(command))


@click.group()
def jobs() -> None:
    """Jobs: recoveries, replays, requests read again, and subscriptions that start back in the log."""


@jobs.command("list")
@click.option("--subscription", "subscription_id", metavar="ID")
@click.option("--state", type=click.Choice(_STATES))
@paged
@as_json
@reaching
def listed(reach: Reach, /, *, as_json: bool, **given: object) -> None:
    """List jobs, newest first."""
    page = reach.read(PATH, query_of(given))
    headings = ("id", "kind", "state", "done", "released", "subscription", "error")
    show_page(page, headings, _row, "No jobs.", as_json=as_json)


@jobs.command()
@identified
@as_json
@reaching
def show(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Show how far a job is."""
    _show(reach.read(f"{PATH}/{identifier}"), as_json=as_json)


@jobs.command()
@identified
@as_json
@reaching
def cancel(reach: Reach, identifier: str, *, as_json: bool) -> None:
    """Stop a job; what it released before goes on."""
    item = reach.change("POST", f"{PATH}/{identifier}/cancel")
    if as_json:
        show_json(item)
    else:
        click.echo(f"Canceled {item['id']} after {_progress(item)}.")


@click.command()
@click.argument("event", required=False)
@in_time
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only of this type, or a prefix with *.")
@click.option("--subscription", "subscription_ids", multiple=True, metavar="ID", help="Only to this one.")
@waiting
@as_json
@reaching
def replay(reach: Reach, /, event: str | None, *, wait: bool, as_json: bool, **given: Any) -> None:
    """Send EVENT, or the events of a time, again to every subscription that they match."""
    narrowed = [name for name in ("since", "until", "types") if given[name]]
    if (event is None) == (not narrowed):
        raise click.UsageError("give either an EVENT, or which events by --since, --until or --type")
    path = "/v1/events/replay" if event is None else f"/v1/events/{quote(event, safe='')}/replay"
    ask(reach, path, given, wait=wait, as_json=as_json)


def ask(reach: Reach, path: str, given: Mapping[str, Any], *, wait: bool, as_json: bool) -> None:
    """Asks for a job and says how to watch it, or waits for its end."""
    someone_runs = _runs(reach)
    body = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}
    _followed(reach, reach.change("POST", path, body)["job"], someone_runs, wait=wait, as_json=as_json)


def follow(reach: Reach, job_id: str, *, wait: bool, as_json: bool) -> None:
    """The same for a job that was just asked for."""
    someone_runs = _runs(reach)
    _followed(reach, reach.read(f"{PATH}/{job_id}"), someone_runs, wait=wait, as_json=as_json)


def _followed(reach: Reach, job: Document, someone_runs: bool, *, wait: bool, as_json: bool) -> None:
    if wait and someone_runs:
        job = _ended(reach, job)
    if as_json:
        show_json(job)
    elif job["state"] == "running":
        click.echo(_begun(job) if someone_runs else f"Asked for {job['id']}. It begins when the receiver is started.")
    if job["state"] in ("failed", "canceled"):
        because = f": {job['error']}" if job["error"] else ""
        raise Failure(f"{job['id']} was {job['state']} after {_progress(job)}{because}")
    if job["state"] == "done" and not as_json:
        click.echo(f"Done: {_progress(job)}.")


def _runs(reach: Reach) -> bool:
    """Whether a receiver runs that does the job at once; without one it is only put down."""
    return reach.url is not None or someone_runs(settings_of(reach.config))


def _ended(reach: Reach, job: Document) -> Document:
    """Looks until the job has ended; on a terminal what lasts longer shows a bar. An interrupt leaves the job alone."""
    terminal = sys.stderr
    started = time.monotonic()
    while job["state"] == "running" and not (terminal.isatty() and time.monotonic() - started > _BAR_AFTER_SECONDS):
        job = _looked(reach, job)
    if job["state"] == "running":
        length = max(1, job["total"])
        with click.progressbar(length=length, label=job["id"], file=terminal) as bar:
            while job["state"] == "running":
                bar.update(min(job["done"], length) - bar.pos)
                job = _looked(reach, job)
            bar.update(min(job["done"], length) - bar.pos)
    return job


def _looked(reach: Reach, job: Document) -> Document:
    time.sleep(_LOOK_SECONDS)
    found: Document = reach.read(f"{PATH}/{job['id']}")
    return found


def _begun(job: Document) -> str:
    total = f", {job['total']} to look at" if job["total"] else ""
    return f"Began {job['id']}{total}. Watch it: receiver jobs show {job['id']}"


def _progress(job: Document) -> str:
    became = {"erase": "erased", "reparse": "events made"}.get(job["kind"], "to be sent")
    return f"{job['done']} looked at, {job['released']} {became}"


def _row(item: Document) -> Sequence[object]:
    done = f"{item['done']}/{item['total']}"
    return item["id"], item["kind"], item["state"], done, item["released"], item["subscription_id"], item["error"]


def _show(item: Any, *, as_json: bool) -> None:
    if as_json:
        show_json(item)
    else:
        click.echo(record(flat(item)))
