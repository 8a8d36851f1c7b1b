"""`receiver optouts …`: who does not want to hear from whom, one by one or as a whole list."""

import io
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click

from receiver.cli.failure import Failure
from receiver.cli.inshort import gist
from receiver.cli.options import as_json, paged, query_of, reaching
from receiver.cli.output import Document, indented, show_json, show_page, table
from receiver.cli.reach import Query, Reach
from receiver.formats import spreadsheet
from receiver.sms import opt_out_csv
from receiver.sms.opt_out_csv import Line, Mistake

PATH = "/v1/opt-outs"
_SHOWN = ("number", "scope", "sender", "source_id", "via", "changed_at")
_AT_ONCE = 2000
_MOST = 64 * 1024 * 1024
"""Bytes of a list, unpacked: some million numbers."""
_NAMED = 100
"""Lines that were left out, of which it is told why."""
_COLUMNS = opt_out_csv.COLUMNS[:5]


@click.group()
def optouts() -> None:
    """Opt-outs: who does not want to hear from whom."""


_filters = (
    click.option("--number", metavar="NUMBER", help="Exact, or a prefix with *."),
    click.option("--scope", type=click.Choice(["sender", "group", "account", "unknown"])),
    click.option("--source", metavar="ID"),
    click.option(
        "--opted-out", type=click.Choice(["true", "false", "any"]), default="true", show_default=True,
        help="false: who opted in again.",
    ),
)  # fmt: skip


def _filtered(command: Any) -> Any:
    for option in reversed(_filters):
        command = option(command)
    return command


_numbered = click.argument("number")


@optouts.command("list")
@_filtered
@paged
@as_json
@reaching
def listed(reach: Reach, /, *, as_json: bool, **given: object) -> None:
    """List the opt-outs, what changed last first."""
    page = reach.read(PATH, query_of(given))
    show_page(page, _SHOWN, _row, "No opt-outs.", as_json=as_json)


@optouts.command()
@_numbered
@as_json
@reaching
def show(reach: Reach, number: str, *, as_json: bool) -> None:
    """Show what a person opted out of, and how that came."""
    found = reach.read(_path(number))
    if as_json:
        show_json(found)
        return
    click.echo(f"{found['number']} is opted {'out' if found['opted_out'] else 'in'}.")
    click.echo("\nLines\n" + indented(table(("opted out", *_SHOWN[1:]), [_line(line) for line in found["lines"]])))
    history = [(event["timestamp"], event["type"], event["id"], gist(event)) for event in found["history"]]
    click.echo("\nHistory\n" + indented(table(("time", "event", "id", ""), history)))


@optouts.command()
@_numbered
@click.option("--source", "source_id", metavar="ID", help="Only through this source.")
@click.option("--sender", metavar="ADDRESS", help="Only from this sender of yours.")
@click.option("--channel")
@as_json
@reaching
def add(reach: Reach, /, number: str, *, as_json: bool, **given: str | None) -> None:
    """Opt a person out."""
    found = reach.change("PUT", _path(number), {name: value for name, value in given.items() if value is not None})
    if as_json:
        show_json(found)
    else:
        click.echo(f"{found['number']} is opted out.")


@optouts.command()
@_numbered
@click.option("--source", metavar="ID", help="Only through this source.")
@click.option("--scope", type=click.Choice(["sender", "group", "account", "unknown"]))
@click.option("--sender", metavar="ADDRESS", help="Only from this sender of yours, or this group.")
@reaching
def remove(reach: Reach, /, number: str, **given: str | None) -> None:
    """Opt a person in again."""
    reach.change("DELETE", _path(number), query=query_of(given))
    click.echo("Opted in.")


@optouts.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--source", metavar="ID", help="The source that lines without one are for; else they are for all.")
@click.option("--default-region", metavar="REGION", help="Reads national numbers as numbers of this country.")
@as_json
@reaching
def import_list(reach: Reach, /, file: BinaryIO, *, as_json: bool, **given: str | None) -> None:
    """Take over a list: CSV with a column of numbers, or a zip of such files (as iSendPro's black list comes)."""
    contents, query, taken = list(_lists(file)), query_of(given), _Taken()
    with _bar(contents) as bar:
        lines = (line for content in contents for line in opt_out_csv.read(content))
        while part := list(islice(lines, _AT_ONCE)):
            taken.add(part, _imported(reach, [line for line in part if isinstance(line, Line)], query))
            if bar is not None:
                bar.update(len(part))
    _told(taken, as_json=as_json)


