"""Lines of CSV (RFC 4180) that no spreadsheet takes for formulas. Pure.

What begins a formula, or hides what does: https://owasp.org/www-community/attacks/CSV_Injection
"""

import re
from collections.abc import Iterable

_BEGINS_A_FORMULA = re.compile(r"[=+\-@\t\r\n'\uff1d\uff0b\uff0d\uff20]")
"""The last four are the full-width forms. An apostrophe gets one too, so that taking one away is always right."""
_QUOTED = re.compile(r'[",\r\n]|^ | $')


def line(cells: Iterable[object]) -> str:
    """One row with its line end; None is an empty cell, a cell that could be a formula begins with an apostrophe."""
    return ",".join([_cell(value) for value in cells]) + "\r\n"


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return _quoted(_safe(str(value)))


def _safe(text: str) -> str:
    return f"'{text}" if _BEGINS_A_FORMULA.match(text) else text


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
