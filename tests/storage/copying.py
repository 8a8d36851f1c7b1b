"""Databases to copy, and processes that write to them, hold them or are killed in the middle of copying."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from receiver.storage.backup import backup
from receiver.storage.ownership import APPLICATION_ID
from tests.storage.opening import NAME, opened

MOMENT = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
ASIDE = f"{NAME}.before-restore-20231114T221320Z"
ROOT = Path(__file__).parent.parent.parent
EVENT = "INSERT INTO events (id, type, accepted_at, body) VALUES (?, 'message.received', 1, ?)"

WRITER = f"""
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for pragma in ("journal_mode = WAL", "wal_autocheckpoint = 50", "synchronous = OFF"):
    database.execute("PRAGMA " + pragma)
number = 0
while True:
    number += 1
    database.execute("BEGIN IMMEDIATE")
    database.execute({EVENT!r}, (f"w{{number:08}}", "x" * 500))
    database.execute("INSERT INTO identities VALUES (?, ?, 'rcp', NULL, NULL)", (f"k{{number}}", f"w{{number:08}}"))
    database.execute("COMMIT")
    print(number, flush=True)
"""
"""Commits an event and its identity for ever, and says so after each."""

KEEPER = """
import sqlite3, sys
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
writer.execute("PRAGMA journal_mode = WAL")
writer.execute("UPDATE catalog SET version = version + 1")
reader = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
reader.execute("BEGIN")
reader.execute("SELECT * FROM catalog").fetchall()
print("reading", flush=True)
sys.stdin.read()
"""
"""Reads for as long as its standard input is open."""

KILLED = """
import os, signal, sys
from pathlib import Path
from receiver.storage.backup import backup
from receiver.storage.restore import restore

def die(share):
    if share > 0.2:
        os.kill(os.getpid(), signal.SIGKILL)

first, second = Path(sys.argv[2]), Path(sys.argv[3])
if sys.argv[1] == "backup":
    backup(first, second, force=True, progress=die)
else:
    restore(first, second, lambda: 0, force=True, progress=die)
"""
"""`backup` or `restore`, killed when a fifth is copied."""


async def fill(folder: Path, events: int, size: int) -> None:
    async with opened(folder) as database, database.writing() as transaction:
        await transaction.many(
            "INSERT INTO events (id, type, accepted_at, body)",
            [(f"e{number:08}", "message.received", 1, "y" * size) for number in range(events)],
        )


def a_database(folder: Path, events: int = 100, size: int = 500) -> Path:
    """One with our schema, that nobody has open."""
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(fill(folder, events, size))
    return folder / NAME


def large(folder: Path) -> Path:
    """One that takes long enough to be interrupted."""
    return a_database(folder, events=40_000, size=300)


def changed(path: Path, *statements: str) -> None:
    """What an owner does that ends well."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def killed_after(path: Path, *statements: str) -> None:
    """The same by a process that is killed: the changes stand only in the log."""
    program = "import os, sqlite3, sys\nd = sqlite3.connect(sys.argv[1], isolation_level=None)\n" + "\n".join(
        [
            "d.execute('PRAGMA journal_mode = WAL')",
            *(f"d.execute({it!r})" for it in statements),
            "os.kill(os.getpid(), 9)",
        ]
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=40)
    assert ended.returncode == -9
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def rows(path: Path, sql: str) -> list[Any]:
    """What a reader finds in it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(sql).fetchall()


def ids(path: Path) -> set[str]:
    return {row[0] for row in rows(path, "SELECT id FROM events")}


def is_sound(path: Path) -> bool:
    return rows(path, "PRAGMA integrity_check") == [("ok",)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock, which says who had it last."""
    return {it.name: it.read_bytes() for it in folder.iterdir() if it.is_file() and not it.name.endswith(".lock")}


def other_application(path: Path) -> Path:
    changed(path, f"PRAGMA application_id = {APPLICATION_ID + 1}", "CREATE TABLE theirs (id TEXT)")
    return path


def damage(path: Path) -> Path:
    """Spoils pages in the middle; the first, with the header, is as it was."""
    data = bytearray(path.read_bytes())
    for start in range(4096 * 20, len(data), 4096 * 3):
        data[start : start + 400] = b"\xff" * min(400, len(data) - start)
    path.write_bytes(data)
    return path


def spoil_schema(path: Path) -> Path:
    """One byte of it, wherever it stands, so that it is no UTF-8 any more."""
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"CREATE TABLE receipts (\n  ", b"CREATE TABLE receipts (\n \xba"))
    assert path.read_bytes() != whole
    return path


@contextmanager
def process(program: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as it:
        try:
            yield it
        finally:
            it.kill()


def said(it: "subprocess.Popen[str]", lines: int = 1) -> Sequence[str]:
    """The next lines that a process says."""
    assert it.stdout is not None
    found = [it.stdout.readline() for _ in range(lines)]
    assert all(found), "it ended"
    return found


def now() -> int:
    return MOMENT


def a_copy(folder: Path, events: int = 100) -> Path:
    backup(a_database(folder, events), folder / "copy.db")
    return folder / "copy.db"


def an_old_database(folder: Path) -> Path:
    """Its last event stands only in the log."""
    database = a_database(folder, events=3)
    killed_after(database, "INSERT INTO events (id, type, accepted_at, body) VALUES ('last', 't', 1, '')")
    return database


OLD = {"e00000000", "e00000001", "e00000002", "last"}
