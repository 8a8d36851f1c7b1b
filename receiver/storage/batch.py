"""Group commit: calls that arrive while one transaction is being synced share the next.

One task owns the writing connection and is never cancelled in mid-transaction; a caller that goes away takes
nothing with it. A batch that fails on one bad item is done again item by item, so that only that one fails.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from receiver.observe import log
from receiver.storage.database import Broken, Database, StorageError, Transaction, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[Item, Result]):
    """Something to do with a list of items inside one transaction.

    apply       the results, one an item, in order
    committed   told of the results after COMMIT and before any caller is; must not block or raise
    size        bytes that an item holds while it waits, where they are worth counting
    """

    apply: Callable[[Transaction, Sequence[Item]], Awaitable[Sequence[Result]]]
    committed: Callable[[Sequence[Result]], None] | None = None
    size: Callable[[Item], int] | None = None


@dataclass(slots=True)
class _Call:
    operation: Operation[Any, Any]
    item: Any
    done: asyncio.Future[Any]
    since: float
    size: int


class Batch:
    """Collects calls of every operation and commits them together.

    capacity    calls that may wait; more are refused with Unavailable
    room        bytes that may wait; likewise, but one call alone is never too large
    most        calls in one transaction
    patience    seconds after which a caller is told Unavailable, though its call may still be committed later;
                watched for all calls at once, for a timer a call would cost more than its share of the commit
    undone      told of each transaction that was rolled back; must not block or raise
    committed   told of every commit, before any caller is; must not block or raise
    """

    def __init__(
        self,
        database: Database,
        *,
        capacity: int = 8192,
        room: int = 64 * 1024 * 1024,
        most: int = 512,
        patience: float = 10.0,
        undone: Callable[[], None] = lambda: None,
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._capacity = capacity
        self._room = room
        self._most = most
        self._patience = patience
        self._undone = undone
        self._committed = committed
        self._working: Sequence[_Call] = ()
        self._waiting: deque[_Call] = deque()
        self._arrived = asyncio.Event()
        self._held = 0
        self._under_way: object | None = None
        self._stalled = 0.0
        self._closing = False

    async def submit(self, operation: Operation[Item, Result], item: Item) -> Result:
        """The result of one item, after its COMMIT. Raises Unavailable, Broken, or what the operation raised."""
        return await self.put(operation, item)

    def put(self, operation: Operation[Item, Result], item: Item) -> asyncio.Future[Result]:
        """`submit` for callers without a task. Raises Unavailable at once when too much waits."""
        size = operation.size(item) if operation.size else 0
        if self._closing or len(self._waiting) >= self._capacity or self._held > max(self._room - size, 0):
            raise Unavailable("too many writes are waiting")
        if self._stalled >= self._patience:
            raise Unavailable("the database does not answer")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Call(operation, item, done, loop.time(), size))
        self._held += size
        self._arrived.set()
        return done

    async def write(
        self, change: Callable[[Transaction], Awaitable[Result]], told: Callable[[Result], None] | None = None
    ) -> Result:
        """One change of its own, in whichever transaction comes next. `told` is told of its result after COMMIT, also
        when the caller has waited too long or went away; it must not block or raise.
        """

        async def apply(transaction: Transaction, _items: Sequence[None]) -> Sequence[Result]:
            return [await change(transaction)]

        def committed(results: Sequence[Result]) -> None:
            if told is not None:
                told(results[0])

        return await self.submit(Operation(apply, committed), None)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def stalled(self) -> float:
        """Seconds for which the transaction that is under way has been watched, 0 when it is young."""
        return self._stalled

    def close(self) -> None:
        """Take no more; `run` ends once everything that waits is committed."""
        self._closing = True
        self._arrived.set()

    async def run(self) -> None:
        """Commits until closed. Raises Broken when the database can no longer be trusted."""
        watch = asyncio.create_task(self._watch())
        try:
            while not (self._closing and not self._waiting):
                await self._arrived.wait()
                while self._waiting:
                    self._working = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                    await self._commit(self._working)
                    self._held -= sum(call.size for call in self._working)
                self._working = ()
                self._arrived.clear()
        except Broken as error:
            self._stop(error)
            raise
        finally:
            watch.cancel()
            self._stop(Unavailable("nothing is committed any more"))

    def _stop(self, error: StorageError) -> None:
        """Nobody is left waiting, however the run ended."""
        self._closing = True
        self._fail([*self._working, *self._waiting], error)
        self._waiting.clear()

    async def _watch(self) -> None:
        """Counts its own looks at a transaction: a clock would go on while the process is stopped."""
        every = self._patience / 10
        seen: object | None = None
        while True:
            await asyncio.sleep(every)
            self._stalled = self._stalled + every if seen is self._under_way is not None else 0.0
            seen = self._under_way
            oldest = asyncio.get_running_loop().time() - self._patience
            overdue = [call for call in (*self._working, *self._waiting) if call.since < oldest]
            self._fail(overdue, Unavailable("the database did not commit in time"))

    async def _commit(self, calls: Sequence[_Call]) -> None:
        try:
            settled = await self._attempt(calls)
        except Broken:
            raise
        except Unavailable as error:
            self._fail(calls, error)
        except Exception as error:  # noqa: BLE001 — whatever one item did wrong must not reach the others
            await self._one_by_one(calls, error)
        else:
            self._committed()
            self._settle(settled)

    async def _one_by_one(self, calls: Sequence[_Call], error: Exception) -> None:
        if len(calls) == 1:
            if not calls[0].done.done():
                calls[0].done.set_exception(error)
            return
        log("batch.split", level="warning", exc=error, items=len(calls))
        for call in calls:
            await self._commit([call])

    async def _attempt(self, calls: Sequence[_Call]) -> list[tuple[Operation[Any, Any], list[_Call], Sequence[Any]]]:
        groups: dict[Operation[Any, Any], list[_Call]] = {}
        for call in calls:
            groups.setdefault(call.operation, []).append(call)
        settled = []
        self._under_way = object()
        try:
            async with self._database.writing() as transaction:
                for operation, group in groups.items():
                    results = await operation.apply(transaction, [call.item for call in group])
                    settled.append((operation, group, results))
        except Exception:
            self._undone()
            raise
        finally:
            self._under_way, self._stalled = None, 0.0
        return settled

    def _settle(self, settled: list[tuple[Operation[Any, Any], list[_Call], Sequence[Any]]]) -> None:
        try:
            for operation, _, results in settled:
                if operation.committed is not None:
                    operation.committed(results)
        finally:  # what is on disk is answered, whatever its followers make of it
            for _, group, results in settled:
                for call, result in zip(group, results, strict=True):
                    if not call.done.done():
                        call.done.set_result(result)

    def _fail(self, calls: Sequence[_Call], error: StorageError) -> None:
        """Each caller raises an error of its own: a shared one would gather the tracebacks of all."""
        for call in calls:
            if not call.done.done():
                call.done.set_exception(copy(error))
