"""Files that a vendor's console exports: CSV, or zips with CSV in them, read row by row within bounds.

A zip says itself how large its content is, so what counts is what is really read.
"""

import csv
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from receiver.cli.failure import Failure
from receiver.vendors.bodies import BOM
from receiver.vendors.sheets import MAX_COLUMNS

MAX_BYTES: Final = 256 * 1024 * 1024
MAX_MEMBERS: Final = 100
MAX_LINE: Final = 64 * 1024
_SNIFFED: Final = 64 * 1024
_ENDINGS: Final = (".csv", ".txt")
_DELIMITERS: Final = ";,\t|"

Row = Sequence[str]


class Budget:
    """How many bytes may still be read of a file, unpacked."""

    def __init__(self) -> None:
        self._left = MAX_BYTES

    def take(self, size: int) -> None:
        """Raises Failure when it is too much."""
        self._left -= size
        if self._left < 0:
            raise Failure(f"more than {MAX_BYTES // 1024**2} MiB; cut the file into pieces")


class Sheet:
    """One CSV: its header, and its rows as they are read; `read` says how many bytes were so far."""

    def __init__(
        self, name: str, stream: IO[bytes], budget: Budget, delimiter: str | None = None, encoding: str | None = None
    ) -> None:
        self.name = name
        self.read = 0
        self._stream = stream
        self._budget = budget
        self._encoding = encoding
        start = self._more(_SNIFFED)
        self._rest = start
        text = self._decoded(start[: start.rfind(b"\n") + 1] or start)
        self._delimiter = delimiter or _most_frequent(text.partition("\n")[0])
        self._rows = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        self.header: Row = next(self._checked(), [])

    def rows(self) -> Iterator[Row]:
        return (row for row in self._checked() if any(row))

    def _checked(self) -> Iterator[Row]:
        while True:
            try:
                row = next(self._rows, None)
            except csv.Error as error:
                raise Failure(f"{self.name}: line {self._rows.line_num} is no CSV: {error}") from None
            if row is None:
                return
            if len(row) > MAX_COLUMNS:
                raise Failure(f"{self.name}: line {self._rows.line_num} has more than {MAX_COLUMNS} columns")
            yield row

    def _lines(self) -> Iterator[str]:
        while True:
            line, newline, self._rest = self._rest.partition(b"\n")
            while not newline:
                more = self._more(_SNIFFED)
                if not more:
                    break
                head, newline, self._rest = more.partition(b"\n")
                line += head
                self._check_line(line)
            self._check_line(line)
            if not line and not newline:
                return
            yield self._decoded(line + newline)

    def _check_line(self, line: bytes) -> None:
        if len(line) > MAX_LINE:
            raise Failure(f"{self.name}: a line is longer than {MAX_LINE // 1024} KiB; is it CSV?")

    def _more(self, size: int) -> bytes:
        try:
            found = self._stream.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise Failure(f"{self.name}: cannot be read: {error}") from None
        self._budget.take(len(found))
        first = self.read == 0
        self.read += len(found)
        return found.removeprefix(BOM) if first else found

    def _decoded(self, line: bytes) -> str:
        if self._encoding is not None:
            return line.decode(self._encoding, "replace")
        try:
            return line.decode()
        except UnicodeDecodeError:
            return line.decode("cp1252", "replace")


@contextmanager
def sheets_of(path: Path, delimiter: str | None, encoding: str | None) -> Iterator[tuple[int, Iterator[Sheet]]]:
    """How many bytes there are to read, as far as the file says, and its sheets one after the other."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            yield path.stat().st_size, iter([Sheet(path.name, file, Budget(), delimiter, encoding)])
            return
        with _archive(file, path) as archive:
            members = _members(archive, path)
            total = sum(member.file_size for member in members)
            yield total, _from_zip(archive, members, delimiter, encoding)


def _archive(file: IO[bytes], path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        raise Failure(f"{path.name}: cannot be read: {error}") from None


def _members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    found = [member for member in archive.infolist() if member.filename.lower().endswith(_ENDINGS)]
    if not found:
        raise Failure(f"{path.name}: no CSV in this zip")
    if len(found) > MAX_MEMBERS:
        raise Failure(f"{path.name}: more than {MAX_MEMBERS} files in this zip")
    if any(member.flag_bits & 1 for member in found):
        raise Failure(f"{path.name}: is encrypted; unpack it first")
    return found


def _from_zip(
    archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], delimiter: str | None, encoding: str | None
) -> Iterator[Sheet]:
    """Nothing is unpacked to disk, and a name in a zip is never taken for a path."""
    budget = Budget()
    for member in members:
        try:
            stream = archive.open(member)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise Failure(f"{member.filename}: cannot be read: {error}") from None
        with stream:
            yield Sheet(member.filename, stream, budget, delimiter, encoding)


def _most_frequent(line: str) -> str:
    return max(_DELIMITERS, key=line.count)
