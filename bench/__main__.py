"""`make bench`: every figure against its reference, in turn, medians of several rounds.

Figures are ratios against a reference measured in the same run; absolute ones only describe the machine.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from bench import requests
from bench.accept import accept
from bench.attack import attacked
from bench.deliver import deliver, fan_out
from bench.export import exported
from bench.figure import Figure, table
from bench.flow import end_to_end
from bench.growth import growth
from bench.machine import busy, described
from bench.memory import memory
from bench.neighbours import Stream, neighbours
from bench.process import pin_load
from bench.purge import purged
from bench.readers import readers
from bench.report import HERE, write
from bench.shared import shared
from bench.start import start

CONNECTIONS = 64
_QUIET = 0.5


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything.

    accepts, deliveries    of one round
    attacked               seconds of load under attack
    seconds                of load end to end, and on PostgreSQL; a third of it for latencies
    stored                 events in the databases of `growth`, the smallest first
    grown_accepts, grown_deliveries   of one round there
    read                   seconds of load beside readers, and of each load around a purge
    purged                 events in the database half of which is purged
    waiting                of `backlog`, in memory some `settled` seconds after the start
    hanging                of the subscriber beside the healthy one, which gets `rate` events a second
    patience               of the receiver there, in seconds; the stream lasts somewhat longer
    one_gigabyte           events in the database of `start`
    """

    rounds: int
    accepts: int
    deliveries: int
    attacked: float
    seconds: float
    stored: tuple[int, ...]
    grown_accepts: int
    grown_deliveries: int
    read: float
    purged: int
    waiting: int
    settled: float
    hanging: int
    rate: float
    patience: float
    one_gigabyte: int
    cache: Path


FULL = Scale(
    rounds=5, accepts=30_000, deliveries=100_000, attacked=10, seconds=60, stored=(100_000, 1_000_000, 5_000_000),
    grown_accepts=20_000, grown_deliveries=50_000, read=10, purged=100_000, waiting=1_000_000, settled=10,
    hanging=100_000, rate=500, patience=20, one_gigabyte=320_000, cache=Path(tempfile.gettempdir()) / "receiver-bench",
)  # fmt: skip
QUICK = replace(
    FULL, rounds=1, accepts=3_000, deliveries=3_000, attacked=2, seconds=3, stored=(1_000, 10_000), grown_accepts=2_000,
    grown_deliveries=2_000, read=2, purged=1_000, waiting=10_000, settled=1, hanging=2_000, rate=200, patience=2,
    one_gigabyte=10_000,
)  # fmt: skip


async def _accept(scale: Scale) -> list[Figure]:
    return [
        await accept(scale.rounds, scale.accepts, CONNECTIONS, 0.33),
        await accept(scale.rounds, scale.accepts, 256, 0.33),
    ]


async def _attack(scale: Scale) -> list[Figure]:
    return [await attacked(scale.rounds, scale.attacked, CONNECTIONS)]


async def _deliver(scale: Scale) -> list[Figure]:
    return [await deliver(scale.rounds, scale.deliveries, CONNECTIONS, 0.45)]


async def _end_to_end(scale: Scale) -> list[Figure]:
    return await end_to_end(scale.rounds, scale.seconds, scale.accepts, CONNECTIONS)


async def _postgres(scale: Scale) -> list[Figure]:
    return await shared(scale.rounds, scale.seconds, CONNECTIONS)


async def _fan_out(scale: Scale) -> list[Figure]:
    return [await fan_out(scale.rounds, scale.deliveries, CONNECTIONS, 0.9)]


async def _readers(scale: Scale) -> list[Figure]:
    return [await readers(scale.rounds, scale.read, scale.stored[-1], scale.cache, CONNECTIONS)]


async def _export(scale: Scale) -> list[Figure]:
    return await exported(scale.stored[-1], scale.cache)


async def _purge(scale: Scale) -> list[Figure]:
    return await purged(scale.read, scale.purged, scale.cache, CONNECTIONS)


async def _backlog(scale: Scale) -> list[Figure]:
    return [await memory(scale.rounds, scale.waiting, scale.settled, 1.5)]


async def _neighbours(scale: Scale) -> list[Figure]:
    stream = Stream(scale.rate, scale.patience * 1.5, CONNECTIONS, scale.patience)
    return [await neighbours(scale.rounds, scale.hanging, stream, 1.3)]


async def _start(scale: Scale) -> list[Figure]:
    return [await start(scale.rounds, scale.one_gigabyte, scale.cache, 1.5)]


SUITES: dict[str, Callable[[Scale], Awaitable[list[Figure]]] | None] = {
    "accept": _accept,
    "attack": _attack,
    "deliver": _deliver,
    "end-to-end": _end_to_end,
    "fan-out": _fan_out,
    "growth": None,  # which also gives the picture's numbers
    "readers": _readers,
    "export": _export,
    "purge": _purge,
    "backlog": _backlog,
    "neighbours": _neighbours,
    "start": _start,
    "postgres": _postgres,
}


async def run(names: Sequence[str], scale: Scale, out: Path | None, about: Mapping[str, Any]) -> None:
    """One suite after the other; what each found is kept at once."""
    scale.cache.mkdir(parents=True, exist_ok=True)
    for name in names:
        began, suite, cost = time.monotonic(), SUITES[name], None
        if suite is not None:
            figures = await suite(scale)
        else:
            figures, cost = await growth(
                scale.rounds, list(scale.stored), scale.grown_accepts, scale.grown_deliveries, scale.cache, CONNECTIONS
            )
        print(f"{name}: {time.monotonic() - began:.0f} s\n{table(figures)}\n", flush=True)
        if out is not None:
            write(out, name, figures, cost, about, list(SUITES))


def main() -> None:
    given = _arguments().parse_args()
    scale = QUICK if given.quick else FULL
    scale = replace(scale, rounds=given.rounds or scale.rounds, cache=given.cache or scale.cache)
    names = [name for name in SUITES if name in given.only] or list(SUITES)
    requests.check()
    if busy() > _QUIET:
        print(f"The machine has other work (load {busy():.1f}): the figures will not be its own.", file=sys.stderr)
    about = {
        "machine": described(Path(tempfile.gettempdir())),
        "busy": busy(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    pin_load()
    uvloop.run(run(names, scale, given.out or (None if given.quick else HERE), about))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*SUITES, []], help="some of the figures; all without")
    parser.add_argument("--rounds", type=int, help=f"of each, {FULL.rounds} unless told otherwise")
    parser.add_argument("--quick", action="store_true", help="small and short, to see that it works; written nowhere")
    parser.add_argument("--out", type=Path, help="folder for results.json, README.md and cost.svg")
    parser.add_argument("--cache", type=Path, help=f"folder for large databases, which are kept: {FULL.cache}")
    return parser


if __name__ == "__main__":
    main()
