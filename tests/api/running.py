"""The API on a real database, with the vendors' door beside it, so that what is listed was really received."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette

from receiver.api import create_api
from receiver.api.context import Context
from receiver.delivery.handshake import Consent, NoConsent
from receiver.delivery.recover import Jobs
from receiver.egress import Guard
from receiver.intake.apply import Reparse
from receiver.intake.receive import Intake
from receiver.sms.consent import Change
from receiver.storage.amend import Amender
from receiver.storage.batch import Batch, Operation
from receiver.storage.catalog import Catalog
from receiver.storage.database import Transaction
from receiver.storage.deliveries import Attempt, Finished, finish
from receiver.storage.ids import Ids
from receiver.storage.live import Live
from receiver.storage.migrate import migrate
from receiver.storage.owing import no_room
from receiver.storage.record import Recorder
from receiver.storage.recording import Consented, Recorded, Recording
from receiver.storage.subscriptions import Subscription
from tests import engines

ADMIN_KEY = "an-admin-key-of-the-settings"
PUBLIC_URL = "https://sms.example.com/hooks"
START = 1_795_000_000_000_000
HOOK = "https://subscriber.example.com/hook"


@dataclass
class Consents:
    """Every URL's answer to a handshake, what happens before it comes, and the subscriptions that were asked."""

    answer: Consent | NoConsent = field(default_factory=lambda: Consent(per_minute=None))
    meanwhile: Callable[[], Awaitable[None]] | None = None
    asked: list[Subscription] = field(default_factory=list)

    async def ask(self, subscription: Subscription) -> Consent | NoConsent:
        self.asked.append(subscription)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.answer


