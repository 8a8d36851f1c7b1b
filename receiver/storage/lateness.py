"""By how much the order of the log and its times may differ: what is accepted waits for its commit, and clocks are set
back. Whoever looks for a time in the log, or among ids, looks so much wider.
"""

from typing import Final

from receiver.storage.database import Reader, Transaction
from receiver.storage.ids import moment

COMMIT: Final = 15_000_000
"""What a commit may take, and a clock that was set back stay unnoticed (microseconds)."""


async def lateness(reader: Reader) -> int:
    """Microseconds."""
    ((set_back,),) = await reader.fetch("SELECT set_back FROM clock WHERE one = 1")
    return COMMIT + int(set_back)


async def note(transaction: Transaction, now: int, *, by: int = 0) -> None:
    """The clock says `now`, `by` less than before if it was watched; it may have been set back unseen too, since the
    last event was accepted or given its id.
    """
    ((accepted_at, newest_id),) = await transaction.fetch(
        "SELECT (SELECT max(accepted_at) FROM events), (SELECT max(id) FROM events)"
    )
    made_at = moment(newest_id) * 1000 if newest_id is not None else now
    set_back = max(by, made_at - now, (accepted_at or now) - now)
    await transaction.fetch("UPDATE clock SET set_back = ? WHERE set_back < ?", set_back, set_back)
