"""Where a person's number or words are kept, and what is left there. `places` has them all, `eraser` goes through them.

A look is a bounded read, outside of any write; a person's rows are then changed in one transaction. Doing so again
changes nothing more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, LiteralString, Protocol

import orjson

from receiver.sms.subject import ERASED, Subject, erased, is_erased
from receiver.storage import jobs
from receiver.storage.database import Reader, Row, Transaction, Values
from receiver.storage.jobs import Job
from receiver.storage.pseudonyms import pseudonym
from receiver.storage.purge import light
from receiver.storage.purges import Trace

ALIAS: Final = "erased"
"""How keys begin that stand for conversations of erased numbers."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """Whom a job is about. `salt` is forgotten with the number when the job ends; `secret` makes pseudonyms."""

    job: Job
    subject: Subject
    salt: bytes
    secret: bytes

    @classmethod
    def of(cls, job: Job, secret: bytes) -> "Erasure":
        subject, salt = job.request.subject, job.request.salt
        assert subject is not None
        assert salt is not None
        return cls(job, Subject(subject), bytes.fromhex(salt), secret)

    def alias(self, conversation: str) -> str:
        """The same for the same conversation while the job lasts, and nobody's afterwards."""
        if not self.subject.is_key(conversation):
            return conversation
        return f"{ALIAS}_{blake2b(conversation.encode(), digest_size=16, key=self.salt).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Look:
    """The person's rows among the `seen` ones, and where the next look begins; `end` when there is nothing behind."""

    rows: Sequence[Row]
    position: str
    seen: int
    end: bool


class Place(Protocol):
    @property
    def name(self) -> str: ...

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look: ...

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:
        """How many rows were changed or deleted."""
        ...


