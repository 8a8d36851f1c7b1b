"""kill -9 while parts come: every part that was acknowledged is in exactly one message that stands."""

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.processes import KEY, PUBLIC_URL, Receiver

pytestmark = pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy

ROUNDS, MESSAGES, TOTAL = 3, 8, 3
NAMES = ("vendor_message_id", "from", "text", "part_reference", "part_number", "part_total")
Sent = tuple[str, int]


def asking(receiver: Receiver) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.AsyncClient(base_url=receiver.url, headers=headers, timeout=30, trust_env=False)


async def send(client: httpx2.AsyncClient, path: str, left: list[Sent]) -> None:
    """Parts until none is left, or the receiver is gone; one that was not acknowledged stays for the next round."""
    while left:
        name, number = left[0]
        body = {
            "vendor_message_id": f"{name}/{number}", "from": "447700900123", "text": f"{name}{number} ",
            "part_reference": name, "part_number": number, "part_total": TOTAL,
        }  # fmt: skip
        try:
            answer = await client.post(path, json=body)
        except httpx2.TransportError:
            return
        if answer.status_code == 200:
            left.pop(0)


async def standing(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    events = (await client.get("/v1/events?limit=500&type=message.received")).raise_for_status().json()["data"]
    superseded = {event["supersedes"] for event in events}
    return [event["data"] for event in events if event["id"] not in superseded]


async def test_parts_survive_kills_in_any_order_with_repeats_and_gaps(tmp_path: Path):
    chance = random.Random()
    receiver = Receiver(tmp_path)
    expected: dict[str, list[int]] = {}
    try:
        await receiver.start()
        options = {"fields": {name: name for name in NAMES}, "international": True, "assemble_after": 2}
        async with asking(receiver) as client:
            made = (await client.post("/v1/sources", json={"vendor": "generic", "options": options})).raise_for_status()
        path = made.json()["url"].removeprefix(PUBLIC_URL)
        for lap in range(ROUNDS):
            left: list[Sent] = []
            for place in range(MESSAGES):
                numbers = sorted(chance.sample(range(1, TOTAL + 1), chance.choice((TOTAL, TOTAL, TOTAL - 1))))
                expected[f"{lap}m{place}"] = numbers
                left += [(f"{lap}m{place}", number) for number in (*numbers, chance.choice(numbers))]
            chance.shuffle(left)
            async with asking(receiver) as client:
                sending = asyncio.create_task(send(client, path, left))
                await asyncio.sleep(chance.random() * 0.3)
                await receiver.kill()
                await sending
            await receiver.start()
            async with asking(receiver) as client:
                await send(client, path, left)
            assert left == []
        due = {
            "".join(f"{name}{number} " for number in numbers): sorted({*range(1, TOTAL + 1)} - {*numbers})
            for name, numbers in expected.items()
        }
        async with asking(receiver) as client:
            for _ in range(300):  # what came late is corrected after a while of its own
                found = [
                    (data["text"], (data["part"] or {"missing": []})["missing"]) for data in await standing(client)
                ]
                if sorted(found) == sorted(due.items()):
                    break
                await asyncio.sleep(0.1)
        assert sorted(found) == sorted(due.items())
    finally:
        await receiver.close()
