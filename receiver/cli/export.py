"""`receiver events export` and `receiver campaign`: what the log holds as a file, whole or not at all."""

import asyncio
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from receiver.cli.failure import Failure, told
from receiver.cli.options import filtered, query_of, reaching
from receiver.cli.reach import Query, Reach
from receiver.formats.zipped import Zip
from receiver.observe import escape
from receiver.storage.ids import moment

SHOWN_AFTER = 2.0
_IDS = re.compile(rb"(?:evt|msg)_[0-9a-hjkmnp-tv-z]{26}")
_LIST = "/v1/events"

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
_force = click.option("--force", is_flag=True, help="Overwrite FILE.")
_zip = click.option("--zip", "zipped", is_flag=True, help="Put it into a zip.")


@click.command()
@_file
@click.option("--format", "kind", type=click.Choice(["ndjson", "csv"]), help="[default: by FILE's name, else ndjson]")
@_zip
@filtered
@click.option("--after", metavar="CURSOR", help="Only what follows a cursor or an event.")
@_force
@reaching
def export(
    reach: Reach, /, file: Path, kind: str | None, after: str | None, *, zipped: bool, force: bool, **given: object
) -> None:
    """Write the log, or what filters leave of it, to FILE."""
    kind = kind or ("csv" if file.suffix == ".csv" else "ndjson")
    query = query_of(given)
    wanted = [*query, *query_of({"format": kind, "after": after})]
    _save(reach, f"{_LIST}/export", wanted, file, f"events.{kind}" if zipped else None, query, force=force)


@click.command()
@_file
@click.option("--since", metavar="TIME", required=True, help="Messages first reported on then or later.")
@click.option("--until", metavar="TIME", required=True, help="Messages first reported on before then.")
@click.option("--source", metavar="ID")
@click.option("--batch", "batch_id", metavar="ID", help="Of this batch or campaign.")
@_zip
@_force
@reaching
def campaign(reach: Reach, /, file: Path, *, zipped: bool, force: bool, **given: object) -> None:
    """Write a campaign report to FILE: each message of a time and where it stands, as CSV."""
    query = query_of(given)
    spanned = [("type", "message.status"), *(pair for pair in query if pair[0] != "batch_id")]
    _save(reach, "/v1/campaign-report", query, file, "campaign.csv" if zipped else None, spanned, force=force)


def _save(reach: Reach, path: str, query: Query, file: Path, inner: str | None, spanned: Query, *, force: bool) -> None:
    """`inner` is the file's name in a zip, `spanned` finds the first and the last event on the way."""
    if file.exists() and not force:
        raise Failure(f"{file} is there already; --force overwrites it")
    span = _span(reach, spanned) if sys.stderr.isatty() else None
    part = file.with_name(f"{file.name}.part")
    try:
        with told(), _shown(span) as show:
            asyncio.run(_download(reach, path, query, part, inner, show))
        part.replace(file)
    except OSError as error:
        raise Failure(f"{file}: cannot be written ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)
    click.echo(f"{escape(str(file))}: {file.stat().st_size} bytes")


async def _download(
    reach: Reach, path: str, query: Query, part: Path, inner: str | None, show: Callable[[bytes], None]
) -> None:
    packed = Zip(inner, time.time_ns() // 1000) if inner else None
    with part.open("wb") as out:
        async with reach.download(path, query) as answer:
            async for piece in answer.aiter_bytes():
                out.write(packed.write(piece) if packed else piece)
                show(piece)
        if packed:
            out.write(packed.end())


def _span(reach: Reach, query: Query) -> tuple[int, int] | None:
    """When the first and the last of the events were made, None where there is none."""
    ends = [reach.read(_LIST, [*query, ("limit", "1"), ("order", order)])["data"] for order in ("asc", "desc")]
    if not all(ends):
        return None
    first, last = (moment(data[0]["id"]) for data in ends)
    return first, last


@contextmanager
def _shown(span: tuple[int, int] | None) -> Iterator[Callable[[bytes], None]]:
    """A bar on a terminal, once it lasts: how far the export is by the time of the newest id in it."""
    started = time.monotonic()
    with ExitStack() as stack:
        bars: list[Any] = []

        def show(piece: bytes) -> None:
            found = _IDS.findall(piece)
            if span is None or not found or time.monotonic() - started < SHOWN_AFTER:
                return
            if not bars:
                bars.append(stack.enter_context(click.progressbar(length=100, label="Exporting", file=sys.stderr)))
            first, last = span
            share = 100 * (moment(found[-1].decode()) - first) // max(1, last - first)
            bars[0].update(max(0, min(share, 100) - bars[0].pos))

        yield show
