"""What a disk may hold after the power failed: the files as they could be, from a record of what was written when.

What was synced is there. Of what came later, any part may be: each write whole, in some of its sectors, or not at
all, the length with or without the data, a new name or the old one.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

SECTOR = 512


class Made(NamedTuple):
    """A new file, known by `file` for good, has got a name."""

    path: str
    file: int


class Written(NamedTuple):
    file: int
    offset: int
    data: bytes


class Resized(NamedTuple):
    file: int
    size: int


class Synced(NamedTuple):
    """Data and length of the file are on disk."""

    file: int


class NotSynced(NamedTuple):
    """A sync of the file failed: what waited for it may be on disk or not, and no later sync writes it any more."""

    file: int


class Removed(NamedTuple):
    path: str


class NamesSynced(NamedTuple):
    """The folder is on disk, with the names that it had."""


class Acknowledged(NamedTuple):
    """A caller was told that this body is kept."""

    body: bytes


Step = Made | Written | Resized | Synced | NotSynced | Removed | NamesSynced | Acknowledged


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    pending: list[Written | Resized] = field(default_factory=list)


@dataclass
class _Folder:
    files: dict[int, _File] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    renamed: list[tuple[str, int | None]] = field(default_factory=list)

    def take(self, step: Step, chance: random.Random) -> None:
        match step:
            case Made(path, file):
                self.files.setdefault(file, _File())
                self.renamed.append((path, file))
            case Removed(path):
                self.renamed.append((path, None))
            case Written(file) | Resized(file):
                self.files[file].pending.append(step)
            case Synced(file):
                for change in self.files[file].pending:
                    _apply(self.files[file].content, change)
                self.files[file].pending.clear()
            case NotSynced(file):
                self.files[file] = _File(bytearray(_left(self.files[file], chance)))
            case NamesSynced():
                for path, to in self.renamed:
                    _name(self.names, path, to)
                self.renamed.clear()


def image(steps: Sequence[Step], chance: random.Random) -> Mapping[str, bytes]:
    """Path → content, if the power fails behind the last of these steps."""
    folder = _Folder()
    for step in steps:
        folder.take(step, chance)
    names = dict(folder.names)
    for path in dict.fromkeys(path for path, _ in folder.renamed):
        changes = [to for other, to in folder.renamed if other == path]
        kept = chance.randint(0, len(changes))
        if kept:
            _name(names, path, changes[kept - 1])
    return {path: _left(folder.files[file], chance) for path, file in names.items()}


def acknowledged(steps: Sequence[Step]) -> list[bytes]:
    return [step.body for step in steps if isinstance(step, Acknowledged)]


def lay_out(found: Mapping[str, bytes], folder: Path) -> None:
    """Writes the image into an empty folder; only the last part of each path counts."""
    folder.mkdir()
    for path, content in found.items():
        (folder / Path(path).name).write_bytes(content)


def _left(file: _File, chance: random.Random) -> bytes:
    content = bytearray(file.content)
    mood = chance.choice(("nothing", "everything", "some", "some", "torn", "torn"))
    for change in file.pending:
        if mood == "everything" or (mood != "nothing" and chance.random() < 0.5):
            _apply(content, change)
        elif mood == "torn" and isinstance(change, Written):
            for sector in _sectors(change):
                if chance.random() < 0.5:
                    _apply(content, sector)
    longest = max((step.offset + len(step.data) for step in file.pending if isinstance(step, Written)), default=0)
    if chance.random() < 0.3 and longest > len(content):  # the length is written, the data is not
        content.extend(bytes(longest - len(content)))
    return bytes(content)


def _sectors(write: Written) -> list[Written]:
    end = write.offset + len(write.data)
    bounds = [write.offset, *range((write.offset // SECTOR + 1) * SECTOR, end, SECTOR), end]
    return [
        Written(write.file, start, write.data[start - write.offset : stop - write.offset])
        for start, stop in pairwise(bounds)
    ]


def _apply(content: bytearray, change: Written | Resized) -> None:
    size = change.size if isinstance(change, Resized) else max(len(content), change.offset + len(change.data))
    if size > len(content):
        content.extend(bytes(size - len(content)))
    del content[size:]
    if isinstance(change, Written):
        content[change.offset : change.offset + len(change.data)] = change.data


def _name(names: dict[str, int], path: str, to: int | None) -> None:
    if to is None:
        names.pop(path, None)
    else:
        names[path] = to
