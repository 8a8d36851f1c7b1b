"""Whatever is in the way of the database: one clear line, exit code 3, and every byte as it was."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.storage.database import CannotStart
from receiver.storage.ownership import Ownership, is_owned
from receiver.storage.sqlite import SqliteDatabase
from tests.cli.running import refused
from tests.faults import files
from tests.faults.disk_process import can, process
from tests.faults.files import left_behind, prints, read_only, unprivileged
from tests.faults.power_images import Made, Written, image
from tests.faults.recording_vfs import Disk
from tests.storage.opening import NAME, change, fetch, opened

SHORT = files.FAULTS[0].short


def test_wherever_it_is_damaged_it_starts_or_refuses_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    report = files.run(tmp_path / "damaged", SHORT, random.Random(random.getrandbits(32)))
    assert (report.survived, report.note) == (SHORT, "")


async def make(folder: Path, *, version: int = 0) -> None:
    """A database that was closed; with a migration that nobody knows, when told to."""
    async with opened(folder) as database:
        if version:
            await change(database, "INSERT INTO migrations VALUES (?, 'later', '', 0)", version)


def a_log_of_something_else(folder: Path) -> None:
    (folder / f"{NAME}-wal").write_bytes(b"somebody's notes, and not a log\n" * 200)


def a_log_with_a_damaged_header(folder: Path) -> None:
    path = folder / f"{NAME}-wal"
    content = bytearray(path.read_bytes())
    content[13] ^= 1
    path.write_bytes(content)


def half_a_log_header(folder: Path) -> None:
    path = folder / f"{NAME}-wal"
    path.write_bytes(path.read_bytes()[:20])


def a_folder_for_a_log(folder: Path) -> None:
    (folder / f"{NAME}-wal").unlink()
    (folder / f"{NAME}-wal").mkdir()


def half_a_database(folder: Path) -> None:
    path = folder / NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (folder / f"{NAME}-wal").unlink()


def other_bytes_behind_the_header(folder: Path) -> None:
    path = folder / NAME
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * (path.stat().st_size - 100))


def a_lock_that_leads_elsewhere(folder: Path) -> None:
    (folder / "precious").write_text("not ours")
    (folder / f"{NAME}.lock").symlink_to("precious")


def a_folder_for_a_lock(folder: Path) -> None:
    (folder / f"{NAME}.lock").mkdir()


IN_THE_WAY: list[tuple[Callable[[Path], None], str]] = [
    (a_log_of_something_else, "-wal: is not the log of a SQLite database"),
    (a_log_with_a_damaged_header, "-wal: is not the log of a SQLite database"),
    (half_a_log_header, "-wal: is not the log of a SQLite database"),
    (a_folder_for_a_log, "-wal: cannot be read"),
    (half_a_database, "malformed"),
    (other_bytes_behind_the_header, "malformed"),
    (a_lock_that_leads_elsewhere, ".lock: cannot be opened"),
    (a_folder_for_a_lock, ".lock: cannot be opened"),
]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed process left."""
    folder = tmp_path_factory.mktemp("crashed") / "left"
    asyncio.run(left_behind(folder))
    return folder


@pytest.mark.parametrize(("damage", "words"), IN_THE_WAY)
@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_what_is_not_as_it_was_left_is_said_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crashed: Path, damage: Callable[[Path], None], words: str,
    command: str,
) -> None:  # fmt: skip
    folder = tmp_path / "here"
    shutil.copytree(crashed, folder)
    damage(folder)
    before = prints(folder)
    monkeypatch.chdir(folder)
    told = refused(command, code=3)
    assert told.startswith("Error: ")
    assert words in told
    assert told.count("\n") == 1
    assert prints(folder) == before


