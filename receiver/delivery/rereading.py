"""What this process holds in memory follows an erasure that another one carries out."""

from collections.abc import Iterable
from typing import Final

from receiver.storage import jobs, processes
from receiver.storage.database import Reader, Transaction
from receiver.storage.deliveries import Leased
from receiver.storage.jobs import Job

_WINDOW: Final = 500


async def under_way(reader: Reader) -> Job | None:
    """The erasure to be followed; to be asked in a transaction before that of `follow`. What another one took from the
    log with what was there before is then in memory, or was rolled back.
    """
    return await jobs.erasing(reader)


async def follow(transaction: Transaction, job: Job, held: Iterable[Leased], number: int) -> None:
    """Reads once more what is held: from then on nothing is sent as it was. An attempt that is under way cannot be
    called back, but what is answered to it is not kept. At the erasure's end the process says by its number that it
    followed.
    """
    items = {item.delivery_id: item for item in held}
    ids = [*items]
    for begin in range(0, len(ids), _WINDOW):
        rows = await transaction.many(
            "WITH v (id) AS (", [(item,) for item in ids[begin : begin + _WINDOW]],
            """) SELECT deliveries.id, events.body, deliveries.conversation FROM v
                 JOIN deliveries ON deliveries.id = v.id JOIN events ON events.id = deliveries.event_id""",
        )  # fmt: skip
        for delivery_id, body, conversation in rows:
            _revise(items[delivery_id], body.encode(), conversation)
    if job.position == jobs.ERASED:
        await processes.followed(transaction, number, job.id)


def _revise(item: Leased, body: bytes, conversation: str | None) -> None:
    """Another object is another body to whoever has sent it."""
    item.conversation = conversation
    if item.body != body:
        item.body = body
