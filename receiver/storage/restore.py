"""A copy put in the place of a database. All that can fail is done to the copy of the copy, beside the database; then
one rename makes it the database, and the one before is kept under another name.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from receiver.storage.backup import (
    CopyFailed,
    Progress,
    belongs_to,
    beside,
    check,
    copy,
    reading,
    remove_logs,
    sync,
    unheard,
    whole_or_not_at_all,
)
from receiver.storage.database import CannotStart, StorageError, Transaction
from receiver.storage.migrate import migrate, published
from receiver.storage.ownership import Ownership, check_file, check_log, is_owned
from receiver.storage.sqlite import ERRORS, SqliteDatabase

_PARTS = ("", "-wal", "-journal")
"""What makes up a database that nobody has open; `-shm` is only an index of `-wal`."""
RESTORING = ".restoring"
"""What the copy of the copy is called beside the database until it is the database."""


@dataclass(frozen=True, slots=True)
class Restored:
    """`held` deliveries wait for `recover`; `canceled` is how many jobs do not go on; `kept` is the database before."""

    events: int
    held: int
    canceled: int
    kept: Path | None


def restore(
    file: Path,
    database: Path,
    clock: Callable[[], int],
    *,
    force: bool = False,
    send: bool = False,
    wait: float = 0.0,
    progress: Progress = unheard,
) -> Restored:
    """Makes a copy of `file` the database, brought up to this version; only with `force` where there is one already.

    What was still to be sent is held, unless `send`. Raises CannotStart while another process has the database,
    CopyFailed when `file` will not do; then nothing was changed.
    """
    with Ownership(database, wait):
        place = database.resolve() if database.is_symlink() else database
        _refuse(file, place, force=force)
        partial = beside(place, RESTORING)
        with whole_or_not_at_all(partial):
            with reading(file, still=not _is_in_use(file)) as source:
                _check(source, file, progress)
                copy(source, partial, progress)
            events, held, canceled = asyncio.run(_made_ready(partial, clock, send=send))
            sync(partial)
            kept = _replace(place, partial, clock())
    return Restored(events, held, canceled, kept)


def _refuse(file: Path, database: Path, *, force: bool) -> None:
    if belongs_to(file, database) or belongs_to(file, beside(database, RESTORING)):
        raise CopyFailed(f"{file}: is the database itself, or belongs to it")
    try:
        if not check_file(file):
            raise CopyFailed(f"{file}: {'is empty' if file.exists() else 'no such file'}")
        check_log(file)
    except CannotStart as error:
        raise CopyFailed(str(error)) from None
    if any(os.path.lexists(beside(database, suffix)) for suffix in _PARTS) and not force:
        raise CopyFailed(f"{database}: is there already; --force puts it aside")


def _is_in_use(file: Path) -> bool:
    return is_owned(file) or any(beside(file, suffix).exists() for suffix in ("-wal", "-journal"))


def _check(source: sqlite3.Connection, file: Path, progress: Progress) -> None:
    check(source, file, lambda: progress(0.0))
    if not source.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchall():
        raise CopyFailed(f"{file}: holds nothing; it was never a receiver's database in use")
    ((newest,),) = source.execute("SELECT coalesce(max(number), 0) FROM migrations")
    if newest > published()[-1].number:
        raise CopyFailed(f"{file}: has migration {newest:04d} of a newer version; upgrade")


async def _made_ready(partial: Path, clock: Callable[[], int], *, send: bool) -> tuple[int, int, int]:
    """Events, deliveries that are held from now on, and jobs that are canceled."""
    database = await SqliteDatabase.open(partial, readers=1)
    try:
        await migrate(database, clock)
        async with database.writing() as transaction:
            held, canceled = (0, 0) if send else await _quieted(transaction, clock())
            ((events,),) = await transaction.fetch("SELECT count(*) FROM events")
    except (*ERRORS, StorageError) as error:
        raise CopyFailed(f"{partial}: cannot be brought up to this version ({error})") from None
    finally:
        await database.close()  # the last connection: the log goes into the file
    return events, held, canceled


async def _quieted(transaction: Transaction, now: int) -> tuple[int, int]:
    """Nothing is sent by itself any more. What was on its way then may have arrived since, and what a job was about
    to send is owed only when somebody asks again.
    """
    await transaction.fetch(
        """UPDATE deliveries SET state = 'held', next_at = NULL, updated_at = ?
           WHERE state IN ('queued', 'waiting', 'sending', 'retrying')""",
        now,
    )
    ((held,),) = await transaction.fetch("SELECT changes()")
    await transaction.fetch(
        "UPDATE jobs SET state = 'canceled', updated_at = ? WHERE state = 'running' AND kind <> 'erase'", now
    )
    ((canceled,),) = await transaction.fetch("SELECT changes()")
    # the intake owes them nothing while their job goes through the log, and that one is over
    await transaction.fetch("UPDATE subscriptions SET catching_up = 0 WHERE catching_up <> 0")
    return held, canceled


def _replace(database: Path, partial: Path, now: int) -> Path | None:
    """Returns where the database that was there is now. At any moment its name means one whole database."""
    stray = [beside(partial, suffix) for suffix in ("-wal", "-journal") if beside(partial, suffix).exists()]
    if stray:
        raise CopyFailed(f"{stray[0]}: is still in use; is another program looking at it?")
    _settle(database)
    with _kept_aside(database, now) as kept:
        remove_logs(database)
        partial.replace(database)
        sync(database.parent)
    remove_logs(database)  # of one who was just looking at the database before
    return kept


def _settle(database: Path) -> None:
    """Brings what stands only in the log into the file, where that can be done; a damaged one stays as it is."""
    busy = False
    with suppress(CannotStart):
        if not check_file(database):
            return
        check_log(database)
        try:
            with closing(sqlite3.connect(database, isolation_level=None, timeout=1.0)) as old:
                ((busy, _, _),) = old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    if busy:
        raise CopyFailed(f"{database}: another process is reading it; try again when it is done")


@contextmanager
def _kept_aside(database: Path, now: int) -> Iterator[Path | None]:
    """Second names for the files of the database, which stay when the first ones are taken away."""
    moment = datetime.fromtimestamp(now // 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = beside(database, f".before-restore-{moment}")
    there = [suffix for suffix in _PARTS if _has_content(beside(database, suffix))]
    try:
        for suffix in there:
            beside(aside, suffix).hardlink_to(beside(database, suffix))
        sync(database.parent)
        yield aside if there else None
    except BaseException as error:
        names = [(beside(aside, suffix), beside(database, suffix)) for suffix in there]
        if all(first.exists() for _, first in names):
            for second, first in names:
                if second.exists() and second.samefile(first):
                    second.unlink()
        if isinstance(error, OSError):
            raise CopyFailed(f"{aside}: the database cannot be kept there ({error.strerror})") from None
        raise


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
