"""Idempotency-Key: a POST that is sent again is carried out once and answered alike."""

import asyncio
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from receiver.api import OPERATIONS, create_api
from receiver.api.sealing import opened, sealed
from receiver.sms.timestamps import DAY
from receiver.storage import idempotency
from receiver.storage.batch import Batch
from receiver.storage.database import Unavailable
from tests.api.running import ADMIN_KEY, HOOK, START, Api, pointers, problem, running_api
from tests.api.test_keys import bearer

SUBSCRIPTIONS = "/v1/subscriptions"
KEY = {"idempotency-key": "4c0f2f4e-2c1c-4b52-a6a0-6b3cde1b9d39"}


async def made(api: Api, path: str = SUBSCRIPTIONS, headers: dict[str, str] = KEY, **body: Any) -> Any:
    return await api.client.post(path, json=body or {"url": HOOK}, headers=headers)


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def count(api: Api) -> int:
    return len((await api.client.get(SUBSCRIPTIONS)).json()["data"])


async def test_the_same_request_again_gets_the_same_answer_and_makes_nothing(tmp_path: Path):
    async with running_api(tmp_path) as api:
        first, again = await made(api), await made(api)
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert first.json()["secret"].startswith("whsec_")
        assert dict(first.headers) == dict(again.headers)
        assert await count(api) == 1


async def test_the_same_key_with_another_request_is_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api)
        assert pointers(await made(api, url=HOOK + "/other")) == [""]
        assert pointers(await made(api, path="/v1/keys", name="a", scopes=["read"])) == [""]
        assert pointers(await api.client.post(SUBSCRIPTIONS + "?x=1", json={"url": HOOK}, headers=KEY)) == ["/x"]
        assert await count(api) == 1


async def test_without_a_key_or_with_another_each_request_counts(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for headers in ({}, {}, {"idempotency-key": "1"}, {"idempotency-key": "2"}):
            assert (await made(api, headers=headers)).status_code == 201
        assert await count(api) == 4


async def test_keys_of_two_callers_do_not_meet(tmp_path: Path):
    async with running_api(tmp_path) as api:
        other = (await api.make_key("write"))["key"]
        first = await made(api)
        second = await api.ask("POST", SUBSCRIPTIONS, json={"url": HOOK}, headers={**KEY, **bearer(other)})
        assert first.json()["id"] != second.json()["id"]
        assert second.status_code == 201


async def test_one_that_is_under_way_is_told_apart_from_one_that_is_done(tmp_path: Path):
    async with running_api(tmp_path) as api:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def meanwhile() -> None:
            reached.set()
            await go_on.wait()

        api.consents.meanwhile = meanwhile
        first = asyncio.create_task(made(api, url=HOOK, handshake=True))
        await reached.wait()
        assert problem(await made(api, url=HOOK, handshake=True)) == (409, "conflict")
        go_on.set()
        assert (await first).status_code == 201
        assert (await made(api, url=HOOK, handshake=True)).content == (await first).content
        assert await count(api) == 1


async def test_of_many_at_once_one_is_carried_out(tmp_path: Path):
    async with running_api(tmp_path) as api:
        answers = await asyncio.gather(*[made(api) for _ in range(20)])
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert await count(api) == 1


async def test_what_was_refused_may_be_sent_again(tmp_path: Path):
    """Nothing was carried out, so the key is free."""
    async with running_api(tmp_path) as api:
        assert pointers(await made(api, url="ftp://x.example")) == ["/url"]
        assert problem(await api.client.post(f"{SUBSCRIPTIONS}/sub_never/test", headers=KEY)) == (404, "not_found")
        assert (await made(api)).status_code == 201


class Losing(Batch):
    """The batch of somebody else, full from the `good`-th write on."""

    def __init__(self, batch: Batch) -> None:
        self._other = batch
        self.good = 0

    async def write(self, change: Any, told: Any = None) -> Any:
        self.good -= 1
        if self.good < 0:
            raise Unavailable("full")
        return await self._other.write(change, told)


@pytest.mark.parametrize(("good", "carried_out"), [(0, False), (1, True)])
async def test_after_a_failure_the_key_says_whether_it_was_carried_out(tmp_path: Path, good, carried_out):
    async with running_api(tmp_path) as api:
        losing = Losing(api.context.batch)
        api.app = create_api(replace(api.context, batch=losing))
        headers = {**KEY, **bearer(ADMIN_KEY)}
        losing.good = good
        assert problem(await api.ask("POST", SUBSCRIPTIONS, json={"url": HOOK}, headers=headers)) == (
            503,
            "unavailable",
        )
        losing.good = 100
        again = await api.ask("POST", SUBSCRIPTIONS, json={"url": HOOK}, headers=headers)
        if carried_out:
            assert problem(again) == (409, "conflict")
            assert "lost" in again.json()["detail"]
        else:
            assert again.status_code == 201
        assert await count(api) == 1


async def test_a_key_is_free_again_after_a_day(tmp_path: Path):
    now = [START]
    async with running_api(tmp_path, clock=lambda: now[0]) as api:
        first = await made(api)
        now[0] += DAY - 1
        assert (await made(api)).content == first.content
        now[0] += 1
        assert (await made(api)).json()["id"] != first.json()["id"]
        assert await count(api) == 2


async def test_neither_key_nor_answer_is_at_rest_in_clear(tmp_path: Path):
    """An API key is nowhere else but in its answer: the table of keys has hashes."""
    async with running_api(tmp_path) as api:
        answer = await made(api, path="/v1/keys", name="a key", scopes=["read"])
        assert (await made(api, path="/v1/keys", name="a key", scopes=["read"])).json() == answer.json()
    files = everything(tmp_path)
    assert b"a key" in files
    for secret in (answer.json()["key"], ADMIN_KEY, KEY["idempotency-key"]):
        assert secret.encode() not in files


def test_what_was_sealed_opens_with_the_same_secret_alone():
    box = sealed(b"secret", b"\x00answer\x00")
    assert opened(b"secret", box) == b"\x00answer\x00"
    assert opened(b"secret", sealed(b"secret", b"")) == b""
    assert b"answer" not in box
    for secret, altered in ((b"other", box), (b"secret", box[:-1]), (b"secret", box[:-1] + b"x"), (b"secret", b"")):
        with pytest.raises(ValueError, match="cannot be opened"):
            opened(secret, altered)


def test_two_boxes_have_nothing_in_common():
    one, other = (b64decode(sealed(b"secret", bytes(64)), b"-_") for _ in range(2))
    assert one[9:25] != other[9:25]  # the IV of https://github.com/fernet/spec
    assert one[25:] != other[25:]


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "caf\u00e9".encode("latin-1"), "a\tb"])
async def test_a_key_that_cannot_be_one_is_refused(tmp_path: Path, key):
    async with running_api(tmp_path) as api:
        assert pointers(await made(api, headers={"idempotency-key": key})) == [""]
        assert await count(api) == 0


