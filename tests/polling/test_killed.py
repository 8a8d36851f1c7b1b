"""A receiver that is killed at the moment a vendor's answer leaves: whatever it had on disk, each message is there once."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.processes import KEY, Receiver
from tests.polling.asking import until
from tests.polling.fakes import PASSWORD, USER, SendSms
from tests.polling.server import Asked, serving

ROUNDS = 4
A_ROUND = 60
"""More than one answer holds."""


async def listed(url: str) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=10) as client:
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = (await client.get(f"/v1/events?limit=500{after}")).json()
            found += page["data"]
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"


async def make_source(receiver: Receiver, url: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    poll = {"every": 1, "per_minute": 6000, "base_url": url}
    body = {"vendor": "sendsms", "credentials": {"username": USER, "password": PASSWORD}, "options": {"poll": poll}}
    async with httpx2.AsyncClient(base_url=receiver.url, headers=headers, trust_env=False, timeout=10) as client:
        assert (await client.post("/v1/sources", json=body)).status_code == 201


@pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy
async def test_a_kill_between_answer_and_commit_loses_none_and_doubles_none(tmp_path: Path) -> None:
    vendor, receiver = SendSms(), Receiver(tmp_path)
    async with serving(vendor) as fake:
        await receiver.start()
        await make_source(receiver, fake.url)
        await until(lambda: fake.asked)
        try:
            for number in range(ROUNDS):
                await _killed(receiver, fake, vendor, number)
                await receiver.start()

            async def complete() -> bool:
                return len(await listed(receiver.url)) >= ROUNDS * A_ROUND

            await until(complete)
            asked = len(fake.asked)
            await until(lambda: len(fake.asked) > asked + 1)
            ids = [int(event["data"]["vendor_message_id"]) for event in await listed(receiver.url)]
        finally:
            await receiver.close()
    assert ids == list(range(1, ROUNDS * A_ROUND + 1))


async def _killed(receiver: Receiver, fake: Any, vendor: SendSms, number: int) -> None:
    """At once with the first answer of a round that brings something, or some milliseconds later."""
    loop, dead = asyncio.get_running_loop(), asyncio.Event()

    def kill() -> None:
        receiver.signal(signal.SIGKILL)
        dead.set()

    def answered(asked: Asked) -> None:
        if int(asked.query["last_id"]) < len(vendor.inbound):
            fake.answered = lambda _: None
            loop.call_later(number * 0.003, kill)

    fake.answered = answered
    for place in range(A_ROUND):
        vendor.receive(number * A_ROUND + place + 1)
    await asyncio.wait_for(dead.wait(), 30)
    await receiver.ended(10)
