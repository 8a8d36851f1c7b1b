"""Runs statements on a SQLite connection: in whichever thread calls, or as a process that is told over a socket.

As a process it needs nothing but the standard library, holds the lock's descriptor beside its owner, and ends with the
owner's end of the socket: then what is not committed never is, and the log stays for the next start.
"""

import marshal
import os
import signal
import sqlite3
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from socket import socket
from typing import Any, NamedTuple

Statement = tuple[str, Sequence[Any]]
HEAD = struct.Struct("!I")
_LIGHT = 50
"""Rows of a transaction that is no sign of load."""
_DUE = 400
"""Rows whose pages, some thousand, are moved from the log in a few milliseconds."""


class Done(NamedTuple):
    """Rows, how many were written, and the rows of each statement that somebody asked for before."""

    rows: list[tuple[Any, ...]]
    changed: int
    before: list[list[tuple[Any, ...]]]


def run(connection: sqlite3.Connection, statements: Sequence[Statement], answers: int, asked: Sequence[int]) -> Done:
    """What the last `answers` statements gave, and those at the places `asked`. The first that fails is the last that
    is tried.
    """
    found: list[tuple[Any, ...]] = []
    before: list[list[tuple[Any, ...]]] = []
    changed = 0
    silent = len(statements) - answers
    for position, (sql, values) in enumerate(statements):
        cursor = connection.execute(sql, values)
        rows = cursor.fetchall()
        if position >= silent:
            found += rows
            changed += cursor.rowcount
        elif position in asked:
            before.append(rows)
    return Done(found, changed, before)


def frame(what: tuple[Any, ...]) -> bytes:
    """Its length, and itself. Raises ValueError for what is no plain value."""
    data = marshal.dumps(what)
    return HEAD.pack(len(data)) + data


def main(descriptor: int, path: str, busy_seconds: float, kept: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the owner, which ends us when all is committed
        signal.signal(number, signal.SIG_IGN)
    line = socket(fileno=descriptor)
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=busy_seconds, cached_statements=kept)
    except sqlite3.Error as error:
        _hear(line)
        _say(line, _refused(error))
        return
    log = _Log(connection)
    failed: tuple[Any, ...] | None = None  # by what was asked ahead; until it is rolled back nothing else is tried
    while (asked := _hear(line)) is not None:
        if asked[0] == "close":
            connection.close()
            return
        if asked[0] == "rollback":
            failed = None
        said = failed or _done(connection, *asked)
        if asked[0] == "ahead":
            failed = said if said[0] == "failed" else None
            continue
        if not _say(line, said):
            break
        if not connection.in_transaction:
            log.committed()
    os._exit(1)  # the owner is no more; a connection that is closed would put the log into the database


class _Log:
    """Moves what is committed into the database by itself (https://www.sqlite.org/wal.html#ckpt) while there is little
    to do: often and a little at a time, right behind an answer, so that hardly any commit waits for it. Under load one
    commit in many does it, for a page that is written again and again is then moved once.

    On the connection that writes: with another one, SQLite before 3.51.3 may damage the database. Trouble is passed
    over; what was not moved is still in the log, and a disk that fails fails the next commit too.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen = self._moved = connection.total_changes

    def committed(self) -> None:
        rows = self._connection.total_changes
        light, self._seen = rows - self._seen < _LIGHT, rows
        if light and rows - self._moved >= _DUE:
            self._moved = rows
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _done(connection: sqlite3.Connection, what: str, *asked: Any) -> tuple[Any, ...]:
    try:
        match what:
            case "rollback":
                connection.rollback()
                return ("done",)
            case "ahead":
                run(connection, asked[0], 0, ())
                return ("done",)
            case _:
                return ("done", *run(connection, *asked))
    except Exception as error:  # noqa: BLE001 — whatever it is, it is for the owner to judge
        return _refused(error)


def _refused(error: Exception) -> tuple[Any, ...]:
    return ("failed", type(error).__name__, getattr(error, "sqlite_errorcode", None), str(error))


def _hear(line: socket) -> tuple[Any, ...] | None:
    """What is asked next; None when nobody is there to ask."""
    head = _received(line, HEAD.size)
    data = head and _received(line, HEAD.unpack(head)[0])
    return marshal.loads(data) if data else None  # noqa: S302 — from our owner


def _received(line: socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            piece = line.recv(size - len(data))
        except OSError:
            return b""
        if not piece:
            return b""
        data += piece
    return bytes(data)


def _say(line: socket, what: tuple[Any, ...]) -> bool:
    try:
        line.sendall(frame(what))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
