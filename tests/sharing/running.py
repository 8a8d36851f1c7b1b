"""Several receivers on one PostgreSQL, each with its own connections and memory, and subscribers that all of them reach."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from receiver.app import App, create_app
from receiver.settings import Settings
from receiver.world import World
from tests import engines
from tests.delivery.dispatching import Subscribers, Ticking

KEY = "an-admin-key-of-the-settings"
_NAMES = ("vendor_message_id", "from", "to", "text", "part_reference", "part_number", "part_total")


@dataclass
class Process:
    """One receiver; `api` asks as admin, `tell` is a vendor's request."""

    app: App
    client: httpx2.AsyncClient
    stack: AsyncExitStack

    async def api(self, method: str, path: str, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await self.client.request(method, path, json=body or None, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def tell(self, path: str, **fields: Any) -> int:
        return (await self.client.post(path, json=fields)).status_code

    async def subscribe(self, name: str = "a", **given: Any) -> Any:
        return await self.api("POST", "/v1/subscriptions", url=f"https://{name}.example/hook", **given)

    @property
    def number(self) -> int:
        return self.app.parts.lanes.holder

    async def freeze(self) -> None:
        """It stops saying that it lives; everything else of it goes on, as in a process that wakes up late."""
        for task in self.app._among:
            task.cancel()


@dataclass
class Group:
    """`path` is where vendors post to; `look` is any other program's look at the database."""

    processes: list[Process]
    subscribers: Subscribers
    other: Any
    path: str = ""

    async def source(self, **options: Any) -> str:
        options |= {"fields": {name: name for name in _NAMES}, "international": True}
        made = await self.processes[0].api("POST", "/v1/sources", vendor="generic", options=options)
        self.path = "/in/" + made["url"].partition("/in/")[2]
        await until(lambda: all(len(process.app.catalog.sources) == 1 for process in self.processes))
        return self.path

    async def look(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.other.fetch(sql, *values)]

    async def states(self) -> dict[str, int]:
        return dict(await self.look("SELECT state, count(*) FROM deliveries GROUP BY state"))

    async def until_states(self, **wanted: int) -> None:
        seen: dict[str, int] = {}
        for _ in range(2000):
            seen = await self.states()
            if seen == wanted:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{seen} never became {wanted}")

    def heard(self, name: str = "a") -> Counter[str]:
        return Counter(self.subscribers.events(name))

    async def disbelieve(self, number: int) -> None:
        """The time for which the others believe in a process is over."""
        await self.other.execute("UPDATE processes SET alive_until = 0 WHERE number = $1", number)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


@asynccontextmanager
async def group(folder: Path, count: int = 2, **given: Any) -> AsyncIterator[Group]:
    url = await engines.database_url(folder)
    subscribers = Subscribers(Ticking())
    connection = await asyncpg.connect(url)
    made = Group([], subscribers, connection)

    async def start() -> None:
        settings = Settings.model_validate(
            {"database_url": url, "public_url": "https://x.example", "api_key": KEY} | given
        )
        stack = AsyncExitStack()
        app = create_app(settings, world=World(), transport=subscribers)
        await stack.enter_async_context(app.lifespan())
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost")
        await stack.enter_async_context(client)
        made.processes.append(Process(app, client, stack))
        await until(lambda: app.parts.lanes.open)

    try:
        for _ in range(count):
            await start()
        yield made
    finally:
        for process in made.processes:
            await process.stack.aclose()
        await connection.close()
