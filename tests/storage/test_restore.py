"""A copy put back: checked before anything is touched, in its place at one moment, silent, the old one kept."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from receiver.storage.backup import CopyFailed, backup
from receiver.storage.migrate import published
from receiver.storage.ownership import APPLICATION_ID
from receiver.storage.restore import Restored, restore
from tests.storage import copying
from tests.storage.copying import (
    ASIDE,
    MOMENT,
    OLD,
    a_copy,
    a_database,
    an_old_database,
    changed,
    contents,
    ids,
    is_sound,
    large,
    now,
    process,
    rows,
    said,
)
from tests.storage.opening import NAME, fetch, names, opened

STATES = ("queued", "waiting", "sending", "retrying", "held", "succeeded", "dead", "forbidden", "canceled")
OPEN = STATES[:4]


def owing(folder: Path) -> Path:
    """A copy with a delivery in each state, jobs, and a subscription that one of them fills."""
    database = a_database(folder)
    changed(
        database,
        *(
            "INSERT INTO deliveries (id, subscription_id, event_id, state, attempts, next_at, created_at, updated_at)"
            f" VALUES ('{it}', 'sub_{number}', 'e00000001', '{it}', 1, 5, 1, 1)"
            for number, it in enumerate(STATES)
        ),
        *(
            "INSERT INTO jobs (id, kind, state, request, position, done, total, released,"
            f" created_at, updated_at) VALUES ('job_{it}', 'start', '{it}', '', '', 0, 0, 0, 1, 1)"
            for it in ("running", "done", "failed")
        ),
        "INSERT INTO subscriptions (id, url, types, format, secrets, headers, max_concurrency, state, catching_up,"
        " created_at, updated_at) VALUES ('sub_1', 'u', '[]', 'standard', '[]', '{}', 1, 'active', 1, 1, 1)",
    )
    backup(database, folder / "copy.db")
    return folder / "copy.db"


def states(database: Path) -> dict[str, tuple[str, int | None]]:
    return {row[0]: row[1:] for row in rows(database, "SELECT id, state, next_at FROM deliveries")}


def test_a_restored_database_is_whole_private_alone_and_opens_as_the_owners(tmp_path: Path):
    file = a_copy(tmp_path / "copies")
    before = contents(tmp_path / "copies")
    (tmp_path / "new").mkdir()
    previous = os.umask(0)
    try:
        done = restore(file, tmp_path / "new" / NAME, now)
    finally:
        os.umask(previous)
    assert done == Restored(events=100, held=0, canceled=0, kept=None)
    assert names(tmp_path / "new") == [NAME, f"{NAME}.lock"]
    assert stat.S_IMODE((tmp_path / "new" / NAME).stat().st_mode) == 0o600
    assert contents(tmp_path / "copies") == before

    async def look() -> None:
        async with opened(tmp_path / "new") as database:
            assert await fetch(database, "PRAGMA integrity_check") == [("ok",)]
            assert await fetch(database, "SELECT count(*) FROM events") == [(100,)]
            assert await fetch(database, "PRAGMA journal_mode") == [("wal",)]

    asyncio.run(look())


def test_what_was_to_be_sent_is_held_and_no_job_goes_on(tmp_path: Path):
    database = tmp_path / NAME
    done = restore(owing(tmp_path / "copies"), database, now)
    assert (done.held, done.canceled) == (len(OPEN), 1)
    assert states(database) == {it: ("held", None) if it in OPEN else (it, 5) for it in STATES}
    assert rows(database, "SELECT id, state FROM jobs ORDER BY id") == [
        ("job_done", "done"),
        ("job_failed", "failed"),
        ("job_running", "canceled"),
    ]
    # what comes in from now on is owed by the intake again
    assert rows(database, "SELECT catching_up FROM subscriptions") == [(0,)]


def test_an_erasure_goes_on_for_what_it_forgets_is_in_the_copy(tmp_path: Path):
    copy = owing(tmp_path / "copies")
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE jobs SET kind = 'erase' WHERE id = 'job_running'")
    database = tmp_path / "restored.db"
    assert restore(copy, database, now).canceled == 0
    assert rows(database, "SELECT state FROM jobs WHERE id = 'job_running'") == [("running",)]


def test_asked_to_it_leaves_everything_due(tmp_path: Path):
    database = tmp_path / NAME
    done = restore(owing(tmp_path / "copies"), database, now, send=True)
    assert (done.held, done.canceled) == (0, 0)
    assert states(database) == {it: (it, 5) for it in STATES}
    assert rows(database, "SELECT state FROM jobs WHERE id = 'job_running'") == [("running",)]
    assert rows(database, "SELECT catching_up FROM subscriptions") == [(1,)]


def test_a_database_that_is_there_is_replaced_only_when_asked(tmp_path: Path):
    file = a_copy(tmp_path / "copies")
    an_old_database(tmp_path / "data")
    before = contents(tmp_path / "data")
    with pytest.raises(CopyFailed, match="is there already; --force puts it aside"):
        restore(file, tmp_path / "data" / NAME, now)
    assert contents(tmp_path / "data") == before


def test_the_one_before_is_kept_with_what_stood_only_in_its_log(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), an_old_database(tmp_path / "data")
    done = restore(file, database, now, force=True)
    assert done.kept == tmp_path / "data" / ASIDE
    assert names(tmp_path / "data") == [NAME, ASIDE, f"{NAME}.lock"]
    assert len(ids(database)) == 100
    assert is_sound(database)
    assert ids(done.kept) == OLD
    again = restore(done.kept, database, lambda: MOMENT + 1_000_000, force=True)
    assert (again.events, ids(database)) == (4, OLD)


def test_a_damaged_database_is_kept_as_it_is_with_its_log(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), an_old_database(tmp_path / "data")
    database.write_bytes(b"\0" * 4096)
    before = contents(tmp_path / "data")
    restore(file, database, now, force=True)
    after = contents(tmp_path / "data")
    assert sorted(after) == [NAME, ASIDE, f"{ASIDE}-wal"]
    assert (after[ASIDE], after[f"{ASIDE}-wal"]) == (before[NAME], before[f"{NAME}-wal"])
    assert len(ids(database)) == 100


def test_a_log_that_is_none_is_kept_as_it_is(tmp_path: Path):
    """SQLite would write over it."""
    file, database = a_copy(tmp_path / "copies"), a_database(tmp_path / "data", events=3)
    (tmp_path / "data" / f"{NAME}-wal").write_bytes(b"somebody's notes" * 10)
    restore(file, database, now, force=True)
    after = contents(tmp_path / "data")
    assert sorted(after) == [NAME, ASIDE, f"{ASIDE}-wal"]
    assert after[f"{ASIDE}-wal"] == b"somebody's notes" * 10


def test_a_log_without_its_database_does_not_become_the_new_ones(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), an_old_database(tmp_path / "data")
    log = contents(tmp_path / "data")[f"{NAME}-wal"]
    database.unlink()
    with pytest.raises(CopyFailed, match="--force"):
        restore(file, database, now)
    restore(file, database, now, force=True)
    assert contents(tmp_path / "data")[f"{ASIDE}-wal"] == log
    assert len(ids(database)) == 100
    assert is_sound(database)


@contextmanager
def watched(look: Callable[[str], None]) -> Iterator[None]:
    """Before each change of a name `look` hears which: there a loss of power may leave it."""
    listening = True

    def hear(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal listening
        if listening and event in {"os.rename", "os.link", "os.remove"}:
            listening = False
            look(event)
            listening = True

    sys.addaudithook(hear)  # for the rest of this process: it is deaf again below
    try:
        yield
    finally:
        listening = False


def test_at_every_moment_the_name_means_one_whole_database(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), an_old_database(tmp_path / "data")
    found: list[set[str]] = []

    def look(_event: str) -> None:
        moment = tmp_path / f"moment {len(found)}"
        shutil.copytree(tmp_path / "data", moment)
        found.append(ids(moment / NAME))

    with watched(look):
        restore(file, database, now, force=True)
    found.append(ids(database))
    new = ids(file)
    turn = found.index(new)
    assert turn >= 2
    assert found == [OLD] * turn + [new] * (len(found) - turn)


def test_at_no_moment_a_new_database_has_an_old_log(tmp_path: Path):
    """Of a damaged one the log cannot be brought into the file first."""
    file, database = a_copy(tmp_path / "copies"), an_old_database(tmp_path / "data")
    database.write_bytes(b"\0" * 4096)
    logs: list[tuple[bool, bool]] = []

    def look(_event: str) -> None:
        is_new = database.stat().st_size > 4096
        logs.append((is_new, (tmp_path / "data" / f"{NAME}-wal").exists()))

    with watched(look):
        restore(file, database, now, force=True)
    look("end")
    assert (False, True) in logs
    assert (True, True) not in logs


def test_what_a_reader_makes_at_the_last_moment_does_not_stay(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), a_database(tmp_path / "data", events=3)

    def look(event: str) -> None:
        if event == "os.rename":
            (tmp_path / "data" / f"{NAME}-shm").write_bytes(b"an index of nothing")

    with watched(look):
        restore(file, database, now, force=True)
    assert names(tmp_path / "data") == [NAME, ASIDE, f"{NAME}.lock"]


def test_it_is_on_disk_before_it_has_its_name_and_its_name_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        calls.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        sync(descriptor)

    def noted_rename(old: Path, new: Path) -> None:
        calls.append(("rename", Path(new).name))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_rename)
    monkeypatch.setattr(os, "rename", noted_rename)
    database = a_database(tmp_path)
    calls.clear()
    backup(database, tmp_path / "copy.db")
    assert calls == [("sync", "copy.db.partial"), ("rename", "copy.db"), ("sync", tmp_path.name)]
    calls.clear()
    restore(tmp_path / "copy.db", database, now, force=True)
    assert calls[calls.index(("sync", f"{NAME}.restoring")) :] == [
        ("sync", f"{NAME}.restoring"),
        ("sync", tmp_path.name),  # the name under which the old one is kept
        ("rename", NAME),
        ("sync", tmp_path.name),
    ]


def test_a_plain_copy_of_a_stopped_receivers_database_will_do_and_nothing_is_left_beside_it(tmp_path: Path):
    (tmp_path / "copies").mkdir()
    shutil.copyfile(a_database(tmp_path / "data"), tmp_path / "copies" / "copy.db")
    assert (tmp_path / "copies" / "copy.db").read_bytes()[18:20] == b"\x02\x02"  # it wants a write-ahead log
    restore(tmp_path / "copies" / "copy.db", tmp_path / NAME, now)
    assert names(tmp_path / "copies") == ["copy.db"]
    assert len(ids(tmp_path / NAME)) == 100


def test_an_older_schema_is_brought_up_to_date(tmp_path: Path):
    older = tmp_path / "older.db"
    changed(older, f"PRAGMA application_id = {APPLICATION_ID}",
            "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT, hash TEXT, applied_at INTEGER)")  # fmt: skip
    restore(older, tmp_path / NAME, now)
    found = rows(tmp_path / NAME, "SELECT number, name, applied_at FROM migrations")
    assert found == [(it.number, it.name, MOMENT) for it in published()]
    assert rows(older, "SELECT * FROM migrations") == []


def test_while_a_process_still_reads_the_old_one_it_stands(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), a_database(tmp_path / "data", events=3)
    with process(copying.KEEPER, database) as reader:
        said(reader)
        with pytest.raises(CopyFailed, match="another process is reading it"):
            restore(file, database, now, force=True)
        assert ids(database) == OLD - {"last"}
        assert ASIDE not in names(tmp_path / "data")
        reader.communicate("")
    restore(file, database, now, force=True)
    assert len(ids(database)) == 100


def test_a_reader_that_rests_does_not_leave_its_log_to_the_new_one(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), a_database(tmp_path / "data", events=3)
    with process(copying.KEEPER.replace('"BEGIN"', '"SELECT 1"'), database) as reader:
        said(reader)
        assert f"{NAME}-wal" in names(tmp_path / "data")
        restore(file, database, now, force=True)
        assert names(tmp_path / "data") == [NAME, ASIDE, f"{NAME}.lock"]
        reader.communicate("")
    assert len(ids(database)) == 100
    assert is_sound(database)
    assert ids(tmp_path / "data" / ASIDE) == OLD - {"last"}


def test_killed_in_the_middle_the_old_one_stands_and_the_next_try_goes_well(tmp_path: Path):
    backup(large(tmp_path / "copies"), tmp_path / "copy.db")
    database = an_old_database(tmp_path / "data")
    before = contents(tmp_path / "data")
    arguments = [sys.executable, "-c", copying.KILLED, "restore", str(tmp_path / "copy.db"), str(database)]
    assert subprocess.run(arguments, cwd=copying.ROOT, check=False, timeout=50).returncode == -9
    after = contents(tmp_path / "data")
    assert {name: content for name, content in after.items() if ".restoring" not in name} == before
    assert after[f"{NAME}.restoring"]
    (tmp_path / "data" / f"{NAME}.restoring-wal").write_bytes(before[f"{NAME}-wal"])  # killed a little later
    assert restore(tmp_path / "copy.db", database, now, force=True).events == 40_000
    assert names(tmp_path / "data") == [NAME, ASIDE, f"{NAME}.lock"]
    assert is_sound(database)


def test_a_copy_made_by_hand_with_its_log_is_read_with_it(tmp_path: Path):
    an_old_database(tmp_path / "by hand")
    before = contents(tmp_path / "by hand")
    restore(tmp_path / "by hand" / NAME, tmp_path / NAME, now)
    assert ids(tmp_path / NAME) == OLD
    after = contents(tmp_path / "by hand")
    assert {name: after[name] for name in (NAME, f"{NAME}-wal")} == {
        name: before[name] for name in (NAME, f"{NAME}-wal")
    }


def test_the_database_behind_a_symbolic_link_is_replaced_and_the_link_stays(tmp_path: Path):
    file, database = a_copy(tmp_path / "copies"), an_old_database(tmp_path / "data")
    (tmp_path / "link.db").symlink_to(database)
    done = restore(file, tmp_path / "link.db", now, force=True)
    assert (tmp_path / "link.db").is_symlink()
    assert done.kept == tmp_path / "data" / ASIDE
    assert sorted(contents(tmp_path / "data")) == [NAME, ASIDE]
    assert len(ids(database)) == 100


def test_what_was_written_after_the_copy_is_not_in_it(tmp_path: Path):
    file = a_copy(tmp_path / "data")
    with closing(sqlite3.connect(tmp_path / "data" / NAME)) as owner:
        owner.execute(copying.EVENT, ("later", ""))
        owner.commit()
    restore(file, tmp_path / "data" / NAME, now, force=True)
    assert "later" not in ids(tmp_path / "data" / NAME)
    assert "later" in ids(tmp_path / "data" / ASIDE)
