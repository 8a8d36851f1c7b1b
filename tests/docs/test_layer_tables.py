"""The tables of layers, of CONTRIBUTING and the architecture, against the rows that tests/test_layers.py holds."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, ROOT
from tests.test_layers import PACKAGE, ROWS, row_of


def table(page: Path) -> Sequence[Sequence[str]]:
    """The modules of each row, from the top."""
    text = page.read_text("utf-8").partition("## How the code is laid out" if page.parent == ROOT else "## Layers")[2]
    lines = re.findall(r"^\| (?:\d \| )?(`.+?) \|", text.partition("\n## ")[0], re.MULTILINE)
    return [[name.replace("/", ".") for name in re.findall(r"`([\w/]+)`", line)] for line in lines]


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", DOCS / "architecture.md"], ids=lambda page: page.name)
def test_every_module_stands_in_its_row(page: Path):
    rows = table(page)
    assert len(rows) == len(ROWS)
    assert {name: row_of(name) for row in rows for name in row} == {
        name: place for place, row in enumerate(rows) for name in row
    }
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {name for row in rows for name in row} == {"__init__", "__main__", "settings"}
