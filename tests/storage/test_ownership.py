"""One process writes: the lock beside the database, what it outlives, and that it never touches the database."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from receiver.storage.database import CannotStart
from receiver.storage.ownership import Ownership, is_owned
from tests.storage.opening import NAME, change, names, opened

HOLDER = """
import sys
from pathlib import Path
from receiver.storage.ownership import Ownership
with Ownership(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
ASKER = """
import sys
from pathlib import Path
from receiver.storage.database import CannotStart
from receiver.storage.ownership import Ownership
try:
    Ownership(Path(sys.argv[1]), float(sys.argv[2]))
except CannotStart as error:
    sys.exit(str(error))
"""


def open_files() -> list[str]:
    """What this process holds open, as Linux tells."""
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


def asked(database: Path, wait: float = 0.0) -> str:
    """What another process hears that wants the database; empty when it gets it."""
    found = subprocess.run(
        [sys.executable, "-c", ASKER, str(database), str(wait)], capture_output=True, text=True, check=False, timeout=20
    )
    return found.stderr.strip()


def test_a_second_process_is_refused_within_a_second_and_told_who_has_it(tmp_path: Path):
    database = tmp_path / NAME
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(CannotStart, match=rf"in use by process {holder.pid}$"):
            Ownership(database, wait=0.2)
        assert 0.2 <= time.monotonic() - started < 5  # on a machine that is busy with other things
        assert is_owned(database)
        holder.communicate("")
    assert not is_owned(database)
    Ownership(database).close()


def test_waiting_gets_it_when_the_holder_lets_go(tmp_path: Path):
    held = Ownership(tmp_path / NAME)
    letting_go = threading.Timer(0.1, held.close)
    letting_go.start()
    Ownership(tmp_path / NAME, wait=5).close()
    letting_go.join()


async def test_the_lock_outlives_all_that_happens_to_the_database_until_it_is_closed(tmp_path: Path):
    database = tmp_path / NAME
    with Ownership(database) as held:
        async with opened(tmp_path) as sqlite:
            await change(sqlite, "UPDATE catalog SET version = 2")
            assert f"process {os.getpid()}" in asked(database)
        async with opened(tmp_path):
            pass
        with pytest.raises(CannotStart):
            Ownership(database)
        assert is_owned(database)
        assert f"process {os.getpid()}" in asked(database)
        assert held.path.read_text() == str(os.getpid())
    assert asked(database) == ""


def test_the_lock_file_stays_and_names_only_the_present_holder(tmp_path: Path):
    lock = tmp_path / f"{NAME}.lock"
    lock.write_text("123456789012")
    with Ownership(tmp_path / NAME):
        assert lock.read_text() == str(os.getpid())
    assert names(tmp_path) == [lock.name]


async def test_only_sqlite_ever_opens_the_database(tmp_path: Path):
    """Closing any other descriptor of it would drop SQLite's locks in this process, unseen."""
    opens: list[str] = []

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event == "open" and isinstance(arguments[0], (str, os.PathLike, bytes)):
            opens.append(os.fsdecode(arguments[0]))

    listening = False
    sys.addaudithook(hear)  # for the rest of this process: it is deaf again below
    with Ownership(tmp_path / NAME):
        async with opened(tmp_path, readers=2) as sqlite:
            listening = True
            await change(sqlite, "UPDATE catalog SET version = 2")
            is_owned(tmp_path / NAME)
            with pytest.raises(CannotStart):
                Ownership(tmp_path / NAME)
            held = open_files()
            listening = False
    assert held.count(str(tmp_path / NAME)) == 3
    assert [path for path in opens if path.startswith(str(tmp_path / NAME)) and not path.endswith(".lock")] == []
    assert f"{tmp_path / NAME}.lock" in opens


def test_nobody_owns_a_database_that_was_never_opened(tmp_path: Path):
    assert not is_owned(tmp_path / NAME)
    assert names(tmp_path) == []


def test_a_look_does_not_take_the_lock(tmp_path: Path):
    Ownership(tmp_path / NAME).close()
    assert not is_owned(tmp_path / NAME)
    Ownership(tmp_path / NAME).close()


def test_a_lock_that_cannot_be_opened_is_named(tmp_path: Path):
    (tmp_path / f"{NAME}.lock").mkdir()
    with pytest.raises(CannotStart, match=r"\.lock: cannot be opened"):
        Ownership(tmp_path / NAME)