@dataclass(frozen=True, slots=True)
class Events:
    """With the receipts that they came in, what was answered to their deliveries, and those deliveries' conversations.

    `column` narrows it to those that an index finds at once; the others are looked through.
    """

    name: str
    column: LiteralString | None = None
    traces: Sequence[Trace] = ()

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        where: LiteralString = "" if self.column is None else " AND " + self.column + " = ?"
        values = () if self.column is None else (erasure.subject.address,)
        rows = await reader.fetch(
            f"""SELECT e.seq, e.id, e.receipt_id, e.body, m.from_address, m.to_address, m.conversation
                FROM (SELECT seq, id, receipt_id, message_id, body FROM events
                      WHERE seq > ? AND seq <= ?{where} ORDER BY seq LIMIT ?) AS e
                LEFT JOIN messages AS m ON m.id = e.message_id ORDER BY e.seq""",
            int(position or 0), erasure.job.request.last, *values, limit,
        )  # fmt: skip
        reached = str(rows[-1][0]) if rows else position
        return Look(in_events(erasure, rows), reached, len(rows), end=len(rows) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:
        ids = [(event_id,) for _, event_id, _, _ in rows]
        for forget in self.traces:
            await forget(transaction, [event_id for (event_id,) in ids])
        await self._empty_deliveries(transaction, erasure, ids, now)
        transaction.later(
            "WITH v (id, body, vendor_message_id) AS (",
            [(event_id, body.decode(), _vendor_message_id(body)) for _, event_id, _, body in rows],
            """) UPDATE events SET body = v.body, vendor_message_id = v.vendor_message_id, client_reference = NULL,
                     from_address = NULL, to_address = NULL
                 FROM v WHERE events.id = v.id""",
        )
        receipts = {receipt_id for _, _, receipt_id, _ in rows if receipt_id is not None}
        return len(rows) + await empty_receipts(transaction, sorted(receipts))

    async def _empty_deliveries(
        self, transaction: Transaction, erasure: Erasure, ids: Sequence[Values], now: int
    ) -> None:
        await transaction.many(
            "WITH v (id) AS (", ids,
            """) UPDATE attempts SET answer = ? WHERE delivery_id IN (
                     SELECT deliveries.id FROM v JOIN deliveries ON deliveries.event_id = v.id)
                 RETURNING 1""",
            b"",
        )  # fmt: skip
        rows = await transaction.many(
            "WITH v (id) AS (", ids,
            """) SELECT deliveries.id, deliveries.conversation FROM v JOIN deliveries ON deliveries.event_id = v.id
                 WHERE deliveries.conversation IS NOT NULL""",
        )  # fmt: skip
        transaction.later(
            "WITH v (id, conversation, updated_at) AS (",
            [(delivery_id, erasure.alias(conversation), now) for delivery_id, conversation in rows],
            """) UPDATE deliveries SET conversation = v.conversation, updated_at = v.updated_at
                 FROM v WHERE deliveries.id = v.id""",
        )


@dataclass(frozen=True, slots=True)
class Receipts:
    """Those that name the number, and repeats of those that were emptied."""

    name: str = "receipts"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        sizes = await reader.fetch(
            """SELECT id, length(target) + length(headers) + length(body) FROM receipts
               WHERE id > ? AND id < ? ORDER BY id LIMIT ?""",
            position, bound("rcp", erasure), limit,
        )  # fmt: skip
        few = light(sizes)
        if not few:
            return Look((), position, 0, end=True)
        rows = await reader.fetch(
            """SELECT r.id, r.note, o.note, r.target, r.headers, r.body FROM receipts AS r
               LEFT JOIN receipts AS o ON o.id = r.duplicate_of WHERE r.id > ? AND r.id <= ? ORDER BY r.id""",
            position, few[-1][0],
        )  # fmt: skip
        found = [
            (receipt_id,)
            for receipt_id, note, note_of_first, *content in rows
            if note != ERASED and (note_of_first == ERASED or any(map(erasure.subject.is_in, content)))
        ]
        return Look(found, few[-1][0], len(few), end=len(few) == len(sizes) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        return await empty_receipts(transaction, [receipt_id for (receipt_id,) in rows])


@dataclass(frozen=True, slots=True)
class Messages:
    name: str = "messages"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        rows = await reader.fetch(
            """SELECT id, from_address, to_address, conversation, client_reference, vendor_message_id, batch_id
               FROM messages WHERE id > ? AND id < ? ORDER BY id LIMIT ?""",
            position, bound("msg", erasure), limit,
        )  # fmt: skip
        found = [row for row in rows if _names(erasure, *row[1:4]) or any(says(erasure, item) for item in row[4:])]
        return Look(found, rows[-1][0] if rows else position, len(rows), end=len(rows) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:
        changed = [
            (message_id, erasure.alias(conversation), _unless(erasure, vendor_id), _unless(erasure, batch_id), now)
            for message_id, _, _, conversation, _, vendor_id, batch_id in rows
        ]
        transaction.later(
            "WITH v (id, conversation, vendor_message_id, batch_id, updated_at) AS (",
            changed,
            """) UPDATE messages SET from_address = NULL, to_address = NULL, client_reference = NULL,
                     conversation = v.conversation, vendor_message_id = v.vendor_message_id, batch_id = v.batch_id,
                     updated_at = v.updated_at
                 FROM v WHERE messages.id = v.id""",
        )
        return len(rows)


@dataclass(frozen=True, slots=True)
class Identities:
    """Those with the number, and those made of a hash of what was said: such a hash can be guessed. An identity by the
    vendor's id stays without its hash, so that a repeat stays one.
    """

    name: str = "identities"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        rows = await reader.fetch(
            """SELECT i.key, i.subject_id, i.content, e.body,
                  EXISTS (SELECT 1 FROM message_parts AS p WHERE p.receipt_id = i.receipt_id AND p.content = '')
               FROM (SELECT key, subject_id, receipt_id, content FROM identities
                     WHERE key > ? ORDER BY key LIMIT ?) AS i
               LEFT JOIN events AS e ON e.id = i.subject_id AND e.body LIKE '%"erased"%' ORDER BY i.key""",
            position, limit,
        )  # fmt: skip
        found = []
        for key, subject_id, content, body, part in rows:
            if subject_id > bound(subject_id.partition("_")[0], erasure):
                continue
            of_erased = part or (body is not None and is_erased(orjson.loads(body)))
            if erasure.subject.is_key(key) or (of_erased and key.startswith(("h", "u"))):
                found.append((key, True))
            elif of_erased and content is not None:
                found.append((key, False))
        return Look(found, rows[-1][0] if rows else position, len(rows), end=len(rows) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        transaction.later(
            "WITH v (key) AS (",
            [(key,) for key, whole in rows if whole],
            ") DELETE FROM identities WHERE key IN (SELECT key FROM v)",
        )
        transaction.later(
            "WITH v (key) AS (",
            [(key,) for key, whole in rows if not whole],
            ") UPDATE identities SET content = NULL WHERE key IN (SELECT key FROM v)",
        )
        return len(rows)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Answers of subscribers that name the number, whatever they answered to."""

    name: str = "attempts"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        delivery, _, number = position.partition(" ")
        rows = await reader.fetch(
            """SELECT delivery_id, number, answer FROM attempts
               WHERE (delivery_id, number) > (?, ?) AND delivery_id < ? ORDER BY delivery_id, number LIMIT ?""",
            delivery, int(number or 0), bound("dlv", erasure), limit,
        )  # fmt: skip
        found = [row[:2] for row in rows if erasure.subject.is_in(row[2])]
        reached = f"{rows[-1][0]} {rows[-1][1]}" if rows else position
        return Look(found, reached, len(rows), end=len(rows) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        emptied = await transaction.many(
            "WITH v (delivery_id, number) AS (", rows,
            """) UPDATE attempts SET answer = ? WHERE (delivery_id, number) IN (SELECT delivery_id, number FROM v)
                 RETURNING 1""",
            b"",
        )  # fmt: skip
        return len(emptied)


@dataclass(frozen=True, slots=True)
class OptOuts:
    """Whoever said STOP is not to be texted, erased or not: the list goes on, under a pseudonym."""

    name: str = "opt_outs"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:  # noqa: ARG002 — of `Place`
        address = erasure.subject.address
        rows = await reader.fetch(
            """SELECT source_id, number, scope, sender, opted_out, via, event_id, changed_at FROM opt_outs
               WHERE number = ? OR sender = ?""",
            address, address,
        )  # fmt: skip
        return Look(rows, position, len(rows), end=True)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        address = erasure.subject.address
        hidden = pseudonym(erasure.secret, address)
        await transaction.fetch("DELETE FROM opt_outs WHERE number = ? OR sender = ?", address, address)
        transaction.later(
            "INSERT INTO opt_outs (source_id, number, scope, sender, opted_out, via, event_id, changed_at)",
            [tuple(hidden if value == address else value for value in row) for row in rows],
            """ON CONFLICT (source_id, number, scope, sender) DO UPDATE SET opted_out = excluded.opted_out,
                   via = excluded.via, event_id = excluded.event_id, changed_at = excluded.changed_at
               WHERE opt_outs.changed_at <= excluded.changed_at""",
        )
        return len(rows)


@dataclass(frozen=True, slots=True)
class LastErrors:
    name: str = "sources"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:  # noqa: ARG002 — of `Place`
        rows = await reader.fetch("SELECT id, last_error FROM sources WHERE last_error IS NOT NULL")
        return Look([row for row in rows if says(erasure, row[1])], position, len(rows), end=True)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        transaction.later(
            "WITH v (id) AS (",
            [row[:1] for row in rows],
            ") UPDATE sources SET last_error = NULL WHERE id IN (SELECT id FROM v)",
        )
        return len(rows)


@dataclass(frozen=True, slots=True)
class Jobs:
    """What other jobs were asked for, where that names the number. One that still runs is canceled: of what it looks
    for nothing is left.
    """

    name: str = "jobs"

    async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
        rows = await reader.fetch(
            "SELECT id, request FROM jobs WHERE id > ? AND id < ? AND kind <> 'erase' ORDER BY id LIMIT ?",
            position, erasure.job.id, limit,
        )  # fmt: skip
        quoted = orjson.dumps(erasure.subject.address).decode()
        found = [row[:1] for row in rows if quoted in row[1] or says(erasure, row[1])]
        return Look(found, rows[-1][0] if rows else position, len(rows), end=len(rows) < limit)

    async def erase(self, transaction: Transaction, erasure: Erasure, rows: Sequence[Row], now: int) -> int:  # noqa: ARG002 — of `Place`
        for (job_id,) in rows:
            job = await jobs.get(transaction, job_id)
            assert job is not None  # no job is ever deleted
            await jobs.finish(transaction, job, "canceled", now, "it was about a number that was erased")
            await jobs.forget(transaction, job_id)
        return len(rows)


def in_events(erasure: Erasure, rows: Sequence[Row]) -> Sequence[Row]:
    """Of rows (seq, id, receipt, body, from, to and conversation of its message) the person's, as (seq, id, receipt,
    what is left of it).
    """
    found = []
    for seq, event_id, receipt_id, body, *message in rows:
        content = body.encode()
        if erasure.subject.is_in_event(content) or _names(erasure, *message):
            left = orjson.dumps(erased(orjson.loads(content), erasure.subject))
            if left != content:
                found.append((seq, event_id, receipt_id, left))
    return found


def _names(erasure: Erasure, sender: str | None, receiver: str | None, conversation: str | None) -> bool:
    address = erasure.subject.address
    return address in (sender, receiver) or erasure.subject.is_key(conversation)


def says(erasure: Erasure, text: str | None) -> bool:
    return text is not None and erasure.subject.is_in(text.encode())


def _unless(erasure: Erasure, text: str | None) -> str | None:
    return None if says(erasure, text) else text


def bound(kind: str, erasure: Erasure) -> str:
    """Above every id of that kind that was made before the job."""
    return f"{kind}_{erasure.job.id.partition('_')[2]}"


def _vendor_message_id(body: bytes) -> str | None:
    data: Mapping[str, Any] = orjson.loads(body)["data"]
    return data.get("vendor_message_id")


async def empty_receipts(transaction: Transaction, receipt_ids: Sequence[str]) -> int:
    """Outcome, source and times stay. One that held several people's items is emptied as a whole."""
    rows = await transaction.many(
        "WITH v (id) AS (",
        [(item,) for item in receipt_ids],
        """) UPDATE receipts SET target = ?, headers = ?, body = ?, note = ? WHERE id IN (SELECT id FROM v)
             RETURNING 1""",
        b"", b"", b"", ERASED,
    )  # fmt: skip
    return len(rows)
