"""The clock, randomness and ids' entropy of a process: taken here, and handed in everywhere else."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass


def unix_micros() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is not the same twice, so that tests can hand in their own."""

    clock: Callable[[], int] = unix_micros
    monotonic: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    entropy: Callable[[int], bytes] = os.urandom
