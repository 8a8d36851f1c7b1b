"""The whole receiver between the ends of its lifespan, without sockets: vendors call, subscribers hear."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from standardwebhooks import Webhook
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from receiver.app import App, create_app
from receiver.settings import Settings
from receiver.storage.database import Transaction
from receiver.world import World
from tests.delivery.bad_subscribers import no_answer, subscriber
from tests.delivery.dispatching import PATIENCE, Clock, Gate, Subscribers, answers, in_turn, quiet, until
from tests.door.knocking import attempt

KEY = "an-admin-key-of-the-settings"
PUBLIC = "https://sms.example.com"
AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
SMS = {"MessageSid": "SM1", "From": "+12125550123", "To": "+15165550199", "Body": "Yes, see you at 3pm"}


@dataclass
class Running:
    """An app with its subscribers; `api` asks as admin, `vendor` posts like Twilio."""

    app: App
    subscribers: Subscribers
    clock: Clock
    client: httpx2.AsyncClient

    async def api(self, method: str, path: str, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {KEY}"}
        answer = await self.client.request(method, path, json=body or None, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def source(self, **given: Any) -> Any:
        return await self.api("POST", "/v1/sources", vendor="twilio", credentials={"auth_token": AUTH_TOKEN}, **given)

    async def subscription(self, name: str = "a", **given: Any) -> Any:
        return await self.api("POST", "/v1/subscriptions", url=f"https://{name}.example/hook", **given)

    async def vendor(self, url: str, token: str = AUTH_TOKEN, **changed: str) -> httpx2.Response:
        form = SMS | changed
        signature = RequestValidator(token).compute_signature(url, form)
        return await self.client.post(url.removeprefix(PUBLIC), data=form, headers={"x-twilio-signature": signature})

    async def fetch(self, sql: Any, *values: Any) -> Any:
        async with self.app.database.reading() as reader:
            return await reader.fetch(sql, *values)


def settings(folder: Path, **given: Any) -> Settings:
    return Settings.model_validate(
        {"database_url": f"sqlite:///{folder}/receiver.db", "public_url": PUBLIC, "api_key": KEY, "lock_wait": 0.1}
        | given
    )


@asynccontextmanager
async def running(folder: Path, clock: Clock | None = None, **given: Any) -> AsyncIterator[Running]:
    clock = clock or Clock()
    subscribers = Subscribers(clock)
    app = create_app(settings(folder, **given), world=World(clock=clock), transport=subscribers)
    async with (
        app.lifespan(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield Running(app, subscribers, clock, client)


async def test_what_a_vendor_posts_reaches_a_subscriber_signed(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        source = await it.source()
        subscription = await it.subscription()
        answer = await it.vendor(source["url"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml")
        await it_got(it, 1)
        (sent,) = it.subscribers.sent
        event = Webhook(subscription["secret"]).verify(sent.body, dict(sent.headers))
        assert event["type"] == "message.received"
        assert event["data"]["from"]["address"] == "+12125550123"
        assert event["data"]["text"] == "Yes, see you at 3pm"
        assert sent.headers["user-agent"].startswith("receiver/")
        await finished(it)
        (delivery,) = (await it.api("GET", "/v1/deliveries"))["data"]
        assert (delivery["state"], delivery["event_id"]) == ("succeeded", event["id"])
        (logged,) = (await it.api("GET", "/v1/events"))["data"]
        assert logged == json.loads(sent.body)


async def it_got(it: Running, number: int) -> None:
    await until(lambda: len(it.subscribers.sent) >= number)


async def finished(it: Running) -> None:
    for _ in range(PATIENCE):
        ((left,),) = await it.fetch("SELECT count(*) FROM deliveries WHERE state IN ('waiting', 'sending', 'retrying')")
        if not left:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("deliveries are left")


async def test_fifty_identical_requests_at_once_make_one_event_and_one_delivery_each(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        source = await it.source()
        for name in ("a", "b"):
            await it.subscription(name)
        answered = await asyncio.gather(*(it.vendor(source["url"]) for _ in range(50)))
        assert {answer.status_code for answer in answered} == {200}
        assert len({answer.content for answer in answered}) == 1
        await finished(it)
        assert sorted(sent.name for sent in it.subscribers.sent) == ["a", "b"]
        assert await it.fetch("SELECT count(*) FROM events") == [(1,)]
        assert await it.fetch("SELECT count(*) FROM deliveries") == [(2,)]
        outcomes = await it.fetch("SELECT outcome, count(*) FROM receipts GROUP BY outcome ORDER BY outcome")
        assert outcomes == [("duplicate", 49), ("stored", 1)]


async def test_sources_and_subscriptions_count_from_the_moment_they_are_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        source = await it.source()
        url = source["url"]
        assert (await it.vendor(url, MessageSid="SM1")).status_code == 200
        subscription = await it.subscription()
        assert (await it.vendor(url, MessageSid="SM2")).status_code == 200
        await it_got(it, 1)

        new_token = "f" * 32
        await it.api("PATCH", f"/v1/sources/{source['id']}", credentials={"auth_token": new_token})
        assert (await it.vendor(url, MessageSid="SM3")).status_code == 401
        assert (await it.vendor(url, new_token, MessageSid="SM3")).status_code == 200
        moved = (await it.api("POST", f"/v1/sources/{source['id']}/rotate-token"))["url"]
        assert (await it.vendor(url, new_token, MessageSid="SM4")).status_code == 404
        assert (await it.vendor(moved, new_token, MessageSid="SM4")).status_code == 200
        await it_got(it, 3)

        await it.api("DELETE", f"/v1/subscriptions/{subscription['id']}")
        assert (await it.vendor(moved, new_token, MessageSid="SM5")).status_code == 200
        await it.api("DELETE", f"/v1/sources/{source['id']}")
        assert (await it.vendor(moved, new_token, MessageSid="SM6")).status_code == 404
        await quiet()
        assert len(it.subscribers.sent) == 3


async def test_a_delivery_is_sent_again_when_the_api_is_asked_to(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500), answers(200))
        source = await it.source()
        subscription = await it.subscription()
        await it.vendor(source["url"])
        await it_got(it, 1)
        await until(lambda: bool(it.app.counters.snapshot().get('attempts{verdict="retry"}')))
        (delivery,) = (await it.api("GET", "/v1/deliveries"))["data"]
        await it.api("POST", f"/v1/deliveries/{delivery['id']}/retry")
        await finished(it)
        shown = await it.api("GET", f"/v1/deliveries/{delivery['id']}")
        assert (shown["state"], [item["status"] for item in shown["attempts"]]) == ("succeeded", [500, 200])
        test = await it.api("POST", f"/v1/subscriptions/{subscription['id']}/test")
        assert test["status"] == 200


async def test_the_first_start_makes_one_key_and_later_ones_none(tmp_path: Path) -> None:
    async with running(tmp_path, api_key=None) as it:
        key = it.app.first_key
        assert key is not None
        assert len(key) >= 40
        assert (await asked(it, key)).status_code == 200
        assert await it.fetch("SELECT scopes FROM keys") == [("admin",)]
    assert key.encode() not in everything(tmp_path)
    async with running(tmp_path, api_key=None) as it:
        assert it.app.first_key is None
        assert (await asked(it, key)).status_code == 200


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def asked(it: Running, key: str) -> httpx2.Response:
    return await it.client.get("/v1/keys", headers={"authorization": f"Bearer {key}"})


async def test_with_a_key_in_the_settings_none_is_made(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        assert it.app.first_key is None
        assert await it.fetch("SELECT count(*) FROM keys") == [(0,)]
        assert (await asked(it, KEY)).status_code == 200
        assert (await asked(it, "another-key-of-16-characters")).status_code == 401


async def test_the_owner_needs_no_key_and_nobody_becomes_the_owner_by_a_header(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        assert (await it.client.get("/v1/keys", headers={"receiver.owner": "true"})).status_code == 401
        transport = httpx2.ASGITransport(it.app.owner)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as owner:
            assert (await owner.get("/v1/keys")).status_code == 200


class Stepping(Clock):
    """A millisecond a look, so that ids made one after the other do not share one."""

    def __call__(self) -> int:
        self.now += 1000
        return self.now


async def test_ids_made_after_a_restart_are_above_all_before_even_if_the_clock_went_back(tmp_path: Path) -> None:
    clock = Stepping()
    async with running(tmp_path, clock) as it:
        before = await made(it)
    clock.now -= 3600 * 1_000_000
    async with running(tmp_path, clock) as it:
        after = await made(it, MessageSid="SM2")
    for table, ids in after.items():
        assert min(set(ids) - set(before[table])) > max(before[table]), table


async def made(it: Running, **changed: str) -> dict[str, Sequence[str]]:
    """Every id there is, without its prefix, after one of each kind was made anew."""
    source = await it.source()
    await it.subscription()
    await it.api("POST", "/v1/keys", name="one", scopes=["read"])
    assert (await it.vendor(source["url"], **changed)).status_code == 200
    await finished(it)
    tables = ("events", "receipts", "messages", "deliveries", "sources", "subscriptions", "keys")
    return {table: [row[0] for row in await it.fetch(f"SELECT substr(id, 5) FROM {table}")] for table in tables}


async def test_what_is_left_at_the_end_is_sent_after_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        source = await it.source()
        await it.subscription(max_concurrency=1)
        for number in range(5):
            await it.vendor(source["url"], MessageSid=f"SM{number}")
        await it_got(it, 1)
        asyncio.get_running_loop().call_later(0.1, gate.opened.set)  # while the app is already ending
    first = it.subscribers.sent
    assert len(first) == 1
    with sqlite3.connect(tmp_path / "receiver.db") as database:
        rows = database.execute("SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state").fetchall()
    database.close()
    assert rows == [("succeeded", 1), ("waiting", 4)]
    async with running(tmp_path) as it:
        await finished(it)
        assert len({sent.event_id for sent in (*first, *it.subscribers.sent)}) == 5
        assert len(it.subscribers.sent) == 4


async def test_a_command_s_app_sends_nothing_and_makes_no_key(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, api_key=None), transport=(subscribers := Subscribers(Clock())))
    async with app.lifespan(dispatch=False):
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app.owner), base_url="http://localhost")
        async with client:
            it = Running(app, subscribers, Clock(), client)
            source = await it.source()
            await it.subscription()
            assert (await it.vendor(source["url"])).status_code == 200
            await quiet()
    assert app.first_key is None
    assert subscribers.sent == []
    async with running(tmp_path) as it:
        await finished(it)
        assert len(it.subscribers.sent) == 1


async def test_refusals_are_noted_on_the_source_once_a_second_at_most(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        source = await it.source()

        async def refused() -> Any:
            assert (await it.vendor(source["url"], "0" * 32)).status_code == 401
            return await noted(it)

        began = it.clock()
        ((error, moment),) = await refused()
        assert error
        assert AUTH_TOKEN not in error
        assert moment == began
        it.clock.advance(0.9)
        assert await refused() == [(error, began)]
        it.clock.advance(0.1)
        assert await refused() == [(error, began + 1_000_000)]


async def noted(it: Running) -> Any:
    """What is kept of refusals, once every write that was asked for so far is done."""

    async def nothing(_transaction: Transaction) -> None:
        """Comes after what was asked for before."""

    await quiet(0.01)
    await it.app.batch.write(nothing)
    return await it.fetch("SELECT last_error, last_error_at FROM sources")


async def test_a_clock_that_went_back_does_not_silence_refusals(tmp_path: Path) -> None:
    async with running(tmp_path) as it:
        source = await it.source()
        await it.vendor(source["url"], "0" * 32)
        await noted(it)
        it.clock.advance(-3600)
        await it.vendor(source["url"], "0" * 32)
        ((_, moment),) = await noted(it)
        assert moment == it.clock()


async def test_those_who_hang_at_a_host_keep_no_other_subscription_from_it(tmp_path: Path) -> None:
    """Hundreds may lie at one host, that of a service which they all use; see `Lanes` for how many go at once."""
    app = create_app(settings(tmp_path, delivery_concurrency=2, egress_allow="127.0.0.0/8"))
    async with subscriber(no_answer) as host:
        attempts = [asyncio.create_task(attempt(app.transport, f"{host.url}/{number}")) for number in range(4)]
        try:
            await until(lambda: host.connects == 4)
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
            await app.transport.aclose()


async def test_the_door_is_found_with_and_without_the_prefix_of_the_public_url(tmp_path: Path) -> None:
    async with running(tmp_path, public_url=f"{PUBLIC}/hooks") as it:
        source = await it.source()
        assert source["url"].startswith(f"{PUBLIC}/hooks/in/twilio/")
        assert (await it.vendor(source["url"])).status_code == 200
        path = source["url"].removeprefix(f"{PUBLIC}/hooks")
        signature = RequestValidator(AUTH_TOKEN).compute_signature(source["url"], SMS | {"MessageSid": "SM2"})
        headers = {"x-twilio-signature": signature}
        assert (await it.client.post(path, data=SMS | {"MessageSid": "SM2"}, headers=headers)).status_code == 200
        assert await it.fetch("SELECT count(*) FROM events") == [(2,)]
