"""/v1/sources"""

from pathlib import Path
from typing import Any

import pytest

from receiver.vendors import VENDORS
from tests.api.running import PUBLIC_URL, pointers, problem, running_api

JSON = b'{"from":"447700900123","to":"447700900456","text":"hello"}'


@pytest.mark.usefixtures("engine")
async def test_a_source_is_made_and_its_url_takes_messages(tmp_path: Path):
    async with running_api(tmp_path) as api:
        answer = await api.client.post(
            "/v1/sources",
            json={"vendor": "generic", "name": "Till 4", "options": {"fields": {"text": "text"}}},
        )
        made = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{PUBLIC_URL}/v1/sources/{made['id']}"
        assert made["id"].startswith("src_")
        token = made["url"].removeprefix(f"{PUBLIC_URL}/in/generic/")
        assert len(token) == 32
        assert made["setup"] == {"webhook_url": made["url"]}
        assert (made["vendor"], made["name"], made["credentials"]) == ("generic", "Till 4", {})
        assert made["options"]["dedup_seconds"] == 60
        assert made["created_at"] == made["updated_at"]
        assert made["last_seen_at"] is None
        assert await api.receive(made, JSON) == 200
        again = (await api.client.get(f"/v1/sources/{made['id']}")).json()
        assert again["last_seen_at"] is not None


