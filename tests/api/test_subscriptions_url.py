"""/v1/subscriptions: the URL that is called, kept as it was given, and refused where it must not be called."""

import logging
from ipaddress import ip_network
from pathlib import Path

import pytest

from receiver.egress import Guard
from tests.api.running import HOOK, pointers, running_api

POWER_AUTOMATE = (
    "https://prod-12.westeurope.logic.azure.com:443/workflows/0123/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=a-b_c%2B%2f%3D" + "x" * 1800
)


async def test_a_long_callback_url_is_kept_byte_for_byte_found_and_never_logged(tmp_path: Path, caplog):
    caplog.set_level(logging.DEBUG)
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(url=POWER_AUTOMATE)
        await api.make_subscription()
        assert made["url"] == POWER_AUTOMATE
        found = await api.client.get("/v1/subscriptions", params={"url": POWER_AUTOMATE})
        assert [item["id"] for item in found.json()["data"]] == [made["id"]]
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("receiver")]
    assert not any("sig=" in line for line in logged)


async def test_a_plus_in_the_url_filter_may_arrive_as_a_blank(tmp_path: Path):
    async with running_api(tmp_path) as api:
        made = await api.make_subscription(url=f"{HOOK}?a=b+c")
        found = await api.client.get(f"/v1/subscriptions?url={HOOK}?a=b+c")
        assert [item["id"] for item in found.json()["data"]] == [made["id"]]


@pytest.mark.parametrize(
    "url",
    [
        "", "/hook", "example.com/hook", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
        "https://127.0.0.1/", "https://127.1/", "http://0x7f000001/", "http://2130706433/", "https://localhost./",
        "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::a9fe:a9fe]/", "https://u:p@example.com/",
        "https://example.com/#x", "https://example.com/a b", "https://example\uff0ecom\uff0f", "https://169.254.169.254/",
        "https://example.com/\x00", "https://example.com/" + "x" * 4096, "https://example.com:0/",
    ],
)  # fmt: skip
async def test_a_url_that_must_not_be_called_is_refused_when_it_is_registered(tmp_path: Path, url):
    async with running_api(tmp_path) as api:
        assert pointers(await api.client.post("/v1/subscriptions", json={"url": url})) == ["/url"]
        made = await api.make_subscription()
        assert pointers(await api.client.patch(f"/v1/subscriptions/{made['id']}", json={"url": url})) == ["/url"]


async def test_the_refusal_names_the_setting_that_would_allow_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        answer = await api.client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9000/"})
        assert "EGRESS_ALLOW" in answer.json()["errors"][0]["detail"]
    async with running_api(tmp_path, guard=Guard([ip_network("127.0.0.0/8")])) as api:
        made = await api.make_subscription(url="http://127.0.0.1:9000/")
        assert "http" in made["warnings"][0]
