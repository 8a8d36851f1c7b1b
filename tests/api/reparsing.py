"""A source with a mapping to put right, requests for it, and what reading them again makes."""

from typing import Any

import orjson

from receiver.intake.assemble import Assembler
from receiver.storage.amend import Amender
from receiver.storage.owing import no_room
from tests.api.running import PUBLIC_URL, Api

NAMES = ("vendor_message_id", "client_reference", "from", "to", "text", "status", "sequence", "occurred_at", "opt_out",
         "part_reference", "part_number", "part_total")  # fmt: skip
NAMELESS = {"from": "447700900123", "text": "YES"}
Event = dict[str, Any]


def wait(api: Api, milliseconds: int) -> None:
    for _ in range(milliseconds):
        api.context.clock()


def fields(**changed: str | None) -> dict[str, Any]:
    return {"fields": {name: name for name in NAMES} | changed}


async def source_of(api: Api, **options: Any) -> dict[str, Any]:
    given = {"international": True, "statuses": {"ok": "delivered"}, **fields(), **options}
    return await api.make_source(options=given)


async def fix(api: Api, source: dict[str, Any], **options: Any) -> None:
    given = {"international": True, "statuses": {"ok": "delivered"}, **fields(), **options}
    answer = await api.client.patch(f"/v1/sources/{source['id']}", json={"options": given})
    assert answer.status_code == 200, answer.text


async def tell(api: Api, source: dict[str, Any], *items: Any) -> str:
    """One request with one object, or a list of them; its receipt."""
    content = orjson.dumps(items[0] if len(items) == 1 else items)
    assert await api.receive(source, content) == 200
    return api.recorded[-1].receipt.id


async def log(api: Api) -> list[Event]:
    found: list[Event] = (await api.client.get("/v1/events?limit=500")).json()["data"]
    return found


async def dry(api: Api, **body: Any) -> Any:
    answer = await api.client.post("/v1/receipts/reparse", json={"dry_run": True, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def reparsed(api: Api, **body: Any) -> list[Event]:
    """The events that a job makes; a second one makes none, and there is no difference any more."""
    before = len(await log(api))
    job = await asked(api, **body)
    made = (await log(api))[before:]
    assert len(made) >= job["released"]
    again = await asked(api, **body)
    assert again["released"] == 0
    assert len(await log(api)) == before + len(made)
    assert [item for item in (await dry(api, **body))["data"] if item["becomes"] != item["outcome"]] == []
    return made


async def asked(api: Api, **body: Any) -> Any:
    answer = await api.client.post("/v1/receipts/reparse", json=body)
    assert answer.status_code == 202, answer.text
    job = answer.json()["job"]
    assert answer.headers["location"] == f"{PUBLIC_URL}/v1/jobs/{job['id']}"
    await api.work()
    done = (await api.client.get(f"/v1/jobs/{job['id']}")).json()
    assert (done["kind"], done["state"], done["done"]) == ("reparse", "done", done["total"])
    return done


async def receipt(api: Api, receipt_id: str) -> Any:
    return (await api.client.get(f"/v1/receipts/{receipt_id}")).json()


async def states(api: Api) -> dict[str, str | None]:
    async with api.database.reading() as reader:
        return dict(await reader.fetch("SELECT vendor_message_id, status FROM messages"))


def message(number: int = 1, **given: Any) -> dict[str, Any]:
    return {"vendor_message_id": f"m{number}", "from": "447700900123", "to": "447700900999", "text": "hello", **given}


def report(status: str = "ok", **given: Any) -> dict[str, Any]:
    return {"vendor_message_id": "out", "to": "447700900123", "status": status, **given}


def assembler_of(api: Api) -> Assembler:
    amender = Amender(api.context.catalog, api.context.ids, no_room)
    return Assembler(
        batch=api.context.batch, amender=amender, clock=api.context.clock, hand_over=lambda outgoing: None
    )  # fmt: skip


async def long_message(api: Api, source: dict[str, Any]) -> list[str]:
    parts = ((2, "lo", "LO"), (1, "hel", "HEL"))
    receipts = [
        await tell(api, source, message(number, a=a, b=b, part_reference="7", part_number=number, part_total=2))
        for number, a, b in parts
    ]  # fmt: skip
    await assembler_of(api).step()
    return receipts
