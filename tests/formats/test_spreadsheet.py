"""CSV that no spreadsheet runs, and that every reader of CSV reads back."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.formats.spreadsheet import line


def back(text: str) -> list[str]:
    (row,) = csv.reader(io.StringIO(text, newline=""))
    return row


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""), ("", ""), (True, "true"), (False, "false"), (3, "3"), ("hello", "hello"), ("a,b", '"a,b"'),
        ('say "hi"', '"say ""hi"""'), ("two\nlines", '"two\nlines"'), (" a", '" a"'), ("a ", '"a "'),
        ("=1+1", "'=1+1"), ("+447700900123", "'+447700900123"), ("-1", "'-1"), (-1, "'-1"), ("@sum", "'@sum"),
        ("\tx", "'\tx"), ("\rx", "\"'\rx\""), ("\nx", "\"'\nx\""), ("'x", "''x"), ("＝1", "'＝1"), ("1=1", "1=1"),
        ('=HYPERLINK("http://x","y")', "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
    ],
)  # fmt: skip
def test_a_cell_is_quoted_where_it_must_be_and_never_a_formula(value, cell):
    assert line([value]) == cell + "\r\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), min_size=2))
def test_a_row_comes_back_and_no_cell_begins_like_a_formula(cells):
    read = back(line(cells))
    assert [cell.removeprefix("'") if cell[:1] == "'" else cell for cell in read] == cells
    assert not any(cell[:1] in set("=+-@\t\r\n＝＋－＠") for cell in read if cell)
