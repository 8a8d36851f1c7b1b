"""Jobs: long work that survives a restart, because how far it got is committed together with what it did.

Asked for by the API, done by `receiver.delivery.recover` one bounded step after the other: recover, replay and start
by `receiver.delivery.steps`, reparse by `receiver.intake.apply`; erasures by `eraser`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, LiteralString

import orjson

from receiver.sms.matching import Filter
from receiver.storage.database import Reader, Row, Transaction, skipping
from receiver.storage.receipts import Choice
from receiver.storage.sources import changed

Kind = Literal["recover", "replay", "start", "reparse", "erase"]
JobState = Literal["running", "done", "canceled", "failed"]
Wish = Literal["failed", "held", "missing", "all"]

_COLUMNS: LiteralString = (
    "id, kind, subscription_id, state, request, position, done, total, released, error, created_at, updated_at"
)


NO_CHOICE = Choice()

ERASED: Final = "log"
"""Where an erasure is once every place is gone through: what is left are copies that nothing leads to."""
ASKED_FOR: Final = ("jobs",)
"""Who takes from the log what no job is to find any more does not overlook one that is just asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a job is to do.

    wishes             which deliveries: `failed` (dead, forbidden), `held`, `missing` (an event that matches and is
                       owed to nobody yet), `all` (every event that matches, whatever became of it)
    types, filter      of the events; None for no further condition
    since, until       of acceptance, unix microseconds
    last               where it ends: an event's place in the log, a delivery's or a receipt's id; None: with the log
    subscription_ids   whom a replay is for; None for all that it matches
    subject            the number that an erasure is about, and a `salt` of its own (hex); forgotten when it ends
    receipt            which requests are read again
    """

    wishes: Sequence[Wish] = ()
    types: Sequence[str] | None = None
    filter: Filter | None = None
    since: int | None = None
    until: int | None = None
    last: int | str | None = None
    subscription_ids: Sequence[str] | None = None
    subject: str | None = None
    salt: str | None = None
    receipt: Choice = NO_CHOICE

    @property
    def through_log(self) -> bool:
        """Whether it has to look at events rather than at deliveries that are there."""
        return "missing" in self.wishes or "all" in self.wishes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`position` is behind what was walked; of `total` rows `done` were, and `released` deliveries came of that, of a
    reparse events.
    """

    id: str
    kind: Kind
    subscription_id: str | None
    state: JobState = "running"
    request: Request
    position: str
    done: int = 0
    total: int
    released: int = 0
    error: str | None = None
    created_at: int
    updated_at: int


@dataclass(slots=True, kw_only=True)
class Step:
    """How far a step went, what came of it, and the subscriptions that have something due now."""

    position: str
    done: int = 0
    released: int = 0
    touched: set[str] = field(default_factory=set)
    state: JobState = "running"
    error: str | None = None


async def insert(transaction: Transaction, job: Job) -> None:
    await transaction.lock(ASKED_FOR)
    await transaction.fetch(
        f"INSERT INTO jobs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        job.id, job.kind, job.subscription_id, job.state, _dumped(job.request), job.position,
        job.done, job.total, job.released, job.error, job.created_at, job.updated_at,
    )  # fmt: skip


