"""Writes the generated parts of the docs anew: `make docs`. A test holds them equal to the code."""

from pathlib import Path

from receiver.settings import settings_table

SETTINGS = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN, END = "<!-- table: make docs -->\n\n", "\n<!-- end of table -->\n"


def with_table(text: str) -> str:
    """The page with the table between its two marks made from the model."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{settings_table()}{END}{after}"


if __name__ == "__main__":
    SETTINGS.write_text(with_table(SETTINGS.read_text("utf-8")), "utf-8")
