"""Writes the generated parts of the docs anew: `make docs`. Tests hold them equal to the code."""

from collections.abc import Callable, Mapping
from pathlib import Path

from receiver.settings import settings_table
from tests.docs import of_api, of_events, of_tables, of_vendors
from tests.docs.markdown import DOCS, ROOT, filled

SETTINGS = DOCS / "settings.md"
BEGIN, END = "<!-- table: make docs -->\n\n", "\n<!-- end of table -->\n"

GENERATED: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    DOCS / "events.md": of_events.PARTS,
    DOCS / "vendors.md": of_vendors.PARTS,
    DOCS / "api.md": of_api.PARTS,
    DOCS / "read.md": of_tables.PARTS,
    ROOT / "README.md": of_vendors.README,
}


def with_table(text: str) -> str:
    """The page with the table between its two marks made from the model."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{settings_table()}{END}{after}"


def main() -> None:
    SETTINGS.write_text(with_table(SETTINGS.read_text("utf-8")), "utf-8")
    for path, parts in GENERATED.items():
        path.write_text(filled(path.read_text("utf-8"), parts), "utf-8")


if __name__ == "__main__":
    main()
