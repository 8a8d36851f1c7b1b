"""One source's turns, taken one at a time on a real SQLite file, with a clock that only sleeping moves."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from receiver.intake.asking import Asking
from receiver.intake.reconcile import Reconciler
from receiver.intake.turns import Turns
from receiver.storage import lookups
from receiver.storage.answered import Answered, recording_answers
from receiver.storage.batch import Operation
from receiver.storage.catalog import Door
from receiver.storage.database import Transaction
from receiver.storage.lookups import LookupRow
from receiver.storage.record import Recorder
from receiver.storage.recording import Recorded
from receiver.vendors.contract import NotAnswered, Question, Reply
from receiver.vendors.polling import asked
from tests.pipeline import SECOND, Pipeline, pipeline
from tests.storage.making import a_source, saved

OK = orjson.dumps({"status": 0, "message": "OK", "details": None})


@dataclass
class Vendor:
    """Says what it is told, and OK after that; `asked` is (seconds since the start, question)."""

    says: list[Reply | NotAnswered] = field(default_factory=list)
    asked: list[tuple[float, Question]] = field(default_factory=list)


@dataclass
class Turning:
    made: Pipeline
    asking: Asking
    vendor: Vendor
    slept: list[float]
    start: int

    async def source(self, vendor: str = "sendsms", source_id: str = "src_1", **options: Any) -> Door:
        """A source as the catalog has it."""
        credentials = {"username": ["u"], "password": ["p"], "token": ["JWT t"], "access_token": ["a"], "keyid": ["k"]}
        row = a_source(source_id, f"token-{source_id}", vendor=vendor, credentials=credentials, options=options)
        await saved(self.made.database, row)
        async with self.made.database.reading() as reader:
            await self.made.catalog.refresh(reader)
        door = self.made.catalog.door(row.token)
        assert door is not None
        return door

    def turns(self, door: Door, *, anew: bool = False) -> Turns:
        found = asked(door.vendor, door.source)
        assert found is not None
        return Turns(door, *found, self.asking, anew=anew)

    async def take(self, turns: Turns, times: int) -> None:
        """So many turns, each after the rest that the one before it asked for."""
        for _ in range(times):
            await self.asking.sleep(await turns.turn())

    async def wait_for(self, source_id: str, *names: str, **given: Any) -> None:
        """Messages that the vendor is to be asked for."""
        made: dict[str, Any] = {"message_id": None, "since": self.made.now, "ask_at": self.made.now, "close_at": None}
        rows = [LookupRow(source_id=source_id, name=it, vendor_message_id=it, **made | given) for it in names]

        async def change(transaction: Transaction) -> None:
            lookups.add(transaction, rows)

        await self.made.batch.write(change)

    @property
    def reconciler(self) -> Reconciler:
        return Reconciler(self.made.catalog, self.asking, window=3)

    @property
    def moments(self) -> Sequence[float]:
        return [round(moment, 3) for moment, _ in self.vendor.asked]

    async def fetch(self, sql: Any, *values: Any) -> Any:
        return await self.made.fetch(sql, *values)


def reply(status: int = 200, body: bytes = OK, **headers: str) -> Reply:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Reply(status=status, headers=raw, body=body)


@asynccontextmanager
async def turning(
    folder: Path, wrapped: Callable[[Any], Any] = lambda it: it, chance: float = 0.0
) -> AsyncIterator[Turning]:
    async with pipeline(folder, wrapped=wrapped) as made:
        vendor, slept, start = Vendor(), [], made.now

        async def send(_base_url: str, question: Question) -> Reply:
            vendor.asked.append(((made.now - start) / SECOND, question))
            said = vendor.says.pop(0) if vendor.says else reply()
            if isinstance(said, NotAnswered):
                raise said
            return said

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            made.now += round(seconds * SECOND)

        recorder = Recorder(made.catalog, made.ids, lambda: made.now, lambda _, *, urgent: 1000)
        operation: Operation[Answered, Recorded | None] = Operation(recording_answers(recorder.record))
        asking = Asking(
            intake=replace(made.intake, doors=made.catalog),
            database=made.database,
            send=send,
            record=partial(made.batch.submit, operation),
            write=made.batch.write,
            new_id=made.ids.new,
            clock=lambda: made.now,
            monotonic=lambda: made.now / SECOND,
            chance=lambda: chance,
            sleep=sleep,
        )
        yield Turning(made, asking, vendor, slept, start)
