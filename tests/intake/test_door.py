"""Which addresses and methods are served, and that nothing else is: before a body is read or a secret looked at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.vendors import VENDORS
from receiver.vendors.contract import Source, VendorRequest
from tests.pipeline import JSON, TOKEN, Pipeline, pipeline, whole

BODY = b'{"vendor_message_id": "m1", "text": "hello"}'
PATH = f"/in/generic/{TOKEN}"


def never() -> Iterator[Any]:
    """A body that nobody may ask for."""
    raise AssertionError("the body was read")
    yield


async def status(way: Pipeline, path: str, method: str = "POST") -> int:
    return int((await way.ask(method, path.encode("latin-1"), [whole(BODY)], headers=JSON))[0]["status"])


@pytest.mark.parametrize(
    "path",
    [
        "/in/generic/",
        "/in/generic",
        "/in/",
        "/",
        "",
        "*",
        f"/in/generic/{TOKEN[:-1]}",
        f"/in/generic/{TOKEN}x",
        f"/in/generic/{TOKEN.lower()}",
        f"/in/generic/{TOKEN.upper()}",
        "/in/generic/" + "".join(f"%{ord(letter):02x}" for letter in TOKEN),
        f"/in/generic/%{ord(TOKEN[0]):02X}{TOKEN[1:]}",
        f"/in/generic/{TOKEN}%00",
        f"/in/generic/%00{TOKEN}",
        f"/in/generic/..%2f{TOKEN}",
        f"/in/generic/../{TOKEN}",
        f"/in/generic/./{TOKEN}",
        f"/in/generic%2f{TOKEN}",
        f"/in/GENERIC/{TOKEN}",
        f"/in/twilio/{TOKEN}",
        f"/in/of-the-future/{TOKEN}",
        f"/IN/generic/{TOKEN}",
        f"/v1/in/generic/{TOKEN}",
        f"/in/in/generic/{TOKEN}",
        f"/in/generic/{TOKEN}/more",
        f"/in/generic/{TOKEN}\xff",
        f"/in/generic/{TOKEN};a=b",
        f"/in/generic/{TOKEN} ",
    ],
)
async def test_any_other_address_is_not_found(tmp_path: Path, path: str):
    async with pipeline(tmp_path) as way:
        way.open()
        assert await status(way, path) == 404
        assert await status(way, path, "HEAD") == 404
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]


@pytest.mark.parametrize("method", ["POST", "HEAD"])
async def test_a_source_that_this_version_cannot_read_is_no_reason_for_its_vendor_to_give_up(
    tmp_path: Path, method: str
):
    async with pipeline(tmp_path) as way:
        way.doors.shut_all = True
        assert await status(way, PATH, method) == 503
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]


@pytest.mark.parametrize(
    "path", [PATH, PATH + "/", PATH + "//", "/" + PATH, f"//in//generic///{TOKEN}/", PATH.removeprefix("/")]
)
async def test_doubled_and_trailing_slashes_are_served_not_redirected(tmp_path: Path, path: str):
    async with pipeline(tmp_path) as way:
        way.open()
        assert await status(way, path) == 200
        assert [recorded.receipt.outcome for recorded in way.recorded] == ["stored"]


@pytest.mark.parametrize(
    ("public_url", "path", "url"),
    [
        ("https://x.example/hooks", f"/hooks/in/generic/{TOKEN}", f"https://x.example/hooks/in/generic/{TOKEN}?a=b"),
        ("https://x.example/hooks", f"/in/generic/{TOKEN}/", f"https://x.example/hooks/in/generic/{TOKEN}/?a=b"),
        ("https://x.example/in/v2", f"/in/v2/in/generic/{TOKEN}", f"https://x.example/in/v2/in/generic/{TOKEN}?a=b"),
        ("https://x.example", f"//in//generic/{TOKEN}", f"https://x.example/in//generic/{TOKEN}?a=b"),
    ],
)
async def test_the_url_that_vendors_sign_is_the_public_one_whatever_a_proxy_kept(
    tmp_path: Path, public_url: str, path: str, url: str
):
    seen: list[str] = []

    def verify(request: VendorRequest, source: Source) -> None:
        seen.append(request.url)

    prefix = tuple(step.encode() for step in public_url.split("/")[3:])
    async with pipeline(tmp_path, public_url=public_url, prefix=prefix) as way:
        way.open(verify=verify)
        headers = [*JSON, (b"host", b"evil.example"), (b"x-forwarded-host", b"evil.example")]
        sent = await way.ask("POST", path.encode(), [whole(BODY)], b"a=b", headers)
        assert sent[0]["status"] == 200
        assert seen == [url]


async def test_another_prefix_is_not_found(tmp_path: Path):
    async with pipeline(tmp_path, public_url="https://x.example/hooks", prefix=(b"hooks",)) as way:
        way.open()
        assert await status(way, f"/hook/in/generic/{TOKEN}") == 404
        assert await status(way, f"/hooks/hooks/in/generic/{TOKEN}") == 404


@pytest.mark.parametrize("vendor", sorted(VENDORS))
async def test_a_probe_by_head_succeeds_and_leaves_nothing(tmp_path: Path, vendor: str):
    async with pipeline(tmp_path) as way:
        way.doors.open(
            Source(id="s", vendor=vendor, name="", credentials={}, options=VENDORS[vendor].options()), VENDORS[vendor]
        )
        sent = await way.ask("HEAD", f"/in/{vendor}/{TOKEN}".encode(), never())
        assert [message.get("status") for message in sent] == [200, None]
        assert sent[1]["body"] == b""
        assert await way.fetch("SELECT count(*) FROM receipts") == [(0,)]


@pytest.mark.parametrize("vendor", sorted(VENDORS))
@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X" * 50])
async def test_a_method_that_no_vendor_uses_is_answered_with_those_that_are(tmp_path: Path, vendor: str, method: str):
    methods = VENDORS[vendor].methods
    async with pipeline(tmp_path) as way:
        way.doors.open(
            Source(id="s", vendor=vendor, name="", credentials={}, options=VENDORS[vendor].options()), VENDORS[vendor]
        )
        sent = await way.ask(method, f"/in/{vendor}/{TOKEN}".encode(), never())
        assert sent[0]["status"] == 405
        headers = dict(sent[0]["headers"])
        assert headers[b"allow"].decode().split(", ") == [*methods, "HEAD"]
        assert way.counts == {"intake_refused 405": 1}
