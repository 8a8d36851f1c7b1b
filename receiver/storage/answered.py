"""What vendors answered when they were asked: recorded like their requests, together with how far that leads.

What was read and where to read on are one transaction, so a process that dies in between asks the same again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from receiver.storage.database import Transaction
from receiver.storage.recording import Recorded, Recording

Record = Callable[[Transaction, Sequence[Recording]], Awaitable[Sequence[Recorded]]]


@dataclass(slots=True, kw_only=True)
class Answered:
    """`progress` is written whatever becomes of the recording, which is dropped when it `holds` no more. Of an answer
    in pieces only the last has any.
    """

    recording: Recording
    progress: Callable[[Transaction], Awaitable[None]] | None
    holds: Callable[[Transaction], Awaitable[bool]] | None = None


def recording_answers(
    record: Record,
) -> Callable[[Transaction, Sequence[Answered]], Awaitable[Sequence[Recorded | None]]]:
    """The operation for `Batch`: one result an answer, None where it was dropped."""

    async def apply(transaction: Transaction, answers: Sequence[Answered]) -> Sequence[Recorded | None]:
        held = [answer.holds is None or await answer.holds(transaction) for answer in answers]
        kept = [answer.recording for answer, holds in zip(answers, held, strict=True) if holds]
        results = iter(await record(transaction, kept))
        for answer in answers:
            if answer.progress is not None:
                await answer.progress(transaction)
        return [next(results) if holds else None for holds in held]

    return apply
