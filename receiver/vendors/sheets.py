"""Rows of a file that a vendor's console exports: a text/csv body (RFC 4180) whose first line names its columns."""

import csv
from collections.abc import Sequence
from io import StringIO

from receiver.vendors.bodies import BOM, CHARSET_GUESSED
from receiver.vendors.contract import BadPayload, VendorRequest

MEDIA_TYPE = "text/csv"
MAX_COLUMNS = 256


def is_sheet(request: VendorRequest) -> bool:
    return (request.header("content-type") or "")[:8].lower() == MEDIA_TYPE


def written(header: Sequence[str], row: Sequence[str]) -> bytes:
    """One row under its header, always in the same form."""
    page = StringIO()
    csv.writer(page).writerows((header, row))
    return page.getvalue().encode("utf-8", "replace")


def parse_sheet(body: bytes) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Each row by column, empty cells and columns without a name left out, and the flags its bytes earned.

    Of a column that comes twice the first counts.
    """
    flags: tuple[str, ...] = ()
    try:
        text = body.removeprefix(BOM).decode()
    except UnicodeDecodeError:
        text, flags = body.decode("cp1252", "replace"), (CHARSET_GUESSED,)
    try:
        header, *rows = csv.reader(StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError):
        raise BadPayload("body: no CSV with a first line that names its columns") from None
    if len(header) > MAX_COLUMNS:
        raise BadPayload(f"body: more than {MAX_COLUMNS} columns")
    names = [name.strip() for name in header]
    return [_by_column(names, row) for row in rows], flags


def _by_column(names: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    pairs = [(name, cell) for name, cell in zip(names, row, strict=False) if name and cell]
    return dict(reversed(pairs))
