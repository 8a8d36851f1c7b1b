"""/v1/keys, and who may do what."""

from pathlib import Path

import pytest

from receiver.api import OPERATIONS
from receiver.storage import keys
from tests.api.running import ADMIN_KEY, HOOK, pointers, problem, running_api


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.usefixtures("engine")
async def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_key("read", "write")
        assert made["id"].startswith("key_")
        assert made["scopes"] == ["read", "write"]
        assert len(made["key"]) == 47
        listed = await api.client.get("/v1/keys")
        assert made["key"] not in listed.text
        assert listed.json()["data"] == [{name: value for name, value in made.items() if name != "key"}]
        async with api.database.reading() as reader:
            assert made["key"] not in str(await reader.fetch("SELECT * FROM keys"))


@pytest.mark.usefixtures("engine")
async def test_a_revoked_key_is_refused_at_once_and_stays_listed(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_key("read")
        assert (await api.ask("GET", "/v1/sources", headers=bearer(made["key"]))).status_code == 200
        for _ in range(2):
            assert (await api.client.delete(f"/v1/keys/{made['id']}")).status_code == 204
        assert problem(await api.ask("GET", "/v1/sources", headers=bearer(made["key"]))) == (401, "unauthorized")
        (listed,) = (await api.client.get("/v1/keys")).json()["data"]
        assert listed["revoked_at"] is not None
        assert problem(await api.client.delete("/v1/keys/key_never")) == (404, "not_found")


@pytest.mark.usefixtures("engine")
async def test_keys_come_in_pages(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = [(await api.make_key("read"))["id"] for _ in range(3)]
        first = (await api.client.get("/v1/keys?limit=2")).json()
        second = (await api.client.get(f"/v1/keys?limit=2&after={first['next']}")).json()
        assert [item["id"] for item in first["data"] + second["data"]] == made[::-1]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/name", "/scopes"]), ({"name": "", "scopes": ["read"]}, ["/name"]), ({"name": "x", "scopes": []}, ["/scopes"]),
        ({"name": "x", "scopes": ["root"]}, ["/scopes/0"]), ({"name": "x", "scopes": ["read", "read"]}, ["/scopes"]),
        ({"name": "x" * 201, "scopes": ["read"]}, ["/name"]), ({"name": "x", "scopes": "read"}, ["/scopes"]),
        ({"name": "x", "scopes": ["read"], "key": "mine"}, ["/key"]),
    ],
)  # fmt: skip
async def test_a_key_that_cannot_be_is_refused(tmp_path: Path, body, expected):
    async with running_api(tmp_path) as api:
        assert sorted(pointers(await api.client.post("/v1/keys", json=body))) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer "}, {"authorization": "Bearer key_"},
        {"authorization": ADMIN_KEY}, {"authorization": f"Basic {ADMIN_KEY}"}, {"authorization": f"Bearer {ADMIN_KEY}x"},
        {"authorization": f"Bearer {ADMIN_KEY[:-1]}"}, {"authorization": "Bearer " + "x" * 513},
        {"authorization": b"Bearer caf\xe9"}, {"authorization": f"Bearer {ADMIN_KEY}, Bearer {ADMIN_KEY}"},
    ],
)  # fmt: skip
async def test_without_a_valid_key_nothing_is_told(tmp_path: Path, headers):
    async with running_api(tmp_path) as api:
        answer = await api.ask("GET", "/v1/sources", headers=headers)
        assert problem(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_scheme_may_be_written_in_any_case(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert (
            await api.ask("GET", "/v1/sources", headers={"authorization": f"bearer  {ADMIN_KEY}"})
        ).status_code == 200


@pytest.mark.parametrize("name", ["key", "api_key", "access_token", "token", "API_KEY"])
async def test_a_key_in_the_url_is_refused_even_beside_a_good_header(tmp_path: Path, name):
    async with running_api(tmp_path) as api:
        assert problem(await api.ask("GET", f"/v1/sources?{name}={ADMIN_KEY}")) == (401, "unauthorized")
        assert problem(await api.client.get(f"/v1/sources?{name}={ADMIN_KEY}")) == (401, "unauthorized")


async def test_without_a_settings_key_only_stored_ones_are_valid(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_key("admin")
    async with running_api(tmp_path, admin_key=None) as api:
        assert problem(await api.client.get("/v1/keys")) == (401, "unauthorized")
        assert (await api.ask("GET", "/v1/keys", headers=bearer(made["key"]))).status_code == 200


async def test_the_owners_socket_needs_no_key_and_nobody_can_pretend_to_be_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        inner = api.app

        async def owners(scope, receive, send):
            await inner({**scope, "receiver.owner": True}, receive, send)

        async def pretenders(scope, receive, send):
            await inner({**scope, "receiver.owner": "true"}, receive, send)

        api.app = owners  # type: ignore[assignment]  # any ASGI application serves
        assert (await api.ask("GET", "/v1/keys")).status_code == 200
        api.app = pretenders  # type: ignore[assignment]  # as above
        assert problem(await api.ask("GET", "/v1/keys")) == (401, "unauthorized")


READS = ["/v1/vendors", "/v1/sources", "/v1/subscriptions", "/v1/events", "/v1/deliveries", "/v1/receipts"]


@pytest.mark.usefixtures("engine")
async def test_each_scope_may_do_its_own_and_what_it_implies(tmp_path: Path):
    async with running_api(tmp_path) as api:
        key = {scope: bearer((await api.make_key(scope))["key"]) for scope in ("read", "write", "admin")}
        for scope, headers in key.items():
            for path in READS:
                assert (await api.ask("GET", path, headers=headers)).status_code == 200, (scope, path)
            written = await api.ask("POST", "/v1/subscriptions", headers=headers, json={"url": HOOK})
            assert written.status_code == (403 if scope == "read" else 201)
            administered = await api.ask("GET", "/v1/keys", headers=headers)
            assert administered.status_code == (200 if scope == "admin" else 403)
        assert problem(await api.ask("GET", "/v1/keys", headers=key["write"])) == (403, "forbidden_scope")


async def test_a_scope_that_this_version_does_not_know_gives_nothing(tmp_path: Path):
    async with running_api(tmp_path) as api:
        row = keys.Key(id=api.context.ids.new("key"), name="later", scopes=("root",), created_at=0)
        await api.context.batch.write(lambda transaction: keys.insert(transaction, row, "later-key"))
        assert problem(await api.ask("GET", "/v1/sources", headers=bearer("later-key"))) == (403, "forbidden_scope")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda item: f"{item.method} {item.path}")
async def test_every_operation_but_health_needs_a_key_and_every_write_more_than_read(tmp_path: Path, operation):
    async with running_api(tmp_path) as api:
        path = operation.path.replace("{id}", "some")
        without = await api.ask(operation.method, path)
        assert without.status_code == (401 if operation.path.startswith("/v1/") else 200)
        if operation.method not in ("GET", "HEAD"):
            reader = bearer((await api.make_key("read"))["key"])
            assert problem(await api.ask(operation.method, path, headers=reader)) == (403, "forbidden_scope")
