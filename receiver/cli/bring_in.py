"""`receiver import`: rows of a file that a vendor's console exported, as receipts of a source of that vendor."""

import codecs
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from receiver.cli.failure import Failure
from receiver.cli.options import as_json, reaching
from receiver.cli.output import record, show_json
from receiver.cli.reach import Reach
from receiver.cli.sheets import Row, Sheet, sheets_of
from receiver.vendors import VENDORS

ROWS, BYTES = 500, 200_000
"""Of one call."""

_OUTCOMES = ("stored", "duplicate", "conflict", "ignored", "quarantined")


def _encoding(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        fits = value is None or "\n;".encode(codecs.lookup(value).name) == b"\n;"
    except LookupError:
        fits = False
    if not fits:
        raise click.BadParameter("must be an encoding whose first 128 characters are ASCII's, such as latin-1")
    return value


@click.command("import")
@click.argument("vendor", type=click.Choice(sorted(VENDORS)), metavar="VENDOR")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", metavar="ID", help="Which source, where the vendor has several.")
@click.option("--delimiter", metavar="CHAR", help="Between cells; left out: ; , | or a tab, as it looks.")
@click.option("--encoding", callback=_encoding, help="Left out: UTF-8, else Windows-1252.")
@as_json
@reaching
def bring_in(
    reach: Reach, /, vendor: str, file: Path, *, source: str | None, delimiter: str | None, encoding: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Take in FILE, a CSV or a zip with CSV in it; what was taken before is not taken again."""
    if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii()):
        raise click.BadParameter("must be one ASCII character", param_hint="--delimiter")
    path = f"/v1/sources/{source or _only_source(reach, vendor)}/import"
    total: Counter[str] = Counter(dict.fromkeys(_OUTCOMES, 0))
    with sheets_of(file, delimiter, encoding) as (size, sheets), _bar(size) as bar:
        places: list[tuple[Sheet, int]] = []

        def done(counted: Mapping[str, int]) -> None:
            total.update({name: counted[name] for name in _OUTCOMES})
            if bar is not None and places:
                sheet, before = places[-1]
                bar.update(sheet.read - before)
                places[-1] = sheet, sheet.read

        reach.change_each("POST", path, _bodies(sheets, places), done)
    if as_json:
        show_json({"read": sum(total.values()), **total})
        return
    click.echo(record({"rows": sum(total.values()), **total}))
    if total["quarantined"]:
        click.echo("What was not understood: receiver reparse --outcome quarantined --dry-run; see options.columns.")


def _only_source(reach: Reach, vendor: str) -> str:
    found: list[str] = []
    after: Sequence[tuple[str, str]] = ()
    while True:
        page = reach.read("/v1/sources", [("limit", "500"), *after])
        found += [item["id"] for item in page["data"] if item["vendor"] == vendor]
        if page["next"] is None:
            break
        after = [("after", page["next"])]
    if len(found) != 1:
        raise Failure(
            f"{vendor} has no source; make one: receiver source add {vendor}"
            if not found
            else f"{vendor} has {len(found)} sources; say which one by --source"
        )
    return found[0]


def _bar(size: int) -> AbstractContextManager[Any]:
    if not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=max(1, size), label="import", file=sys.stderr)


def _bodies(sheets: Iterator[Sheet], places: list[tuple[Sheet, int]]) -> Iterator[Mapping[str, Any]]:
    for sheet in sheets:
        places.append((sheet, 0))
        if not any(name.strip() for name in sheet.header):
            raise Failure(f"{sheet.name}: its first line names no column")
        rows: list[Row] = []
        held = 0
        for row in sheet.rows():
            size = len(json.dumps(row))
            if rows and (len(rows) == ROWS or held + size > BYTES):
                yield {"header": sheet.header, "rows": rows}
                rows, held = [], 0
            rows.append(row)
            held += size
        if rows:
            yield {"header": sheet.header, "rows": rows}
