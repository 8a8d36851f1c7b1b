"""What every fault of `make soak` looks like, and what it has to say afterwards."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Report:
    """Of `tried` rounds `survived` went well; acknowledged messages `lost`, deliveries `duplicated`."""

    tried: int
    survived: int
    lost: int
    duplicated: int
    note: str = ""

    @property
    def well(self) -> bool:
        return self.lost == 0 and self.survived == self.tried


@dataclass(frozen=True, slots=True)
class Fault:
    """`short` and `long` are how many rounds its two forms have; `run` does that many in a folder of its own."""

    name: str
    short: int
    long: int
    run: Callable[[Path, int, random.Random], Report]
