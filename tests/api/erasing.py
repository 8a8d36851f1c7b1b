"""A person and everything that can be kept of one, the erasure that is asked for, and where to look afterwards."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from receiver.storage.database import Reader, Transaction
from receiver.storage.eraser import Eraser
from receiver.storage.erasing import Erasure, Look, Place
from receiver.storage.places import places
from receiver.storage.purges import Trace
from tests.api.running import Api, an_attempt

PERSON, OTHER, OURS = "447700900123", "447700900777", "447700900456"
SECRET = "Grüße, my PIN is 4711 \U0001f600"
WORDS = ("Grüße", "my PIN is", "order-of-hers", "described-to-her", "so you are")


def message(number: int, sender: str = PERSON, **fields: Any) -> bytes:
    given = {"vendor_message_id": f"in-{number}", "from": sender, "to": OURS, "text": SECRET}
    return orjson.dumps({**given, **fields})


def report(number: int, status: str = "ok", **fields: Any) -> bytes:
    given = {"vendor_message_id": f"out-{number}", "client_reference": "order-of-hers", "from": OURS, "to": PERSON}
    return orjson.dumps({**given, "status": status, "vendor_description": "described-to-her", **fields})


def eraser(api: Api, revise: Any = lambda bodies, renamed: None, traces: Sequence[Trace] = (), **given: Any) -> Eraser:
    made: dict[str, Any] = {"window": 3, "pause": 0.01, "places": places(traces)}
    return Eraser(
        database=api.database, batch=api.context.batch, clock=api.context.clock,
        monotonic=asyncio.get_running_loop().time, entropy=api.context.entropy, revise=revise,
        wake_lane=api.woken.append, **made | given,
    )  # fmt: skip


async def ask(api: Api, number: str = "+" + PERSON) -> dict[str, Any]:
    """The job."""
    answer = await api.client.delete(f"/v1/subjects/{quote(number, safe='')}")
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    job = await api.client.get("/v1/jobs/" + answer.headers["location"].rpartition("/")[2])
    return dict(job.json())


async def erased(api: Api, number: str = "+" + PERSON, **given: Any) -> dict[str, Any]:
    job = await ask(api, number)
    assert await eraser(api, **given).once()
    return dict((await api.client.get(f"/v1/jobs/{job['id']}")).json())


async def fetch(api: Api, sql: Any, *values: Any) -> Sequence[Any]:
    async with api.database.reading() as reader:
        return await reader.fetch(sql, *values)


async def change(api: Api, sql: Any, *values: Any) -> None:
    async def write(transaction: Transaction) -> None:
        await transaction.fetch(sql, *values)

    await api.context.batch.write(write)


async def lived(api: Api) -> dict[str, Any]:
    """A person and another one, everything that can be kept of them, and an attempt whose answer repeats it."""
    names = ("vendor_message_id", "client_reference", "from", "to", "text", "status", "vendor_description")
    options = {
        "fields": {name: name for name in names}, "default_region": "GB", "statuses": {"ok": "delivered", "sent": "sent"},
    }  # fmt: skip
    source = await api.mapped_source(options=options)
    await api.make_subscription(ordered="conversation")
    await api.make_subscription()
    for sender in (PERSON, OTHER):
        await api.receive(source, message(1, sender, vendor_message_id=f"in-{sender[-3:]}"))
        await api.receive(source, message(1, sender, vendor_message_id=f"in-{sender[-3:]}"))  # a repeat
        await api.receive(
            source, message(1, sender, vendor_message_id=f"in-{sender[-3:]}", text="so you are")
        )  # a conflict
        await api.receive(source, message(2, sender, vendor_message_id=None))  # known by what it says alone
        await api.receive(source, message(3, sender, vendor_message_id=f"stop-{sender[-3:]}", text="STOP"))
        await api.receive(source, report(1, to=sender, vendor_message_id=f"out-{sender[-3:]}"))
        await api.receive(source, report(1, "sent", to=sender, vendor_message_id=None))
        await api.receive(
            source, report(2, "sent", vendor_message_id=f"out-{sender[-3:]}", to=None)
        )  # known by its message
        await api.receive(source, orjson.dumps({"from": f"+44 (0) {sender[2:]}", "what": SECRET}))  # quarantine
        await api.receive(source, b"{" + quote("from=+" + sender).encode(), query=b"from=%2B" + sender.encode())
    await api.receive(source, message(9, OTHER, text=f"call me on 0{PERSON[2:]}"))
    echo = an_attempt(answer=f"thanks for {SECRET} of +{PERSON}".encode())
    for recorded in list(api.recorded):
        await api.attempted(recorded, "succeeded", echo)
    await api.client.post("/v1/events/replay", json={"filter": {"from": ["+" + PERSON]}})
    await api.work()
    await change(api, "UPDATE sources SET last_error = ?", f"+{PERSON} was not understood")
    return source


def forms(*words: str) -> set[bytes]:
    """As plain text, as JSON escapes it, and percent-encoded."""
    return {
        form
        for word in words
        for form in (
            word.encode(),
            orjson.dumps(word)[1:-1],
            word.encode("ascii", "backslashreplace"),
            quote(word).encode(),
        )
    }


def files(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


LISTS = ("events", "receipts", "deliveries", "jobs", "sources", "subscriptions")


async def answers(api: Api) -> bytes:
    """Everything that the API tells."""
    found = b""
    for name in LISTS:
        page = await api.client.get(f"/v1/{name}?limit=500")
        found += page.content
        for item in page.json()["data"]:
            one = await api.client.get(f"/v1/{name}/{item['id']}")
            assert one.status_code == 200, one.text
            found += one.content
    return found


def stopped_after_each_look(api: Api) -> Eraser:
    class Stopping:
        def __init__(self, place: Place) -> None:
            self._place, self.name, self.erase = place, place.name, place.erase

        async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
            found = await self._place.look(reader, erasure, position, limit)
            one.stop()
            return found

    one = eraser(api, places=[Stopping(place) for place in places()], window=2)
    return one
