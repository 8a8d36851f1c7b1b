"""What the figures were measured on, in words that do not name the machine."""

import os
import platform
import sqlite3
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

_SYNCS = 200


def described(folder: Path) -> dict[str, str]:
    """`folder` is where the databases are."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores; the load has one of them, what is measured may use all",
        "memory": f"{memory:.0f} GiB",
        "disk": f"{_file_system(folder)}, {_syncs(folder):,.0f} fdatasync a second",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "packages": ", ".join(f"{name} {version(name)}" for name in ("uvloop", "httptools", "uvicorn", "aiohttp")),
    }


def busy() -> float:
    """How many processes wanted a core in the last minute: a machine with other work gives other figures."""
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()]
    place = folder.resolve()
    over = [mount for mount in mounts if place.is_relative_to(mount[1])]
    return max(over, key=lambda mount: len(mount[1]))[2]


def _syncs(folder: Path) -> float:
    """Of 4 KiB each, one after the other."""
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        for number in range(_SYNCS):
            os.pwrite(file.fileno(), bytes(4096), number * 4096)
            os.fdatasync(file.fileno())
        return _SYNCS / (time.perf_counter() - started)
