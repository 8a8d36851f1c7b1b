"""Opt-out lists as CSV: harmless to a spreadsheet, and read as other systems write them."""

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.opt_out_csv import COLUMNS, Line, Mistake, read, safe, write


@pytest.mark.parametrize(
    "cell", ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", "\tx", "\rx", "+44 7700", "+" + "1" * 16]
)
def test_what_a_spreadsheet_would_run_is_text(cell: str):
    assert safe(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["+447700900123", "ACME", "", "2026-11-20T14:47:03.123Z", "'quoted'", "a=b"])
def test_what_it_would_not_run_stays_as_it_is(cell: str):
    assert safe(cell) == cell


def test_a_number_of_plus_and_digits_alone_is_no_formula_and_no_cell_holds_nul():
    assert write([["+447700900123", None, "a\x00b,"]]) == '+447700900123,,"a\ufffdb,"\r\n'


def test_our_own_list_is_read_as_it_was_written():
    rows = [
        ["+447700900123", "true", "account", "", "", "api", "2026-11-20T14:47:03.123Z", "evt_1"],
        ["60777", "false", "group", '=MG1;"x"\n', "src_1", "vendor", "2026-11-20T14:47:03.123Z", "evt_2"],
    ]  # fmt: skip
    assert list(read(write([COLUMNS, *rows]).encode())) == [
        Line(place=2, number="+447700900123", scope="account"),
        Line(place=4, number="60777", opted_out=False, scope="group", sender='=MG1;"x"', source_id="src_1"),
    ]


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (b"33612345678\r\n33612345679\r\n", ["33612345678", "33612345679"]),
        (b"Numero;Date\n33612345678;2026-11-20\n", ["33612345678"]),
        ("id;prénom;num\n1;Zoé;0612345678\n".encode("cp1252"), ["0612345678"]),
        (b"\xef\xbb\xbfPhone Number\tname\n+447700900123\tX\n", ["+447700900123"]),
        (b"X,447700900123\nY,447700900124\n", ["447700900123", "447700900124"]),
        (b"\n\n;;\n'+447700900123;\n", ["+447700900123"]),
        (b"", []),
    ],
)
def test_lists_of_other_systems_are_read(content: bytes, numbers: list[str]):
    found = list(read(content))
    assert [line.number for line in found if isinstance(line, Line)] == numbers
    assert len(found) == len(numbers)


def test_a_line_that_is_wrong_is_named_without_what_it_says():
    found = list(read(b"number,opted_out\n+447700900123,perhaps\n,yes\n60777,NO\n12345\n"))
    assert found == [
        Mistake(place=2, detail="opted_out is neither true nor false"),
        Mistake(place=3, detail="has no number"),
        Line(place=4, number="60777", opted_out=False),
        Line(place=5, number="12345"),
    ]


def test_what_is_no_csv_any_more_ends_the_list():
    found = list(read(b"number\n60777\n" + b"x" * 200_000 + b"\n60778\n"))
    assert found == [Line(place=2, number="60777"), Mistake(place=3, detail="is not CSV, nor is what follows it")]


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"])), min_size=1), min_size=1
    )
)
def test_what_is_written_is_csv_of_the_same_cells(rows: list[list[str]]):
    back = list(csv.reader(StringIO(write(rows), newline="")))
    assert back == [[safe(cell) for cell in row] if row != [""] else [""] for row in rows]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_failing(content: bytes):
    for found in read(content):
        assert isinstance(found, (Line, Mistake))
