"""The clock of a server that many processes share, kept between looks at it by this machine's monotonic clock."""

from collections.abc import Awaitable, Callable


class ServerClock:
    """Unix microseconds. It never goes back: what the server's clock lost it waits for."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lead = 0
        self._last = 0

    def __call__(self) -> int:
        self._last = max(self._last, self._lead + self._passed())
        return self._last

    async def read(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Asks the server."""
        asked_at = self._monotonic()
        self.set(await ask(), asked_at)

    def set(self, moment: int, asked_at: float) -> None:
        """The server said `moment` when asked at that monotonic second, and half of the way back ago."""
        self._lead = moment - round((asked_at + self._monotonic()) / 2 * 1e6)

    def _passed(self) -> int:
        return round(self._monotonic() * 1e6)
