"""What the API works with, handed in by the composition root; nothing here is made by the API itself."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from receiver.api.problem import Problem
from receiver.delivery.handshake import Consent, NoConsent
from receiver.egress import Guard
from receiver.sms.consent import Change
from receiver.storage.batch import Batch
from receiver.storage.catalog import Catalog
from receiver.storage.database import Database, Transaction
from receiver.storage.deliveries import Attempt
from receiver.storage.ids import Ids
from receiver.storage.live import Live
from receiver.storage.recording import Recorded, Recording
from receiver.storage.subscriptions import Subscription
from receiver.throttle import unlimited
from receiver.vendors import VENDORS
from receiver.vendors.contract import Vendor

Result = TypeVar("Result")


@asynccontextmanager
async def alone(_name: str) -> AsyncIterator[bool]:
    """Where no other process uses the database, none holds anything."""
    yield True


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """clock       unix microseconds
    entropy     n random bytes
    public_url  how this receiver is reached from outside, without a trailing slash
    admin_key   the settings' own key, valid while set
    ping        sends one test.ping now and returns the attempt
    wake        told of a subscription that has deliveries due in store
    ask_consent asks a subscription's URL whether deliveries are welcome, with its headers and at its rate
    live        who reads along the log, and is woken by commits
    jobs_woken  told of a job that was just asked for
    reread      has the catalog read again in a while
    record_once commits what may have been recorded before, such as a row of a file
    causes      why this process is not ready; empty when it is
    purge_behind   for how many seconds the oldest that is to be purged should have been gone
    ask_woken   told of a source whose vendor is to be asked for something more
    consent     changes the opt-out list as one wish, and says how many of its lines are others now
    failed      told of a peer without a valid key; for how many seconds it is told no more than 429, 0 for none
    under_way   calls with an Idempotency-Key that are being carried out, by a hash of it
    besides     what is written in the transaction of every change
    holding     a name that no other process holds meanwhile; False when one does
    """

    database: Database
    batch: Batch
    catalog: Catalog
    ids: Ids
    clock: Callable[[], int]
    entropy: Callable[[int], bytes]
    public_url: str
    public_url_is_default: bool
    admin_key: str | None
    guard: Guard
    ping: Callable[[Subscription], Awaitable[Attempt]]
    wake: Callable[[str], None]
    causes: Callable[[], Sequence[str]]
    ask_consent: Callable[[Subscription], Awaitable[Consent | NoConsent]]
    jobs_woken: Callable[[], None]
    record_once: Callable[[Recording], Awaitable[Recorded]]
    consent: Callable[[Sequence[Change]], Awaitable[int]]
    ask_woken: Callable[[str], None] = lambda _source_id: None
    reread: Callable[[], None] = lambda: None
    purge_behind: Callable[[], int] = lambda: 0
    failed: Callable[[str], float] = unlimited
    live: Live = field(default_factory=Live)
    vendors: Mapping[str, Vendor] = field(default_factory=lambda: VENDORS)
    under_way: set[str] = field(default_factory=set)
    besides: Callable[[Transaction], Awaitable[None]] | None = None
    holding: Callable[[str], AbstractAsyncContextManager[bool]] = alone

    async def write(
        self, change: Callable[[Transaction], Awaitable[Result]], told: Callable[[Result], None] = lambda _: None
    ) -> Result:
        """The result of `change`, committed. A Problem must be raised before anything is written: it is handed over
        as a value, so that the transaction, which others share, goes on.

        `told` is told of the result too, even when nobody waits for it any more: see `Batch.write`.
        """

        async def guarded(transaction: Transaction) -> Result | Problem:
            try:
                changed = await change(transaction)
            except Problem as problem:
                return problem
            if self.besides is not None:
                await self.besides(transaction)
            return changed

        def committed(result: Result | Problem) -> None:
            if not isinstance(result, Problem):
                told(result)

        result = await self.batch.write(guarded, committed)
        if isinstance(result, Problem):
            raise result
        return result

    async def reconfigure(
        self, change: Callable[[Transaction], Awaitable[Result]], told: Callable[[Result], None] = lambda _: None
    ) -> Result:
        """`write` for sources and subscriptions: answered when the rest of the process knows of it, which it will when
        nobody waits for the answer too.
        """

        def committed(result: Result) -> None:
            told(result)
            self.reread()

        result = await self.write(change, committed)
        async with self.database.reading() as reader:
            await self.catalog.refresh(reader)
        return result
