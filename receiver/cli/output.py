"""What a command prints: aligned text for people, the API's JSON as it is for machines."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from receiver.observe import escape

LONGEST = 60

Document = Mapping[str, Any]


def cell(value: object) -> str:
    """One value on one line, without what could move the terminal's cursor."""
    if value in (None, "", [], {}, ()):
        return "–"
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(cell(item) for item in value)
        case dict():
            return ", ".join(f"{name}={cell(item)}" for name, item in value.items())
        case _:
            return escape(str(value))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, longest: int = LONGEST) -> str:
    """`longest` characters of the last column are shown."""
    cells = [[*(cell(value) for value in row[:-1]), cut(cell(row[-1]), longest)] for row in rows]
    return _aligned([[heading.upper() for heading in headings], *cells])


def record(fields: Document) -> str:
    """One thing: names on the left, values on the right."""
    return _aligned([[name, cell(value)] for name, value in fields.items()])


def flat(document: Document, prefix: str = "") -> dict[str, object]:
    """Nested objects as dotted names, without what is null or empty."""
    found: dict[str, object] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif value not in (None, [], ""):
            found[prefix + name] = value
    return found


def indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def show_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))


def show_page(
    page: Any, headings: Sequence[str], row: Callable[[Any], Sequence[object]], nothing: str, *, as_json: bool
) -> None:
    """A list of the API; a person is told how to see more."""
    if as_json:
        show_json(page)
        return
    if not page["data"]:
        click.echo(nothing)
        return
    click.echo(table(headings, [row(item) for item in page["data"]]))
    if page["next"] is not None:
        click.echo(f"\nMore with --after {page['next']}")


def warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {escape(warning)}", err=True)


def cut(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