async def test_a_log_that_is_whole_is_taken_up(tmp_path: Path, crashed: Path) -> None:
    """So the refusals above are not of logs as such."""
    shutil.copytree(crashed, tmp_path / "here")
    async with opened(tmp_path / "here") as database:
        assert await fetch(database, "SELECT count(*) FROM receipts") == [(files.MESSAGES,)]


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(make(tmp_path, version=9999))
    before = prints(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in ("serve", "migrate"):
        told = refused(command, code=3)
        assert told == "Error: the database has migration 9999, which this version does not know; upgrade\n"
    assert prints(tmp_path) == before


async def test_to_open_and_close_a_database_changes_nothing_in_it(tmp_path: Path) -> None:
    await make(tmp_path)
    before = prints(tmp_path)
    await make(tmp_path)
    assert prints(tmp_path) == before


async def test_a_power_loss_within_the_very_first_write_is_recovered_from(tmp_path: Path) -> None:
    """The first page is torn, so the file is none of SQLite's; but the journal beside it says that it was to become one."""
    disk = Disk()
    (tmp_path / "life").mkdir()
    await (await disk.open(tmp_path / "life" / NAME)).close()
    number = next(step.file for step in disk.steps if isinstance(step, Made) and step.path.endswith(NAME))
    first = next(at for at, step in enumerate(disk.steps) if isinstance(step, Written) and step.file == number)
    left = image(disk.steps[:first], random.Random(1))
    (journal,) = (content for path, content in left.items() if path.endswith("-journal"))
    (tmp_path / NAME).write_bytes(bytes(4096))
    with pytest.raises(CannotStart, match="is not a SQLite database"):
        await SqliteDatabase.open(tmp_path / NAME)
    (tmp_path / f"{NAME}-journal").write_bytes(journal)
    async with opened(tmp_path) as database:
        assert await fetch(database, "SELECT count(*) FROM receipts") == [(0,)]


async def test_one_database_has_one_owner_whatever_links_lead_to_it(tmp_path: Path) -> None:
    await make(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "first.db").symlink_to(tmp_path / NAME)
    (tmp_path / "other" / "second.db").symlink_to("first.db")
    with Ownership(tmp_path / NAME):
        for name in ("first.db", "second.db"):
            with pytest.raises(CannotStart, match="in use by process"):
                Ownership(tmp_path / "other" / name)
            assert is_owned(tmp_path / "other" / name)
    with Ownership(tmp_path / "other" / "second.db"), pytest.raises(CannotStart, match="in use by process"):
        Ownership(tmp_path / NAME)


async def test_through_a_link_the_log_is_looked_at_too(tmp_path: Path, crashed: Path) -> None:
    shutil.copytree(crashed, tmp_path / "here")
    a_log_of_something_else(tmp_path / "here")
    (tmp_path / "link.db").symlink_to(tmp_path / "here" / NAME)
    with pytest.raises(CannotStart, match=r"here/receiver\.db-wal: is not the log"):
        await SqliteDatabase.open(tmp_path / "link.db")


def closed_folder(folder: Path) -> None:
    (folder / f"{NAME}.lock").unlink()
    folder.chmod(0o555)


def readable_database(folder: Path) -> None:
    (folder / NAME).chmod(0o400)


def unreadable_database(folder: Path) -> None:
    (folder / NAME).chmod(0o000)


def unreadable_log(folder: Path) -> None:
    (folder / f"{NAME}-wal").chmod(0o000)


def foreign_lock(folder: Path) -> None:
    (folder / f"{NAME}.lock").chmod(0o444)


@pytest.mark.parametrize(
    ("take_away", "words"),
    [
        (closed_folder, ".lock: cannot be opened (Permission denied)"),
        (readable_database, "readonly database"),
        (unreadable_database, "cannot be read (Permission denied)"),
        (unreadable_log, "-wal: cannot be read (Permission denied)"),
        (foreign_lock, ".lock: cannot be opened (Permission denied)"),
    ],
)
def test_what_may_not_be_read_or_written_is_named(
    tmp_path: Path, crashed: Path, take_away: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(crashed, folder)
    (folder / f"{NAME}.lock").touch(mode=0o600)
    take_away(folder)
    told = ended(folder, words, *unprivileged())
    folder.chmod(0o755)
    assert told.count("\n") == 1


def ended(folder: Path, words: str, *before: str) -> str:
    """What a process said that ended with 3 for that reason, and changed nothing."""
    modes = seen(folder)
    with process(folder, *before) as it:
        assert it.url == ""
        code, told = it.end()
    assert code == 3, told
    assert words in told
    assert seen(folder) == modes
    return told


def seen(folder: Path) -> dict[str, int]:
    """Names and modes, but of the file that the connections of a process share."""
    return {path.name: path.stat().st_mode for path in folder.iterdir() if not path.name.endswith("-shm")}


def test_on_a_read_only_file_system_it_says_so(tmp_path: Path, crashed: Path) -> None:
    """Where such a thing can be made without being root; the modes of the test above are the same wall elsewhere."""
    if not can(*read_only(tmp_path), "true"):
        return
    folder = tmp_path / "here"
    shutil.copytree(crashed, folder)
    before = prints(folder)
    assert ended(folder, "Read-only file system", *read_only(folder)).count("\n") == 1
    assert prints(folder) == before
