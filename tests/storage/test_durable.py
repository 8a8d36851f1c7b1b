"""What is answered is on disk: seen from outside the process, by the system calls it makes and by what it leaves.

The order of system calls needs strace and the right to use it; where they are missing, the writer's own settings are
looked at instead (that COMMIT comes before the answer is shown without either in `tests/test_pipeline.py`).
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from receiver.storage.ownership import Ownership
from tests.storage.acknowledging import MESSAGES
from tests.storage.opening import NAME, fetch, opened

CALL = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<fd>\d+)<(?P<path>[^>]*)>")
RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (fsync|fdatasync) resumed>")
ROOT = Path(__file__).parent.parent.parent


def run(folder: Path, synchronous: str, *tracer: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*tracer, sys.executable, "-m", "tests.storage.acknowledging", str(folder), synchronous],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip


def can_trace() -> bool:
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "true"], capture_output=True, check=False).returncode == 0


def traced(folder: Path, synchronous: str) -> list[str]:
    """`log` for a write to the log, `sync` for a completed sync of it, `answer` for an answer; in their order."""
    out = folder / "trace"
    run(folder, synchronous, "strace", "-f", "-y", "-o", str(out), "-e", "trace=pwrite64,fdatasync,fsync,write")
    found: list[str] = []
    syncing: set[str] = set()  # threads in the middle of a sync of the log
    for line in out.read_text().splitlines():
        resumed = RESUMED.match(line)
        if resumed is not None and resumed["pid"] in syncing:
            syncing.remove(resumed["pid"])
            found.append("sync")
        call = CALL.match(line)
        if call is None:
            continue
        if call["name"] == "write":
            found += ["answer"] if call["fd"] == "1" and "answered" in line else []
        elif call["path"].endswith(f"{NAME}-wal"):
            if call["name"] != "pwrite64" and line.endswith("<unfinished ...>"):
                syncing.add(call["pid"])
            else:
                found.append("log" if call["name"] == "pwrite64" else "sync")
    return found


def unsynced(calls: list[str]) -> int:
    """How many answers were given while something in the log was not yet synced."""
    dirty, count = False, 0
    for call in calls:
        dirty = {"log": True, "sync": False, "answer": dirty}[call]
        count += call == "answer" and dirty
    return count


async def test_the_log_is_synced_before_an_answer_is_given(tmp_path: Path):
    full, normal = tmp_path / "full", tmp_path / "normal"
    if not can_trace():
        async with opened(tmp_path) as database, database.writing() as writer:
            assert await writer.fetch("PRAGMA synchronous") == [(2,)]
        return
    full.mkdir()
    normal.mkdir()
    calls = traced(full, "FULL")
    assert calls.count("answer") == MESSAGES
    assert calls.count("log") >= MESSAGES
    assert unsynced(calls) == 0
    # The same with less than FULL, so that this test is known to see the difference.
    assert unsynced(traced(normal, "NORMAL")) == MESSAGES


async def test_a_killed_process_leaves_a_database_that_opens_with_all_that_was_answered(tmp_path: Path):
    killed = run(tmp_path, "FULL")
    assert killed.returncode == -9, killed.stderr
    assert killed.stdout.splitlines() == [f"answered {number}" for number in range(MESSAGES)]
    assert (tmp_path / f"{NAME}-wal").stat().st_size > 0
    with Ownership(tmp_path / NAME):
        async with opened(tmp_path) as database:
            assert await fetch(database, "SELECT count(*) FROM receipts") == [(MESSAGES,)]
            assert await fetch(database, "SELECT count(*) FROM events") == [(MESSAGES,)]
            assert await fetch(database, "PRAGMA integrity_check") == [("ok",)]
