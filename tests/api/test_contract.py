"""The running API against its own OpenAPI document: no 5xx, and no answer that the document does not describe."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from receiver.api import OPERATIONS
from receiver.api.openapi import document, with_document
from receiver.storage.live import Live
from tests.api.running import HOOK, Api, an_attempt, running_api
from tests.api.test_events import message, report

LOCAL = "http://localhost"
SCHEMA: Any = schemathesis.openapi.from_dict(
    document(with_document(OPERATIONS, LOCAL), LOCAL),
    config=schemathesis.Config.from_dict(
        {
            "generation": {"with-security-parameters": False},
            # too large is a refusal too, and documented; what violates the schema may be that first
            "checks": {"negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]}},
        }
    ),
)
MODELS = {
    (operation.method, operation.path, status): model
    for operation in OPERATIONS
    for status, model in operation.answers.items()
    if not operation.streams
}
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.negative_data_rejection,
]
PREFIXES = {
    "sources": "src",
    "subscriptions": "sub",
    "events": "evt",
    "messages": "msg",
    "batches": "batch",
    "deliveries": "dlv",
    "receipts": "rcp",
    "keys": "key",
    "jobs": "job",
    "consumers": "con",
}


class Running:
    """One API on a loop of its own; `send` waits for an answer of it. `ids` has one of everything, and some to remove."""

    def __init__(self, api: Api, loop: asyncio.AbstractEventLoop, ids: dict[str, str]) -> None:
        self.api, self.ids = api, ids
        self._loop = loop

    def send(self, request: httpx2.Request) -> httpx2.Response:
        return asyncio.run_coroutine_threadsafe(self.api.client.send(request), self._loop).result(timeout=20)


def at_its_end() -> Live:
    """Nobody waits for more: a stream ends when it has said what there is."""
    live = Live()
    live.still = True
    return live


@contextmanager
def on_a_thread(folder: Path, **given: Any) -> Iterator[Running]:
    started, stop, made = threading.Event(), asyncio.Event(), []

    async def main() -> None:
        async with running_api(folder, **given) as api:
            made.append(Running(api, asyncio.get_running_loop(), await _filled(api)))
            started.set()
            await stop.wait()

    given.setdefault("live", at_its_end())
    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    assert started.wait(10)
    try:
        yield made[0]
    finally:
        made[0]._loop.call_soon_threadsafe(stop.set)
        thread.join(10)


async def _filled(api: Api) -> dict[str, str]:
    subscription = await api.make_subscription()
    source = await api.mapped_source()
    for number in range(3):
        await api.receive(source, message(number))
    await api.receive(source, report(1))
    await api.receive(source, b"{broken")
    await api.attempted(api.recorded[0], "dead", an_attempt(status=500, error="status"))
    recorded = api.recorded[0]
    for name in ("the-con", "doomed-con"):
        await api.client.post("/v1/consumers", json={"name": name, "start": "beginning"})
    await api.client.put("/v1/opt-outs/+447700900999", json={})
    messages = (await api.client.get("/v1/messages")).json()["data"]
    job = await api.client.post(f"/v1/subscriptions/{subscription['id']}/recover")
    return {
        "the src": source["id"], "the sub": subscription["id"], "the evt": recorded.outgoing.leased[0].event_id,
        "the dlv": recorded.outgoing.leased[0].delivery_id, "the rcp": recorded.receipt.id,
        "the con": "the-con", "doomed con": "doomed-con",
        "the msg": messages[-1]["id"], "doomed msg": messages[0]["id"], "the batch": "a campaign",
        "the job": job.json()["job"]["id"],
        "doomed src": (await api.make_source())["id"], "doomed sub": (await api.make_subscription())["id"],
        "doomed key": (await api.make_key("read"))["id"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with on_a_thread(tmp_path_factory.mktemp("contract")) as found:
        yield found


@SCHEMA.hook
def map_path_parameters(context, parameters):
    """Half of the ids, and of the numbers, are of something that is there."""
    if parameters and len(str(parameters.get("number", ""))) % 2:
        return {**parameters, "number": "+447700900999"}
    if parameters and "number" not in parameters and len(str(next(iter(parameters.values())))) % 2:
        (parameter,) = parameters
        which = "doomed" if context.operation.method == "delete" else "the"
        return {parameter: f"{which} {PREFIXES[context.operation.path.split('/')[2]]}"}
    return parameters


@SCHEMA.hook
def map_query(context, query):
    """Half of the lists begin at their start: a cursor is hardly ever hit by chance.

    One that is wrong on purpose must stay wrong.
    """
    after = query.get("after") if isinstance(query, dict) else None
    if isinstance(after, str) and 0 < len(after) <= 512 and "\x00" not in after and len(str(query)) % 2:
        return {name: value for name, value in query.items() if name != "after"}
    return query


@SCHEMA.hook
def map_body(context, body):
    """Half of the URLs can be called, and sources without credentials are of a vendor that is known.

    Only what is valid anyway is replaced: what is wrong on purpose must stay wrong.
    """
    if isinstance(body, dict) and len(str(body)) % 2:
        url = body.get("url")
        if isinstance(url, str) and 0 < len(url) <= 4096 and not {"secret", "types", "headers"} & set(body):
            body = {**body, "url": HOOK}
        if isinstance(body.get("vendor"), str) and body.get("credentials", {}) == {}:
            body = {**body, "vendor": "generic"}
    return body


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_describes(case, running):
    sent = case.as_transport_kwargs(base_url=LOCAL)
    for name, found in running.ids.items():
        sent["url"] = sent["url"].replace(name.replace(" ", "%20"), found)
    request = running.api.client.build_request(
        sent["method"], sent["url"], params=sent.get("params"), headers=dict(sent["headers"]),
        content=sent.get("data"), **({"json": sent["json"]} if "json" in sent else {}),
    )  # fmt: skip
    answer = running.send(request)
    case.validate_response(answer, checks=CHECKS)
    model = MODELS.get((case.operation.method.upper(), case.operation.path, answer.status_code))
    if model is not None and request.method == case.operation.method.upper():
        model.model_validate_json(answer.content, extra="forbid")  # fields may be added, but never undocumented ones
