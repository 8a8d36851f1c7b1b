"""What restore refuses: files that will not do, databases in use. Each is one line, and nothing was changed."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from receiver.storage.backup import CopyFailed
from receiver.storage.database import CannotStart
from receiver.storage.ownership import APPLICATION_ID, Ownership
from receiver.storage.restore import restore
from tests.storage import copying
from tests.storage.copying import ASIDE, OLD, a_copy, an_old_database, changed, contents, ids, now, other_application
from tests.storage.opening import NAME, names


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def notes(path: Path) -> None:
    path.write_bytes(b"somebody's notes" * 100)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def newer(path: Path) -> None:
    changed(path, "INSERT INTO migrations VALUES (9999, 'later', '', 1)")


def never_used(path: Path) -> None:
    path.unlink()
    changed(path, f"PRAGMA application_id = {APPLICATION_ID}", "CREATE TABLE some (id TEXT)")


def an_index_that_lacks_a_row(path: Path) -> None:
    """Each page is well-formed, only what they say does not agree."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")
        index = database.execute("SELECT * FROM sqlite_master WHERE name = 'events_by_time'").fetchone()
        database.execute("DELETE FROM sqlite_master WHERE name = 'events_by_time'")
        database.execute("PRAGMA writable_schema = RESET")
        database.execute(copying.EVENT, ("unseen", ""))
        database.execute("PRAGMA writable_schema = ON")
        database.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)


def of_others(path: Path) -> None:
    path.unlink()
    other_application(path)


def spoilt(path: Path) -> None:
    copying.damage(path)


def a_schema_that_is_no_text(path: Path) -> None:
    """SQLite names the table in its complaint, which then is no text either."""
    copying.spoil_schema(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_a_foreign_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").write_bytes(b"somebody's notes" * 10)


BAD: list[tuple[Callable[[Path], None], str]] = [
    (missing, "no such file"),
    (empty, "is empty"),
    (notes, "is not a SQLite database"),
    (of_others, "another application"),
    (a_folder, "cannot be read"),
    (truncated, "is damaged|cannot be read"),
    (spoilt, "is damaged"),
    (a_schema_that_is_no_text, "is damaged"),
    (an_index_that_lacks_a_row, "is damaged"),
    (with_a_foreign_log, "not the log of a SQLite database"),
    (newer, "migration 9999 of a newer version; upgrade"),
    (never_used, "was never a receiver's database"),
]


@pytest.mark.parametrize(("spoil", "told"), BAD, ids=lambda it: getattr(it, "__name__", ""))
def test_a_file_that_will_not_do_changes_nothing(tmp_path: Path, spoil: Callable[[Path], None], told: str):
    file = a_copy(tmp_path / "copies", events=3000)
    spoil(file)
    an_old_database(tmp_path / "data")
    before = contents(tmp_path / "data"), contents(tmp_path / "copies")
    with pytest.raises(CopyFailed, match=told) as refused:
        restore(file, tmp_path / "data" / NAME, now, force=True)
    assert str(refused.value).startswith(f"{file}")
    assert "\n" not in str(refused.value)
    assert (contents(tmp_path / "data"), contents(tmp_path / "copies")) == before


def test_a_schema_that_cannot_be_brought_up_to_date_changes_nothing(tmp_path: Path):
    older = tmp_path / "older.db"
    changed(older, f"PRAGMA application_id = {APPLICATION_ID}", "CREATE TABLE events (id TEXT)",
            "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT, hash TEXT, applied_at INTEGER)")  # fmt: skip
    an_old_database(tmp_path / "data")
    before = contents(tmp_path / "data")
    with pytest.raises(CopyFailed, match="cannot be brought up to this version"):
        restore(older, tmp_path / "data" / NAME, now, force=True)
    assert contents(tmp_path / "data") == before


def test_a_receiver_that_runs_is_named_and_left_alone(tmp_path: Path):
    file = a_copy(tmp_path / "copies")
    an_old_database(tmp_path / "data")
    before = contents(tmp_path / "data")
    with Ownership(tmp_path / "data" / NAME), pytest.raises(CannotStart, match=f"in use by process {os.getpid()}$"):
        restore(file, tmp_path / "data" / NAME, now, force=True)
    assert contents(tmp_path / "data") == before


OWN = [NAME, f"{NAME}-wal", f"{NAME}.restoring", "hard.db", "symbolic.db"]


@pytest.mark.parametrize("name", OWN)
def test_the_database_is_not_restored_from_itself(tmp_path: Path, name: str):
    database = an_old_database(tmp_path)
    (tmp_path / "hard.db").hardlink_to(database)
    (tmp_path / "symbolic.db").symlink_to(database)
    (tmp_path / f"{NAME}.restoring").write_bytes(database.read_bytes())
    before = contents(tmp_path)
    with pytest.raises(CopyFailed, match="is the database itself"):
        restore(tmp_path / name, database, now, force=True)
    assert contents(tmp_path) == before


def test_a_name_that_is_taken_keeps_the_old_one_where_it_is(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), an_old_database(tmp_path / "data")
    (tmp_path / "data" / ASIDE).write_bytes(b"of the same second")
    with pytest.raises(CopyFailed, match="cannot be kept there"):
        restore(file, database, now, force=True)
    assert ids(database) == OLD
    assert (tmp_path / "data" / ASIDE).read_bytes() == b"of the same second"
    assert f"{NAME}.restoring" not in names(tmp_path / "data")
