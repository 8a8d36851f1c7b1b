"""A person's data, erased on request. The answer is the same, and as quick, whether the number was ever heard of."""

from receiver.api.context import Context
from receiver.api.inputs import Nothing
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import invalid
from receiver.observe import log
from receiver.sms.subject import Subject
from receiver.storage import jobs, windows
from receiver.storage.jobs import Job, Request

MAX_NUMBER = 64
_SALT_BYTES = 16


async def erase(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    """Puts down a job and answers. What comes in from then on is new."""
    subject = _subject(call.path["number"])
    async with context.database.reading() as reader:
        span = await windows.span(reader)
    now = context.clock()
    job = Job(
        id=context.ids.new("job"),
        kind="erase",
        subscription_id=None,
        request=Request(wishes=[], last=span.last, subject=subject.address, salt=context.entropy(_SALT_BYTES).hex()),
        position="",
        total=0,
        created_at=now,
        updated_at=now,
    )
    await context.write(lambda transaction: jobs.insert(transaction, job))
    log("erasure.asked", job_id=job.id, by=call.principal.name)
    context.jobs_woken()
    return Answer(status=204, headers={"location": f"{context.public_url}/v1/jobs/{job.id}"})


def _subject(number: str) -> Subject:
    """Raises Problem, which does not repeat the number."""
    if len(number) > MAX_NUMBER or not number.isprintable():
        raise invalid("", f"the number must be at most {MAX_NUMBER} printable characters")
    try:
        return Subject(number)
    except ValueError as error:
        raise invalid("", f"the number {error}") from None


OPERATIONS: Operations = (
    Operation(
        method="DELETE", path="/v1/subjects/{number}", summary="Erase a person's data; the same answer for any number",
        scope="admin", handler=erase, answers={204: None},
    ),
)  # fmt: skip
