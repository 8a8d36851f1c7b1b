"""What a run leaves: results.json, the table in README.md between its markers, and the picture.

Figures of suites that did not run this time stay, as long as the machine is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from bench.figure import Figure, table
from bench.picture import TITLE, drawn

HERE = Path(__file__).parent
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->\n"
_SAME = ("processor", "memory", "Python", "SQLite")


def write(
    out: Path, suite: str, figures: Sequence[Figure], cost: dict[str, list[float]] | None, about: Mapping[str, Any],
    order: Sequence[str],
) -> None:  # fmt: skip
    """`about` is the machine and the moment, `order` that of the suites in the table."""
    before = _before(out, about)
    found = {"date": about["date"], "busy": about["busy"], "figures": [item.document() for item in figures]}
    suites = before["suites"] | {suite: found}
    document = {
        "machine": about["machine"],
        "suites": {name: suites[name] for name in order if name in suites},
        "cost": cost or before["cost"],
    }
    out.mkdir(parents=True, exist_ok=True)
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    (out / "results.json").write_bytes(orjson.dumps(document, option=options))
    _put(out / "README.md", _section(document))
    if cost:
        (out / "cost.svg").write_text(drawn(cost), "utf-8")


def _before(out: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier run left, when it was on the same machine."""
    path = out / "results.json"
    found: dict[str, Any] = orjson.loads(path.read_bytes()) if path.exists() else {}
    same = all(found.get("machine", {}).get(name) == about["machine"][name] for name in _SAME)
    return found if same and "suites" in found else {"suites": {}, "cost": None}


def _section(document: Mapping[str, Any]) -> str:
    known = {field.name for field in fields(Figure)}
    suites = document["suites"].values()
    figures = [
        Figure(**{name: value for name, value in item.items() if name in known})
        for suite in suites
        for item in suite["figures"]
    ]
    rounds = sorted({len(item.measured) for item in figures if item.reference})
    dates = sorted({suite["date"] for suite in suites})
    lines = [
        f"Medians of {' or '.join(map(str, rounds))} rounds, {' and '.join(dict.fromkeys([dates[0], dates[-1]]))}.", "",
        table(figures), "",
        "Measured on:", "",
        *(f"- {name}: {value}" for name, value in document["machine"].items()),
        *_pages(figures),
    ]  # fmt: skip
    if document["cost"]:
        lines += ["", f"![{TITLE}](cost.svg)"]
    return "\n".join(lines) + "\n"


def _pages(figures: Sequence[Figure]) -> list[str]:
    """p99 of every filter."""
    lines = []
    for item in figures:
        if item.detail:
            lines += ["", f"Pages of 50 events, p99 in {item.unit} by what they are filtered by:", ""]
            lines += [
                f"- {name}: {value:.1f}" for name, value in sorted(item.detail.items(), key=lambda pair: -pair[1])
            ]
    return lines


def _put(path: Path, text: str) -> None:
    """Between the markers of the README, which is taken from here where there is none."""
    before = (path if path.exists() else HERE / "README.md").read_text("utf-8")
    head, _, rest = before.partition(_BEGIN)
    tail = rest.partition(_END)[2]
    path.write_text(f"{head}{_BEGIN}\n{text}\n{_END}{tail}", "utf-8")
