"""Opt-outs from the command line: one by one, and as lists from elsewhere."""

import io
import zipfile
from pathlib import Path

import pytest

from tests.cli.running import answered, call, done, lines_of, refused


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_person_is_opted_out_shown_and_opted_in():
    assert done("optouts", "add", "+447700900123") == "+447700900123 is opted out.\n"
    answered("optouts", "add", "+447700900123", "--sender", "ACME", "--channel", "sms")
    rows = lines_of(done("optouts", "list"))
    assert [row[:5] for row in rows] == [
        ["+447700900123", "sender", "ACME", "–", "api"],
        ["+447700900123", "account", "–", "–", "api"],
    ]
    assert done("optouts", "remove", "+447700900123", "--sender", "ACME") == "Opted in.\n"
    assert [item["sender"] for item in answered("optouts", "list", "--number", "+4477*")["data"]] == [None]
    shown = done("optouts", "show", "+447700900123")
    assert shown.startswith("+447700900123 is opted out.\n")
    history = shown.partition("History\n")[2]
    assert [row[1] for row in lines_of(history)] == ["contact.opted_in", "contact.opted_out", "contact.opted_out"]
    assert len(answered("optouts", "show", "+447700900123")["lines"]) == 2
    done("optouts", "remove", "+447700900123")
    assert done("optouts", "show", "+447700900123").startswith("+447700900123 is opted in.\n")
    assert done("optouts", "list") == "No opt-outs.\n"
    assert "There is no such thing" in refused("optouts", "show", "+447700900999")
    assert "none" in refused("optouts", "add", "nobody")


def test_a_zip_of_lists_is_taken_over_for_a_source():
    source = answered("source", "add", "isendpro")
    with zipfile.ZipFile("liste_noire.zip", "w") as archive:
        archive.mkdir("lists")
        archive.writestr("lists/liste.csv", "Numero;Date\n0612345678;2026-11-20\n33612345679;2026-11-20\n")
    given = ("optouts", "import", "liste_noire.zip", "--source", source["id"], "--default-region", "FR")
    assert done(*given) == "2 lines, 2 changed.\n"
    assert done(*given) == "2 lines, 0 changed.\n"
    assert sorted(row[0] for row in lines_of(done("optouts", "list", "--source", source["id"]))) == [
        "+33612345678", "+33612345679",
    ]  # fmt: skip


def test_what_is_exported_is_imported_again_in_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done("optouts", "add", "+447700900123", "--sender", "=ACME")
    done("optouts", "add", "+447700900456")
    done("optouts", "remove", "+447700900456")
    done("optouts", "export", "list.csv", "--opted-out", "any")
    exported = Path("list.csv").read_text("utf-8").splitlines()
    assert exported[0] == "number,opted_out,scope,sender,source_id,via,changed_at,event_id"
    assert exported[2].startswith("'+447700900123,true,sender,'=ACME,,api,")
    assert done("optouts", "export", "-").splitlines() == [exported[0], exported[2]]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert done("optouts", "import", "../list.csv") == "2 lines, 2 changed.\n"
    done("optouts", "export", "list.csv", "--opted-out", "any")
    again = Path("list.csv").read_text("utf-8").splitlines()
    assert sorted(line.split(",")[:6] for line in again) == sorted(line.split(",")[:6] for line in exported)


def test_a_long_list_goes_in_pieces_and_what_is_wrong_is_named_by_its_place_in_the_file():
    lines = [f"+4477009{number:05}" for number in range(2500)]
    lines[10] = lines[2400] = "nobody"
    Path("list.csv").write_text("number,opted_out\n" + "\n".join([*lines, "+447700900123,perhaps"]), "utf-8")
    result = call("optouts", "import", "list.csv")
    assert result.exit_code == 1
    assert result.stdout == "2498 lines, 2498 changed.\n"
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "line 12", "line 2402", "line 2502", "Error",
    ]  # fmt: skip
    Path("pages.csv").write_text("")
    done("optouts", "export", "pages.csv")
    assert len(Path("pages.csv").read_text("utf-8").splitlines()) == 2499
    again = call("optouts", "import", "list.csv", "--json")
    assert again.exit_code == 1
    assert '"refused": 3' in again.stdout


def test_more_mistakes_than_are_named_are_counted():
    Path("list.csv").write_text("number\n" + "nobody\n" * 150, "utf-8")
    result = call("optouts", "import", "list.csv")
    assert "150 lines were left out" in result.stderr
    assert len(result.stderr.splitlines()) == 101


def test_a_zip_that_is_damaged_is_refused_in_one_line():
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("list.csv", "60777\n" * 100)
    content = bytearray(whole.getvalue())
    content[40:80] = b"\x00" * 40
    Path("list.zip").write_bytes(content)
    assert "the zip cannot be read" in refused("optouts", "import", "list.zip")


def test_a_zip_whose_content_is_damaged_is_refused_in_one_line():
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list.csv", "".join(f"+4477009{number:05}\n" for number in range(1000)))
    content = bytearray(whole.getvalue())
    content[60:100] = b"\xff" * 40
    Path("list.zip").write_bytes(content)
    assert "the zip cannot be read" in refused("optouts", "import", "list.zip")


def test_lists_that_are_too_large_together_are_refused():
    with zipfile.ZipFile("lists.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.csv", b"\n" * (30 * 1024 * 1024))
    assert "cut it into pieces" in refused("optouts", "import", "lists.zip")


def test_a_list_that_is_too_large_is_refused():
    with Path("list.csv").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    assert "cut it into pieces" in refused("optouts", "import", "list.csv")
