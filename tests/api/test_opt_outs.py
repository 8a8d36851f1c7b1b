"""/v1/opt-outs: who does not want to hear from whom, told to subscribers when it changes."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.running import pointers, problem, running_api
from tests.api.test_events import message

pytestmark = pytest.mark.usefixtures("engine")

PERSON, OTHER = "+447700900101", "+447700900102"


async def stopped(api: Any) -> Any:
    """Two people said STOP, and one of them START."""
    source = await api.mapped_source()
    for number, text in ((1, "STOP"), (2, "stop"), (2, "START")):
        body = message(number, text=text, vendor_message_id=f"{number} {text}")
        assert await api.receive(source, body) == 200
    return source


async def page(api: Any, query: str = "") -> list[dict[str, Any]]:
    answer = await api.client.get(f"/v1/opt-outs{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


async def of(api: Any, number: str) -> Any:
    return (await api.client.get(f"/v1/opt-outs/{quote(number)}")).json()


async def log(api: Any) -> list[dict[str, Any]]:
    return list((await api.client.get("/v1/events?type=contact.*")).json()["data"])


async def put(api: Any, number: str, **body: Any) -> Any:
    answer = await api.client.put(f"/v1/opt-outs/{quote(number)}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_list_has_who_is_opted_out_now_and_others_when_asked(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await stopped(api)
        (line,) = await page(api)
        event = (await log(api))[0]
        assert line | {"changed_at": ""} == {
            "number": PERSON, "opted_out": True, "scope": "sender", "sender": "+447700900456",
            "source_id": source["id"], "via": "keyword", "changed_at": "", "event_id": event["id"],
        }  # fmt: skip
        assert [item["number"] for item in await page(api, "?opted_out=false")] == [OTHER]
        assert [item["number"] for item in await page(api, "?opted_out=any")] == [OTHER, PERSON]
        for query, found in (
            ("?scope=sender", 1), ("?scope=account", 0), (f"?source={source['id']}", 1), ("?source=src_x", 0),
            ("?number=%2B44770090010*", 1), ("?number=+447700900101", 1), ("?number=%2B447700900102", 0),
        ):  # fmt: skip
            assert len(await page(api, query)) == found, query
        for query, where in (("scope=none", "/scope"), ("opted_out=yes", "/opted_out"), ("state=x", "/state")):
            assert pointers(await api.client.get(f"/v1/opt-outs?{query}")) == [where]


async def test_pages_follow_each_other(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for number in range(5):
            await put(api, f"+44770090020{number}")
        first = (await api.client.get("/v1/opt-outs?limit=2")).json()
        second = (await api.client.get(f"/v1/opt-outs?limit=2&after={first['next']}")).json()
        third = (await api.client.get(f"/v1/opt-outs?limit=2&after={second['data'][-1]['event_id']}")).json()
        seen = [item["number"][-1] for found in (first, second, third) for item in found["data"]]
        assert ("".join(seen), third["next"]) == ("43210", None)


async def test_a_number_has_its_lines_and_its_history(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await stopped(api)
        found = await of(api, OTHER)
        assert (found["number"], found["opted_out"], found["more"]) == (OTHER, False, False)
        assert [line["opted_out"] for line in found["lines"]] == [False]
        assert found["history"] == [
            event for event in reversed(await log(api)) if event["data"]["number"]["raw"][-1] == "2"
        ]
        assert await of(api, "447700900102") == found
        assert problem(await api.client.get("/v1/opt-outs/%2B447700900999")) == (404, "not_found")


async def test_who_is_opted_out_by_the_api_is_an_event_once(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await api.make_subscription(types=["contact.*"])
        for _ in range(2):
            found = await put(api, PERSON)
        assert (found["opted_out"], len(found["lines"]), len(found["history"])) == (True, 1, 1)
        line, event = found["lines"][0], found["history"][0]
        assert (line["scope"], line["sender"], line["source_id"], line["via"]) == ("account", None, None, "api")
        assert (event["type"], event["data"]["via"], event["data"]["vendor"]) == ("contact.opted_out", "api", None)
        assert event["data"]["number"]["address"] == PERSON
        owed = (await api.client.get("/v1/deliveries")).json()["data"]
        assert [item["event_id"] for item in owed] == [event["id"]]


async def test_an_opt_out_may_be_for_one_source_and_one_sender(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        found = await put(api, PERSON, source_id=source["id"], sender="ACME", channel="sms")
        assert [(line["source_id"], line["scope"], line["sender"]) for line in found["lines"]] == [
            (source["id"], "sender", "ACME")
        ]
        data = found["history"][0]["data"]
        assert (data["vendor"], data["source_id"], data["channel"], data["sender"]["address"]) == (
            "generic", source["id"], "sms", "ACME",
        )  # fmt: skip
        assert pointers(await api.client.put("/v1/opt-outs/+1", json={"source_id": "src_x"})) == [""]
        answer = await api.client.put(f"/v1/opt-outs/{PERSON}", json={"source_id": "src_x"})
        assert pointers(answer) == ["/source_id"]
        assert pointers(await api.client.put(f"/v1/opt-outs/{PERSON}", json={"scope": "all"})) == ["/scope"]


async def test_an_opt_in_lifts_what_it_names_or_everything(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await stopped(api)
        await put(api, PERSON)
        await put(api, PERSON, source_id=source["id"])
        await put(api, PERSON, sender="ACME")

        async def left(query: str) -> list[tuple[str, str | None]]:
            assert (await api.client.delete(f"/v1/opt-outs/{quote(PERSON)}{query}")).status_code == 204
            return sorted((line["scope"], line["sender"]) for line in await page(api, f"?number={quote(PERSON)}"))

        assert len(await left("?scope=group")) == 4
        assert await left(f"?source={source['id']}&scope=account") == [
            ("account", None), ("sender", "+447700900456"), ("sender", "ACME"),
        ]  # fmt: skip
        assert await left("?sender=ACME") == [("account", None), ("sender", "+447700900456")]
        assert await left("") == []
        logged = len(await log(api))
        assert await left("") == []
        history = await log(api)
        assert len(history) == logged
        assert [(event["type"], event["data"]["via"]) for event in history[-4:]] == [("contact.opted_in", "api")] * 4
        assert {event["data"]["vendor"] for event in history[-4:]} == {None, "generic"}
        assert problem(await api.client.delete("/v1/opt-outs/+447700900999")) == (404, "not_found")


async def imported(api: Any, content: str, query: str = "") -> Any:
    answer = await api.client.post(
        f"/v1/opt-outs/import{query}", content=content.encode(), headers={"content-type": "text/csv"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_is_exported_can_be_imported_elsewhere(tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    async with running_api(here) as api, running_api(there) as other:
        await put(api, PERSON)
        await put(api, OTHER, sender="=ACME")
        await api.client.delete(f"/v1/opt-outs/{OTHER}")
        answer = await api.client.get("/v1/opt-outs/export?opted_out=any")
        assert answer.headers["content-type"].startswith("text/csv")
        heading, first, second = answer.text.splitlines()
        assert heading == "number,opted_out,scope,sender,source_id,via,changed_at,event_id"
        assert first.startswith(f"'{OTHER},false,sender,'=ACME,,api,")
        assert second.startswith(f"'{PERSON},true,account,,,api,")
        assert await imported(other, answer.text) == {"lines": 2, "changed": 2, "refused": 0, "errors": []}
        assert await imported(other, answer.text) == {"lines": 2, "changed": 0, "refused": 0, "errors": []}
        again = await other.client.get("/v1/opt-outs/export?opted_out=any")
        cut = [line.split(",")[:6] for line in again.text.splitlines()]
        assert sorted(cut) == sorted(line.split(",")[:6] for line in answer.text.splitlines())
        only = await other.client.get("/v1/opt-outs/export")
        assert len(only.text.splitlines()) == 2


async def test_a_list_of_more_than_one_commit_is_taken_over_and_exported_whole(tmp_path: Path):
    async with running_api(tmp_path) as api:
        content = "\n".join(f"+4477009{number:05}" for number in range(1200))
        assert (await imported(api, content))["changed"] == 1200
        exported = (await api.client.get("/v1/opt-outs/export")).text.splitlines()
        assert sorted(line.split(",")[0] for line in exported[1:]) == [f"'{number}" for number in content.split()]
        assert len(await log(api)) == 50


async def test_a_list_of_national_numbers_is_read_by_a_region_or_by_that_of_the_source(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.make_source(vendor="isendpro", options={"default_region": "FR"})
        listed = "Numero;Date\n0612345678;x\n33612345679;y\n"
        assert await imported(api, listed) == {
            "lines": 1, "changed": 1, "refused": 1,
            "errors": [{"line": 2, "detail": "is no number, or a national one without `default_region`"}],
        }  # fmt: skip
        assert (await imported(api, listed, "?default_region=FR"))["changed"] == 1
        assert (await imported(api, listed, f"?source={source['id']}"))["changed"] == 2
        lines = await page(api)
        assert sorted((item["number"], item["source_id"] or "") for item in lines) == [
            ("+33612345678", ""), ("+33612345678", source["id"]), ("+33612345679", ""), ("+33612345679", source["id"]),
        ]  # fmt: skip
        assert {event["data"]["vendor"] for event in await log(api)} == {None, "isendpro"}


async def test_lines_that_are_wrong_are_named_and_spoil_no_other(tmp_path: Path):
    async with running_api(tmp_path) as api:
        content = (
            "number,scope,sender,source_id\n+447700900101,sender,,\nnobody,,,\n+447700900101,planet,,\n"
            "+447700900101,,,src_x\n+447700900101,account,ACME,\n+447700900101,,ACME,\n,,,\n" + "x,,,\n" * 200
        )
        found = await imported(api, content)
        assert (found["lines"], found["changed"], found["refused"], len(found["errors"])) == (1, 1, 205, 100)
        assert [error["line"] for error in found["errors"][:5]] == [2, 3, 4, 5, 6]
        assert "+447700900101" not in str(found["errors"])
        assert pointers(await api.client.post("/v1/opt-outs/import?source=src_x", content=b"")) == ["/source"]
        large = await api.client.post("/v1/opt-outs/import", content=b"x" * 300_000)
        assert problem(large) == (413, "too_large")


async def test_a_sender_that_is_too_long_to_be_asked_for_is_left_out(tmp_path: Path):
    async with running_api(tmp_path) as api:
        group = "g" * 512
        lines = (f"sender,{'a' * 65}", f"group,{group}x", f"sender,{'1' * 64}", f"group,{group}")
        found = await imported(api, "number,scope,sender\n" + "".join(f"{PERSON},{line}\n" for line in lines))
        assert [error["line"] for error in found["errors"]] == [2, 3]
        assert (found["lines"], found["changed"]) == (2, 2)
        assert (await api.client.delete(f"/v1/opt-outs/{quote(PERSON)}?sender={group}")).status_code == 204
        assert [item["sender"] for item in await page(api)] == ["1" * 64]


async def test_an_empty_list_changes_nothing(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for content in ("", "number\n"):
            assert await imported(api, content) == {"lines": 0, "changed": 0, "refused": 0, "errors": []}


async def test_a_line_that_comes_twice_is_the_last_one(tmp_path: Path):
    async with running_api(tmp_path) as api:
        content = f"number,opted_out\n{PERSON},true\n{PERSON},false\n"
        assert (await imported(api, content))["changed"] == 1
        assert (await of(api, PERSON))["opted_out"] is False


@pytest.mark.parametrize("scopes", [("read",)])
async def test_who_may_only_read_changes_nothing(tmp_path: Path, scopes: tuple[str, ...]):
    async with running_api(tmp_path) as api:
        key = await api.make_key(*scopes)
        headers = {"authorization": f"Bearer {key['key']}"}
        for method, path in (("PUT", PERSON), ("DELETE", PERSON), ("POST", "import")):
            answer = await api.ask(method, f"/v1/opt-outs/{path}", headers=headers)
            assert problem(answer) == (403, "forbidden_scope")
