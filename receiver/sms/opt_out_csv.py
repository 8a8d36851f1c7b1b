"""Reads opt-out lists in CSV: our own, other systems', and what a spreadsheet made of them (by `;` or tab too).

An apostrophe in front of a cell is taken off: it is what keeps a spreadsheet from running the cell as a formula.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Final

COLUMNS: Final[Sequence[str]] = ("number", "opted_out", "scope", "sender", "source_id", "via", "changed_at", "event_id")

# What others call the column of numbers. iSendPro's black list is described as a zip with a CSV, its columns are not:
# `numero` and `num` are assumed from the parameters of https://isendpro.com/ (API 1.1.1, setlisteNoire).
_NUMBERS = frozenset(
    {"number", "phone", "phone_number", "msisdn", "mobile", "telephone", "tel", "numero", "num", "gsm"}
)
_NO = frozenset({"false", "no", "0", "f", "n"})
_YES = frozenset({"true", "yes", "1", "t", "y", ""})
_DIGITS = re.compile(r"[0-9]{3}")
_SEPARATORS = ";\t,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a list, by its place in the file; what it does not say is None."""

    place: int
    number: str
    opted_out: bool = True
    scope: str | None = None
    sender: str | None = None
    source_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A line that is not understood, and why, without what it says."""

    place: int
    detail: str


def read(content: bytes) -> Iterator[Line | Mistake]:
    """Lines in their order, empty ones left out. Without a heading that names the numbers, the first column of the
    first line that has digits is theirs, and no other column means anything.
    """
    rows = csv.reader(StringIO(_decoded(content), newline=""), delimiter=_separator(content))
    columns: Mapping[str, int] | None = None
    try:
        for row in rows:
            cells = [" ".join(cell.split()).removeprefix("'") for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = _heading(cells)
                if columns:
                    continue
                columns = {"number": next((at for at, cell in enumerate(cells) if _DIGITS.search(cell)), 0)}
            yield _line(cells, columns, rows.line_num)
    except csv.Error:
        yield Mistake(place=rows.line_num, detail="is not CSV, nor is what follows it")


def _heading(cells: Sequence[str]) -> Mapping[str, int]:
    """Where each column that means something stands; empty when this is no heading."""
    names = [cell.lower().replace(" ", "_") for cell in cells]
    number = next((at for at, name in enumerate(names) if name in _NUMBERS), None)
    if number is None:
        return {}
    return {name: names.index(name) for name in COLUMNS if name in names} | {"number": number}


def _line(cells: Sequence[str], columns: Mapping[str, int], place: int) -> Line | Mistake:
    found = {name: cells[at] for name, at in columns.items() if at < len(cells)}
    if not found.get("number"):
        return Mistake(place=place, detail="has no number")
    said = found.get("opted_out", "").lower()
    if said not in _YES | _NO:
        return Mistake(place=place, detail="opted_out is neither true nor false")
    return Line(
        place=place,
        number=found["number"],
        opted_out=said in _YES,
        scope=found.get("scope") or None,
        sender=found.get("sender") or None,
        source_id=found.get("source_id") or None,
    )


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _separator(content: bytes) -> str:
    """The one that the first line has most of, a comma if none."""
    first = _decoded(content.lstrip(b"\xef\xbb\xbf\r\n").split(b"\n", 1)[0])
    return max(_SEPARATORS, key=lambda mark: (first.count(mark), mark == ","))
