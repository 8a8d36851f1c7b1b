"""What keeps a lane from sending although it could: its rate, and its breaker. Pure: seconds of a monotonic clock."""

OPENS_AFTER = 20
"""Failures in a row."""
PROBE_EVERY = 30.0

_DUST = 1e-3
"""Of a token: what sums of floats may lack."""


class Bucket:
    """A token bucket: `rate` attempts a second, and a second's worth at once after a rest."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._most = max(1.0, rate or 0.0)
        self._tokens = self._most
        self._at: float | None = None

    def wait(self, now: float) -> float:
        """Seconds until the next attempt may start."""
        if self._rate is None:
            return 0.0
        if self._at is not None:
            self._tokens = min(self._most, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        missing = 1.0 - self._tokens
        return missing / self._rate if missing > _DUST else 0.0

    def take(self) -> None:
        if self._rate is not None:
            self._tokens -= 1.0


class Breaker:
    """Open after so many failures in a row: then one attempt at a time, half a minute apart, until one succeeds."""

    def __init__(self, failures: int = 0) -> None:
        self._failures = failures
        self._probe_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= OPENS_AFTER

    def wait(self, now: float) -> float:
        """Seconds until the next attempt may start, as far as the breaker goes."""
        return max(0.0, self._probe_at - now) if self.is_open else 0.0

    def failed(self, now: float) -> None:
        self._failures += 1
        self._probe_at = now + PROBE_EVERY

    def succeeded(self) -> None:
        self._failures = 0
