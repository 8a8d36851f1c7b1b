"""Who guesses keys, tokens or signatures is held up after a while, and who has the right one never is."""

import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from receiver.throttle import BURST, INTERVAL
from tests.wire import BODY, KEY, Connection, Wire, owner_client, raw, wire

SECRET = "s3cret of the vendor"


class Still:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def with_key(key: str | None, path: str = "/v1/sources", *headers: str) -> bytes:
    return raw("GET", path, *headers, *([f"Authorization: Bearer {key}"] if key is not None else []))


async def statuses(connection: Connection, request: bytes, times: int) -> list[int]:
    found = []
    for _ in range(times):
        await connection.send(request)
        found.append(await connection.status())
    return found


async def test_wrong_keys_are_429_after_a_burst_while_the_right_one_is_always_served(tmp_path: Path):
    clock = Still()
    async with wire(tmp_path, monotonic=clock) as it:
        connection = await it.connect()
        for key in ("wrong", None):
            assert await statuses(connection, with_key(key), BURST // 2) == [401] * (BURST // 2)
        await connection.send(with_key("wrong"))
        status, headers, body = await connection.answer()
        assert (status, headers["content-type"]) == (429, "application/problem+json")
        assert headers["retry-after"] == f"{INTERVAL:.0f}"
        assert b'"code":"rate_limited"' in body
        for _ in range(BURST * 2):
            assert await statuses(connection, with_key(KEY), 1) == [200]
            assert await statuses(connection, with_key("wrong"), 1) == [429]
        clock.now += INTERVAL
        assert await statuses(connection, with_key("wrong"), 2) == [401, 429]


async def test_a_key_that_lacks_a_scope_and_a_wrong_path_are_no_guesses(tmp_path: Path):
    async with wire(tmp_path, monotonic=Still()) as it:
        async with owner_client(it.owner) as owner:
            key = (await owner.post("/v1/keys", json={"name": "reader", "scopes": ["read"]})).json()["key"]
        connection = await it.connect()
        assert await statuses(connection, with_key(key, "/v1/keys"), BURST + 5) == [403] * (BURST + 5)
        assert await statuses(connection, with_key(KEY, "/v1/nothing"), BURST + 5) == [404] * (BURST + 5)
        assert await statuses(connection, with_key("wrong"), 1) == [401]


async def test_health_and_the_owner_are_never_held_up(tmp_path: Path):
    async with wire(tmp_path, monotonic=Still()) as it:
        connection = await it.connect()
        assert (await statuses(connection, with_key("wrong"), BURST + 1))[-1] == 429
        for path in ("/livez", "/readyz", "/openapi.json"):
            assert await statuses(connection, raw("GET", path), BURST) == [200] * BURST
        async with owner_client(it.owner) as owner:
            assert {(await owner.get("/v1/sources")).status_code for _ in range(BURST + 1)} == {200}


async def unknown_token(it: Wire) -> tuple[bytes, bytes, int]:
    return it.request(target="/in/generic/" + "A" * 32), it.request(), 404


async def wrong_secret(it: Wire) -> tuple[bytes, bytes, int]:
    path = await it.make_source(SECRET)
    good = it.request(BODY, f"Authorization: Bearer {SECRET}", target=path)
    return it.request(BODY, "Authorization: Bearer wrong", target=path), good, 401


async def wrong_basic(it: Wire) -> tuple[bytes, bytes, int]:
    path = await it.make_source(basic={"username": "anna", "password": SECRET})
    right = b64encode(f"anna:{SECRET}".encode()).decode()
    good = it.request(BODY, f"Authorization: Basic {right}", target=path)
    return it.request(BODY, "Authorization: Basic YTpi", target=path), good, 401


async def foreign_network(it: Wire) -> tuple[bytes, bytes, int]:
    path = await it.make_source(allow=["10.0.0.0/8"])
    return it.request(target=path), it.request(), 403


Guess = Callable[[Wire], Awaitable[tuple[bytes, bytes, int]]]


@pytest.mark.parametrize("guess", [unknown_token, wrong_secret, wrong_basic, foreign_network])
async def test_a_vendor_without_proof_is_429_after_a_burst_and_with_proof_always_served(
    tmp_path: Path, guess: Guess, caplog: pytest.LogCaptureFixture
):
    async with wire(tmp_path, monotonic=Still()) as it:
        bad, good, plain = await guess(it)
        connection = await it.connect()
        assert await statuses(connection, bad, BURST) == [plain] * BURST
        for _ in range(BURST):
            await connection.send(bad)
            status, headers, body = await connection.answer()
            assert (status, headers["retry-after"], body) == (429, f"{INTERVAL:.0f}", b"")
            assert "www-authenticate" not in headers
            assert await statuses(connection, good, 1) == [200]
        assert len(await it.bodies()) == BURST
    told = [record for record in caplog.records if record.getMessage() == "request.refused"]
    assert len(told) == (0 if plain == 404 else BURST)


async def test_what_is_wrong_with_a_source_is_kept_on_it_even_when_its_peer_is_held_up(tmp_path: Path):
    async with wire(tmp_path, monotonic=Still()) as it:
        connection = await it.connect()
        await statuses(connection, it.request(target="/in/generic/nobody"), BURST + 1)
        path = await it.make_source(SECRET)
        assert await statuses(connection, it.request(target=path), 1) == [429]
        noted = await it.fetch("SELECT last_error FROM sources WHERE last_error IS NOT NULL")
        while not noted:
            noted = await it.fetch("SELECT last_error FROM sources WHERE last_error IS NOT NULL")
        assert len(noted) == 1


async def test_behind_a_trusted_proxy_each_caller_is_a_peer_of_its_own(tmp_path: Path):
    async with wire(tmp_path, monotonic=Still(), trusted_proxies="127.0.0.0/8") as it:
        connection = await it.connect()

        async def guess(caller: str, times: int) -> list[int]:
            return await statuses(connection, with_key("wrong", "/v1/sources", f"X-Forwarded-For: {caller}"), times)

        assert (await guess("203.0.113.7", BURST + 1))[-1] == 429
        assert await guess("203.0.113.8", 1) == [401]
        assert (await guess("2001:db8::1", BURST + 1))[-1] == 429
        assert await guess("2001:db8::ffff:1", 1) == [429]
        assert await guess("2001:db8:0:1::1", 1) == [401]


async def test_a_forged_forwarded_for_does_not_make_one_peer_many(tmp_path: Path):
    async with wire(tmp_path, monotonic=Still()) as it:
        connection = await it.connect()
        found = []
        for number in range(BURST + 1):
            request = with_key("wrong", "/v1/sources", f"X-Forwarded-For: 203.0.113.{number}")
            found += await statuses(connection, request, 1)
        assert found == [401] * BURST + [429]


async def test_no_guess_is_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "receiver")
    async with wire(tmp_path, monotonic=Still()) as it:
        connection = await it.connect()
        path = await it.make_source(SECRET)
        for request in (
            with_key("guessed-key"),
            it.request(BODY, "Authorization: Bearer guessed-secret", target=path),
            it.request(target="/in/generic/guessed-token"),
        ):
            await statuses(connection, request, BURST // 2)
    told = "\n".join(f"{record.getMessage()} {record.__dict__.get('ids')}" for record in caplog.records)
    assert "request.refused" in told
    assert "guessed" not in told
    assert SECRET not in told
