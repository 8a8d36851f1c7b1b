"""Opt-out lists in CSV are read as other systems write them, and our own as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.formats.spreadsheet import line
from receiver.sms.opt_out_csv import COLUMNS, Line, Mistake, read


def test_our_own_list_is_read_as_it_was_written():
    rows = [
        ["+447700900123", "true", "account", "", "", "api", "2026-11-20T14:47:03.123Z", "evt_1"],
        ["60777", "false", "group", '=MG1;"x"\n', "src_1", "vendor", "2026-11-20T14:47:03.123Z", "evt_2"],
    ]  # fmt: skip
    assert list(read("".join(map(line, [COLUMNS, *rows])).encode())) == [
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


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(lambda text: " ".join(text.split())))
def test_a_sender_comes_back_as_it_was_written_whatever_a_spreadsheet_would_make_of_it(sender: str):
    content = line(["number", "sender"]) + line(["60777", sender])
    assert list(read(content.encode())) == [Line(place=2, number="60777", sender=sender or None)]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_failing(content: bytes):
    for found in read(content):
        assert isinstance(found, (Line, Mistake))
