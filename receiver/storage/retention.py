"""How long things are kept, and what is kept longer than that. How each engine lets go of them is its own affair.

- An event goes with its deliveries and attempts when it is older than `events`, unless it is still owed: a delivery of
  it is open or held. While a job goes through the log, no event goes.
- A message goes after its last event.
- An identity goes when its time is over. One without an end protects an event or a message: it goes after that, and
  not within 30 days of it, because the vendor may still send the same again.
- A receipt goes when it is older than `receipts`, whatever became of its events.
"""

from dataclasses import dataclass
from typing import Final, LiteralString

from receiver.sms.timestamps import DAY

OWED: Final[LiteralString] = "('queued', 'waiting', 'sending', 'retrying', 'held')"
"""States of deliveries whose subscriber is still to get, or may still ask for, the event."""
REPEATS: Final = 30 * DAY
"""No vendor sends the same again after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """In microseconds; None for ever."""

    events: int | None = None
    receipts: int | None = None

    def identities_before(self, now: int) -> int | None:
        """Identities of what was made before then may go, once that has gone."""
        return None if self.events is None else now - max(self.events, REPEATS)
