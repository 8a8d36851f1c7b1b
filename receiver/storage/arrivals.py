"""How much came into the database since the last look: what a purge has to keep up with."""

from receiver.storage.database import Reader


class Arrivals:
    """Of events or of requests, whichever were more: a request brings some events, one, or none."""

    def __init__(self) -> None:
        self._seq: int | None = None
        self._receipt_id = ""

    async def since(self, reader: Reader) -> int:
        """The first look finds nothing."""
        if self._seq is None:
            ((self._receipt_id,),) = await reader.fetch("SELECT coalesce(max(id), '') FROM receipts")
        ((seq, receipts, newest),) = await reader.fetch(
            "SELECT (SELECT seq FROM horizon), count(*), max(id) FROM receipts WHERE id > ?", self._receipt_id
        )
        events = 0 if self._seq is None else seq - self._seq
        self._seq, self._receipt_id = seq, newest or self._receipt_id
        return int(max(events, receipts, 0))
