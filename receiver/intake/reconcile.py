"""Outbound messages whose final report does not come: found once each, asked for by `turns`, closed here.

The log is gone through by the ids of messages, which sort by time, long after they were made: nothing of this is on the
way of a request.
"""

from collections.abc import Mapping
from functools import partial

import orjson

from receiver.intake.asking import Asking
from receiver.observe import log
from receiver.sms.timestamps import DAY, SECOND
from receiver.storage import lookups
from receiver.storage.answered import Answered
from receiver.storage.catalog import Catalog, Door
from receiver.storage.database import Broken, Transaction, Unavailable
from receiver.storage.ids import earliest
from receiver.storage.lookups import LookupRow, Open, OpenOne
from receiver.vendors.contract import Reconcile, Reply
from receiver.vendors.polling import CLOSED, asked

PAUSE = 15.0
WINDOW = 500
CLOSINGS = 50
BACK = 7 * DAY
"""How old a message may be when it is first found."""
_JSON = ((b"content-type", b"application/json"),)


class Reconciler:
    """`run` goes on until it is cancelled, or until the database can no longer be trusted."""

    def __init__(self, catalog: Catalog, asking: Asking, *, pause: float = PAUSE, window: int = WINDOW) -> None:
        self._catalog = catalog
        self._asking = asking
        self._pause = pause
        self._window = window

    async def run(self) -> None:
        while True:
            try:
                while await self.step():
                    pass
            except Broken:
                return
            except Unavailable as error:
                log("reconcile.waits", level="warning", exc=error)
            except Exception as bug:  # noqa: BLE001 — it is tried again, and told each time
                log("reconcile.failed", level="error", exc=bug)
            await self._asking.sleep(self._pause)

    async def step(self) -> bool:
        """Looks for open messages, and closes some; whether there is more to do at once. Raises Unavailable, Broken."""
        doors = {door.source.id: door for door in self._catalog.doors if door.source.options.reconcile}
        now = self._asking.clock()
        found = await self._find(doors, now) if doors else False
        return await self._close(doors, now) or found

    async def _find(self, doors: Mapping[str, Door], now: int) -> bool:
        lead = min(_lead(door.source.options.reconcile or Reconcile()) for door in doors.values()) * SECOND
        before = earliest("msg", now - lead)
        async with self._asking.database.reading() as reader:
            behind = max(await lookups.reconciled(reader), earliest("msg", now - lead - BACK))
        if behind >= before:
            return False
        reached = before

        async def change(transaction: Transaction) -> None:
            nonlocal reached
            reached, found = await lookups.walk(transaction, behind, before, self._window)
            rows = [_row(doors[it.source_id], it) for it in found if it.source_id in doors]
            lookups.add(transaction, [row for row in rows if row is not None])

        await self._asking.write(change)
        return reached < before

    async def _close(self, doors: Mapping[str, Door], now: int) -> bool:
        async with self._asking.database.reading() as reader:
            found, settled = await lookups.to_close(reader, now, CLOSINGS)
        closing = [(it, door) for it in found if (door := doors.get(it.lookup.source_id)) and _closes(door)]
        kept = {(it.lookup.source_id, it.lookup.name) for it, _ in closing}
        unwanted = [it.lookup for it in found if (it.lookup.source_id, it.lookup.name) not in kept]
        for row in (*settled, *unwanted):
            await self._asking.write(partial(_end, row))
        for message, door in closing:
            await self._end_as_unknown(message, door)
        return len(found) + len(settled) >= CLOSINGS

    async def _end_as_unknown(self, message: Open, door: Door) -> None:
        """An event like any other, by a receipt that says why; not where its name is another message's by now."""
        row = message.lookup
        about = {"feed": CLOSED, "message_id": row.message_id or ""}
        reply = Reply(status=200, headers=_JSON, body=orjson.dumps(_told(message)))
        _, recording = self._asking.understood(door, about, reply, "")
        key, moment = recording.entries[0].message, self._asking.clock()

        async def still(transaction: Transaction) -> bool:
            mine = row.message_id is not None and not await lookups.settled(transaction, row.message_id)
            return mine and await lookups.names(transaction, key or "", row.message_id or "", moment)

        await self._asking.keep(door, Answered(recording=recording, progress=partial(_end, row), holds=still))
        log("message.closed", source_id=row.source_id, message_id=row.message_id)


def _lead(reconcile: Reconcile) -> int:
    return min(reconcile.after, reconcile.close_after or reconcile.after)


def _closes(door: Door) -> bool:
    reconcile = door.source.options.reconcile
    return reconcile is not None and reconcile.close_after is not None


def _row(door: Door, message: OpenOne) -> LookupRow | None:
    """What is to be done about an open message; None where nothing can be."""
    reconcile = door.source.options.reconcile or Reconcile()
    how = asked(door.vendor, door.source)
    can = how is not None and how[0].lookup is not None and message.vendor_message_id is not None
    close_at = message.since + reconcile.close_after * SECOND if reconcile.close_after is not None else None
    if not can and close_at is None:
        return None
    return LookupRow(
        source_id=message.source_id,
        name=message.vendor_message_id or message.message_id,
        vendor_message_id=message.vendor_message_id,
        message_id=message.message_id,
        since=message.since,
        ask_at=message.since + reconcile.after * SECOND if can else None,
        close_at=close_at,
    )


def _told(message: Open) -> Mapping[str, str | int | None]:
    """The body of the receipt: what `receiver.vendors.polling` makes the event of, and why."""
    row = message.lookup
    return {
        "vendor_message_id": row.vendor_message_id,
        "client_reference": message.client_reference,
        "batch_id": message.batch_id,
        "channel": message.channel,
        "from": message.sender,
        "to": message.receiver,
        "last_status": message.status,
        "asked": row.tries,
    }


async def _end(row: LookupRow, transaction: Transaction) -> None:
    await lookups.end(transaction, row)
