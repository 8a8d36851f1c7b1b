"""Databases that have seen millions of events: made once, kept in a folder, copied for a run.

A message and the two reports of another one really go through a receiver; every row that they leave is multiplied.
"""

import os
import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path

from bench import backlog
from bench.multiply import Specimen, clear
from bench.process import PORT, SINK_PORT, target
from bench.requests import MESSAGE, message_id, report
from bench.wire import Load, Sink, listening
from receiver.sms.words import indexed
from receiver.storage.migrate import published
from receiver.storage.search import text_of
from receiver.storage.text_index import SQLITE

RARE = "invoice"
"""A word of few texts."""
_EVENTS = 3
_SPAN = 30 * 86_400 * 1_000_000
"""The time over which the events came, in microseconds."""
_BYTES_AN_EVENT = 4_000
"""A generous guess, to refuse in time."""
_AT_ONCE = 16 * 1024 * 1024
_MADE_BY = ("multiply.py", "requests.py", "grown.py")


async def grown(cache: Path, events: int) -> Path:
    """The folder of a database with that many events, as good as new: whoever wants to change it takes a copy."""
    folder = cache / f"{events}-{_version()}"
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _room(part, events * _BYTES_AN_EVENT)
        print(f"making a database of {events:,} events", flush=True)
        await _make(part, events)
        part.rename(folder)
    return folder


def copied(grown_folder: Path, place: Path) -> Path:
    """A folder of its own below `place` with a copy of the database."""
    folder = place / grown_folder.name
    folder.mkdir()
    _room(folder, (grown_folder / "receiver.db").stat().st_size)
    _copy(grown_folder / "receiver.db", folder / "receiver.db")
    return folder


def _copy(original: Path, copy: Path) -> None:
    """As a database that has been at work for a while: on the disk, and as far as there is room in the system's cache,
    which the original leaves.
    """
    with original.open("rb") as source, copy.open("wb") as target:
        size = os.fstat(source.fileno()).st_size
        for begin in range(0, size, _AT_ONCE):
            target.write(source.read(_AT_ONCE))
            os.posix_fadvise(source.fileno(), begin, _AT_ONCE, os.POSIX_FADV_DONTNEED)
        target.flush()
        os.fsync(target.fileno())


async def _make(folder: Path, events: int) -> None:
    await backlog.prepare(folder)
    run = os.urandom(8).hex()
    message, other = message_id(run, 0), message_id(run, 1)
    requests = [MESSAGE.request(message), report("sent").request(other), report("delivered").request(other)]
    async with listening(Sink(), SINK_PORT) as sink, target("receiver", folder):
        load = Load(requests, 1)
        await load.run(PORT)
        load.sound()
        await sink.reached(_EVENTS)
    with backlog.opened(folder) as database:
        copies = events // _EVENTS
        specimen = Specimen(database)
        clear(database)
        specimen.write(database, copies, ends=backlog.now(), apart=_SPAN // copies, bulk=True)
        _index(database)


def _index(database: sqlite3.Connection) -> None:
    """The texts, as the receiver would have indexed them; one in a thousand has a word that the others have not."""
    texts = "FROM events WHERE type = 'message.received'"
    database.execute("BEGIN IMMEDIATE")
    database.execute(f"""UPDATE events SET body = replace(body, '"text":"', '"text":"{RARE} ')
        WHERE seq IN (SELECT seq {texts} AND seq % 3001 < 3)""")  # fmt: skip
    found = database.execute(f"SELECT seq, body {texts}")
    rows = ((seq, SQLITE.kept(indexed(text_of(body)))) for seq, body in found)
    database.executemany(f"{SQLITE.insert} VALUES (?, ?)", rows)
    database.execute("UPDATE followers SET position = (SELECT max(seq) FROM events)")
    database.execute("COMMIT")


def _room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise SystemExit(
            f"{folder}: {free / 1e9:.0f} GB are free, {wanted / 1e9:.0f} GB are wanted; give another --cache"
        )


def _version() -> str:
    """Another one with every change of the schema, and of what makes such databases."""
    here = Path(__file__).parent
    parts = [migration.hash for migration in published()] + [(here / name).read_text() for name in _MADE_BY]
    return sha256("".join(parts).encode()).hexdigest()[:12]
