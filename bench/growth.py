"""What an accept and a delivery cost, and how long a page of the log takes, with ever more events stored."""

import tempfile
from pathlib import Path
from statistics import median

from bench import backlog, pages
from bench.accept import accepted
from bench.deliver import drained
from bench.figure import Figure
from bench.grown import copied, grown

Cost = dict[str, list[float]]
"""Microseconds an accept and a delivery, and milliseconds the slowest filtered page, by the number of events."""


async def growth(
    rounds: int, sizes: list[int], accepts: int, deliveries: int, cache: Path, connections: int
) -> tuple[list[Figure], Cost]:
    """The largest of `sizes` against an empty database; the others are for the picture."""
    accept, deliver, memory = _figures(sizes[-1])
    rates: dict[int, tuple[list[float], list[float], list[float]]] = {size: ([], [], []) for size in (0, *sizes)}
    kept = [await grown(cache, size) for size in sizes]
    with tempfile.TemporaryDirectory(dir=cache) as place:
        folders = {size: copied(folder, Path(place)) for size, folder in zip(sizes, kept, strict=True)}
        accept.see(GB=sum(file.stat().st_size for file in folders[sizes[-1]].iterdir()) / 1e9)
        for _ in range(rounds):
            for size, (taken, made, most) in rates.items():
                with tempfile.TemporaryDirectory(dir=cache) as fresh:
                    folder = folders.get(size) or await _empty(Path(fresh), connections)
                    rate, memory_used = await _accepting(folder, accepts, connections)
                    taken.append(rate)
                    most.append(memory_used)
                    made.append(await _delivering(folder, deliveries))
        page = await pages.slowest(folders[sizes[-1]])
    for number, figure in enumerate((accept, deliver, memory)):
        figure.measured, figure.reference = rates[sizes[-1]][number], rates[0][number]
    cost = {
        "events": [float(size) for size in rates],
        "accept": [1e6 / median(taken) for taken, _, _ in rates.values()],
        "delivery": [1e6 / median(made) for _, made, _ in rates.values()],
    }
    return [accept, deliver, page, memory], cost


def _figures(size: int) -> tuple[Figure, Figure, Figure]:
    name, empty = f"with {size:,} events stored", "empty database"
    return (
        Figure(name=f"growth: accept {name}", unit="/s", against=empty, aim=0.9),
        Figure(name=f"growth: deliver {name}", unit="/s", against=empty, aim=0.9),
        Figure(name=f"growth: memory {name}", unit="MiB", against=empty, aim=1.1, at_most=True),
    )


async def _empty(folder: Path, connections: int) -> Path:
    await backlog.prepare(folder, concurrency=connections)
    return folder


async def _accepting(folder: Path, count: int, connections: int) -> tuple[float, float]:
    """Accepts a second, and the most memory."""
    backlog.pause(folder, paused=True)
    load, most = await accepted(folder, count, connections)
    return load.rate, most


async def _delivering(folder: Path, count: int) -> float:
    backlog.pause(folder, paused=False)
    await backlog.fill(folder, count)
    return await drained(folder, count)
