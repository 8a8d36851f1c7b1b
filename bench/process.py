"""The processes of a measurement: what is measured may use every core, the load keeps to the last one."""

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.wire import HOST

PORT, SINK_PORT, HANGING_PORT, OTHER_PORT = 18_480, 18_481, 18_482, 18_483
API_KEY = "bench-bench-bench"
_LONGEST_START = 120.0
_CORES = frozenset(os.sched_getaffinity(0))


def settings(folder: Path, port: int = PORT) -> dict[str, str]:
    return {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder.absolute()}/receiver.db",
        "RECEIVER_PORT": str(port),
        "RECEIVER_PUBLIC_URL": "https://hooks.example.com",
        "RECEIVER_API_KEY": API_KEY,
        "RECEIVER_EGRESS_ALLOW": "127.0.0.0/8",
        "RECEIVER_LOG_LEVEL": "error",
    }


@dataclass(frozen=True, slots=True)
class Target:
    """The process that is measured."""

    process: Process

    def kill(self) -> None:
        """At once: it would wait for a subscriber that never answers."""
        self.process.kill()

    def memory(self) -> tuple[float, float]:
        """What it has in memory now, and what it had at most, in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text("ascii", "replace").splitlines()
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(found["VmRSS"].split()[0]) / 1024, int(found["VmHWM"].split()[0]) / 1024

    def resident(self) -> float:
        """What all of its processes have in memory now, in MiB."""
        ids = [str(self.process.pid), *self._others()]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) for pid in ids)
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _others(self) -> list[str]:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [pid for task in tasks for pid in (task / "children").read_text("ascii").split()]


@asynccontextmanager
async def target(kind: str, folder: Path, port: int = PORT, /, **environ: str) -> AsyncIterator[Target]:
    """`receiver` or `noop`, ready: a process of its own until the end of the block."""
    arguments = ["-m", "bench.target", kind, str(port)]
    async with python(arguments, {**settings(folder, port), **environ}) as process:
        assert process.stdout is not None
        async with asyncio.timeout(_LONGEST_START):
            assert await process.stdout.readline(), f"{kind} did not start"
            await _answering(port)
        yield Target(process)


@asynccontextmanager
async def python(arguments: Sequence[str], environ: dict[str, str]) -> AsyncIterator[Process]:
    """Our interpreter in a process of its own, on every core, stopped in the end."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    with on_every_core():
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=subprocess.PIPE, env={**known, **environ}
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _answering(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def pin_load() -> None:
    """This process, the load, keeps to the last core."""
    os.sched_setaffinity(0, {max(_CORES)})


@contextmanager
def on_every_core() -> Iterator[None]:
    """For what is started meanwhile: a child inherits the cores of its parent."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
