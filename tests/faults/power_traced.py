"""Power loss of the real process: what it wrote, synced and answered, from its system calls as strace shows them.

Each round is one image of the disk, as in `power.py`. On a machine without strace there are no rounds.
"""

import asyncio
import random
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.faults.disk_process import answered, can, furnish, load, process, statuses, tracing
from tests.faults.fault import Fault, Report
from tests.faults.power import judge
from tests.faults.power_images import Acknowledged, Made, NamesSynced, Removed, Resized, Step, Synced, Written
from tests.faults.power_run import Record, a_body

MESSAGES = 120
IMAGES_A_TRACE = 100
CALLS = "trace=openat,pwrite64,ftruncate,fdatasync,fsync,unlink,write,writev,sendto,sendmsg"
_CALL = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)", re.DOTALL)
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)", re.DOTALL)
_HEX = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"\d+<([^>]*)>")
_LAST_NUMBER = re.compile(r", (\d+)(?:\)| <unfinished)")
"""The argument behind which the call is over: an offset, or a size."""
_PORT = re.compile(r"->127\.0\.0\.1:(\d+)\]")


class Trace:
    """Lines of strace, read into steps; `told` is what each local port of a vendor sent, in order."""

    def __init__(self, folder: Path, told: Mapping[int, Sequence[bytes]]) -> None:
        self.steps: list[Step] = []
        self._folder = str(folder)
        self._left = {port: list(bodies) for port, bodies in told.items()}
        self._files: dict[str, int] = {}
        self._syncing: dict[str, str] = {}

    def read(self, lines: Iterator[str]) -> list[Step]:
        for line in lines:
            if resumed := _RESUMED.match(line):
                path = self._syncing.pop(resumed["pid"], None)
                if path is not None and resumed["rest"].rstrip().endswith("= 0"):
                    self._synced(path)
            elif call := _CALL.match(line):
                self._take(call["pid"], call["name"], call["rest"])
        return self.steps

    def _take(self, pid: str, name: str, rest: str) -> None:
        if name in {"write", "writev", "sendto", "sendmsg"}:
            self._answered(rest)
        elif name in {"fdatasync", "fsync"}:
            path = _path(rest)
            if "unfinished" in rest:
                self._syncing[pid] = path
            elif rest.rstrip().endswith("= 0"):
                self._synced(path)
        elif name == "unlink":
            path = _texts(rest)[0].decode()
            if self._files.pop(path, None) is not None:
                self.steps.append(Removed(path))
        elif name == "openat":
            self._opened(rest)
        elif (file := self._files.get(_path(rest))) is not None:
            self._changed(file, name, rest)

    def _opened(self, rest: str) -> None:
        path = _texts(rest)[0].decode()
        ours = path.startswith(f"{self._folder}/receiver.db") and not path.endswith((".lock", ".sock", "-shm"))
        if ours and "O_CREAT" in rest and path not in self._files:
            self._files[path] = len(self.steps) + 1
            self.steps.append(Made(path, self._files[path]))

    def _changed(self, file: int, name: str, rest: str) -> None:
        found = _LAST_NUMBER.search(rest)
        assert found is not None, rest[-100:]
        last = int(found[1])
        self.steps.append(Written(file, last, _texts(rest)[0]) if name == "pwrite64" else Resized(file, last))

    def _synced(self, path: str) -> None:
        if path == self._folder:
            self.steps.append(NamesSynced())
        elif path in self._files:
            self.steps.append(Synced(self._files[path]))

    def _answered(self, rest: str) -> None:
        port = _PORT.search(rest.partition(", ")[0])
        if port is None or not self._left.get(int(port[1])):
            return
        for _ in range(b"".join(_texts(rest)).count(b"HTTP/1.1 200")):
            self.steps.append(Acknowledged(self._left[int(port[1])].pop(0)))


def _texts(rest: str) -> list[bytes]:
    return [bytes.fromhex(found.replace("\\x", "")) for found in _HEX.findall(rest)]


def _path(rest: str) -> str:
    """The path of the descriptor that the call begins with."""
    found = _FD.match(rest)
    if found is None:
        return ""
    return bytes.fromhex(found[1].replace("\\x", "")).decode() if found[1].startswith("\\x") else found[1]


def recorded(folder: Path) -> Record:
    """One life of a receiver, from its first start to its end by SIGTERM."""
    folder.mkdir(parents=True)
    folder = folder.resolve()
    out = folder.with_name(f"{folder.name}.trace")
    bodies = [a_body(number) for number in range(MESSAGES)]
    with process(folder, *tracing("-yy", "-xx", "-s", "200000", "-o", str(out), "-e", CALLS)) as it:
        assert furnish(it) == 201
        found = asyncio.run(load(it, bodies))
        assert statuses(found) == [200] * MESSAGES, statuses(found)
        assert it.end(signal.SIGTERM)[0] == 0
    _wait_for_the_end_of(out)
    with out.open("r", encoding="ascii", errors="replace") as lines:
        steps = Trace(folder, {port: [body for body, _ in told] for port, told in found.items()}).read(lines)
    out.unlink()
    told = sum(isinstance(step, Acknowledged) for step in steps)
    assert told == len(answered(found)), f"{told} answers seen of {len(answered(found))}"
    return Record(steps, bodies)


def _wait_for_the_end_of(trace: Path) -> None:
    """The tracer outlives its tracee by a moment."""
    size = -1
    while size != (size := trace.stat().st_size):
        time.sleep(0.3)


def run(folder: Path, rounds: int, chance: random.Random) -> Report:
    if not can("strace", "-f", "-o", "/dev/null", "true"):
        return Report(0, 0, 0, 0, "no strace here")
    bad = lost = 0
    problems: set[str] = set()
    for number in range(rounds):
        if number % IMAGES_A_TRACE == 0:
            record = recorded(folder / f"life{number}")
        verdict = asyncio.run(judge(record, folder / f"image{number}", chance))
        bad += bool(verdict.problem or verdict.lost)
        lost += verdict.lost
        problems.add(verdict.problem)
    return Report(rounds, rounds - bad, lost, 0, "; ".join(sorted(problems - {""})))


FAULTS = (Fault("power loss, traced", short=0, long=400, run=run),)
