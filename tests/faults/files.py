"""Files that are not as they were left: damaged, foreign, locked away. The receiver starts, or says in one line why not.

`run` damages a database at random places; a round is well when it starts and works as far as it can, or refuses and
leaves every byte as it found it.
"""

import asyncio
import os
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx2

from receiver.app import create_app
from receiver.storage.database import CannotStart
from tests.delivery.dispatching import Clock, Subscribers
from tests.faults.fault import Fault, Report
from tests.faults.power_run import a_body, on_disk, post
from tests.faults.recording_vfs import Disk
from tests.storage.opening import NAME
from tests.wire import KEY, settings

MESSAGES = 40
PAGE = 4096

_WITHOUT_ROOTS_RIGHTS = """
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'

Damage = Callable[[Path, random.Random], None]


def unprivileged() -> Sequence[str]:
    """Words to put before a command, so that modes of files count for it even if we are root."""
    return () if os.geteuid() else (sys.executable, "-c", _WITHOUT_ROOTS_RIGHTS)


def read_only(folder: Path) -> Sequence[str]:
    """Words to put before a command that sees the folder as a read-only file system."""
    return ("unshare", "-rm", "sh", "-c", _READ_ONLY, "sh", str(folder))


def prints(folder: Path) -> Mapping[str, str]:
    """A fingerprint of each file but the lock."""
    found = sorted(path for path in folder.iterdir() if path.suffix not in {".lock", ".db-shm"})
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()}


async def left_behind(folder: Path) -> None:
    """What a process leaves that was killed: some of it in the database itself, the rest in the log."""
    made = folder.with_name(folder.name + ".made")
    async with on_disk(Disk(), made, "wal_autocheckpoint = 40") as way:
        for number in range(MESSAGES):
            assert await post(way, a_body(number)) == 200
        folder.mkdir()  # noqa: ASYNC240 — nothing else waits
        for name in (NAME, f"{NAME}-wal"):
            shutil.copy(made / name, folder / name)
    shutil.rmtree(made)


def smash(path: Path, chance: random.Random, size: int = PAGE) -> None:
    """Other bytes in one page; never in the first 100, which say what kind of file it is."""
    with path.open("r+b") as file:
        page = chance.randrange(max(path.stat().st_size // size, 1))
        file.seek(page * size + (100 if page == 0 else 0))
        file.write(chance.randbytes(size - 100))


def a_smashed_page(folder: Path, chance: random.Random) -> None:
    smash(folder / NAME, chance)


def a_smashed_frame(folder: Path, chance: random.Random) -> None:
    smash(folder / f"{NAME}-wal", chance, PAGE + 24)


def a_byte(folder: Path, chance: random.Random) -> None:
    path = folder / chance.choice((NAME, f"{NAME}-wal"))
    with path.open("r+b") as file:
        file.seek(chance.randrange(path.stat().st_size))
        file.write(chance.randbytes(1))


def cut(folder: Path, chance: random.Random) -> None:
    path = folder / chance.choice((NAME, f"{NAME}-wal"))
    os.truncate(path, chance.randrange(path.stat().st_size))


def zeros(folder: Path, chance: random.Random) -> None:
    path = folder / NAME
    with path.open("r+b") as file:
        file.seek(chance.randrange(path.stat().st_size // PAGE) * PAGE)
        file.write(bytes(PAGE))


DAMAGES: Sequence[Damage] = (a_smashed_page, a_smashed_frame, a_byte, cut, zeros)


@dataclass(frozen=True)
class Start:
    """`refused` is why it did not start; `status` what a vendor got of one that did, `failed` whether it gave up."""

    refused: str = ""
    status: int = 0
    failed: bool = False


async def start(folder: Path) -> Start:
    """Anything but a start or a refusal is raised."""
    app = create_app(settings(folder), transport=Subscribers(Clock()))
    try:
        async with app.lifespan():
            transport = httpx2.ASGITransport(app)
            headers = {"authorization": f"Bearer {KEY}"}
            async with httpx2.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
                made = await client.post("/v1/sources", json={"vendor": "sendsms"})
                if made.status_code == 201:
                    path = "/in/" + made.json()["url"].partition("/in/")[2]
                    made = await client.get(f"{path}?ref=1&status=1")
                await asyncio.sleep(0.01)
                return Start(status=made.status_code, failed=app.failed.is_set())
    except CannotStart as refusal:
        return Start(refused=str(refusal))


async def judged(folder: Path) -> str:
    """What was wrong in how it met the damage; empty when nothing."""
    before = prints(folder)
    try:
        found = await start(folder)
    except Exception as error:  # noqa: BLE001 — whatever it is, it is no clear refusal
        return f"{type(error).__name__}: {error}"
    if found.refused:
        line = "" if len(found.refused.splitlines()) == 1 and str(folder) in found.refused else "no clear line"
        return line or ("" if prints(folder) == before else f"refused, and changed the files: {found.refused}")
    if found.status not in {200, 503}:
        return f"answered {found.status}"
    return ""


async def _rounds(folder: Path, rounds: int, chance: random.Random) -> list[str]:
    await left_behind(folder / "whole")
    problems = []
    for number in range(rounds):
        damaged = folder / f"{number}"
        shutil.copytree(folder / "whole", damaged)
        damage = DAMAGES[number % len(DAMAGES)]
        damage(damaged, chance)
        problem = await judged(damaged)
        problems.append(problem and f"{damage.__name__}: {problem}")
        shutil.rmtree(damaged)
    return problems


def run(folder: Path, rounds: int, chance: random.Random) -> Report:
    folder.mkdir(parents=True, exist_ok=True)
    bad = [problem for problem in asyncio.run(_rounds(folder, rounds, chance)) if problem]
    return Report(rounds, rounds - len(bad), 0, 0, "; ".join(sorted({*bad}))[:500])


FAULTS = (Fault("damaged files", short=30, long=500, run=run),)
