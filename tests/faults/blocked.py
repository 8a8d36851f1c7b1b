"""A writer that hangs: in the thread of SQLite itself, or, in the long form, in a sync that takes a minute.

Run as a module it is a receiver whose writer hangs when it is told to: `python -m tests.faults.blocked FOLDER`.
"""

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from receiver import server
from receiver.app import App, create_app
from receiver.observe import start_logging
from receiver.storage.apart import Apart
from receiver.storage.database import Transaction
from receiver.storage.sqlite import InThread
from receiver.storage.watch import CAUSE, Limits
from tests.delivery.dispatching import Clock, Subscribers
from tests.faults.disk_process import ROOT, Process, answered, can, environment, furnish, load, process, tracing
from tests.faults.fault import Fault, Report
from tests.faults.power_run import a_body, judged
from tests.wire import KEY, settings

JSON = {"content-type": "application/json"}


@dataclass
class Blocked:
    """An app whose writer can be made to hang; `free` lets it go on."""

    app: App
    client: httpx2.AsyncClient
    free: threading.Event
    path: str = ""

    def hang(self) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(self.app.batch.write(_hang))

    async def post(self, number: int) -> int:
        return (await self.client.post(self.path, content=a_body(number), headers=JSON)).status_code

    async def ready(self) -> tuple[int, list[str]]:
        answer = await self.client.get("/readyz")
        return answer.status_code, answer.json().get("causes", [])


async def _hang(transaction: Transaction) -> None:
    await transaction.fetch("SELECT hang()")


async def teach_to_hang(app: App, wait: Callable[[], object]) -> None:
    """Gives the writer's connection a function in which its thread waits."""

    def hang() -> int:
        wait()
        return 0

    writer = app.database._writer
    assert isinstance(writer, InThread)
    await writer.connection.create_function("hang", 0, hang)


@asynccontextmanager
async def blocked(folder: Path, limits: Limits) -> AsyncIterator[Blocked]:
    app = create_app(settings(folder), transport=Subscribers(Clock()))
    app.limits = limits
    free = threading.Event()
    headers = {"authorization": f"Bearer {KEY}"}
    transport = httpx2.ASGITransport(app)
    async with app.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        it = Blocked(app, client, free)
        await teach_to_hang(app, lambda: free.wait(60))
        body = {"vendor": "generic", "options": {"fields": {"vendor_message_id": "vendor_message_id", "text": "text"}}}
        it.path = "/in/" + (await client.post("/v1/sources", json=body)).json()["url"].partition("/in/")[2]
        try:
            yield it
        finally:
            free.set()


def main(folder: Path, limits: Limits, end_seconds: float) -> int:
    """Its writer hangs for as many seconds as the first line from standard input says."""
    lines = start_logging("info", "text", 2)
    server.END_SECONDS = end_seconds
    app = create_app(settings(folder, egress_allow="127.0.0.0/8", lock_wait=5))
    app.limits = limits

    async def when_told() -> None:
        seconds = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        writer = app.database._writer
        assert isinstance(writer, Apart)
        writer.process.send_signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(float(seconds), writer.process.send_signal, signal.SIGCONT)

    tasks = []

    def started(url: str, _owner: Path) -> None:
        tasks.append(asyncio.get_running_loop().create_task(when_told()))
        print("listens on", url, flush=True)  # noqa: T201 — as the command does

    code = server.run(lambda: app, started)
    lines.close()
    return code


@contextmanager
def hanging(folder: Path, limits: Limits, end_seconds: float = 0.5) -> Iterator[Process]:
    """The process of `main`."""
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder), str(limits.late), str(limits.stuck), str(end_seconds)],
        cwd=ROOT, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        words = child.stdout.readline().decode().split()
        yield Process(child, words[-1] if words else "")
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def make_hang(it: Process, seconds: float) -> None:
    assert it.child.stdin is not None
    it.child.stdin.write(f"{seconds}\n".encode())
    it.child.stdin.flush()


def survived(folder: Path) -> tuple[bool, int]:
    """One real process whose syncs take a minute each from some moment on: did it end as it should, what was lost?

    Longer than it may hang; but the tracer lets a thread that it delays end only afterwards.
    """
    folder.mkdir(parents=True)
    bodies = [a_body(number) for number in range(64)]
    delay = "inject=fdatasync:delay_enter=60000000:when=25+"
    with process(folder, *tracing("-o", "/dev/null", "-e", "trace=fdatasync", "-e", delay)) as it:
        assert furnish(it) == 201
        found = asyncio.run(load(it, bodies, callers=4))
        told = [status for answers in found.values() for _, status in answers if status != 200]
        time.sleep(3)  # the first to wait was told when its commit was late; the watch looks once a second
        ready = it.api("GET", "/readyz").text
        code, said = it.end(seconds=120)
    verdict = asyncio.run(judged(folder, answered(found), bodies))
    well = 503 in told and CAUSE in ready and code != 0 and "database.stuck" in said and not verdict.problem
    return well, verdict.lost


def run(folder: Path, rounds: int, _chance: random.Random) -> Report:
    if not can("strace", "-f", "-o", "/dev/null", "true"):
        return Report(0, 0, 0, 0, "no strace here")
    ended = [survived(folder / f"{number}") for number in range(rounds)]
    return Report(rounds, sum(well for well, _ in ended), sum(lost for _, lost in ended), 0)


FAULTS = (Fault("blocked writer, traced", short=0, long=1, run=run),)

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Limits(late=float(sys.argv[2]), stuck=float(sys.argv[3])), float(sys.argv[4])))
