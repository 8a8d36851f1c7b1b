"""A receiver that is well, on a machine whose clock is not: SIGUSR1 puts it an hour on, SIGUSR2 an hour back."""

import signal
import time
from dataclasses import dataclass

from receiver.app import App, create_app
from receiver.settings import Settings
from receiver.world import World
from tests.faults.planted.serving import serve

HOUR = 3_600 * 1_000_000


@dataclass
class Stepping:
    """Unix microseconds."""

    offset: int = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.offset

    def step(self, number: int, _frame: object) -> None:
        self.offset += HOUR if number == signal.SIGUSR1 else -HOUR


def build(settings: Settings) -> App:
    clock = Stepping()
    signal.signal(signal.SIGUSR1, clock.step)
    signal.signal(signal.SIGUSR2, clock.step)
    return create_app(settings, world=World(clock=clock))


if __name__ == "__main__":
    serve(build)
