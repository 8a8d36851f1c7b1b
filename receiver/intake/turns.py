"""One source whose vendor is asked, a question at a time: what is due next, and what follows an answer.

The answer's receipt, its events and the place to read on at are one transaction.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TypeVar

from receiver.intake.asking import Asking, host_of
from receiver.intake.line import Line
from receiver.observe import log
from receiver.sms.drafts import Reported
from receiver.sms.timestamps import DAY, SECOND
from receiver.storage import lookups, polls, sources
from receiver.storage.answered import Answered
from receiver.storage.catalog import Door
from receiver.storage.database import Broken, Transaction, Unavailable
from receiver.storage.lookups import LookupRow
from receiver.storage.polls import PollRow
from receiver.vendors.contract import Lookup, NotAnswered, Poll, Reconcile, Reply, Step
from receiver.vendors.polling import LOOKUP, PollOptions

Result = TypeVar("Result")

LOOK_AGAIN = 15.0
"""Seconds after which it is looked again for messages to ask for, when nothing else is due."""
MAX_PAUSE = 3_600.0
LONG = 256 * 1024
"""Bytes of an answer from which on it is read in a thread of its own."""
TRIES = 12
"""How often one message is asked for."""
_JITTER = 0.2


class Turns:
    """`run` goes on until it is cancelled, or until the database can no longer be trusted.

    anew   the source was made or changed a moment ago: what went wrong before says nothing of it
    """

    def __init__(self, door: Door, poll: Poll, options: PollOptions, asking: Asking, *, anew: bool = False) -> None:
        self._door = door
        self._source_id = door.source.id
        self._poll = poll
        self._options = options
        self._asking = asking
        self._line = Line(door.source, poll, options, asking)
        self._anew = {*options.names, LOOKUP} if anew else set()
        self._lookup_next = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to ask for."""
        self._woken.set()

    async def run(self) -> None:
        while True:
            self._woken.clear()
            try:
                pause = await self.turn()
            except Broken:
                return
            except Unavailable as error:
                log("poll.waits", level="warning", exc=error, source_id=self._source_id)
                pause = 1.0
            except Exception as bug:  # noqa: BLE001 — one source that cannot be asked must not hold up the others
                log("poll.failed", level="error", exc=bug, source_id=self._source_id)
                pause = LOOK_AGAIN
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)

    async def turn(self) -> float:
        """Asks one question, if one is due; returns the seconds until the next look. Raises Unavailable, Broken."""
        now = self._asking.clock()
        async with self._asking.database.reading() as reader:
            rows = (await polls.of_sources(reader, [self._source_id])).get(self._source_id, ())
            wanted = await lookups.due(reader, self._source_id, now)
        if (wait := self._line.wait(max((row.asked_at for row in rows), default=0))) > 0:
            return wait
        known = {row.feed: row for row in rows}
        due = {name: self._due_at(name, known, now) for name in self._options.names}
        feed = min((name for name in due if due[name] <= now), key=due.__getitem__, default=None)
        if wanted and self._poll.lookup and self._due_at(LOOKUP, known, now) <= now and (self._lookup_next or not feed):
            self._lookup_next = False
            await self._look_up(self._poll.lookup, wanted, known.get(LOOKUP), now)
        elif feed is not None:
            self._lookup_next = True
            await self._read(feed, known.get(feed) or PollRow.first(self._source_id, feed), now)
        else:
            return min([LOOK_AGAIN, *((at - now) / SECOND for at in due.values())])
        return 0.0

    def _due_at(self, name: str, known: Mapping[str, PollRow], now: int) -> int:
        """A clock that was set back makes nobody wait for longer than a day."""
        row = known.get(name)
        return 0 if row is None or name in self._anew else min(row.next_at, now + DAY)

    async def _read(self, name: str, row: PollRow, now: int) -> None:
        feed, source = self._poll.feeds[name], self._door.source
        try:
            question, reply = await self._line.ask(lambda token: feed.ask(source, row.position, now, token))
            step = await self._read_by(partial(feed.read, source, row.position, now), reply)
            pieces, digest = _new(row, step, reply)
        except NotAnswered as trouble:
            await self._not_answered(row, trouble, now)
            return
        await self._keep(self._read_on(row, step, digest, now), question.about, pieces)
        self._anew.discard(name)

    async def _read_by(self, read: Callable[[Reply], Result], reply: Reply) -> Result:
        """A long answer is read beside everything else: unpacking a file of some megabytes takes its time."""
        try:
            return read(reply) if len(reply.body) < LONG else await asyncio.to_thread(read, reply)
        except NotAnswered:
            raise
        except Exception as bug:  # noqa: BLE001 — then the answer is not kept, and asked for again
            log("adapter.failed", level="error", exc=bug, vendor=self._door.vendor.name)
            raise NotAnswered("answer", "the adapter failed on the answer; see the log") from None

    def _read_on(self, row: PollRow, step: Step, digest: str, now: int) -> PollRow:
        answered_at = self._asking.clock()
        next_at = now if step.more else now + self._options.every * SECOND
        return replace(
            row, position=step.position, digest=digest, next_at=next_at, asked_at=now, answered_at=answered_at,
            failures=0, error=None,
        )  # fmt: skip

    async def _keep(self, row: PollRow, about: Mapping[str, str], pieces: Sequence[Reply]) -> None:
        """The last piece takes the new position with it; without any there is only that."""

        async def read_on(transaction: Transaction) -> None:
            await polls.save(transaction, row)

        if not pieces:
            await self._asking.write(read_on)
        for number, piece in enumerate(pieces, 1):
            last = number == len(pieces)
            _, recording = self._asking.understood(self._door, about, piece, host_of(self._line.base_url))
            await self._asking.keep(self._door, Answered(recording=recording, progress=read_on if last else None))

    async def _look_up(self, lookup: Lookup, wanted: LookupRow, row: PollRow | None, now: int) -> None:
        source, vendor_id = self._door.source, wanted.vendor_message_id
        row = row or PollRow.first(self._source_id, LOOKUP)
        if vendor_id is None or await self._settled(wanted):
            await self._asking.write(lambda transaction: lookups.end(transaction, wanted))
            return
        try:
            question, reply = await self._line.ask(lambda token: lookup.ask(source, vendor_id, token))
            known = await self._read_by(lookup.read, reply)
        except NotAnswered as trouble:
            await self._not_answered(row, trouble, now, wanted)
            return
        self._anew.discard(LOOKUP)
        row = replace(row, asked_at=now, answered_at=self._asking.clock(), next_at=now, failures=0, error=None)
        if known:
            await self._keep_state(row, wanted, question.about, reply)
        else:
            await self._asking.write(partial(_put_off, row, wanted, None))

    async def _settled(self, wanted: LookupRow) -> bool:
        async with self._asking.database.reading() as reader:
            return wanted.message_id is not None and await lookups.settled(reader, wanted.message_id)

    async def _keep_state(self, row: PollRow, wanted: LookupRow, about: Mapping[str, str], reply: Reply) -> None:
        items, recording = self._asking.understood(self._door, about, reply, host_of(self._line.base_url))
        final = any(isinstance(item, Reported) and item.final for item in items)
        progress = partial(_ended, row, wanted) if final else partial(_put_off, row, wanted, self._ask_again_at(wanted))
        await self._asking.keep(self._door, Answered(recording=recording, progress=progress))

    def _ask_again_at(self, wanted: LookupRow) -> int | None:
        """Twice as long after each time, a day at most."""
        reconcile = self._door.source.options.reconcile or Reconcile()
        if wanted.tries + 1 >= TRIES:
            return None
        return self._asking.clock() + min(reconcile.after * SECOND << wanted.tries, DAY)

    async def _not_answered(
        self, row: PollRow, trouble: NotAnswered, now: int, wanted: LookupRow | None = None
    ) -> None:
        """Later again. The source tells why; so does `receiver check` while it lasts."""
        failures, why = row.failures + 1, f"{row.feed}: {trouble}"
        pause = max(self._pause(failures), trouble.retry_after, self._line.retry_after)
        if trouble.kind == "busy":
            self._line.rest(pause)
        next_at = now + round(pause * SECOND)
        failed = replace(row, next_at=next_at, asked_at=now, failures=failures, error=str(trouble))
        # one message that its vendor cannot tell of must not stand before the others
        put_off = wanted is not None and trouble.kind in ("refused", "answer")

        async def change(transaction: Transaction) -> None:
            await polls.save(transaction, failed)
            if trouble.kind == "busy":
                await polls.rest(transaction, self._source_id, next_at)
            await sources.failed(transaction, self._source_id, why, now)
            if put_off and wanted is not None:
                await lookups.put_off(transaction, wanted, self._ask_again_at(wanted))

        await self._asking.write(change)
        self._anew.discard(row.feed)
        log("poll.not_answered", level="warning", source_id=self._source_id, feed=row.feed, why=str(trouble))

    def _pause(self, failures: int) -> float:
        """Seconds: twice as long after each failure, and up to a fifth more, so that not all come at once."""
        pause = min(self._options.every * 2.0 ** min(failures, 20), MAX_PAUSE)
        return max(pause, float(self._options.every)) * (1 + _JITTER * self._asking.chance())


async def _ended(row: PollRow, wanted: LookupRow, transaction: Transaction) -> None:
    await polls.save(transaction, row)
    await lookups.end(transaction, wanted)


async def _put_off(row: PollRow, wanted: LookupRow, ask_at: int | None, transaction: Transaction) -> None:
    await polls.save(transaction, row)
    await lookups.put_off(transaction, wanted, ask_at)


def _new(row: PollRow, step: Step, reply: Reply) -> tuple[Sequence[Reply], str]:
    """What to keep, nothing where it is the last answer once more, and its hash."""
    pieces = (reply,) if step.pieces is None else step.pieces
    digest = _digest(pieces)
    if digest != row.digest:
        return pieces, digest
    if pieces and step.more:
        raise NotAnswered("answer", "the vendor gives the same page again and again")
    return (), digest


def _digest(pieces: Sequence[Reply]) -> str:
    found = sha256()
    for piece in pieces:
        found.update(len(piece.body).to_bytes(8, "big") + piece.body)
    return found.hexdigest()
