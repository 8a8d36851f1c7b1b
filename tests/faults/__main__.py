"""`make soak`: every fault in its long form, one line each. Exit 1 when anything was lost or not survived.

With `--planted` receivers that have something wrong are put to the same tests: exit 1 when one of them passes.
"""

import argparse
import logging
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.faults import (
    backlog,
    backup,
    blocked,
    blocked_log,
    clocks,
    crash,
    descriptors,
    disk,
    disk_slow,
    files,
    machine,
    power,
    power_traced,
    shared,
    stops,
    sync_errors,
)
from tests.faults.fault import Fault, Report

FAULTS: tuple[Fault, ...] = (
    *crash.FAULTS,
    *stops.FAULTS,
    *clocks.FAULTS,
    *descriptors.FAULTS,
    *power.FAULTS,
    *power_traced.FAULTS,
    *sync_errors.FAULTS,
    *disk.FAULTS,
    *disk_slow.FAULTS,
    *files.FAULTS,
    *blocked.FAULTS,
    *blocked_log.FAULTS,
    *backup.FAULTS,
    *backlog.FAULTS,
    *machine.FAULTS,
    *shared.FAULTS,
)
PLANTED: tuple[Fault, ...] = (*crash.PLANTED, *power.PLANTED)
_LINE = "{:<28}{:>7}{:>10}{:>6}{:>12}{:>9}  {}"


def main(arguments: Sequence[str]) -> int:
    asked = _asked(arguments)
    logging.getLogger().addHandler(logging.NullHandler())
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    _say(f"seed {seed}")
    _say(_LINE.format("fault", "tried", "survived", "lost", "duplicated", "seconds", ""))
    wanted = [fault for fault in (PLANTED if asked.planted else FAULTS) if asked.only.lower() in fault.name.lower()]
    results = [_tried(fault, asked.rounds or fault.long, random.Random(f"{seed} {fault.name}")) for fault in wanted]
    as_expected = [report.well is not asked.planted for report in results]
    if asked.planted:
        _say(f"{sum(as_expected)} of {len(wanted)} planted faults were found")
    return 0 if wanted and all(as_expected) else 1


def _say(line: str) -> None:
    print(line.rstrip(), flush=True)  # noqa: T201 — what the soak is for


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, help="of each fault, instead of its own number")
    parser.add_argument("--only", default="", metavar="NAME", help="faults with this in their name")
    parser.add_argument("--seed", type=int, help="of all chance; a run prints its own")
    parser.add_argument("--planted", action="store_true", help="what must be found instead of what must be survived")
    return parser.parse_args(arguments)


def _tried(fault: Fault, rounds: int, chance: random.Random) -> Report:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        report = _report(fault, Path(folder), rounds, chance)
    seconds = f"{time.monotonic() - began:.1f}"
    numbers = (report.tried, report.survived, report.lost, report.duplicated)
    _say(_LINE.format(fault.name, *numbers, seconds, report.note))
    return report


def _report(fault: Fault, folder: Path, rounds: int, chance: random.Random) -> Report:
    """A fault that ends in an exception was not survived."""
    try:
        return fault.run(folder, rounds, chance)
    except Exception as error:  # noqa: BLE001 — the others are tried all the same
        traceback.print_exc()
        return Report(rounds, 0, 0, 0, f"{type(error).__name__}: {str(error)[:200]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
