"""/livez, /readyz, /v1/vendors"""

from pathlib import Path

from receiver.vendors import VENDORS
from tests.api.running import problem, running_api


async def test_livez_needs_no_key_and_asks_nothing_of_the_rest(tmp_path: Path):
    async with running_api(tmp_path) as api:
        api.causes.append("database: full")
        answer = await api.ask("GET", "/livez")
        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_readyz_names_every_cause(tmp_path: Path):
    async with running_api(tmp_path) as api:
        answer = await api.ask("GET", "/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "purge_behind_seconds": 0})
        api.causes += ["database: full", "writer: stuck for 30 s"]
        answer = await api.ask("GET", "/readyz")
        assert problem(answer) == (503, "unavailable")
        assert answer.json()["causes"] == ["database: full", "writer: stuck for 30 s"]


async def test_a_load_balancer_may_ask_by_head(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert (await api.ask("HEAD", "/livez")).status_code == 200
        assert (await api.ask("HEAD", "/readyz")).status_code == 200
        api.causes.append("database: full")
        assert (await api.ask("HEAD", "/livez")).status_code == 200
        assert (await api.ask("HEAD", "/readyz")).status_code == 503
        assert problem(await api.ask("POST", "/livez")) == (405, "method_not_allowed")
        assert (await api.ask("HEAD", "/v1/vendors")).status_code == 405


async def test_readyz_tells_how_far_the_purge_is_behind(tmp_path: Path):
    async with running_api(tmp_path, purge_behind=lambda: 7200) as api:
        answer = await api.ask("GET", "/readyz")
        assert (answer.status_code, answer.json()["purge_behind_seconds"]) == (200, 7200)


async def test_the_manifest_has_every_vendor_with_what_a_source_of_it_takes(tmp_path: Path):
    async with running_api(tmp_path) as api:
        found = {item["name"]: item for item in (await api.client.get("/v1/vendors")).json()["data"]}
        assert list(found) == list(VENDORS)
        for name, vendor in VENDORS.items():
            shown = found[name]
            assert (shown["title"], shown["docs"], shown["provenance"]) == (
                vendor.title,
                vendor.docs,
                vendor.provenance,
            )
            assert list(shown["credentials"]) == list(vendor.credentials)
            assert "basic" in shown["options"]["properties"]
        assert found["twilio"]["credentials"]["auth_token"]["required"] is True
        assert found["twilio"]["signs_url"] is True
