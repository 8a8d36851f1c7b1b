"""What must never be called is refused when a subscription is made or changed, by the API itself."""

from ipaddress import ip_network
from pathlib import Path

import httpx2
import pytest

from receiver.egress import Guard
from tests.api.running import HOOK, pointers, running_api
from tests.door.table import BAD_URLS, FORBIDDEN, FORBIDDEN_ADDRESSES, NOTATIONS, PUBLIC_ADDRESSES, SCOPED, url_of

ADDRESSES = {address: url_of(address) for address in FORBIDDEN_ADDRESSES}
HOSTS = {name: f"https://{host}/hook" for name, host in NOTATIONS.items()}
INTERFACES = {address: url_of(address.replace("%", "%25")) for address in SCOPED}


def told(answer: httpx2.Response) -> str:
    """The one complaint of a refusal, which must be about the URL."""
    assert pointers(answer) == ["/url"]
    return str(answer.json()["errors"][0]["detail"])


@pytest.mark.parametrize("urls", [ADDRESSES, HOSTS, INTERFACES, BAD_URLS], ids=["addresses", "hosts", "scopes", "urls"])
async def test_every_row_of_the_table_is_refused_and_nothing_is_made(tmp_path: Path, urls: dict[str, str]):
    async with running_api(tmp_path) as api:
        accepted = []
        for name, url in urls.items():
            answer = await api.client.post("/v1/subscriptions", json={"url": url})
            if answer.status_code != 422 or pointers(answer) != ["/url"]:
                accepted.append((name, answer.status_code))
        assert accepted == []
        assert (await api.client.get("/v1/subscriptions")).json()["data"] == []


@pytest.mark.parametrize("urls", [ADDRESSES, HOSTS, INTERFACES, BAD_URLS], ids=["addresses", "hosts", "scopes", "urls"])
async def test_no_subscription_can_be_moved_there(tmp_path: Path, urls: dict[str, str]):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        path = f"/v1/subscriptions/{made['id']}"
        accepted = []
        for name, url in urls.items():
            answer = await api.client.patch(path, json={"url": url})
            if answer.status_code != 422 or pointers(answer) != ["/url"]:
                accepted.append((name, answer.status_code))
        assert accepted == []
        assert (await api.client.get(path)).json()["url"] == HOOK


async def test_the_refusal_of_an_address_names_the_setting_and_what_it_would_have_to_hold(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for address, url in ADDRESSES.items():
            detail = told(await api.client.post("/v1/subscriptions", json={"url": url}))
            assert "RECEIVER_EGRESS_ALLOW=" in detail, address


async def test_the_neighbours_of_every_forbidden_network_are_accepted(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for address in PUBLIC_ADDRESSES:
            made = await api.make_subscription(url=url_of(address))
            assert made["url"] == url_of(address)


async def test_the_setting_opens_the_networks_that_it_names_and_no_other(tmp_path: Path):
    network, *inside = FORBIDDEN[1]
    async with running_api(tmp_path, guard=Guard([ip_network(network)])) as api:
        for address in inside:
            await api.make_subscription(url=url_of(address))
        for _, *others in FORBIDDEN[2:]:
            for address in others:
                told(await api.client.post("/v1/subscriptions", json={"url": url_of(address)}))


async def test_no_refusal_repeats_the_password_path_or_query_of_a_url(tmp_path: Path):
    async with running_api(tmp_path) as api:
        for url in ("https://user:s3cret@example.com/", "http://10.0.0.1/s3cret?sig=s3cret", "https://a.test/#s3cret"):
            answer = await api.client.post("/v1/subscriptions", json={"url": url})
            assert "s3cret" not in told(answer)
            assert "s3cret" not in answer.text


OF_THE_RECEIVER = [
    "Host", "Content-Length", "content-type", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "TE",
    "Trailer", "Expect", "Accept-Encoding", "Content-Encoding", "Proxy-Authorization", "Proxy-Connection",
    "Webhook-Id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE", "webhook-request-origin", "WebHook-Request-Callback",
    "X-Forwarded-For", "X-Forwarded-Host", "x-forwarded-proto", "Forwarded", "X-Real-IP", "Cookie", "User-Agent",
]  # fmt: skip
UNSENDABLE = [
    {"X-A": "1\r\nHost: evil"}, {"X-A": "1\n2"}, {"X-A": "1\r2"}, {"X-A": "\0"}, {"X-A\r\nHost": "evil"},
    {"X-A: 1\r\nHost": "evil"}, {"X A": "1"}, {"": "1"}, {"X-Ä": "1"}, {"X-A": "ä"}, {"X-A": " 1"}, {"X-A": "1\t"},
    {"X-A": "1", "x-a": "2"}, {"X-A": "1" * 4097}, {f"X-{number}": "1" for number in range(21)},
]  # fmt: skip


async def test_headers_that_are_ours_or_would_split_the_request_are_refused_without_their_value(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription()
        for headers in [*({name: "s3cret"} for name in OF_THE_RECEIVER), *UNSENDABLE]:
            for answer in (
                await api.client.post("/v1/subscriptions", json={"url": HOOK, "headers": headers}),
                await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"headers": headers}),
            ):
                assert pointers(answer) == ["/headers"], headers
                assert "s3cret" not in answer.text
