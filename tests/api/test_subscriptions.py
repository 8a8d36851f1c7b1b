"""/v1/subscriptions"""

import asyncio
from pathlib import Path

import orjson
import pytest

from receiver.delivery.signing import parse_secret
from receiver.sms.timestamps import from_text
from receiver.storage import subscriptions
from receiver.storage.deliveries import Attempt
from receiver.storage.subscriptions import Subscription
from tests.api.running import HOOK, PUBLIC_URL, Api, an_attempt, pointers, problem, running_api

GIVEN_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the example of the Standard Webhooks specification
MESSAGE = b'{"from":"447700900123","to":"447700900456","text":"hello"}'


async def stored(api: Api, subscription_id: str) -> Subscription:
    async with api.database.reading() as reader:
        row = await subscriptions.get(reader, subscription_id)
    assert row is not None
    return row


async def test_a_url_alone_subscribes_to_everything(tmp_path: Path):
    async with running_api(tmp_path) as api:
        answer = await api.client.post("/v1/subscriptions", json={"url": HOOK})
        made = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{PUBLIC_URL}/v1/subscriptions/{made['id']}"
        assert len(parse_secret(made.pop("secret"))) == 32
        assert made.pop("id").startswith("sub_")
        assert made.pop("created_at") == made.pop("updated_at")
        assert made == {
            "url": HOOK, "types": ["*"], "filter": None, "format": "standard", "headers": {}, "max_concurrency": 32,
            "rate_per_second": None, "ordered": None, "retry_schedule": None, "handshake": False,
            "allowed_per_minute": None, "paused": False, "description": None, "state": "active", "disabled_by": None,
            "catching_up": False, "waiting": 0, "oldest_waiting_at": None, "failures": 0, "failing_since": None,
            "last_error": None, "last_status": None, "last_success_at": None, "warnings": [],
        }  # fmt: skip


@pytest.mark.usefixtures("engine")
async def test_every_field_is_kept(tmp_path: Path):
    body = {
        "url": HOOK, "types": ["message.*", "contact.opted_out"], "filter": {"from": ["+44*"], "final_only": True},
        "format": "standard", "secret": GIVEN_SECRET, "headers": {"X-Team": "billing"}, "max_concurrency": 3,
        "retry_schedule": [1, 2.5, 604800], "paused": True, "description": "for billing", "ordered": "conversation",
        "rate_per_second": 0.5, "handshake": True,
    }  # fmt: skip
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(**body)
        assert made["secret"] == GIVEN_SECRET
        shown = (await api.client.get(f"/v1/subscriptions/{made['id']}")).json()
        assert {name: shown[name] for name in body} == body | {
            "filter": shown["filter"], "secret": "***", "headers": {"X-Team": "***"},
        }  # fmt: skip
        assert {name: value for name, value in shown["filter"].items() if value} == body["filter"]
        assert shown["state"] == "paused"
        row = await stored(api, made["id"])
        assert (row.headers, row.secrets[0].value) == ({"X-Team": "billing"}, GIVEN_SECRET)


