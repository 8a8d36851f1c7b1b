"""Files of a vendor's console, taken in from the command line: within bounds, and once."""

import io
import os
import pty
import subprocess
import zipfile
from pathlib import Path

import pytest

from receiver.cli import sheets
from tests.cli.running import PROGRAM, answered, done, environment, refused, serving


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def zipped(**members: str | bytes) -> None:
    with zipfile.ZipFile("report.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)


def isendpro() -> None:
    answered("source", "add", "isendpro", "--option", "statuses.OK=delivered", "--option", "international=true")


CAMPAIGN = "Num\u00e9ro;Statut;Date\n33612345678;OK;2026-11-20 15:47:03\n\n33612345679;KO;\n"


@pytest.mark.parametrize("content", [CAMPAIGN.encode(), CAMPAIGN.encode("cp1252"), b"\xef\xbb\xbf" + CAMPAIGN.encode()])
def test_a_campaigns_zip_becomes_reports_once(content: bytes):
    isendpro()
    zipped(report_csv=content, readme_md="not CSV")
    first = answered("import", "isendpro", "report.zip")
    assert (first["read"], first["stored"], first["duplicate"]) == (2, 2, 0)
    events = answered("events", "list")["data"]
    assert [(item["data"]["to"]["address"], item["data"]["status"]) for item in events] == [
        ("+33612345679", "unknown"), ("+33612345678", "delivered"),
    ]  # fmt: skip
    assert answered("import", "isendpro", "report.zip")["duplicate"] == 2
    assert len(answered("events", "list")["data"]) == 2


def test_a_plain_file_of_many_rows_goes_to_a_receiver_that_runs(tmp_path: Path):
    isendpro()
    rows = "".join(f"336{number:08d}\tOK\n" for number in range(1203))
    Path("report.csv").write_text("NUMERO\tSTATUT\n" + rows)
    with serving(tmp_path):
        printed = done("import", "isendpro", "report.csv")
        assert "stored       1203" in printed
        assert "duplicate    1203" in done("import", "isendpro", "report.csv")


def test_what_is_not_understood_says_what_to_do():
    isendpro()
    Path("odd.csv").write_text("a,b\n1,2\n")
    assert "receiver reparse" in done("import", "isendpro", "odd.csv")


def test_of_several_sources_one_has_to_be_named():
    Path("report.csv").write_text("NUMERO;STATUT\n33612345678;OK\n")
    answered("source", "add", "sendsms")
    assert "receiver source add isendpro" in refused("import", "isendpro", "report.csv")
    isendpro()
    second = answered("source", "add", "isendpro", "--option", "international=true")
    assert "has 2 sources" in refused("import", "isendpro", "report.csv")
    assert answered("import", "isendpro", "report.csv", "--source", second["id"])["stored"] == 1
    answered("source", "add", "twilio", "--credential", "auth_token=t")
    assert "cannot be read" in refused("import", "twilio", "report.csv")


def test_delimiter_and_encoding_can_be_said(tmp_path: Path):
    isendpro()
    Path("report.csv").write_bytes("Num\u00e9ro#Statut\n33612345678#OK\n".encode("cp850"))
    assert answered("import", "isendpro", "report.csv", "--delimiter", "#", "--encoding", "cp850")["stored"] == 1
    assert "one ASCII character" in refused("import", "isendpro", "report.csv", "--delimiter", "::", code=2)
    for encoding in ("utf-16", "nothing"):
        assert "encoding" in refused("import", "isendpro", "report.csv", "--encoding", encoding, code=2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names no column"),
        (b";;\n1;2\n", "names no column"),
        (b"a;b\n" + b"x" * 70_000, "longer than 64 KiB"),
        (b'a;b\n"1', "is no CSV"),
        (b"a;b\n" + b";" * 300 + b"\n", "more than 256 columns"),
    ],
)
def test_what_is_no_sheet_is_refused(content: bytes, said: str):
    isendpro()
    Path("bad.csv").write_bytes(content)
    assert said in refused("import", "isendpro", "bad.csv")


def test_a_zip_that_inflates_is_cut_off(monkeypatch: pytest.MonkeyPatch):
    isendpro()
    monkeypatch.setattr(sheets, "MAX_BYTES", 1_000_000)
    zipped(one_csv="a;b\n" + "\n" * 600_000, two_csv="a;b\n" + "\n" * 600_000)
    assert "cut the file into pieces" in refused("import", "isendpro", "report.zip")


def test_zips_that_are_odd_are_refused(monkeypatch: pytest.MonkeyPatch):
    isendpro()
    zipped(readme_md="x")
    assert "no CSV" in refused("import", "isendpro", "report.zip")
    monkeypatch.setattr(sheets, "MAX_MEMBERS", 1)
    zipped(one_csv="a\n", two_csv="b\n")
    assert "more than 1 files" in refused("import", "isendpro", "report.zip")
    zipped(one_csv="a;b\n1;2\n" * 50)
    whole = Path("report.zip").read_bytes()
    directory = whole.rfind(b"PK\x01\x02")
    encrypted = bytearray(whole)
    encrypted[directory + 8] |= 1
    Path("report.zip").write_bytes(encrypted)
    assert "is encrypted" in refused("import", "isendpro", "report.zip")
    Path("report.zip").write_bytes(whole[:40] + b"\xff" * 10 + whole[50:])
    assert "cannot be read" in refused("import", "isendpro", "report.zip")
    odd = bytearray(whole)
    odd[directory + 10] = odd[8] = 99
    Path("report.zip").write_bytes(odd)
    assert "cannot be read" in refused("import", "isendpro", "report.zip")
    Path("report.zip").write_bytes(whole[:directory] + b"XX" + whole[directory + 2 :])
    assert "cannot be read" in refused("import", "isendpro", "report.zip")


def test_a_line_may_be_longer_than_what_is_read_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sheets, "_SNIFFED", 7)
    content = b"\xef\xbb\xbfone;two\r\n1;'2'\r\n3;\"4\n5\"\r\nlast;line"
    sheet = sheets.Sheet("x", io.BytesIO(content), sheets.Budget())
    assert sheet.header == ["one", "two"]
    assert list(sheet.rows()) == [["1", "'2'"], ["3", "4\n5"], ["last", "line"]]
    assert sheet.read == len(content)


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a command shows on a terminal's standard error."""
    ours, theirs = pty.openpty()
    try:
        ended = subprocess.run(
            [*PROGRAM, *arguments], check=False, cwd=folder, env=environment(TERM="xterm"), stdout=subprocess.PIPE,
            stderr=theirs, timeout=60,
        )  # fmt: skip
        assert ended.returncode == 0
        return os.read(ours, 65_536).decode()
    finally:
        os.close(theirs)
        os.close(ours)


def test_a_terminal_is_shown_how_far_it_is(tmp_path: Path):
    isendpro()
    Path("report.csv").write_text("NUMERO;what\n" + "".join(f"336{number:08d};x\n" for number in range(250)))
    assert "100%" in on_a_terminal(tmp_path, "import", "isendpro", "report.csv")
    assert "200 read" in on_a_terminal(tmp_path, "reparse", "--outcome", "quarantined", "--dry-run")
    assert "250 read; 0 would change" in done("reparse", "--outcome", "quarantined", "--dry-run")
