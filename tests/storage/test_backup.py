"""A copy of a database in use: one moment of it, whole, private and alone, or no file at all."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from receiver.storage.backup import Backup, CopyFailed, backup
from receiver.storage.database import CannotStart
from receiver.storage.ownership import APPLICATION_ID, Ownership
from tests.storage import copying
from tests.storage.copying import a_database, changed, contents, ids, is_sound, killed_after, large, process, rows, said
from tests.storage.opening import NAME, names


def test_copies_made_while_another_process_commits_are_each_one_moment(tmp_path: Path):
    database = a_database(tmp_path / "data", events=10_000)
    with process(copying.WRITER, database) as writer:
        committed = int(said(writer, 50)[-1])
        for turn in range(4):
            made = backup(database, tmp_path / f"{turn}.db")
            copy = tmp_path / f"{turn}.db"
            assert is_sound(copy)
            written = {it for it in ids(copy) if it.startswith("w")}
            assert written == {f"w{number:08}" for number in range(1, len(written) + 1)}
            assert len(written) >= committed
            assert rows(copy, "SELECT count(*) FROM identities") == [(len(written),)]
            assert made == Backup(copy.stat().st_size, 10_000 + len(written))
            committed = int(said(writer, 50)[-1])


def test_a_copy_lies_alone_private_and_opens_where_nothing_can_be_written(tmp_path: Path):
    database = a_database(tmp_path / "data")
    changed(database, "PRAGMA user_version = 7")
    (tmp_path / "copies").mkdir()
    previous = os.umask(0)
    try:
        backup(database, tmp_path / "copies" / "copy.db")
    finally:
        os.umask(previous)
    copy = tmp_path / "copies" / "copy.db"
    assert names(tmp_path / "copies") == ["copy.db"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert copy.read_bytes()[18:20] == b"\x01\x01"  # written and read without a write-ahead log
    assert rows(copy, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert rows(copy, "PRAGMA user_version") == [(7,)]
    assert rows(copy, "SELECT * FROM migrations") == rows(database, "SELECT * FROM migrations")
    assert names(tmp_path / "copies") == ["copy.db"]  # reading made nothing either


def test_what_stands_only_in_the_log_of_a_killed_owner_is_in_the_copy(tmp_path: Path):
    database = a_database(tmp_path / "data")
    killed_after(database, "INSERT INTO events (id, type, accepted_at, body) VALUES ('last', 't', 1, '')")
    before = contents(tmp_path / "data")
    backup(database, tmp_path / "copy.db")
    assert "last" in ids(tmp_path / "copy.db")
    after = contents(tmp_path / "data")
    assert {name: after[name] for name in (NAME, f"{NAME}-wal")} == {
        name: before[name] for name in (NAME, f"{NAME}-wal")
    }


def test_what_was_erased_is_not_in_the_copy(tmp_path: Path):
    database = a_database(tmp_path / "data")
    secret = "a secret that was erased " * 200
    with closing(sqlite3.connect(database)) as owner:
        owner.execute("PRAGMA secure_delete = OFF")  # as SQLite comes; some systems build it otherwise
        owner.execute(copying.EVENT, ("erased", secret))
        owner.commit()
        owner.execute("DELETE FROM events WHERE id = 'erased'")
        owner.commit()
    assert b"that was erased" in database.read_bytes()
    backup(database, tmp_path / "copy.db")
    assert b"that was erased" not in (tmp_path / "copy.db").read_bytes()


def test_a_file_that_is_there_is_overwritten_only_when_asked_and_only_by_a_whole_copy(tmp_path: Path):
    database, copy = large(tmp_path / "data"), tmp_path / "copy.db"
    copy.write_bytes(b"the one before")
    with pytest.raises(CopyFailed, match="--force"):
        backup(database, copy)
    heard: list[tuple[float, bytes]] = []
    backup(database, copy, force=True, progress=lambda share: heard.append((share, copy.read_bytes())))
    assert {content for _, content in heard} == {b"the one before"}
    assert [share for share, _ in heard] == sorted(share for share, _ in heard)
    assert heard[0][0] < 0.9
    assert len(ids(copy)) == 40_000
    assert names(tmp_path) == ["copy.db", "data"]


class Stopped(Exception):
    pass


def test_a_copy_that_fails_in_the_middle_leaves_no_file_and_the_one_before(tmp_path: Path):
    database, copy = large(tmp_path / "data"), tmp_path / "copy.db"
    copy.write_bytes(b"the one before")

    def stop(share: float) -> None:
        if share > 0.2:
            assert (tmp_path / "copy.db.partial").stat().st_size > 0
            raise Stopped

    with pytest.raises(Stopped):
        backup(database, copy, force=True, progress=stop)
    assert copy.read_bytes() == b"the one before"
    assert names(tmp_path) == ["copy.db", "data"]
    backup(database, copy, force=True)
    assert len(ids(copy)) == 40_000


def test_a_killed_copy_harms_nothing_and_the_next_one_goes_well(tmp_path: Path):
    database = large(tmp_path / "data")
    before = contents(tmp_path / "data")[NAME]
    arguments = [sys.executable, "-c", copying.KILLED, "backup", str(database), str(tmp_path / "copy.db")]
    assert subprocess.run(arguments, cwd=copying.ROOT, check=False, timeout=50).returncode == -9
    assert {"copy.db", "copy.db.partial", "data"} & set(names(tmp_path)) == {"copy.db.partial", "data"}
    assert contents(tmp_path / "data")[NAME] == before
    assert is_sound(database)
    backup(database, tmp_path / "copy.db")
    assert ids(tmp_path / "copy.db") == ids(database)
    assert names(tmp_path) == ["copy.db", "data"]


def test_two_copies_to_one_place_at_a_time_are_refused(tmp_path: Path):
    database, copy = large(tmp_path / "data"), tmp_path / "copy.db"
    refused: list[str] = []

    def try_again(_share: float) -> None:
        with pytest.raises(CopyFailed) as second:
            backup(database, copy)
        refused.append(str(second.value))

    backup(database, copy, progress=try_again)
    assert set(refused[:3]) == {f"{copy}.partial: another copy is being made"}
    assert len(ids(copy)) == 40_000


def test_a_damaged_database_gives_no_copy(tmp_path: Path):
    database = copying.damage(a_database(tmp_path / "data", events=3000))
    with pytest.raises(CopyFailed, match=r"malformed|damaged"):
        backup(database, tmp_path / "copy.db")
    assert names(tmp_path) == ["data"]


def test_a_database_whose_schema_is_no_text_gives_no_copy(tmp_path: Path):
    database = copying.spoil_schema(a_database(tmp_path / "data"))
    with pytest.raises(CopyFailed, match="is damaged"):
        backup(database, tmp_path / "copy.db")
    assert names(tmp_path) == ["data"]


def test_a_database_whose_log_is_none_gives_no_copy(tmp_path: Path):
    database = a_database(tmp_path / "data")
    (tmp_path / "data" / f"{NAME}-wal").write_bytes(b"somebody's notes" * 10)
    before = contents(tmp_path / "data")
    with pytest.raises(CannotStart, match="not the log of a SQLite database"):
        backup(database, tmp_path / "copy.db")
    assert contents(tmp_path / "data") == before
    assert names(tmp_path) == ["data"]


def test_where_no_database_is_there_is_nothing_to_copy(tmp_path: Path):
    with pytest.raises(CannotStart, match="no database there"):
        backup(tmp_path / NAME, tmp_path / "copy.db")
    (tmp_path / NAME).write_bytes(b"notes" * 100)
    with pytest.raises(CannotStart, match="not a SQLite database"):
        backup(tmp_path / NAME, tmp_path / "copy.db")
    assert names(tmp_path) == [NAME]


OWN = [NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}-journal", f"{NAME}.lock", f"{NAME}.sock", f"../data/{NAME}",
       f"../same/{NAME}", "symbolic.db", "hard.db"]  # fmt: skip


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", OWN)
def test_the_database_and_what_belongs_to_it_are_never_a_target(tmp_path: Path, name: str, force: bool):
    database = a_database(tmp_path / "data")
    killed_after(database, "UPDATE catalog SET version = 5")
    (tmp_path / "same").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "symbolic.db").symlink_to(database)
    (tmp_path / "data" / "hard.db").hardlink_to(database)
    before = contents(tmp_path / "data")
    with pytest.raises(CopyFailed, match="belongs to the database itself"):
        backup(database, tmp_path / "data" / name, force=force)
    assert contents(tmp_path / "data") == before


def test_the_partial_file_is_never_the_database(tmp_path: Path):
    database = a_database(tmp_path).rename(tmp_path / "copy.db.partial")
    before = contents(tmp_path)
    with pytest.raises(CopyFailed, match="belongs to the database itself"):
        backup(database, tmp_path / "copy.db")
    assert contents(tmp_path) == before


def test_a_target_reached_by_another_name_of_the_database_is_its_own_log(tmp_path: Path):
    """SQLite puts the log beside the file that a symbolic link leads to."""
    database = a_database(tmp_path / "data")
    (tmp_path / "link.db").symlink_to(database)
    with pytest.raises(CopyFailed, match="belongs to the database itself"):
        backup(tmp_path / "link.db", tmp_path / "data" / f"{NAME}-wal")


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_log_that_would_be_taken_for_the_copys_own_is_refused(tmp_path: Path, suffix: str):
    database = a_database(tmp_path / "data")
    (tmp_path / f"copy.db{suffix}").write_bytes(b"of something else")
    with pytest.raises(CopyFailed, match=f"copy.db{suffix}: would damage"):
        backup(database, tmp_path / "copy.db", force=True)
    assert contents(tmp_path) == {f"copy.db{suffix}": b"of something else"}


def test_the_database_of_another_receiver_that_runs_is_no_target(tmp_path: Path):
    database, other = a_database(tmp_path / "data"), a_database(tmp_path / "other")
    before = other.read_bytes()
    with Ownership(other), pytest.raises(CopyFailed, match="a receiver that runs"):
        backup(database, other, force=True)
    assert other.read_bytes() == before


def test_what_is_not_a_file_is_not_overwritten(tmp_path: Path):
    database = a_database(tmp_path / "data")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "copy.db.partial").symlink_to("elsewhere")
    for name in ("pipe", "link"):
        with pytest.raises(CopyFailed, match="is not a file"):
            backup(database, tmp_path / name, force=True)
    with pytest.raises(CopyFailed, match="cannot be made"):
        backup(database, tmp_path / "copy.db")
    with pytest.raises(CopyFailed, match="cannot be made"):
        backup(database, tmp_path / "nowhere" / "copy.db")
    assert not (tmp_path / "elsewhere").exists()