@pytest.mark.usefixtures("engine")
async def test_the_next_message_reaches_a_subscription_that_was_just_made(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        made = await api.make_subscription()
        assert api.context.catalog.subscription(made["id"]) is not None
        other = await api.make_subscription(types=["message.status"])
        await api.receive(source, MESSAGE)
        (owed,) = api.recorded[-1].outgoing.leased
        assert owed.subscription_id == made["id"]
        await api.receive(source, MESSAGE.replace(b"hello", b"again"))
        found = {item["id"]: item for item in (await api.client.get("/v1/subscriptions")).json()["data"]}
        _, first = (await api.client.get("/v1/deliveries")).json()["data"]
        assert found[made["id"]]["waiting"] == 2
        assert found[made["id"]]["oldest_waiting_at"] == first["created_at"]
        assert found[other["id"]]["waiting"] == 0


async def test_a_secret_is_shown_once(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(headers={"Authorization": "Bearer hunter2"})
        path = f"/v1/subscriptions/{made['id']}"
        answers = [
            await api.client.get(path),
            await api.client.get("/v1/subscriptions"),
            await api.client.patch(path, json={"description": "x"}),
        ]
        for answer in answers:
            assert made["secret"] not in answer.text
            assert "hunter2" not in answer.text
            assert '"secret":"***"' in answer.text


@pytest.mark.usefixtures("engine")
async def test_a_patch_replaces_what_is_given_and_null_takes_away(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(
            filter={"to": ["x"]}, description="d", retry_schedule=[1], types=["message.*"], max_concurrency=3
        )
        path = f"/v1/subscriptions/{made['id']}"
        changed = (await api.client.patch(path, json={"types": ["*"], "max_concurrency": 4})).json()
        assert (changed["types"], changed["max_concurrency"]) == (["*"], 4)
        for name in ("filter", "description", "retry_schedule", "url", "headers"):
            assert changed[name] == made[name]
        changed = await api.client.patch(path, json={"filter": None, "description": None, "retry_schedule": None})
        assert [changed.json()[name] for name in ("filter", "description", "retry_schedule")] == [None] * 3
        changed = await api.client.patch(path, json={"url": HOOK + "2", "filter": {"from": ["y"]}})
        assert (changed.json()["url"], changed.json()["filter"]["from"]) == (HOOK + "2", ["y"])
        assert changed.json()["updated_at"] > made["updated_at"]


async def test_masks_that_come_back_keep_secret_and_header(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(secret=GIVEN_SECRET, headers={"Authorization": "Bearer x", "X-Old": "1"})
        path = f"/v1/subscriptions/{made['id']}"
        headers = {"authorization": "***", "X-New": "2"}
        changed = await api.client.patch(path, json={"secret": "***", "headers": headers})
        assert changed.status_code == 200, changed.text
        row = await stored(api, made["id"])
        assert row.headers == {"authorization": "Bearer x", "X-New": "2"}
        assert [secret.value for secret in row.secrets] == [GIVEN_SECRET]
        new = "whsec_" + "A" * 32
        await api.client.patch(path, json={"secret": new})
        assert [secret.value for secret in (await stored(api, made["id"])).secrets] == [new]


@pytest.mark.usefixtures("engine")
async def test_pausing_and_resuming(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}"
        paused = (await api.client.patch(path, json={"paused": True})).json()
        assert (paused["state"], paused["paused"]) == ("paused", True)
        assert api.woken == []
        resumed = (await api.client.patch(path, json={"paused": False})).json()
        assert (resumed["state"], resumed["paused"]) == ("active", False)
        assert api.woken == [made["id"]]


async def test_a_disabled_subscription_stays_so_until_paused_is_set_to_false(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}"
        await api.context.batch.write(lambda transaction: subscriptions.disable(transaction, made["id"], "gone", 1))
        changed = (await api.client.patch(path, json={"description": "x"})).json()
        assert (changed["state"], changed["disabled_by"]) == ("disabled", "gone")
        changed = (await api.client.patch(path, json={"paused": False})).json()
        assert (changed["state"], changed["disabled_by"]) == ("active", None)


@pytest.mark.usefixtures("engine")
async def test_removal_cancels_what_is_owed_and_is_idempotent(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await api.mapped_source()
        made = await api.make_subscription()
        await api.receive(source, MESSAGE)
        path = f"/v1/subscriptions/{made['id']}"
        for _ in range(2):
            assert (await api.client.delete(path)).status_code == 204
        (delivery,) = (await api.client.get("/v1/deliveries")).json()["data"]
        assert delivery["state"] == "canceled"
        await api.receive(source, MESSAGE.replace(b"hello", b"again"))
        assert api.recorded[-1].outgoing.leased == []
        assert problem(await api.client.get(path)) == (404, "not_found")
        assert problem(await api.client.patch(path, json={})) == (404, "not_found")
        assert problem(await api.client.post(f"{path}/test")) == (404, "not_found")
        assert problem(await api.client.post(f"{path}/rotate-secret")) == (404, "not_found")
        assert problem(await api.client.delete("/v1/subscriptions/sub_never")) == (404, "not_found")


async def test_the_test_button_answers_with_the_attempt(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(paused=True)
        answer = await api.client.post(f"/v1/subscriptions/{made['id']}/test")
        assert answer.status_code == 200
        assert [item.id for item in api.pinged] == [made["id"]]
        assert answer.json() | {"started_at": ""} == {
            "number": 1, "started_at": "", "duration_ms": 12, "status": 200, "error": None, "detail": None,
            "answer": "ok",
        }  # fmt: skip


async def test_a_test_that_fails_says_how(tmp_path: Path):
    async def ping(_subscription: Subscription) -> Attempt:
        return an_attempt(status=503, error="status", detail="busy", answer=b"later \xff", duration_ms=7)

    async with running_api(tmp_path, ping=ping) as api:
        made = await api.make_subscription()
        answer = await api.client.post(f"/v1/subscriptions/{made['id']}/test")
        assert answer.json() | {"started_at": ""} == {
            "number": 1, "started_at": "", "duration_ms": 7, "status": 503, "error": "status", "detail": "busy",
            "answer": "later \ufffd",
        }  # fmt: skip
        assert (await api.client.get("/v1/deliveries")).json()["data"] == []


@pytest.mark.usefixtures("engine")
async def test_a_rotated_secret_signs_beside_the_old_one_for_the_overlap(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}/rotate-secret"
        rotated = (await api.client.post(path, json={"overlap_seconds": 3600})).json()
        assert rotated["secret"] != made["secret"]
        row = await stored(api, made["id"])
        now = from_text(rotated["updated_at"])
        assert [item.value for item in row.secrets] == [rotated["secret"], made["secret"]]
        assert [item.expires_at for item in row.secrets] == [None, now + 3_600_000_000]
        cut = (await api.client.post(path, json={"overlap_seconds": 0})).json()
        row = await stored(api, made["id"])
        assert [item.value for item in row.secrets if item.expires_at is None or item.expires_at > now] == [
            cut["secret"]
        ]


async def test_a_rotation_overlaps_by_a_day_and_never_lengthens_what_was_granted(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}/rotate-secret"
        await api.client.post(path, json={"overlap_seconds": 60})
        answer = await api.client.post(path)
        newest, *older = [secret.expires_at for secret in (await stored(api, made["id"])).secrets]
        ends = [end for end in older if end is not None]
        now = from_text(answer.json()["updated_at"])
        assert (newest, len(ends)) == (None, 2)
        assert abs(ends[0] - now - 86_400_000_000) < 1_000_000
        assert ends[1] - now <= 60_000_000
        for _ in range(5):
            await api.client.post(path)
        assert len((await stored(api, made["id"])).secrets) == 5


NOT_GIVEN = ("id", "state", "waiting", "disabled_by", "catching_up", "allowed_per_minute")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"url": 7}, "/url"),
        ({"url": None}, "/url"),
        ({"types": []}, "/types"),
        ({"types": ["message.*", "nope.*"]}, "/types/1"),
        ({"types": ["*"] * 10_000}, "/types"),
        ({"types": "message.*"}, "/types"),
        ({"filter": {"form": ["x"]}}, "/filter/form"),
        ({"filter": {"from": ["x" * 300]}}, "/filter/from/0"),
        ({"format": "cloudevents"}, "/format"),
        ({"secret": "hunter2"}, "/secret"),
        ({"secret": "whsec_AAAA"}, "/secret"),
        ({"secret": ""}, "/secret"),
        ({"headers": {"Host": "x"}}, "/headers"),
        ({"headers": {"X": "a\r\nb"}}, "/headers"),
        ({"headers": {"Webhook-Id": "a"}}, "/headers"),
        ({"headers": {"X-Forwarded-For": "a"}}, "/headers"),
        ({"headers": {"Content-Length": "1"}}, "/headers"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "/headers"),
        ({"headers": {"X": 1}}, "/headers/X"),
        ({"headers": {"X": "***"}}, "/headers"),
        ({"max_concurrency": 0}, "/max_concurrency"),
        ({"max_concurrency": 257}, "/max_concurrency"),
        ({"max_concurrency": "5"}, "/max_concurrency"),
        ({"max_concurrency": 1.5}, "/max_concurrency"),
        ({"retry_schedule": []}, "/retry_schedule"),
        ({"retry_schedule": [1] * 21}, "/retry_schedule"),
        ({"retry_schedule": [5, 0]}, "/retry_schedule/1"),
        ({"retry_schedule": [604_801]}, "/retry_schedule/0"),
        ({"paused": "yes"}, "/paused"),
        ({"paused": None}, "/paused"),
        ({"description": "x" * 1001}, "/description"),
        ({"ordered": "message"}, "/ordered"),
        ({"ordered": True}, "/ordered"),
        ({"rate_per_second": 0}, "/rate_per_second"),
        ({"rate_per_second": -1}, "/rate_per_second"),
        ({"rate_per_second": 10_001}, "/rate_per_second"),
        ({"rate_per_second": "5"}, "/rate_per_second"),
        ({"rate_per_second": True}, "/rate_per_second"),
        ({"handshake": "yes"}, "/handshake"),
        ({"handshake": None}, "/handshake"),
        ({"start": "yesterday"}, "/start"),
        ({"start": True}, "/start"),
        ({"start": 1_700_000_000}, "/start"),
        ({"start": "sub_01k5z2v0c3x9q8w7e6r5t4y3u2"}, "/start"),
        *[({name: True}, f"/{name}") for name in NOT_GIVEN],
    ],
)  # fmt: skip
async def test_a_field_that_cannot_be_is_refused_with_its_place(tmp_path: Path, body, expected):
    async with running_api(tmp_path) as api:
        answer = await api.client.post("/v1/subscriptions", json={"url": HOOK, **body})
        assert pointers(answer) == [expected]
        assert "hunter2" not in answer.text
        made = await api.make_subscription(headers={"Y": "1"})
        changed = await api.client.patch(f"/v1/subscriptions/{made['id']}", json=body)
        assert pointers(changed) == [expected]


async def test_a_secret_that_is_only_a_mask_is_no_secret(tmp_path: Path):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.post("/v1/subscriptions", json={"url": HOOK, "secret": "***"})) == ["/secret"]


@pytest.mark.parametrize("seconds", [-1, 604_801, "60", 1.5, None])
async def test_an_overlap_is_at_most_a_week(tmp_path: Path, seconds):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        answer = await api.client.post(
            f"/v1/subscriptions/{made['id']}/rotate-secret", json={"overlap_seconds": seconds}
        )
        assert pointers(answer) == ["/overlap_seconds"]


async def test_there_is_an_end_to_the_number_of_subscriptions_even_for_many_at_once(tmp_path: Path):
    async with running_api(tmp_path) as api:
        row = ("https://x.example/", '["*"]', "standard", "[]", "{}", 1, "paused", 0, 0)
        async with api.database.writing() as transaction:
            await transaction.many(
                "INSERT INTO subscriptions (id, url, types, format, secrets, headers, max_concurrency, state, "
                "created_at, updated_at)",
                [(f"sub_{n:026}", *row) for n in range(9_998)],
            )
        answers = await asyncio.gather(*[api.client.post("/v1/subscriptions", json={"url": HOOK}) for _ in range(4)])
        assert sorted(answer.status_code for answer in answers) == [201, 201, 422, 422]
        refused = next(answer for answer in answers if answer.status_code == 422)
        assert (
            orjson.loads(refused.content)["errors"][0]["detail"] == "there are 10000 subscriptions, which is the limit"
        )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"statuses": ["delivered", "DELIVERED"]}, ["/filter/statuses/1"]),
        ({"vendors": ["Twilio", "twilio"], "statuses": ["done"]}, ["/filter/vendors/0", "/filter/statuses/0"]),
    ],
)
async def test_a_filter_that_no_event_could_pass_is_refused(tmp_path: Path, wanted, expected):
    async with running_api(tmp_path) as api:
        body = {"url": "https://hooks.example.com/", "filter": wanted}
        assert pointers(await api.client.post("/v1/subscriptions", json=body)) == expected
        made = await api.make_subscription()
        answer = await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"filter": wanted})
        assert pointers(answer) == expected
        good = {"vendors": ["twilio"], "statuses": ["read", "canceled"]}
        answer = await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"filter": good})
        assert (answer.status_code, answer.json()["filter"]["statuses"]) == (200, ["read", "canceled"])
