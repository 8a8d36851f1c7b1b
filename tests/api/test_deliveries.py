"""/v1/deliveries"""

from pathlib import Path

import pytest

from receiver.storage import subscriptions
from tests.api.running import an_attempt, pointers, problem, running_api
from tests.api.test_events import message, received

pytestmark = pytest.mark.usefixtures("engine")


async def test_deliveries_are_listed_newest_first_and_filtered(tmp_path: Path):
    async with running_api(tmp_path) as api:
        one, two = await api.make_subscription(), await api.make_subscription()
        await received(api, 2)
        await api.attempted(api.recorded[0], "succeeded", an_attempt())
        everything = (await api.client.get("/v1/deliveries")).json()["data"]
        ids = [delivery["id"] for delivery in everything]
        assert ids == sorted(ids, reverse=True)
        assert [delivery["state"] for delivery in everything] == ["sending", "sending", "succeeded", "succeeded"]
        assert [delivery["attempts_made"] for delivery in everything] == [0, 0, 1, 1]

        async def found(query: str) -> list[int]:
            data = (await api.client.get(f"/v1/deliveries?{query}")).json()["data"]
            return [ids.index(delivery["id"]) for delivery in data]

        assert await found("state=succeeded") == [2, 3]
        assert len(await found(f"subscription_id={one['id']}")) == 2
        assert len(await found(f"subscription_id={two['id']}&state=sending")) == 1
        assert await found(f"event_id={everything[0]['event_id']}") == [0, 1]
        assert await found(f"after={ids[1]}") == [2, 3]
        assert await found("event_id=evt_none") == []
        assert pointers(await api.client.get("/v1/deliveries?state=lost")) == ["/state"]


async def test_a_page_of_deliveries_follows_the_other(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await api.make_subscription()
        source = await received(api, 3)
        first = (await api.client.get("/v1/deliveries?limit=2")).json()
        await api.receive(source, message(3))  # a newer one does not shift what follows
        second = (await api.client.get(f"/v1/deliveries?limit=2&after={first['next']}")).json()
        assert [len(page["data"]) for page in (first, second)] == [2, 1]
        assert second["next"] is None
        assert len({item["id"] for page in (first, second) for item in page["data"]}) == 3


async def test_a_delivery_is_shown_with_every_attempt(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await api.make_subscription()
        await received(api, 1)
        forbidden = "192.0.2.1 is not on the public internet; EGRESS_ALLOW=192.0.2.1/32 would allow it"
        await api.attempted(api.recorded[0], "retrying", an_attempt(status=503, error="status", answer=b"\xff busy"))
        (listed,) = (await api.client.get("/v1/deliveries")).json()["data"]
        async with api.database.writing() as transaction:
            await transaction.fetch("UPDATE deliveries SET state = 'sending'")
        last = an_attempt(number=2, status=None, error="forbidden", detail=forbidden, answer=b"")
        await api.attempted(api.recorded[0], "forbidden", last)
        shown = (await api.client.get(f"/v1/deliveries/{listed['id']}")).json()
        assert listed["state"] == "retrying"
        assert listed["next_at"] is not None
        assert (shown["state"], shown["next_at"], shown["attempts_made"]) == ("forbidden", None, 2)
        assert [attempt["number"] for attempt in shown["attempts"]] == [1, 2]
        assert [attempt["answer"] for attempt in shown["attempts"]] == ["\ufffd busy", ""]
        assert (shown["attempts"][1]["error"], shown["attempts"][1]["detail"]) == ("forbidden", forbidden)
        assert problem(await api.client.get("/v1/deliveries/dlv_never")) == (404, "not_found")


@pytest.mark.parametrize("state", ["succeeded", "dead", "forbidden", "retrying"])
async def test_a_retry_makes_it_due_at_once_and_wakes_the_sender(tmp_path: Path, state):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        await received(api, 1)
        await api.attempted(api.recorded[0], state, an_attempt())
        delivery_id = api.recorded[0].outgoing.leased[0].delivery_id
        answer = await api.client.post(f"/v1/deliveries/{delivery_id}/retry")
        assert answer.status_code == 200
        assert answer.json()["state"] == "retrying"
        assert answer.json()["next_at"] == answer.json()["updated_at"]
        assert api.woken == [made["id"]]


async def test_a_retry_that_could_not_come_about_is_a_conflict(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        await received(api, 1)
        retry = f"/v1/deliveries/{api.recorded[0].outgoing.leased[0].delivery_id}/retry"
        assert problem(await api.client.post(retry)) == (409, "conflict")  # it is being sent
        await api.attempted(api.recorded[0], "dead", an_attempt())
        await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"paused": True})
        assert problem(await api.client.post(retry)) == (409, "conflict")
        await api.context.batch.write(lambda transaction: subscriptions.disable(transaction, made["id"], "failures", 1))
        assert "disabled" in (await api.client.post(retry)).json()["detail"]
        await api.client.delete(f"/v1/subscriptions/{made['id']}")
        assert problem(await api.client.post(retry)) == (409, "conflict")
        assert problem(await api.client.post("/v1/deliveries/dlv_never/retry")) == (404, "not_found")
        assert api.woken == []


async def test_what_stands_behind_another_of_its_conversation_says_so_and_cannot_overtake(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await api.make_subscription(ordered="conversation")
        source = await api.mapped_source()
        for number in range(3):
            await api.receive(source, message(number, **{"from": "447700900100"}))
        third, second, first = (await api.client.get("/v1/deliveries")).json()["data"]
        assert [item["state"] for item in (first, second, third)] == ["sending", "queued", "queued"]
        assert [item["next_at"] for item in (second, third)] == [None, None]
        assert len((await api.client.get("/v1/deliveries?state=queued")).json()["data"]) == 2
        assert problem(await api.client.post(f"/v1/deliveries/{third['id']}/retry")) == (409, "conflict")
        await api.attempted(api.recorded[0], "dead", an_attempt(status=500, error="status"))
        again = (await api.client.post(f"/v1/deliveries/{first['id']}/retry")).json()
        assert (again["state"], again["attempts_made"]) == ("retrying", 1)  # it is the oldest that is owed


async def test_a_delivery_names_the_events_that_were_given_up_right_before_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        await api.make_subscription(ordered="conversation")
        source = await api.mapped_source()
        for number in range(3):
            await api.receive(source, message(number, **{"from": "447700900100"}))
            await api.attempted(api.recorded[number], "dead", an_attempt(status=500, error="status"))
        third, second, first = (await api.client.get("/v1/deliveries")).json()["data"]
        assert (first["missed"], second["missed"]) == ([], [first["event_id"]])
        assert third["missed"] == [first["event_id"], second["event_id"]]
        assert "conversation" not in third


async def test_a_call_without_parameters_takes_no_body(tmp_path: Path):
    async with running_api(tmp_path) as api:
        retry = "/v1/deliveries/dlv_never/retry"
        assert pointers(await api.client.post(retry, json={"at": "now"})) == ["/at"]
        assert problem(await api.client.post(retry, json={})) == (404, "not_found")
