"""Rows of exported files: read as CSV, and by columns like any request by its names."""

from typing import Any

import pytest

from receiver.sms.timestamps import from_text
from receiver.vendors.contract import BadPayload
from receiver.vendors.generic import GENERIC
from receiver.vendors.isendpro import ISENDPRO
from receiver.vendors.mapping_options import MappedOptions
from receiver.vendors.sheets import MAX_COLUMNS, parse_sheet, written
from tests.vendors.mapped import asked, items


def read(vendor: Any, body: str | bytes, **options: Any) -> Any:
    return items(vendor, asked(body=body, content_type="text/csv; charset=utf-8"), **options)


def test_what_is_written_is_read_again():
    header, row = ["a", 'b"', "c;d"], ["1", "two\nlines", 'q"uo,te']
    assert parse_sheet(written(header, row)) == ([dict(zip(header, row, strict=True))], ())
    assert written(["a"], ["\ud800"]) == b"a\r\n?\r\n"


def test_empty_cells_unnamed_columns_and_cells_without_a_column_are_left_out():
    assert parse_sheet(b" a ,,c,a\n1,2,,4\n5\n6,7,8,9,10\n") == ([{"a": "1"}, {"a": "5"}, {"a": "6", "c": "8"}], ())


def test_bytes_that_are_not_utf8_are_guessed_and_flagged():
    assert parse_sheet(b"Num\xe9ro\n1\n") == ([{"Num\u00e9ro": "1"}], ("charset_guessed",))
    assert parse_sheet("\ufeffNum\u00e9ro\n1\n".encode()) == ([{"Num\u00e9ro": "1"}], ())


@pytest.mark.parametrize("body", [b"", b'a\n"1', b",".join([b"a"] * (MAX_COLUMNS + 1)) + b"\n1\n"])
def test_what_is_no_sheet_is_refused(body: bytes):
    with pytest.raises(BadPayload, match="body: "):
        parse_sheet(body)


def test_a_row_of_a_campaign_is_a_report():
    (report,) = read(
        ISENDPRO,
        "Num\u00e9ro;Statut\n".replace(";", ",") + "33612345678,OK\n",
        statuses={"OK": "delivered"},
        international=True,
    )
    assert (report.status, report.vendor_status, report.to.raw) == ("delivered", "OK", "33612345678")


def test_columns_come_before_fields_and_have_a_time_of_their_own():
    options: dict[str, Any] = {
        "fields": {"to": "number", "status": "state", "occurred_at": "at"}, "time_format": "unix", "timezone": "Europe/Paris",
        "columns": {"to": "Phone", "occurred_at": ["When"], "text": None}, "columns_time_format": "%d/%m/%Y %H:%M",
        "statuses": {"ok": "delivered"},
    }  # fmt: skip
    first, second, bad = read(GENERIC, "Phone,state,When,number\n+33612345678,ok,20/11/2026 15:47,x\n,ok,,+33612345679\n,,,1\n",
                              **options)  # fmt: skip
    assert (first.to.raw, first.status, first.extra) == ("+33612345678", "delivered", {"number": "x"})
    assert first.occurred_at == from_text("2026-11-20T14:47:00Z")
    assert second.to.raw == "+33612345679"
    assert bad.error.startswith("item 3: ")


def test_a_default_column_can_be_taken_away():
    options = ISENDPRO.options.model_validate({"columns": {"to": None, "text": "Words"}})
    assert isinstance(options, MappedOptions)
    names = options.of_sheets.names
    assert names["to"] == options.names["to"]
    assert names["text"] == ("Words", *options.names["text"])
    assert names["status"][:2] == ("Statut", "STATUT")


def test_a_sheet_without_rows_says_nothing():
    with pytest.raises(BadPayload, match="rows are due"):
        read(GENERIC, "a,b\n")
