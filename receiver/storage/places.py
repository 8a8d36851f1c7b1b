"""Every place that an erasure goes through."""

from collections.abc import Sequence

from receiver.storage.erasing import (
    Attempts,
    Events,
    Identities,
    Jobs,
    LastErrors,
    Messages,
    OptOuts,
    Place,
    Receipts,
)
from receiver.storage.erasing_later import Amended, Lookups, Parts, PollErrors
from receiver.storage.purges import Trace

OF_EVENTS = ("from", "to", "events", "amended")
"""Names of those whose rows are events."""


def places(traces: Sequence[Trace] = ()) -> Sequence[Place]:
    """In the order in which they must be gone through: what was found by one leads to rows of the next. What waits is
    erased before what came of it is looked for, and once more its hashes when that is erased.
    """
    return (
        Events("from", "from_address", traces),
        Events("to", "to_address", traces),
        Events("events", None, traces),
        Parts("parts"),
        Amended("amended", None, traces),
        Parts("message_parts"),
        Receipts(),
        Messages(),
        Identities(),
        Lookups(),
        Attempts(),
        OptOuts(),
        LastErrors(),
        PollErrors(),
        Jobs(),
    )
