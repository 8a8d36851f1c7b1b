"""Writes wait in a queue that has an end: beyond it vendors and operators are told to come back, at once."""

from pathlib import Path

import pytest

from tests.delivery.dispatching import until
from tests.wire import held, wire, world_client


@pytest.mark.parametrize("capacity", [0, 3])
async def test_requests_beyond_the_queue_are_503_and_those_in_it_are_kept(tmp_path: Path, capacity: int):
    async with wire(tmp_path) as it:
        it.app.batch._capacity = 1
        async with held(it.app):
            it.app.batch._capacity = capacity
            waiting = [await it.say(it.request(b'{"text": "%d"}' % number)) for number in range(capacity)]
            await until(lambda: it.app.batch.waiting == capacity)
            for _ in range(5):
                status, headers, body = await (await it.say(it.request(b'{"text": "late"}'))).answer()
                assert (status, headers["retry-after"], body) == (503, "5", b"")
            async with world_client(it.port) as operator:
                refused = await operator.post("/v1/keys", json={"name": "late", "scopes": ["read"]})
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
                assert (await operator.get("/v1/sources")).status_code == 200
        assert [await connection.status() for connection in waiting] == [200] * capacity
        it.app.batch._capacity = 8
        assert await (await it.say(it.request(b'{"text": "late"}'))).status() == 200
        assert len(await it.bodies()) == capacity + 1
