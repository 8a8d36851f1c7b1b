"""Everything at once, for a few seconds: whatever order things happen in, every delivery comes to its end."""

import asyncio
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx2

from receiver.storage import deliveries
from receiver.storage.database import Unavailable
from tests.delivery.dispatching import PACE, Sent, Ticking, WayOut, answers, fails, until, way_out

OPEN = ("queued", "waiting", "sending", "retrying")


async def test_whatever_happens_every_delivery_comes_to_its_end(tmp_path: Path) -> None:
    """A few seconds of everything at once: failures, full disks, changes, retries by hand, two small lanes."""
    chosen = random.Random(20261120)
    pace = replace(PACE, lane=5, concurrency=6, schedule=(0.02, 0.05, 0.1, 0.2), timeout=0.5)
    async with way_out(tmp_path, clock=Ticking(), pace=pace) as it:
        refused = fails(httpx2.ConnectError("no connection"))
        ways = [answers(200)] * 6 + [answers(500), answers(503), answers(429, retry_after="0"), refused]

        async def moody(sent: Sent) -> httpx2.Response:
            await asyncio.sleep(chosen.choice([0, 0, 0.001, 0.01]))
            return await chosen.choice(ways)(sent)

        for name in ("a", "b", "c"):
            it.subscribers.behaviours[name] = moody
            await it.subscribe(name, max_concurrency=chosen.randint(1, 4))
        recorded = await disturbed(it, chosen, seconds=4.0)
        for name in ("a", "b", "c"):
            await it.change(f"sub_{name}", state="active")
        await ended(it)
        rows = await it.fetch(
            """SELECT d.id, d.state, d.attempts, d.event_id, d.subscription_id,
                   (SELECT count(*) FROM attempts WHERE delivery_id = d.id) FROM deliveries d"""
        )
        assert len(rows) > 300
        assert {state for _, state, *_ in rows} <= {"succeeded", "dead", "held"}
        posted = [(sent.event_id, f"sub_{sent.name}") for sent in it.subscribers.sent]
        for _, state, made, event_id, subscription_id, told in rows:
            assert posted.count((event_id, subscription_id)) == made == told
            assert made >= 1 or state == "held"
        told_of = {row[0] for row in await it.fetch("SELECT id FROM events WHERE type LIKE 'subscription.%'")}
        assert set(recorded) | told_of >= {event_id for event_id, _ in posted}
        for name in ("a", "b", "c"):  # and nothing is left that would send the next one through the database
            await until(partial(has_room, it, f"sub_{name}", pace.lane))


def has_room(it: WayOut, subscription_id: str, number: int) -> bool:
    return it.lanes.room(subscription_id, urgent=False) == number


async def disturbed(it: WayOut, chosen: random.Random, seconds: float) -> list[str]:
    """Records events, and makes the world around them restless."""
    recorded: list[str] = []
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        trouble = chosen.choice([nothing, nothing, full_disk, pause, resume, limit, by_hand])
        for outcome in await asyncio.gather(
            it.record(chosen.randint(1, 6)), trouble(it, chosen), return_exceptions=True
        ):
            assert outcome is None or isinstance(outcome, list | Unavailable)
            recorded += outcome if isinstance(outcome, list) else []
        await asyncio.sleep(chosen.choice([0, 0.005, 0.03]))
    it.database.failing = 0
    return recorded


async def nothing(it: WayOut, chosen: random.Random) -> None:
    """Most of the time nothing special happens."""


async def full_disk(it: WayOut, chosen: random.Random) -> None:
    it.database.failing = chosen.randint(1, 3)


def any_id(chosen: random.Random) -> str:
    return f"sub_{chosen.choice('abc')}"


async def pause(it: WayOut, chosen: random.Random) -> None:
    await it.change(any_id(chosen), state="paused")


async def resume(it: WayOut, chosen: random.Random) -> None:
    await it.change(any_id(chosen), state="active")


async def limit(it: WayOut, chosen: random.Random) -> None:
    await it.change(any_id(chosen), max_concurrency=chosen.randint(1, 6))


async def by_hand(it: WayOut, chosen: random.Random) -> None:
    """What `POST /v1/deliveries/{id}/retry` does."""
    rows = await it.fetch(
        """SELECT d.id, d.subscription_id FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id
           WHERE d.state IN ('dead', 'retrying', 'succeeded', 'held') AND s.state = 'active' LIMIT 50"""
    )
    if rows:
        delivery_id, subscription_id = chosen.choice(rows)
        await it.batch.write(lambda transaction: deliveries.reopen(transaction, [delivery_id], it.clock()))
        it.dispatcher.wake(subscription_id)


async def ended(it: WayOut) -> None:
    marks = ", ".join(f"'{state}'" for state in OPEN)
    for _ in range(1500):
        ((left,),) = await it.fetch(f"SELECT count(*) FROM deliveries WHERE state IN ({marks})")
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{left} deliveries have come to no end")
