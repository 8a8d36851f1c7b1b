"""/v1/subscriptions: the handshake, by which a URL says whether deliveries are welcome"""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.delivery.handshake import Consent, NoConsent
from receiver.storage import subscriptions
from receiver.storage.database import Transaction
from tests.api.running import HOOK, Api, pointers, problem, running_api

pytestmark = pytest.mark.usefixtures("engine")

REFUSED = NoConsent(error="origin", detail="answered without WebHook-Allowed-Origin", status=200)


async def shown(api: Api, subscription_id: str) -> dict[str, object]:
    answer = await api.client.get(f"/v1/subscriptions/{subscription_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_nobody_is_asked_unless_a_handshake_is_wanted(tmp_path: Path):
    async with running_api(tmp_path) as api:
        api.consents.answer = REFUSED
        made = await api.make_subscription()
        answer = await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"url": HOOK + "2"})
        assert (answer.status_code, answer.json()["handshake"]) == (200, False)
        assert api.consents.asked == []


async def test_a_url_that_consents_is_saved_with_the_rate_that_it_allows(tmp_path: Path):
    async with running_api(tmp_path) as api:
        api.consents.answer = Consent(per_minute=120)
        made = await api.make_subscription(handshake=True, rate_per_second=5, headers={"X-Team": "billing"})
        assert (made["handshake"], made["allowed_per_minute"]) == (True, 120)
        (asked,) = api.consents.asked
        assert (asked.url, asked.rate_per_second, asked.headers) == (HOOK, 5, {"X-Team": "billing"})
        assert (await shown(api, made["id"]))["allowed_per_minute"] == 120
        path = f"/v1/subscriptions/{made['id']}"
        await api.client.patch(path, json={"description": "x", "url": HOOK})  # the same
        assert len(api.consents.asked) == 1
        api.consents.answer = Consent(per_minute=None)
        changed = (await api.client.patch(path, json={"url": HOOK + "2"})).json()
        assert (changed["allowed_per_minute"], api.consents.asked[1].url) == (None, HOOK + "2")
        api.consents.answer = Consent(per_minute=6)
        changed = (await api.client.patch(path, json={"handshake": True})).json()
        assert (changed["allowed_per_minute"], len(api.consents.asked)) == (6, 3)
        changed = (await api.client.patch(path, json={"handshake": False})).json()
        assert (changed["handshake"], changed["allowed_per_minute"], len(api.consents.asked)) == (False, None, 3)


async def test_a_url_that_does_not_consent_is_refused_and_nothing_is_saved(tmp_path: Path):
    async with running_api(tmp_path) as api:
        api.consents.answer = REFUSED
        answer = await api.client.post("/v1/subscriptions", json={"url": HOOK, "handshake": True, "start": "beginning"})
        assert pointers(answer) == ["/url"]
        assert "WebHook-Allowed-Origin" in answer.json()["errors"][0]["detail"]
        assert (await api.client.get("/v1/subscriptions")).json()["data"] == []
        assert (await api.client.get("/v1/jobs")).json()["data"] == []
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}"
        before = await shown(api, made["id"])
        assert pointers(await api.client.patch(path, json={"handshake": True, "paused": True})) == ["/handshake"]
        assert pointers(await api.client.patch(path, json={"handshake": True, "url": HOOK + "2"})) == ["/url"]
        assert await shown(api, made["id"]) == before


async def test_nobody_is_asked_for_what_is_refused_anyway(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        wrong = {"handshake": True, "url": "https://127.0.0.1/", "headers": {}}
        assert pointers(await api.client.post("/v1/subscriptions", json=wrong)) == ["/url"]
        assert pointers(await api.client.patch(f"/v1/subscriptions/{made['id']}", json=wrong)) == ["/url"]
        odd = {"handshake": True, "headers": {"Host": "x"}}
        assert pointers(await api.client.post("/v1/subscriptions", json={"url": HOOK, **odd})) == ["/headers"]
        assert pointers(await api.client.patch(f"/v1/subscriptions/{made['id']}", json=odd)) == ["/headers"]
        assert problem(await api.client.patch("/v1/subscriptions/sub_never", json={"handshake": True}))[0] == 404
        assert api.consents.asked == []


async def test_a_consent_to_one_url_is_none_to_another_that_came_meanwhile(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()

        async def change(transaction: Transaction) -> None:
            row = await subscriptions.get(transaction, made["id"])
            assert row is not None
            await subscriptions.save(transaction, replace(row, url=HOOK + "/meanwhile"))

        api.consents.meanwhile = lambda: api.context.batch.write(change)
        answer = await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"handshake": True})
        assert problem(answer) == (409, "conflict")
        found = await shown(api, made["id"])
        assert (found["handshake"], found["url"]) == (False, HOOK + "/meanwhile")
