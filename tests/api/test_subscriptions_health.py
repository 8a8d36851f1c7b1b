"""/v1/subscriptions: order and rate, and how a subscription is doing"""

from pathlib import Path

import pytest

from receiver.delivery.health import Health
from receiver.storage import subscriptions
from receiver.storage.database import Transaction
from tests.api.running import START, Api, pointers, running_api
from tests.api.test_events import message, received

pytestmark = pytest.mark.usefixtures("engine")


async def shown(api: Api, subscription_id: str) -> dict[str, object]:
    answer = await api.client.get(f"/v1/subscriptions/{subscription_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_rate_and_an_order_are_kept_changed_and_taken_away(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(rate_per_second=10_000, ordered="conversation")
        path = f"/v1/subscriptions/{made['id']}"
        assert (made["rate_per_second"], made["ordered"]) == (10_000, "conversation")
        changed = (await api.client.patch(path, json={"rate_per_second": 0.25})).json()
        assert (changed["rate_per_second"], changed["ordered"]) == (0.25, "conversation")
        await api.client.patch(path, json={"rate_per_second": None, "ordered": None})
        found = api.context.catalog.subscription(made["id"])
        assert found is not None
        assert (found.rate_per_second, found.ordered) == (None, None)
        changed = (await api.client.patch(path, json={"ordered": "conversation"})).json()
        assert changed["ordered"] == "conversation"


async def states(api: Api) -> list[str]:
    data = (await api.client.get("/v1/deliveries")).json()["data"]
    return [item["state"] for item in reversed(data)]


async def test_without_order_what_stood_behind_another_is_due(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(ordered="conversation")
        source = await api.mapped_source()
        for number in range(3):
            await api.receive(source, message(number, **{"from": "447700900100"}))
        assert await states(api) == ["sending", "queued", "queued"]
        assert (await shown(api, made["id"]))["waiting"] == 3
        path = f"/v1/subscriptions/{made['id']}"
        await api.client.patch(path, json={"description": "x", "ordered": "conversation"})
        assert await states(api) == ["sending", "queued", "queued"]
        api.woken.clear()
        await api.client.patch(path, json={"ordered": None})
        assert await states(api) == ["sending", "waiting", "waiting"]
        assert api.woken == [made["id"]]


async def test_how_it_fails_is_shown_and_forgotten_when_it_is_set_to_work_again(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}"
        health = Health(
            failures=12, since=START, apart=5, apart_at=START, told=True, last_error="status", last_status=503
        )

        async def fail(transaction: Transaction) -> None:
            subscriptions.save_health(transaction, {made["id"]: health})

        await api.context.batch.write(fail)
        found = await shown(api, made["id"])
        told = {name: found[name] for name in ("failures", "failing_since", "last_error", "last_status", "disabled_by")}
        assert told == {
            "failures": 12, "failing_since": "2026-11-18T11:06:40.000Z", "last_error": "status", "last_status": 503,
            "disabled_by": None,
        }  # fmt: skip
        for change in ({"paused": True}, {"paused": False}, {"description": "x"}):
            assert (await api.client.patch(path, json=change)).json()["failures"] == 12
        await api.context.batch.write(
            lambda transaction: subscriptions.disable(transaction, made["id"], "failures", START)
        )
        found = (await api.client.get("/v1/subscriptions")).json()["data"][0]
        assert (found["state"], found["disabled_by"], found["failures"]) == ("disabled", "failures", 12)
        changed = (await api.client.patch(path, json={"paused": False})).json()
        assert changed == await shown(api, made["id"])
        told = {name: changed[name] for name in told}
        assert told == {
            "failures": 0, "failing_since": None, "last_error": None, "last_status": None, "disabled_by": None,
        }  # fmt: skip
        known = api.context.catalog.subscription(made["id"])
        assert known is not None
        assert (known.state, known.health) == ("active", Health(lapsed=True))


@pytest.mark.parametrize(
    "wrong",
    [{"rate_per_second": 0}, {"headers": {"Host": "x"}}, {"url": "https://10.0.0.1/"}, {"nope": 1}],
    ids=lambda body: next(iter(body)),
)
async def test_a_change_that_is_wrong_in_one_place_changes_nothing(tmp_path: Path, wrong):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(ordered="conversation")
        before = await shown(api, made["id"])
        body = {"description": "new", "paused": True, "ordered": None, "types": ["message.*"], **wrong}
        answer = await api.client.patch(f"/v1/subscriptions/{made['id']}", json=body)
        assert pointers(answer) == [f"/{next(iter(wrong))}"]
        assert await shown(api, made["id"]) == before


async def test_what_is_held_is_not_counted_as_waiting(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(paused=True)
        await received(api, 3)
        found = await shown(api, made["id"])
        assert (found["waiting"], found["oldest_waiting_at"]) == (0, None)