@dataclass
class _Taken:
    """What became of the lines so far; `named` are the first hundred that were left out, each with why."""

    lines: int = 0
    changed: int = 0
    refused: int = 0
    named: list[tuple[int, str]] = field(default_factory=list)

    def add(self, part: Sequence[Line | Mistake], answer: Mapping[str, Any]) -> None:
        wrong = [(it.place, it.detail) for it in part if isinstance(it, Mistake)] + answer["errors"]
        refused = len(wrong) + answer["unnamed"]
        self.lines += len(part) - refused
        self.changed += answer["changed"]
        self.refused += refused
        self.named = (self.named + sorted(wrong))[:_NAMED]


def _bar(contents: Sequence[bytes]) -> AbstractContextManager[Any]:
    length = sum(content.count(b"\n") for content in contents)
    if length <= _AT_ONCE or not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=length, label="Importing", file=sys.stderr)


def _imported(reach: Reach, part: Sequence[Line], query: Query) -> Mapping[str, Any]:
    """Line by line as the list had them; what is wrong with one is told by its place there."""
    if not part:
        return {"changed": 0, "errors": [], "unnamed": 0}
    rows = [[it.number, it.opted_out, it.scope, it.sender, it.source_id] for it in part]
    content = "".join(map(spreadsheet.line, [_COLUMNS, *rows])).encode()
    answer = reach.upload(f"{PATH}/import", content, "text/csv", query)
    errors = [(part[error["line"] - 2].place, error["detail"]) for error in answer["errors"]]
    return {"changed": answer["changed"], "errors": errors, "unnamed": answer["refused"] - len(errors)}


def _told(taken: _Taken, *, as_json: bool) -> None:
    if as_json:
        errors = [{"line": place, "detail": detail} for place, detail in taken.named]
        counts = {"lines": taken.lines, "changed": taken.changed, "refused": taken.refused}
        show_json(counts | {"errors": errors})
    else:
        click.echo(f"{taken.lines} lines, {taken.changed} changed.")
        for place, detail in taken.named:
            click.echo(f"line {place}: {detail}", err=True)
    if taken.refused:
        raise Failure(f"{taken.refused} lines were left out")


def _lists(file: BinaryIO) -> Iterator[bytes]:
    """The file, or what lies in it, all of it together within bounds. Raises Failure."""
    content = file.read(_MOST + 1)
    if not zipfile.is_zipfile(io.BytesIO(content)):
        yield _small_enough(content, 0)
        return
    held = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    with archive.open(name) as member:
                        unpacked = _small_enough(member.read(_MOST - held + 1), held)
                    held += len(unpacked)
                    yield unpacked
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise Failure(f"the zip cannot be read ({type(error).__name__})") from None


def _small_enough(content: bytes, before: int) -> bytes:
    if before + len(content) > _MOST:
        raise Failure(f"a list may have {_MOST} bytes at most; cut it into pieces")
    return content


@optouts.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, writable=True, allow_dash=True))
@_filtered
@reaching
def export(reach: Reach, /, file: Path, **given: object) -> None:
    """Write the list as CSV to FILE, or to stdout for -."""
    pages = _pages(reach, query_of(given))
    first = next(pages)  # what is wrong is told before the file is made
    with click.open_file(str(file), "w", encoding="utf-8") as out:
        out.write(spreadsheet.line(opt_out_csv.COLUMNS))
        for page in chain([first], pages):
            out.writelines([spreadsheet.line([item[name] for name in opt_out_csv.COLUMNS]) for item in page])


def _pages(reach: Reach, query: Query) -> Iterator[Sequence[Document]]:
    after: Query = ()
    while True:
        page = reach.read(PATH, [*query, ("limit", "500"), *after])
        yield page["data"]
        if page["next"] is None:
            return
        after = [("after", page["next"])]


def _path(number: str) -> str:
    return f"{PATH}/{quote(number, safe='')}"


def _row(item: Document) -> Sequence[object]:
    return [item[name] for name in _SHOWN]


def _line(item: Document) -> Sequence[object]:
    return [item["opted_out"], *(item[name] for name in _SHOWN[1:])]
