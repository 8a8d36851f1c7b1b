"""/v1/jobs, and what asks for them: recover, replay and start"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from receiver.sms.timestamps import to_text
from receiver.storage import subscriptions
from tests.api.running import PUBLIC_URL, Api, an_attempt, pointers, problem, running_api
from tests.api.test_events import message, received

pytestmark = pytest.mark.usefixtures("engine")


async def deliveries_of(api: Api, subscription: dict[str, Any]) -> list[str]:
    """States, oldest first."""
    data = (await api.client.get(f"/v1/deliveries?subscription_id={subscription['id']}")).json()["data"]
    return [item["state"] for item in reversed(data)]


async def asked(api: Api, path: str, **body: Any) -> dict[str, Any]:
    answer = await api.client.post(path, json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()["job"]
    assert answer.headers["location"] == f"{PUBLIC_URL}/v1/jobs/{job['id']}"
    assert (await api.client.get(f"/v1/jobs/{job['id']}")).json() == job
    return job


async def done(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    await api.work()
    shown: dict[str, Any] = (await api.client.get(f"/v1/jobs/{job['id']}")).json()
    assert shown["state"] == "done"
    return shown


async def test_recover_releases_what_failed_and_what_is_held_and_shows_how_far_it_is(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        source = await received(api, 3)
        for recorded, state in zip(api.recorded, ("dead", "forbidden", "succeeded"), strict=True):
            await api.attempted(recorded, state, an_attempt())
        path = f"/v1/subscriptions/{made['id']}"
        await api.client.patch(path, json={"paused": True})
        await api.receive(source, message(3))
        await api.client.patch(path, json={"paused": False})
        api.woken.clear()
        job = await asked(api, f"{path}/recover")
        assert api.rung == ["job"]
        assert job | {"id": "", "created_at": "", "updated_at": ""} == {
            "id": "", "kind": "recover", "state": "running", "done": 0, "total": 4, "released": 0, "error": None,
            "subscription_id": made["id"], "created_at": "", "updated_at": "",
        }  # fmt: skip
        shown = await done(api, job)
        assert (shown["done"], shown["total"], shown["released"]) == (4, 4, 3)
        assert shown["updated_at"] > job["updated_at"]
        assert await deliveries_of(api, made) == ["retrying", "retrying", "succeeded", "waiting"]
        assert api.woken == [made["id"]]


async def test_recover_takes_what_is_missing_from_a_time_on_for_some_types_alone(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 2)
        moment = to_text(api.context.clock())
        await api.receive(source, message(2))
        await api.receive(source, message(3))
        await api.receive(source, b"{broken")
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}/recover"
        narrow = {"states": ["missing"], "since": moment, "types": ["message.*"], "filter": {"from": ["+447700900103"]}}
        job = await asked(api, path, **narrow)
        assert job["total"] == 3
        assert (await done(api, job))["released"] == 1
        job = await asked(api, path, states=["missing"], until=moment)
        assert (job["total"], (await done(api, job))["released"]) == (2, 2)
        job = await asked(api, path, states=["missing", "all"])
        assert (job["total"], (await done(api, job))["released"]) == (5, 2)
        assert len(await deliveries_of(api, made)) == 5


async def test_a_recovery_since_a_time_passes_over_what_is_older(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(paused=True)
        source = await received(api, 3)
        moment = to_text(api.context.clock())
        await api.receive(source, message(3))
        await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"paused": False})
        job = await asked(api, f"/v1/subscriptions/{made['id']}/recover", since=moment)
        assert (job["total"], (await done(api, job))["released"]) == (1, 1)
        assert await deliveries_of(api, made) == ["held", "held", "held", "waiting"]
        never = await asked(api, f"/v1/subscriptions/{made['id']}/recover", since="2999-01-01T00:00:00Z")
        assert (never["total"], (await done(api, never))["released"]) == (0, 0)


async def test_what_can_take_nothing_cannot_be_recovered(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(paused=True)
        path = f"/v1/subscriptions/{made['id']}"
        answer = await api.client.post(f"{path}/recover")
        assert problem(answer) == (409, "conflict")
        assert "`paused` to false" in answer.json()["detail"]
        await api.context.batch.write(lambda transaction: subscriptions.disable(transaction, made["id"], "gone", 1))
        assert "disabled" in (await api.client.post(f"{path}/recover")).json()["detail"]
        await api.client.delete(path)
        assert problem(await api.client.post(f"{path}/recover")) == (404, "not_found")
        leading = await api.make_subscription(start="beginning")
        path = f"/v1/subscriptions/{leading['id']}/recover"
        assert problem(await api.client.post(path, json={"states": ["missing"]})) == (409, "conflict")
        assert (await api.client.post(path, json={"states": ["failed"]})).status_code == 202
        assert len((await api.client.get("/v1/jobs")).json()["data"]) == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"states": []}, "/states"),
        ({"states": ["lost"]}, "/states/0"),
        ({"states": "failed"}, "/states"),
        ({"states": None}, "/states"),
        ({"types": ["nope"]}, "/types/0"),
        ({"types": []}, "/types"),
        ({"filter": {"form": ["x"]}}, "/filter/form"),
        ({"since": "yesterday"}, "/since"),
        ({"since": 5}, "/since"),
        ({"since": "2026-11-20T14:00:00Z", "until": "2026-11-20T14:00:00Z"}, "/until"),
        ({"limit": 5}, "/limit"),
    ],
)
async def test_a_recovery_that_cannot_be_is_refused_with_its_place(tmp_path: Path, body, expected):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        assert pointers(await api.client.post(f"/v1/subscriptions/{made['id']}/recover", json=body)) == [expected]
        if expected not in ("/states", "/states/0"):
            assert pointers(await api.client.post("/v1/events/replay", json=body)) == [expected]
        assert (await api.client.get("/v1/jobs")).json()["data"] == []
        assert api.rung == []


async def test_an_event_is_replayed_to_all_that_it_matches_or_to_some(tmp_path: Path):
    async with running_api(tmp_path) as api:
        one = await api.make_subscription()
        await received(api, 2)
        for recorded in api.recorded:
            await api.attempted(recorded, "succeeded", an_attempt())
        two, other = await api.make_subscription(), await api.make_subscription(types=["contact.*"])
        events = (await api.client.get("/v1/events")).json()["data"]
        path = f"/v1/events/{events[0]['id']}/replay"
        job = await asked(api, path, subscription_ids=[two["id"]])
        assert (job["total"], job["subscription_id"]) == (1, two["id"])
        await done(api, job)
        assert (await deliveries_of(api, one), await deliveries_of(api, two)) == (["succeeded"] * 2, ["waiting"])
        job = await asked(api, path)
        assert (job["kind"], job["subscription_id"]) == ("replay", None)
        assert (await done(api, job))["released"] == 1
        assert await deliveries_of(api, one) == ["retrying", "succeeded"]
        assert await deliveries_of(api, other) == []
        owed = (await api.client.get(f"/v1/events/{events[0]['id']}/deliveries")).json()["data"]
        assert len(owed) == 2
        assert problem(await api.client.post("/v1/events/evt_never/replay")) == (404, "not_found")


async def test_the_events_of_a_time_are_replayed(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 2)
        moment = to_text(api.context.clock())
        await api.receive(source, message(2))
        await api.receive(source, b"{broken")
        one, two = await api.make_subscription(), await api.make_subscription()
        job = await asked(api, "/v1/events/replay", since=moment, subscription_ids=[two["id"]], types=["message.*"])
        assert (await done(api, job))["released"] == 1
        assert (await deliveries_of(api, one), await deliveries_of(api, two)) == ([], ["waiting"])
        job = await asked(api, "/v1/events/replay", until=moment)
        assert (await done(api, job))["released"] == 4
        job = await asked(api, "/v1/events/replay")
        assert (job["total"], (await done(api, job))["released"]) == (4, 1 + 2)


async def test_a_replay_to_subscriptions_that_are_not_there_or_not_active_is_refused(tmp_path: Path):
    async with running_api(tmp_path) as api:
        one, paused = await api.make_subscription(), await api.make_subscription(paused=True)
        leading = await api.make_subscription(start="beginning")
        await received(api, 1)
        (event,) = (await api.client.get("/v1/events")).json()["data"]
        for path in ("/v1/events/replay", f"/v1/events/{event['id']}/replay"):
            unknown = {"subscription_ids": [one["id"], "sub_never", "sub_ever"]}
            assert pointers(await api.client.post(path, json=unknown)) == ["/subscription_ids/1", "/subscription_ids/2"]
            assert pointers(await api.client.post(path, json={"subscription_ids": []})) == ["/subscription_ids"]
            for other in (paused, leading):
                answer = await api.client.post(path, json={"subscription_ids": [one["id"], other["id"]]})
                assert problem(answer) == (409, "conflict")
        assert [job["kind"] for job in (await api.client.get("/v1/jobs")).json()["data"]] == ["start"]


async def test_a_start_in_the_log_is_a_job_that_leads_the_subscription_through_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 3)
        events = [event["id"] for event in (await api.client.get("/v1/events")).json()["data"]]
        moment = to_text(api.context.clock())
        await api.receive(source, message(3))
        found = {}
        for name, start in {"now": "now", "all": "beginning", "event": events[1], "time": moment}.items():
            made = await api.make_subscription(start=start)
            assert made["catching_up"] == (name != "now")
            found[name] = made
        jobs = {job["subscription_id"]: job for job in (await api.client.get("/v1/jobs")).json()["data"]}
        await api.receive(source, message(4))
        assert len(api.recorded[-1].outgoing.leased) == 1  # the intake owes it to one of them alone
        await api.work()
        await api.receive(source, message(5))
        assert {name: len(await deliveries_of(api, made)) for name, made in found.items()} == {
            "now": 2, "all": 6, "event": 5, "time": 3,
        }  # fmt: skip
        totals = {name: jobs.get(made["id"], {}).get("total") for name, made in found.items()}
        assert totals == {"now": None, "all": 4, "event": 3, "time": 1}
        shown = (await api.client.get(f"/v1/subscriptions/{found['all']['id']}")).json()
        assert (shown["catching_up"], shown["waiting"]) == (False, 6)
        assert len(api.rung) == 3


async def test_a_start_after_the_last_event_or_in_an_empty_log_ends_at_once(tmp_path: Path):
    async with running_api(tmp_path) as api:
        early = await api.make_subscription(start="beginning")
        source = await received(api, 1)
        late = await api.make_subscription(start=to_text(api.context.clock() - 1000))
        await api.work()
        await api.receive(source, message(1))
        assert (len(await deliveries_of(api, early)), len(await deliveries_of(api, late))) == (2, 1)


async def test_a_start_that_is_nowhere_is_refused_and_nothing_is_saved(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for start in ("evt_01k5z2v0c3x9q8w7e6r5t4y3u2", "2999-01-01T00:00:00Z"):
            answer = await api.client.post("/v1/subscriptions", json={"url": "https://a.example/", "start": start})
            assert pointers(answer) == ["/start"]
        assert (await api.client.get("/v1/subscriptions")).json()["data"] == []
        assert (await api.client.get("/v1/jobs")).json()["data"] == []


async def test_a_job_is_canceled_once_and_one_that_ended_cannot_be(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await received(api, 2)
        made = await api.make_subscription(start="beginning")
        (job,) = (await api.client.get("/v1/jobs")).json()["data"]
        for _ in range(2):
            answer = await api.client.post(f"/v1/jobs/{job['id']}/cancel")
            assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
        await api.work()
        await api.receive(source, message(2))  # the subscription is one as every other
        assert await deliveries_of(api, made) == ["sending"]
        assert not (await api.client.get(f"/v1/subscriptions/{made['id']}")).json()["catching_up"]
        other = await asked(api, "/v1/events/replay")
        await done(api, other)
        assert problem(await api.client.post(f"/v1/jobs/{other['id']}/cancel")) == (409, "conflict")
        for call in (api.client.get("/v1/jobs/job_never"), api.client.post("/v1/jobs/job_never/cancel")):
            assert problem(await call) == (404, "not_found")


async def test_jobs_are_listed_newest_first_page_by_page(tmp_path: Path):
    async with running_api(tmp_path) as api:
        one, two = await api.make_subscription(), await api.make_subscription()
        paths = [f"/v1/subscriptions/{item['id']}/recover" for item in (one, two, one)]
        ids = [(await asked(api, path))["id"] for path in paths]

        async def listed(query: str) -> list[int]:
            return [ids.index(job["id"]) for job in (await api.client.get(f"/v1/jobs{query}")).json()["data"]]

        assert await listed("") == [2, 1, 0]
        assert await listed(f"?subscription_id={one['id']}") == [2, 0]
        assert await listed("?state=done") == []
        first = (await api.client.get("/v1/jobs?limit=2")).json()
        assert await listed(f"?after={first['next']}") == [0]
        await api.work()
        assert await listed("?state=done") == [2, 1, 0]
        assert pointers(await api.client.get("/v1/jobs?state=lost")) == ["/state"]


async def test_asking_needs_the_scope_write_and_looking_needs_read(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        keys = {scope: (await api.make_key(scope))["key"] for scope in ("read", "write")}

        async def status(method: str, path: str, scope: str) -> int:
            headers = {"authorization": f"Bearer {keys[scope]}"}
            return (await api.ask(method, path, headers=headers)).status_code

        for path in (f"/v1/subscriptions/{made['id']}/recover", "/v1/events/replay", "/v1/jobs/x/cancel"):
            assert await status("POST", path, "read") == 403
        assert await status("POST", "/v1/events/replay", "write") == 202
        assert await status("GET", "/v1/jobs", "read") == 200


async def test_many_that_ask_at_once_make_a_job_each(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(paused=True)
        await received(api, 5)
        await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"paused": False})
        path = f"/v1/subscriptions/{made['id']}/recover"
        answers = await asyncio.gather(*[api.client.post(path) for _ in range(5)])
        await api.work()
        ended = [(await api.client.get(f"/v1/jobs/{it.json()['job']['id']}")).json() for it in answers]
        assert {job["state"] for job in ended} == {"done"}
        assert sum(job["released"] for job in ended) == 5
        assert await deliveries_of(api, made) == ["waiting"] * 5
