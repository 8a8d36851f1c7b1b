"""A disk so slow that calls pile up: what waits is bounded in number and in bytes, the rest is told to come back.

`run` gives a real process little memory and syncs that take their time, and vendors that send large bodies.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.disk import until
from tests.faults.disk_process import Process, answered, can, furnish, load, process, statuses, tracing
from tests.faults.fault import Fault, Report
from tests.faults.power_run import a_body, judged

MEGABYTE = 1024 * 1024
_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def limited(size: int) -> Sequence[str]:
    """Words to put before a command that may not have more memory than that of its own."""
    return (sys.executable, "-c", _LIMITED, str(size))


def large(number: int, size: int) -> bytes:
    """A vendor's body, most of it in a field that nobody asked for."""
    return a_body(number)[:-1] + b',"more":"' + b"y" * size + b'"}'


def resident(it: Process) -> int:
    """Bytes of memory that the process has."""
    status = Path(f"/proc/{it.child.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def survived(folder: Path) -> tuple[bool, int]:
    """Did one process live, refuse, and recover; what was lost of what it acknowledged?"""
    folder.mkdir(parents=True)
    bodies = [large(number, MEGABYTE) for number in range(400)]
    slow = tracing("-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=1500000:when=20+")
    with process(folder, *limited(700 * MEGABYTE), *slow) as it:
        assert furnish(it) == 201
        found = asyncio.run(load(it, bodies, callers=200))
        told = {*statuses(found)}
        recovered = until(lambda: it.post(a_body(100_000)) == 200, 60)
        code, _ = it.end(signal.SIGTERM)
    verdict = asyncio.run(judged(folder, answered(found), [*bodies, a_body(100_000)]))
    return told == {200, 503} and recovered and code == 0 and not verdict.problem, verdict.lost


def run(folder: Path, rounds: int, _chance: random.Random) -> Report:
    if not can("strace", "-f", "-o", "/dev/null", "true"):
        return Report(0, 0, 0, 0, "no strace here")
    ended = [survived(folder / f"{number}") for number in range(rounds)]
    return Report(rounds, sum(fine for fine, _ in ended), sum(lost for _, lost in ended), 0)


FAULTS = (Fault("little memory, slow disk", short=0, long=1, run=run),)
