"""How many rows one step of a purge takes, and how long it rests then: few enough that nobody notices, and always more
than come in meanwhile.
"""

from dataclasses import dataclass, replace

FEWEST = 25
MOST = 250
"""Rows in one step, however quickly they go."""
MOST_OWED = 1000
"""Rows in one step, however many came in."""
AHEAD = 1.25
"""Rows to go for each one that came in."""
WORK = 0.003
"""Seconds of the writer that a step may take, while others write."""
QUIET_WORK = 0.012
REST = 4.0
"""Rest after a step, as a multiple of what it took, while others write and nothing is owed."""
QUIET_REST = 0.25
SHORTEST_REST = 0.005
"""Even who hurries lets others go first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`window` is how many rows go in the time of a step, `owed` how many came in and are not made up for."""

    window: int = FEWEST
    owed: float = 0.0

    @property
    def limit(self) -> int:
        """Rows of the next step. More came in than go unnoticed: then keeping up is worth being noticed."""
        return max(self.window, min(round(self.owed), MOST_OWED))

    @property
    def hurries(self) -> bool:
        return self.owed >= self.window

    def came(self, rows: int) -> "Pace":
        return replace(self, owed=self.owed + AHEAD * rows)

    def went(self, rows: int) -> "Pace":
        """Nothing is saved up: who was ahead for a night has to keep up by day all the same."""
        return replace(self, owed=max(self.owed - rows, 0.0))

    def took(self, rows: int, seconds: float, *, quiet: bool) -> "Pace":
        """So many rows took the writer so long. Few of them say little: what a step costs whatever it does is most."""
        if rows * 2 < self.window or seconds <= 0:
            return self
        fits = rows * (QUIET_WORK if quiet else WORK) / seconds
        return replace(self, window=round(min(max(fits, FEWEST), 2 * self.window, MOST)))


def rest(took: float, *, hurries: bool, quiet: bool) -> float:
    """Seconds until the next step."""
    if hurries:
        return SHORTEST_REST
    return max(took * (QUIET_REST if quiet else REST), SHORTEST_REST)