@dataclass
class Api:
    """`client` asks as the admin of the settings; `ask` with any headers. Time goes on a millisecond a look.

    Jobs wait for `work`; `rung` has a word for each time that they were told of one.
    """

    app: Starlette
    client: httpx2.AsyncClient
    context: Context
    intake: Intake
    database: engines.AnyDatabase
    recorded: list[Recorded]
    pinged: list[Subscription]
    consents: Consents
    jobs: Jobs
    rung: list[str]
    woken: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)

    async def work(self) -> None:
        """Every job that was asked for, to its end."""
        while await self.jobs.step():
            pass

    async def ask(self, method: str, path: str, **given: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **given)

    async def make_source(self, **body: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/sources", json={"vendor": "generic", **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def make_subscription(self, **body: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/subscriptions", json={"url": HOOK, **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def make_key(self, *scopes: str) -> dict[str, Any]:
        answer = await self.client.post("/v1/keys", json={"name": "a key", "scopes": list(scopes)})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def mapped_source(self, **body: Any) -> dict[str, Any]:
        """A generic source that takes JSON with our own names."""
        names = ("vendor_message_id", "client_reference", "from", "to", "text", "status")
        options = {"fields": {name: name for name in names}, "statuses": {"ok": "delivered"}, "international": True}
        return await self.make_source(options={**options, **body.pop("options", {})}, **body)

    async def receive(self, source: Mapping[str, Any], content: bytes, headers: Any = (), query: bytes = b"") -> int:
        """A vendor's POST to that source; the status of its answer."""
        path = source["url"].removeprefix(PUBLIC_URL).encode()
        sent: list[dict[str, Any]] = []
        incoming = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "raw_path": path, "path": path.decode(), "query_string": query,
            "headers": [(b"content-type", b"application/json"), *headers], "client": ("203.0.113.9", 4321),
        }  # fmt: skip
        await self.intake(scope, receive, send)
        return int(sent[0]["status"])

    async def attempted(self, recorded: Recorded, state: str, attempt: Attempt) -> None:
        """Every delivery that a request was born with gets one attempt."""
        outcomes = [
            Finished(
                delivery_id=owed.delivery_id, subscription_id=owed.subscription_id, state=state,
                next_at=START * 2 if state == "retrying" else None, attempt=attempt,
            )
            for owed in recorded.outgoing.leased
        ]  # fmt: skip

        async def change(transaction: Transaction) -> None:
            finish(transaction, outcomes, self.context.clock())

        await self.context.batch.write(change)


def an_attempt(**given: Any) -> Attempt:
    made = Attempt(number=1, started_at=START, duration_ms=12, status=200, error=None, detail=None, answer=b"ok")
    return replace(made, **given)


@asynccontextmanager
async def running_api(folder: Path, **given: Any) -> AsyncIterator[Api]:
    database = await engines.open_database(folder)
    await migrate(database, lambda: START)
    live = given.setdefault("live", Live(heartbeat=0.2, pause=0.01))
    batch = Batch(database, committed=live.told)
    committing = asyncio.create_task(batch.run())
    api = _built(database, batch, given)
    try:
        async with api.client:
            yield api
    finally:
        batch.close()
        await committing
        await database.close()


def _built(database: engines.AnyDatabase, batch: Batch, given: Mapping[str, Any]) -> Api:
    ticks, seeds = count(START, 1000), count(1)
    catalog = Catalog()
    recorded: list[Recorded] = []
    pinged: list[Subscription] = []
    woken: list[str] = []
    causes: list[str] = []
    rung: list[str] = []
    consents = Consents()

    def ticking() -> int:
        return next(ticks)

    clock = given.get("clock", ticking)
    ids = Ids(clock, lambda size: next(seeds).to_bytes(size, "big"))

    async def ping(subscription: Subscription) -> Attempt:
        pinged.append(subscription)
        return an_attempt()

    recorder = Recorder(catalog, ids, clock, lambda _, *, urgent: 1000)
    consenting: Operation[Sequence[Change], Consented] = Operation(recorder.change_consents)

    async def consent(wish: Sequence[Change]) -> int:
        return (await batch.submit(consenting, wish)).changed

    context = Context(
        database=database, batch=batch, catalog=catalog, ids=ids, clock=clock,
        entropy=lambda size: next(seeds).to_bytes(size, "big"), public_url=PUBLIC_URL, public_url_is_default=False,
        admin_key=ADMIN_KEY, guard=Guard(), ping=ping, wake=woken.append, causes=lambda: causes,
        ask_consent=consents.ask, jobs_woken=partial(rung.append, "job"), consent=consent,
        record_once=lambda item: batch.submit(importing, item),
    )  # fmt: skip
    context = replace(context, **given)
    recording: Operation[Recording, Recorded] = Operation(recorder.record, recorded.extend)
    importing: Operation[Recording, Recorded] = Operation(recorder.record_once, recorded.extend)
    intake = Intake(
        doors=catalog, record=lambda item: batch.submit(recording, item), new_id=ids.new, clock=clock,
        count=lambda name, /, **labels: None, refused=lambda source_id, reason: None, public_url=PUBLIC_URL,
        max_body_bytes=1024 * 1024,
    )  # fmt: skip
    app = create_api(context)
    client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://localhost",
        headers={"authorization": f"Bearer {ADMIN_KEY}"},
    )
    reparse = Reparse(
        catalog=catalog, amender=Amender(catalog, ids, no_room), ids=ids, public_url=PUBLIC_URL,
        held=partial(rung.append, "part"),
    )  # fmt: skip
    jobs = Jobs(
        batch=batch, catalog=catalog, ids=ids, clock=clock, wake_lane=woken.append, others={"reparse": reparse.step}
    )
    return Api(app, client, context, intake, database, recorded, pinged, consents, jobs, rung, woken, causes)


def pointers(answer: httpx2.Response) -> Sequence[str]:
    """Where a 422 says that something is wrong."""
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["status"]) == ("invalid_input", 422)
    return [error["pointer"] for error in problem["errors"]]


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of any other problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == answer.status_code
    return answer.status_code, found["code"]
