"""`make bench`: accept and deliver against their references, in turn, medians of five rounds.

Figures are ratios against a reference measured in the same run; absolute ones only describe the machine.
"""

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import orjson
import uvloop

from bench import backlog, bare
from bench.requests import twilio_requests
from bench.wire import Load, Sink

PORT, SINK_PORT = 18_480, 18_481
RESULTS = Path(__file__).parent / "results.json"


@dataclass
class Figure:
    """`aim` is the least ratio wanted."""

    name: str
    measured: list[float]
    reference: list[float]
    aim: float
    p99_ms: float | None = None

    @property
    def ratio(self) -> float:
        return median(self.measured) / median(self.reference)


@asynccontextmanager
async def target(kind: str, folder: Path, **environ: str) -> AsyncIterator[None]:
    """The process that is measured, ready."""
    settings = {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
        "RECEIVER_PORT": str(PORT),
        "RECEIVER_PUBLIC_URL": "https://hooks.example.com",
        "RECEIVER_API_KEY": "bench-bench-bench",
        "RECEIVER_EGRESS_ALLOW": "127.0.0.0/8",
        "RECEIVER_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.target", kind, str(PORT), stdout=subprocess.PIPE,
        env={**os.environ, **settings, **environ},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await process.stdout.readline(), f"{kind} did not start"
        await _listening()
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listening() -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", PORT)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


async def accept(rounds: int, count: int, connections: int) -> Figure:
    """Durable, deduplicated, fanned-out accepts a second, against the no-op endpoint."""
    figure = Figure(f"accept, {connections} connections", [], [], 0.22)
    p99 = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            await backlog.prepare(folder, url=f"http://127.0.0.1:{SINK_PORT}/", state="paused")
            async with target("receiver", folder):
                load = await _loaded(twilio_requests(count, f"a{number}"), connections)
            assert load.refused == 0, f"{load.refused} of {count} were refused"
            assert await backlog.events(folder) == count
            figure.measured.append(load.rate)
            p99.append(load.percentile(0.99))
            async with target("noop", folder):
                noop = await _loaded(twilio_requests(count, f"n{number}"), connections)
            figure.reference.append(noop.rate)
    figure.p99_ms = median(p99)
    return figure


async def _loaded(requests: list[bytes], connections: int) -> Load:
    load = Load(requests, connections)
    await load.run("127.0.0.1", PORT)
    return load


async def deliver(rounds: int, count: int, connections: int) -> Figure:
    """A backlog drained: rendered, signed, posted, outcome durable; against bare aiohttp posting the same bytes."""
    figure = Figure(f"deliver, {connections} connections", [], [], 0.30)
    sink = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", SINK_PORT)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            url = f"http://127.0.0.1:{SINK_PORT}/"
            await backlog.prepare(folder, url=url, state="active", concurrency=connections)
            await backlog.fill(folder, count)
            reached = Sink.expect(count)
            started = time.perf_counter()
            async with target("receiver", folder):
                await reached.wait()
                seconds = time.perf_counter() - started
            figure.measured.append(count / seconds)
            assert await backlog.succeeded(folder) == count
        figure.reference.append(await _bare(url, count, connections))
    sink.close()
    return figure


async def _bare(url: str, count: int, connections: int) -> float:
    reached = Sink.expect(count)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", bare.__name__, url, str(count), str(connections), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    await reached.wait()
    return float(output)


def table(figures: list[Figure]) -> str:
    lines = [
        "| figure | measured /s | reference /s | ratio | aim | p99 ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for item in figures:
        p99 = f"{item.p99_ms:.1f}" if item.p99_ms is not None else "–"
        lines.append(
            f"| {item.name} | {median(item.measured):,.0f} | {median(item.reference):,.0f} "
            f"| {item.ratio:.2f} | {item.aim:.2f} | {p99} |"
        )
    return "\n".join(lines)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("only", nargs="?", choices=["accept", "deliver"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--backlog", type=int, default=100_000)
    given = parser.parse_args()
    os.sched_setaffinity(0, {os.cpu_count() - 1} if (os.cpu_count() or 1) > 1 else {0})  # type: ignore[operator]  # just looked
    figures: list[Figure] = []
    if given.only != "deliver":
        figures.append(await accept(given.rounds, given.count, 64))
        figures.append(await accept(given.rounds, given.count, 256))
    if given.only != "accept":
        figures.append(await deliver(given.rounds, given.backlog, 64))
    print(table(figures))
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()}
    document = {"machine": machine, "figures": [asdict(item) | {"ratio": item.ratio} for item in figures]}
    RESULTS.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    uvloop.run(main())