async def get(reader: Reader, job_id: str) -> Job | None:
    rows = await reader.fetch(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", job_id)
    return _row(rows[0]) if rows else None


async def page(
    reader: Reader, *, subscription: str | None, state: JobState | None, before: str | None, limit: int
) -> Sequence[Job]:
    """Newest first, from behind `before`."""
    sql: LiteralString = f"SELECT {_COLUMNS} FROM jobs WHERE id < ?"
    values: list[str | int] = [before or "~"]
    if subscription is not None:
        sql += " AND subscription_id = ?"
        values.append(subscription)
    if state is not None:
        sql += " AND state = ?"
        values.append(state)
    rows = await reader.fetch(sql + " ORDER BY id DESC LIMIT ?", *values, limit)
    return [_row(row) for row in rows]


async def running(transaction: Transaction, after: str) -> Job | None:
    """The job whose turn it is behind the one that had it last, None when none is running, or another process is just
    at it.
    """
    rows = await transaction.fetch(
        f"""SELECT {_COLUMNS} FROM jobs WHERE id = coalesce(
               (SELECT min(id) FROM jobs WHERE state = 'running' AND kind <> 'erase' AND id > ?),
               (SELECT min(id) FROM jobs WHERE state = 'running' AND kind <> 'erase'))"""
        + skipping(transaction),
        after,
    )
    return _row(rows[0]) if rows else None


async def erasing(reader: Reader) -> Job | None:
    """The oldest erasure that is not done."""
    rows = await reader.fetch(
        f"SELECT {_COLUMNS} FROM jobs WHERE state = 'running' AND kind = 'erase' ORDER BY id LIMIT 1"
    )
    return _row(rows[0]) if rows else None


async def reach(transaction: Transaction, job: Job, now: int) -> None:
    """Notes how far an erasure is, as `job` has it."""
    await transaction.fetch(
        "UPDATE jobs SET position = ?, done = ?, total = ?, released = ?, updated_at = ? WHERE id = ?",
        job.position, job.done, job.total, job.released, now, job.id,
    )  # fmt: skip


async def forget(transaction: Transaction, job_id: str) -> None:
    """What the job was asked for, with whatever that names."""
    await transaction.fetch("UPDATE jobs SET request = ? WHERE id = ?", _dumped(Request(wishes=[])), job_id)


async def advance(
    transaction: Transaction, job: Job, *, position: str, done: int, released: int, now: int
) -> None:  # fmt: skip
    """One step further; `done` and `released` are of that step."""
    await transaction.fetch(
        "UPDATE jobs SET position = ?, done = ?, released = ?, updated_at = ? WHERE id = ? AND state = 'running'",
        position, job.done + done, job.released + released, now, job.id,
    )  # fmt: skip


async def put_down(transaction: Transaction, job: Job, step: Step, now: int) -> None:
    """How far a job got by a step, and its end where it was the last."""
    await advance(transaction, job, position=step.position, done=step.done, released=step.released, now=now)
    if step.state != "running":
        await finish(transaction, job, step.state, now, step.error)


async def finish(transaction: Transaction, job: Job, state: JobState, now: int, error: str | None = None) -> bool:
    """Ends a job that runs; False when it had ended before. However a subscription's start ends, what comes from then
    on is owed to it by the intake.
    """
    ended = await transaction.fetch(
        """UPDATE jobs SET state = ?, error = ?, updated_at = ?, total = CASE WHEN ? = 'done' THEN done ELSE total END
           WHERE id = ? AND state = 'running' RETURNING 1""",
        state, error, now, state, job.id,
    )  # fmt: skip
    if ended and job.kind == "start":
        await transaction.fetch("UPDATE subscriptions SET catching_up = 0 WHERE id = ?", job.subscription_id)
        await changed(transaction, now)
    return bool(ended)


def _dumped(request: Request) -> str:
    document = {name: value for name, value in asdict(request).items() if value not in (None, ())}
    document["receipt"] = {name: value for name, value in document["receipt"].items() if value is not None}
    if request.filter is not None:
        document["filter"] = request.filter.model_dump(mode="json", by_alias=True)
    return orjson.dumps(document).decode()


def _loaded(text: str) -> Request:
    document = orjson.loads(text)
    if "filter" in document:
        document["filter"] = Filter.model_validate(document["filter"])
    document["receipt"] = Choice(**document.get("receipt", {}))
    return Request(**document)


def _row(row: Row) -> Job:
    (identifier, kind, subscription_id, state, request, position, done, total, released, error, created_at,
     updated_at) = row  # fmt: skip
    return Job(
        id=identifier,
        kind=kind,
        subscription_id=subscription_id,
        state=state,
        request=_loaded(request),
        position=position,
        done=done,
        total=total,
        released=released,
        error=error,
        created_at=created_at,
        updated_at=updated_at,
    )
