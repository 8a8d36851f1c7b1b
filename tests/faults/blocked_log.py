"""A log that nobody reads: a pipe that is full from the start, and a receiver that writes to it all the time."""

import asyncio
import os
import random
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.disk_process import answered, can, furnish, load, process, statuses, tracing
from tests.faults.fault import Fault, Report
from tests.faults.power_run import Verdict, a_body, judged


@dataclass(frozen=True)
class Ended:
    """How a receiver fared: what callers got, whether its log was stuck all the time, how it ended, what it left."""

    statuses: Sequence[int]
    stuck: bool
    code: int
    verdict: Verdict


@contextmanager
def unread() -> Iterator[int]:
    """The writing end of a pipe without room for a byte."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        os.set_blocking(writer, True)
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def full(writer: int) -> bool:
    return not select.select([], [writer], [], 0)[1]


def lived(folder: Path, bodies: Sequence[bytes], *before: str, end: int | None = signal.SIGTERM) -> Ended:
    """One whose every line is written to that pipe; it ends by that signal, or by itself."""
    folder.mkdir(parents=True)
    with unread() as writer, process(folder, *before, stderr=writer, RECEIVER_LOG_LEVEL="debug") as it:
        assert furnish(it) == 201
        found = asyncio.run(load(it, bodies))
        code, _ = it.end(end)
        stuck = full(writer)
    verdict = asyncio.run(judged(folder, answered(found), bodies))
    return Ended(statuses(found), stuck, code, verdict)


def well(ended: Ended, code: int) -> bool:
    return ended.stuck and ended.code == code and {*ended.statuses} <= {200, 503, 0} and not ended.verdict.lost


def run(folder: Path, rounds: int, chance: random.Random) -> Report:
    """Half of them end by a signal, half because a sync fails: then there is something to be said, too."""
    bodies = [a_body(number) for number in range(3000)]
    ended = []
    for number in range(rounds):
        if number % 2 and can("strace", "-f", "-o", "/dev/null", "true"):
            fails = f"inject=fdatasync:error=EIO:when={chance.randint(60, 120)}"
            before = tracing("-o", "/dev/null", "-e", "trace=fdatasync", "-e", fails)
            one = lived(folder / f"{number}", bodies, *before, end=None)
            ended.append((well(one, 1), one.verdict.lost))
        else:
            one = lived(folder / f"{number}", bodies)
            ended.append((well(one, 0) and {*one.statuses} == {200}, one.verdict.lost))
    return Report(rounds, sum(fine for fine, _ in ended), sum(lost for _, lost in ended), 0)


FAULTS = (Fault("full log pipe", short=0, long=4, run=run),)
