"""Who may write: one process owns a SQLite database by a lock on the file beside it, never on the database itself.

Closing any descriptor of a database file drops the POSIX locks that SQLite holds on it in this process, so nothing
here ever opens the database once SQLite has.
"""

import errno
import fcntl
import os
import struct
import time
from contextlib import suppress
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Self

from receiver.storage.database import CannotStart

SQLITE_MAGIC = b"SQLite format 3\x00"
_LOOK_EVERY = 0.05  # seconds
APPLICATION_ID = 0x52435652  # "RCVR", in the header's application id field (https://www.sqlite.org/fileformat.html)


class Ownership:
    """The exclusive lock on `<database>.lock`, held until closed; the file itself stays."""

    def __init__(self, database: Path, wait: float = 0.0) -> None:
        """Raises CannotStart, naming the holder, when the lock is not free within `wait` seconds."""
        self.path = _beside(database, ".lock")
        try:
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise CannotStart(f"{self.path}: cannot be opened ({error.strerror})") from None
        self._acquire(wait)
        with suppress(OSError):  # a full disk: the name of the holder is only a courtesy
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _acquire(self, wait: float) -> None:
        for tries_left in range(ceil(wait / _LOOK_EVERY), -1, -1):
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES) or not tries_left:
                    holder = os.pread(self.descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                    os.close(self.descriptor)
                    raise CannotStart(f"{self.path}: the database is in use by process {holder}") from None
                time.sleep(_LOOK_EVERY)
            else:
                return


def is_owned(database: Path) -> bool:
    """Whether some process holds the lock, without taking it for longer than the look."""
    path = _beside(database, ".lock")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_file(path: Path) -> bool:
    """Looks at the header before SQLite opens the file. True when there is a database, False when one can be made.

    Raises CannotStart for a directory in the way, a file of another kind or of another application.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise CannotStart(f"{path.parent}: no such directory for the database") from None
        return False
    except OSError as error:
        raise CannotStart(f"{path}: cannot be read ({error.strerror})") from None
    if not header or _was_never_made(path, header):
        return False
    if not header.startswith(SQLITE_MAGIC) or len(header) < 100:
        raise CannotStart(f"{path}: is not a SQLite database; nothing was changed")
    found = int.from_bytes(header[68:72], "big")
    if found != APPLICATION_ID:
        raise CannotStart(f"{path}: is a SQLite database of another application; nothing was changed")
    return True


def check_log(database: Path) -> bool:
    """Looks at the log that an earlier owner left: one that SQLite does not know as its own it would write over.

    True when that owner did not end as it should, and not in the middle of making the database: what it then left in
    a journal only a writer can take back. Raises CannotStart; after a power loss a header may be missing, not another.
    """
    path = _beside(database, "-wal")
    try:
        with path.open("rb") as file:
            header = file.read(32)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CannotStart(f"{path}: cannot be read ({error.strerror})") from None
    if any(header) and not _is_of_a_log(header):
        raise CannotStart(f"{path}: is not the log of a SQLite database, or damaged; nothing was changed")
    return bool(header) and not _beside(database, "-journal").exists()


def _is_of_a_log(header: bytes) -> bool:
    """Magic number and checksum as in https://www.sqlite.org/fileformat2.html#the_write_ahead_log."""
    order = {b"\x37\x7f\x06\x82": "<", b"\x37\x7f\x06\x83": ">"}.get(header[:4])
    if order is None or len(header) < 32:
        return False
    first = second = 0
    for one, two in struct.iter_unpack(f"{order}II", header[:24]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return header[24:] == struct.pack(">II", first, second)


def _was_never_made(path: Path, header: bytes) -> bool:
    """Whether the power failed while the first page was written: SQLite takes that back by the journal beside it."""
    journal = _beside(path, "-journal")
    return not any(header) and journal.is_file() and journal.stat().st_size > 0


def _beside(database: Path, ending: str) -> Path:
    """Where SQLite puts its own files: beside the database itself, whichever link leads there."""
    real = Path(os.path.realpath(database)) if database.is_symlink() else database
    return real.with_name(real.name + ending)
