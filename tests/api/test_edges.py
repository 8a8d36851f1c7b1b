"""What every operation has in common: bodies, methods, unknown paths, trouble of our own."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from receiver.api.inputs import MAX_BODY_BYTES
from receiver.api.problem import Problem
from receiver.storage.batch import Batch
from receiver.storage.database import Transaction, Unavailable
from receiver.storage.sqlite import InThread
from tests.api.running import HOOK, Api, an_attempt, pointers, problem, running_api
from tests.api.test_events import received
from tests.delivery.dispatching import until

SUBSCRIPTIONS = "/v1/subscriptions"


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"url=https://x.example",
        b"\xff\xfe{",
        b'{"url": "\\ud800"}',
        b"[" * 100_000,
        b"nul",
        b'{"a": 01}',
        b"{}{}",
    ],
)
async def test_a_body_that_is_not_json_is_refused_as_a_whole(tmp_path: Path, content):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.post(SUBSCRIPTIONS, content=content)) == [""]


@pytest.mark.parametrize("content", [b"[]", b"null", b"7", b'"x"'])
async def test_a_body_that_is_no_object_is_refused_as_a_whole(tmp_path: Path, content):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.post(SUBSCRIPTIONS, content=content)) == [""]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
async def test_json_is_json_whatever_its_content_type_says(tmp_path: Path, kind):
    async with running_api(tmp_path) as api:
        headers = {"content-type": kind} if kind else {}
        content = b'\xef\xbb\xbf{"url": "%b"}' % HOOK.encode()
        assert (await api.client.post(SUBSCRIPTIONS, content=content, headers=headers)).status_code == 201


async def test_an_empty_body_lacks_what_is_required(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.post(SUBSCRIPTIONS)) == ["/url"]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 5000])
async def test_numbers_that_are_none_are_refused(tmp_path: Path, number):
    async with running_api(tmp_path) as api:
        content = b'{"url": "%b", "retry_schedule": [%b]}' % (HOOK.encode(), number)
        assert pointers(await api.client.post(SUBSCRIPTIONS, content=content)) in (["/retry_schedule/0"], [""])


async def test_a_body_over_the_limit_is_refused_with_and_without_a_length(tmp_path: Path):
    async with running_api(tmp_path) as api:
        content = b'{"url": "%b", "description": "%b"}' % (HOOK.encode(), b"x" * MAX_BODY_BYTES)

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 1000):
                yield content[start : start + 1000]

        assert problem(await api.client.post(SUBSCRIPTIONS, content=content)) == (413, "too_large")
        assert problem(await api.client.post(SUBSCRIPTIONS, content=chunks())) == (413, "too_large")
        within = content[:100].ljust(MAX_BODY_BYTES)
        assert pointers(await api.client.post(SUBSCRIPTIONS, content=within)) == [""]


async def test_a_million_mistakes_make_a_bounded_answer(tmp_path: Path):
    async with running_api(tmp_path) as api:
        content = b"{" + b",".join(b'"%d":1' % number for number in range(20_000)) + b"}"
        assert len(pointers(await api.client.post(SUBSCRIPTIONS, content=content))) == 100


async def test_a_client_that_leaves_in_mid_body_leaves_nothing_behind(tmp_path: Path):
    async with running_api(tmp_path) as api:
        incoming = [{"type": "http.request", "body": b'{"url":', "more_body": True}, {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return incoming.pop(0)

        async def send(message):
            sent.append(message)

        authorization = api.client.headers["authorization"].encode()
        scope = {
            "type": "http", "method": "POST", "path": SUBSCRIPTIONS, "raw_path": SUBSCRIPTIONS.encode(), "root_path": "",
            "query_string": b"", "headers": [(b"authorization", authorization)],
        }  # fmt: skip
        await api.app(scope, receive, send)
        assert sent[0]["status"] == 422
        assert (await api.client.get(SUBSCRIPTIONS)).json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("HEAD", "/v1/sources", "POST, GET"), ("OPTIONS", "/v1/sources", "POST, GET"), ("PUT", "/v1/sources/x", "GET, PATCH, DELETE"),
        ("TRACE", "/v1/events", "GET"), ("POST", "/v1/events", "GET"), ("GET", "/v1/sources/x/rotate-token", "POST"),
        ("POST", "/livez", "GET, HEAD"), ("DELETE", "/readyz", "GET, HEAD"), ("BREW", "/openapi.json", "GET"),
    ],
)  # fmt: skip
async def test_another_method_is_refused_with_those_that_are_taken(tmp_path: Path, method, path, allowed):
    async with running_api(tmp_path) as api:
        answer = await api.client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed
        assert answer.headers["content-type"] == "application/problem+json"
        assert method == "HEAD" or answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v2/sources", "/v1/sources/", "/v1/message", "/v1/events/x/nothing", "/V1/sources", "/v1//sources"]
)  # fmt: skip
async def test_an_unknown_path_is_a_problem_too(tmp_path: Path, path):
    async with running_api(tmp_path) as api:
        assert problem(await api.client.get(path)) == (404, "not_found")


async def test_a_database_that_cannot_write_is_503_and_reads_go_on(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.make_source()
        ((pages,),) = await _pragma(api, "PRAGMA page_count")
        await _pragma(api, f"PRAGMA max_page_count = {pages}")
        long = {"url": HOOK, "headers": {f"X-{n}": "x" * 4000 for n in range(20)}}
        answer = await api.client.post(SUBSCRIPTIONS, json=long)
        assert problem(answer) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (await api.client.get(f"/v1/sources/{source['id']}")).status_code == 200
        await _pragma(api, "PRAGMA max_page_count = 100000")
        assert (await api.client.post(SUBSCRIPTIONS, json=long)).status_code == 201


async def _pragma(api: Api, sql: str) -> Any:
    assert isinstance(api.database._writer, InThread)
    return await api.database._writer.connection.execute_fetchall(sql)


@pytest.mark.usefixtures("engine")
async def test_a_change_that_is_refused_does_not_undo_its_neighbours_in_the_same_transaction(tmp_path: Path):
    async with running_api(tmp_path) as api:
        done: list[str] = []

        async def change(_transaction: Transaction) -> None:
            done.append("neighbour")

        async def refused(_transaction: Transaction) -> None:
            raise Problem("conflict")

        write = api.context.write
        results = await asyncio.gather(write(change), write(refused), write(change), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), Problem, type(None)]
        assert done == ["neighbour", "neighbour"]  # and not once more, after a rollback


async def gone_away(request: Coroutine[Any, Any, Any], api: Api) -> None:
    """Asks, and is gone before the commit, which comes all the same."""
    batch, begun, free = api.context.batch, asyncio.Event(), asyncio.Event()

    async def hold(_transaction: Transaction) -> None:
        begun.set()
        await free.wait()

    holding = asyncio.create_task(batch.write(hold))
    await begun.wait()
    asking = asyncio.create_task(request)
    await until(lambda: batch.waiting > 0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    free.set()
    await holding
    await batch.write(nothing)


async def nothing(_transaction: Transaction) -> None: ...


@pytest.mark.usefixtures("engine")
async def test_what_follows_a_change_does_not_wait_for_its_caller(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        await received(api, 1)
        await api.attempted(api.recorded[0], "dead", an_attempt())
        path = f"{SUBSCRIPTIONS}/{made['id']}"
        await gone_away(api.client.post(f"{path}/recover", json={}), api)
        assert api.rung == ["job"]
        await gone_away(api.client.post(SUBSCRIPTIONS, json={"url": HOOK, "start": "beginning"}), api)
        assert api.rung == ["job", "job"]
        api.woken.clear()
        (delivery,) = api.recorded[0].outgoing.leased
        await gone_away(api.client.post(f"/v1/deliveries/{delivery.delivery_id}/retry"), api)
        await gone_away(api.client.patch(path, json={"paused": False}), api)
        assert api.woken == [made["id"]] * 2


async def test_too_many_waiting_writes_are_503(tmp_path: Path):
    async with running_api(tmp_path) as api:
        full = Batch(api.database, capacity=0)
    async with running_api(tmp_path, batch=full) as api:
        assert problem(await api.client.post(SUBSCRIPTIONS, json={"url": HOOK})) == (503, "unavailable")


@pytest.mark.parametrize("error", [Unavailable("hunter2"), RuntimeError("hunter2"), RecursionError()])
async def test_trouble_of_our_own_has_one_face_and_tells_nothing(tmp_path: Path, error, caplog):
    def fail():
        raise error

    async with running_api(tmp_path, causes=fail) as api:
        answer = await api.ask("GET", "/readyz")
        assert problem(answer) == (503, "unavailable")
        assert "hunter2" not in answer.text
        assert any(record.name == "receiver" for record in caplog.records)


async def test_answers_with_secrets_in_them_are_never_cached(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for path in ("/v1/sources", "/v1/nowhere", "/v1/events?q=x"):
            answer = await api.client.get(path)
            assert answer.headers.get("cache-control") == "no-store", path