async def test_two_keys_are_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
        assert pointers(await api.client.post(SUBSCRIPTIONS, json={"url": HOOK}, headers=headers)) == [""]


async def test_an_upload_is_told_apart_by_its_bytes(tmp_path: Path):
    async with running_api(tmp_path) as api:

        async def uploaded(content: bytes) -> Any:
            headers = {**KEY, "content-type": "text/csv"}
            return await api.client.post("/v1/opt-outs/import", content=content, headers=headers)

        first = await uploaded(b"number\n+447700900123\n")
        again = await uploaded(b"number\n+447700900123\n")
        assert (first.json()["changed"], again.content) == (1, first.content)
        assert pointers(await uploaded(b"number\n+447700900124\n")) == [""]
        assert len((await api.client.get("/v1/opt-outs")).json()["data"]) == 1


async def test_what_is_streamed_takes_no_key():
    (example,) = [item for item in OPERATIONS if item.path == "/v1/events/export"]
    assert not replace(example, method="POST").takes_key


async def test_a_key_is_for_post_alone(tmp_path: Path):
    async with running_api(tmp_path) as api:
        path = f"{SUBSCRIPTIONS}/{(await api.make_subscription())['id']}"
        assert pointers(await api.client.patch(path, json={"paused": True}, headers=KEY)) == [""]
        assert (await api.client.get(path, headers=KEY)).json()["paused"] is False


@pytest.mark.parametrize(
    "operation", [item for item in OPERATIONS if item.method == "POST"], ids=lambda item: item.path
)
def test_every_post_takes_a_key_and_says_so(operation):
    assert operation.takes_key
    assert "conflict" in operation.problem_codes


async def test_what_has_expired_is_not_found(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await made(api)
        async with api.database.reading() as reader:
            ((key, expires_at),) = await reader.fetch("SELECT key, expires_at FROM idempotency")
            assert await idempotency.find(reader, key, expires_at - 1) is not None
            assert await idempotency.find(reader, key, expires_at) is None
