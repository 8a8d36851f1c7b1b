"""The whole receiver, and a vendor's API that it asks over real HTTP on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from receiver.app import App, create_app
from receiver.settings import Settings
from receiver.world import World
from tests.delivery.dispatching import Clock
from tests.polling.server import Fake

KEY = "an-admin-key-of-the-settings"
PUBLIC = "https://sms.example.com"
LOOKS = 2_500


@dataclass
class Asker:
    """A receiver between the ends of its lifespan; `api` asks its API as admin."""

    app: App
    client: httpx2.AsyncClient
    clock: Clock

    async def api(self, method: str, path: str, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await self.client.request(method, path, json=body or None, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def events(self, kind: str | None = None) -> Sequence[dict[str, Any]]:
        query = f"&type={kind}" if kind else ""
        found: Sequence[dict[str, Any]] = (await self.api("GET", f"/v1/events?limit=500{query}"))["data"]
        return found

    async def texts(self) -> Sequence[str]:
        return [event["data"]["text"] for event in await self.events("message.received")]

    async def fetch(self, sql: Any, *values: Any) -> Any:
        async with self.app.database.reading() as reader:
            return await reader.fetch(sql, *values)

    async def source(self, vendor: str, fake: Fake, credentials: Any, poll: Any = None, **options: Any) -> Any:
        """One that is asked as fast as it goes."""
        poll = {"every": 1, "per_minute": 6000, "base_url": fake.url, **(poll or {})}
        return await self.api(
            "POST", "/v1/sources", vendor=vendor, credentials=credentials, options={"poll": poll, **options}
        )

    async def push(self, source: Any, method: str, query: str = "", body: bytes = b"") -> None:
        """What the vendor sends of its own accord."""
        path = source["url"].removeprefix(PUBLIC) + (f"?{query}" if query else "")
        answer = await self.client.request(method, path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text


async def until(holds: Callable[[], Any]) -> None:
    """Until `holds` gives, or its awaitable gives, something true. Looks are counted, not seconds: a machine may pause."""
    for _ in range(LOOKS):
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def settings(folder: Path, **given: Any) -> Settings:
    return Settings.model_validate(
        {
            "database_url": f"sqlite:///{folder}/receiver.db",
            "public_url": PUBLIC,
            "api_key": KEY,
            "lock_wait": 0.5,
            "egress_allow": "127.0.0.0/8",
            **given,
        }
    )


@asynccontextmanager
async def asker(folder: Path, clock: Clock | None = None, **given: Any) -> AsyncIterator[Asker]:
    """`clock` stands still until it is moved; without one, time goes on as it does."""
    world = World(clock=clock) if clock else World()
    app = create_app(settings(folder, **given), world=world)
    async with (
        app.lifespan(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield Asker(app, client, clock or Clock())