async def test_the_name_is_the_vendors_title_where_none_is_given(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert (await api.make_source(vendor="thesmsworks"))["name"] == VENDORS["thesmsworks"].title


async def test_secrets_are_masked_wherever_a_source_is_shown(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_source(
            vendor="twilio",
            credentials={"auth_token": ["hunter2-old", "hunter2-new"]},
            options={"basic": {"username": "till", "password": "hunter2-basic"}},
        )
        assert made["credentials"] == {"auth_token": ["***", "***"]}
        assert made["options"]["basic"] == {"username": "till", "password": "***"}
        for path in ("/v1/sources", f"/v1/sources/{made['id']}"):
            assert "hunter2" not in (await api.client.get(path)).text
        changed = await api.client.patch(f"/v1/sources/{made['id']}", json={"credentials": {"auth_token": "hunter2"}})
        assert changed.json()["credentials"] == {"auth_token": "***"}


async def test_what_is_stored_is_the_secret_and_not_its_mask(tmp_path: Path):
    async with running_api(tmp_path) as api:
        basic = {"username": "till", "password": "right"}
        made = await api.mapped_source(
            credentials={"secret": "s3cret"}, options={"basic": basic, "allow": ["203.0.113.0/24"]}
        )
        right = (b"authorization", b"Basic dGlsbDpyaWdodA==")
        assert await api.receive(made, JSON, [right]) == 401  # Basic is right, the secret is missing
        moved = await api.client.patch(
            f"/v1/sources/{made['id']}", json={"options": {"secret_header": "x-secret", **_options(made, basic)}}
        )
        assert moved.status_code == 200, moved.text
        assert await api.receive(made, JSON, [right, (b"x-secret", b"s3cret")]) == 200
        assert (
            await api.receive(made, JSON, [(b"authorization", b"Basic dGlsbDp3cm9uZw=="), (b"x-secret", b"s3cret")])
            == 401
        )


def _options(made: dict[str, Any], basic: dict[str, str]) -> dict[str, Any]:
    return {"fields": made["options"]["fields"], "basic": basic}


async def test_a_mask_that_comes_back_keeps_the_secret(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.mapped_source(
            credentials={"secret": "old"}, options={"basic": {"username": "u", "password": "p"}}
        )
        options = {**made["options"], "secret_header": "x-secret"}
        assert options["basic"]["password"] == "***"
        both = {"credentials": {"secret": ["new", "***"]}, "options": options}
        changed = await api.client.patch(f"/v1/sources/{made['id']}", json=both)
        assert changed.status_code == 200, changed.text
        assert changed.json()["credentials"] == {"secret": ["***", "***"]}
        right = (b"authorization", b"Basic dTpw")
        for secret in (b"old", b"new"):
            assert await api.receive(made, JSON, [right, (b"x-secret", secret)]) == 200
        assert await api.receive(made, JSON, [right, (b"x-secret", b"***")]) == 401


async def test_a_lone_mask_keeps_every_value_of_a_credential(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_source(vendor="twilio", credentials={"auth_token": ["one", "two"]})
        changed = await api.client.patch(f"/v1/sources/{made['id']}", json={"credentials": {"auth_token": "***"}})
        assert changed.json()["credentials"] == {"auth_token": ["***", "***"]}
        door = api.context.catalog.door(made["url"].rpartition("/")[2])
        assert door is not None
        assert door.source.secrets("auth_token") == ("one", "two")


@pytest.mark.usefixtures("engine")
async def test_a_patch_replaces_what_is_given_and_nothing_else(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_source(
            vendor="twilio", name="one", credentials={"auth_token": "t"}, options={"dedup_seconds": 5}
        )
        changed = (await api.client.patch(f"/v1/sources/{made['id']}", json={"name": "two"})).json()
        assert changed["name"] == "two"
        assert changed["options"]["dedup_seconds"] == 5
        assert changed["credentials"] == {"auth_token": "***"}
        assert changed["url"] == made["url"]
        assert changed["updated_at"] > made["updated_at"]
        changed = (await api.client.patch(f"/v1/sources/{made['id']}", json={"options": {}})).json()
        assert changed["options"]["dedup_seconds"] == 60
        assert (await api.client.patch(f"/v1/sources/{made['id']}", json={})).json()["name"] == "two"


@pytest.mark.usefixtures("engine")
async def test_a_rotated_token_ends_the_old_url_at_once(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.mapped_source()
        rotated = (await api.client.post(f"/v1/sources/{made['id']}/rotate-token")).json()
        assert rotated["url"] != made["url"]
        assert await api.receive(made, JSON) == 404
        assert await api.receive(rotated, JSON) == 200


@pytest.mark.usefixtures("engine")
async def test_a_removed_source_is_gone_and_removing_it_again_is_no_error(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.mapped_source()
        for _ in range(2):
            answer = await api.client.delete(f"/v1/sources/{made['id']}")
            assert (answer.status_code, answer.content) == (204, b"")
        assert await api.receive(made, JSON) == 404
        path = f"/v1/sources/{made['id']}"
        assert problem(await api.client.get(path)) == (404, "not_found")
        assert problem(await api.client.patch(path, json={"name": "x"})) == (404, "not_found")
        assert problem(await api.client.post(f"{path}/rotate-token")) == (404, "not_found")
        assert (await api.client.get("/v1/sources")).json()["data"] == []
        assert problem(await api.client.delete("/v1/sources/src_never")) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/vendor"]),
        ({"vendor": "pigeon"}, ["/vendor"]),
        ({"vendor": "twilio"}, ["/credentials/auth_token"]),
        ({"vendor": "twilio", "credentials": {"auth_token": ""}}, ["/credentials/auth_token"]),
        ({"vendor": "twilio", "credentials": {"auth_token": []}}, ["/credentials/auth_token"]),
        ({"vendor": "twilio", "credentials": {"auth_token": ["a", ""]}}, ["/credentials/auth_token/1"]),
        ({"vendor": "twilio", "credentials": {"auth_token": ["a"] * 11}}, ["/credentials/auth_token"]),
        ({"vendor": "twilio", "credentials": {"auth_token": "x" * 513}}, ["/credentials/auth_token"]),
        ({"vendor": "twilio", "credentials": {"auth_token": 7}}, ["/credentials/auth_token"]),
        ({"vendor": "twilio", "credentials": {"auth_token": "***"}}, ["/credentials/auth_token"]),
        ({"vendor": "twilio", "credentials": {"auth_token": "a", "b/c": "d"}}, ["/credentials/b~1c"]),
        ({"vendor": "generic", "options": {"nope": 1}}, ["/options/nope"]),
        ({"vendor": "generic", "options": {"basic": {"username": "u", "password": ""}}}, ["/options/basic/password"]),
        ({"vendor": "generic", "options": {"basic": {"username": "u", "password": "***"}}}, ["/options/basic/password"]),
        ({"vendor": "generic", "options": {"basic": {"username": "u"}}}, ["/options/basic/password"]),
        ({"vendor": "generic", "options": {"allow": ["10.0.0.0/8", "10.0.0.1/8"]}}, ["/options/allow/1"]),
        ({"vendor": "generic", "options": {"statuses": {"X": "no such status"}}}, ["/options/statuses/X"]),
        ({"vendor": "generic", "options": []}, ["/options"]),
        ({"vendor": "generic", "name": "x" * 201}, ["/name"]),
        ({"vendor": "generic", "name": "nul \x00"}, ["/name"]),
        ({"vendor": "generic", "url": "https://x"}, ["/url"]),
        ({"vendor": "generic", "credentials": {"k" * 65: "x"}}, ["/credentials/" + "k" * 65]),
        ([], [""]),
    ],
)  # fmt: skip
async def test_a_source_that_cannot_be_is_refused_with_its_place(tmp_path: Path, body, expected):
    async with running_api(tmp_path) as api:
        answer = await api.client.post("/v1/sources", json=body)
        found = pointers(answer)
        assert set(found) == set(expected)
        assert (await api.client.get("/v1/sources")).json()["data"] == []


async def test_what_is_due_is_said_in_words_of_json(tmp_path: Path):
    async with running_api(tmp_path) as api:
        body = {"vendor": "generic", "options": {"allow": "10.0.0.0/8"}}
        errors = (await api.client.post("/v1/sources", json=body)).json()["errors"]
        assert errors == [{"pointer": "/options/allow", "detail": "Input should be a valid list"}]


async def test_everything_that_is_wrong_is_told_at_once_and_never_a_value(tmp_path: Path):
    async with running_api(tmp_path) as api:
        body = {
            "vendor": "twilio",
            "credentials": {"secret": "hunter2"},
            "options": {
                "timezone": "hunter2",
                "default_region": "hunter2",
                "basic": "hunter2",
                "reference_days": "hunter2",
            },
        }
        answer = await api.client.post("/v1/sources", json=body)
        assert set(pointers(answer)) == {
            "/credentials/secret", "/credentials/auth_token", "/options/timezone", "/options/default_region",
            "/options/basic", "/options/reference_days",
        }  # fmt: skip
        assert "hunter2" not in answer.text


async def test_a_patch_cannot_change_the_vendor_or_take_a_required_credential(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_source(vendor="twilio", credentials={"auth_token": "t"})
        path = f"/v1/sources/{made['id']}"
        assert pointers(await api.client.patch(path, json={"vendor": "generic"})) == ["/vendor"]
        assert pointers(await api.client.patch(path, json={"credentials": {}})) == ["/credentials/auth_token"]
        assert pointers(await api.client.patch(path, json={"name": None})) == ["/name"]
        more = {"credentials": {"auth_token": ["***", "***"]}}
        assert pointers(await api.client.patch(path, json=more)) == ["/credentials/auth_token"]
        assert (await api.client.get(path)).json()["updated_at"] == made["updated_at"]


async def test_warnings_say_what_leaves_a_source_open(tmp_path: Path):
    async with running_api(tmp_path, public_url_is_default=True) as api:
        assert any(
            "RECEIVER_PUBLIC_URL" in line
            for line in (await api.make_source(vendor="twilio", credentials={"auth_token": "t"}))["warnings"]
        )
        assert len((await api.make_source(vendor="thesmsworks"))["warnings"]) == 1
        assert (await api.make_source(vendor="thesmsworks", options={"allow": ["192.0.2.0/24"]}))["warnings"] == []
        assert (await api.make_source(vendor="generic", credentials={"secret": "s"}))["warnings"] == []


async def test_no_warning_about_the_public_url_once_it_is_set(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert (await api.make_source(vendor="twilio", credentials={"auth_token": "t"}))["warnings"] == []


async def test_a_source_with_options_that_this_version_does_not_take_is_shown_and_can_be_mended(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_source(vendor="generic")
        async with api.database.writing() as transaction:
            await transaction.fetch("UPDATE sources SET options = ?", '{"timezone": "Mars/Olympus"}')
        [found] = (await api.client.get("/v1/sources")).json()["data"]
        assert (found["options"], found["setup"]) == ({}, {})
        assert "options that this version does not take" in found["warnings"][0]
        path = f"/v1/sources/{made['id']}"
        assert pointers(await api.client.patch(path, json={"name": "x"})) == ["/options/timezone"]
        mended = (await api.client.patch(path, json={"options": {"timezone": "Etc/UTC"}})).json()
        assert (mended["options"]["timezone"], mended["warnings"][0][:4]) == ("Etc/UTC", "Only")


async def test_a_source_of_a_vendor_that_this_version_lacks_is_shown_with_a_warning(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_source(vendor="generic", credentials={"secret": "s"})
        few = {name: vendor for name, vendor in VENDORS.items() if name != "generic"}
    async with running_api(tmp_path, vendors=few) as api:
        (found,) = (await api.client.get("/v1/sources")).json()["data"]
        assert (found["id"], found["setup"], found["options"]) == (made["id"], {}, {})
        assert "does not know the vendor" in found["warnings"][0]
        assert problem(await api.client.patch(f"/v1/sources/{made['id']}", json={"name": "x"})) == (409, "conflict")
        assert (await api.client.delete(f"/v1/sources/{made['id']}")).status_code == 204


async def test_there_is_an_end_to_the_number_of_sources(tmp_path: Path):
    async with running_api(tmp_path) as api:
        async with api.database.writing() as transaction:
            await transaction.many(
                "INSERT INTO sources (id, vendor, name, token, credentials, options, created_at, updated_at)",
                [(f"src_{n:026}", "thesmsworks", "", f"t{n}", "{}", "{}", 0, 0) for n in range(9_999)],
            )
        made = await api.make_source()
        answer = await api.client.post("/v1/sources", json={"vendor": "generic"})
        assert pointers(answer) == [""]
        assert "10000" in answer.text
        await api.client.delete(f"/v1/sources/{made['id']}")
        await api.make_source()
