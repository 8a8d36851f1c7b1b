"""The reference of `deliver`: bare aiohttp posting the same bytes, nothing recorded."""

import asyncio
import sys
import time

import aiohttp
import uvloop

from bench.requests import SOURCE, twilio_form
from receiver.sms.compose import Origin, compose, encode
from receiver.vendors.contract import VendorRequest
from receiver.vendors.twilio import TWILIO


def body() -> bytes:
    """One event as it is delivered."""
    request = VendorRequest(
        method="POST", url="", query=b"", headers=((b"content-type", b"application/x-www-form-urlencoded"),),
        body=twilio_form(1, "b"), peer="", received_at=time.time_ns() // 1000,
    )  # fmt: skip
    (item,) = TWILIO.parse(request, SOURCE)
    entry = compose(item, Origin(source_id=SOURCE.id, vendor="twilio"), request.received_at, "rcp_" + "0" * 26)  # type: ignore[arg-type]  # a message, as we built it
    return encode("evt_" + "0" * 26, entry)


async def main(url: str, count: int, connections: int) -> float:
    event = body()
    headers = {
        "content-type": "application/json", "user-agent": "receiver/0", "webhook-id": "evt_" + "0" * 26,
        "webhook-timestamp": "1700000000", "webhook-signature": "v1," + "A" * 44,
    }  # fmt: skip
    left = iter(range(count))
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def worker() -> None:
            for _ in left:
                async with session.post(url, data=event, headers=headers) as answer:
                    await answer.read()

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(connections)))
        return count / (time.perf_counter() - started)


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
