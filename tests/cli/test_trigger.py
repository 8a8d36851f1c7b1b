"""A fixture goes to any URL as its vendor would send it, signed for that URL."""

import json
from urllib.parse import urlsplit

import pytest

from receiver.cli.aim import aimed
from receiver.fixtures import find, load_all
from receiver.vendors import VENDORS
from receiver.vendors.contract import BadSignature, Source, VendorRequest
from tests.cli.running import answered, call, done, hook, lines_of, refused

URL = "https://sms.example.com/prefix/in/twilio/a-token"


def received(request, url: str) -> VendorRequest:
    """What a receiver of that public URL sees of a request."""
    target = request.extensions["target"].decode("latin-1")
    parts = urlsplit(url)
    return VendorRequest(
        method=request.method,
        url=f"{parts.scheme}://{parts.netloc}{target}",
        query=target.partition("?")[2].encode("latin-1"),
        headers=tuple((name.lower(), value) for name, value in request.headers.raw),
        body=request.content,
        peer="",
        received_at=0,
    )


def verified(request: VendorRequest, vendor: str, **credentials: str) -> bool:
    values = {name: (value,) for name, value in credentials.items()}
    options = VENDORS[vendor].options()
    try:
        VENDORS[vendor].verify(request, Source(id="", vendor=vendor, name="", credentials=values, options=options))
    except BadSignature:
        return False
    return True


@pytest.mark.parametrize("case", ["inbound-sms", "inbound-get", "inbound-json", "report-own-query"])
def test_it_is_signed_for_the_url_with_the_cases_own_credentials_or_others(case: str):
    fixture = find(f"twilio.{case}")
    url = f"{URL}?mine=1" if case == "inbound-sms" else URL
    own = received(aimed(fixture, url, 0, sign=True), url)
    assert verified(own, "twilio", auth_token="12345")
    assert own.url.startswith(url)
    other = received(aimed(fixture, url, 0, sign=True, credentials={"auth_token": ["another"]}), url)
    assert not verified(other, "twilio", auth_token="12345")
    assert verified(other, "twilio", auth_token="another")
    assert not verified(received(aimed(fixture, url, 0, sign=False), url), "twilio", auth_token="12345")


@pytest.mark.parametrize("fixture", load_all(), ids=lambda fixture: fixture.name)
def test_method_query_and_body_are_the_cases_byte_for_byte(fixture):
    original = fixture.request(0)
    sent = received(aimed(fixture, URL, 0, sign=False), URL)
    assert (sent.method, sent.query, sent.body) == (original.method, original.query, original.body)
    names = {b"host", b"content-length"}
    assert {pair for pair in original.headers if pair[0] not in names} <= set(sent.headers)


def test_a_vendor_that_signs_nothing_cannot_be_signed():
    assert "signs nothing" in refused("trigger", "sendsms.message", "--to", URL, "--sign", code=2)
    assert "signs with secret" in refused("trigger", "mobtexting.message", "--to", URL, "--sign", code=2)


def test_without_a_name_it_lists_what_there_is():
    rows = lines_of(done("trigger"))
    assert ["twilio.inbound-sms", "stored", find("twilio.inbound-sms").expected.title] in rows
    assert len(answered("trigger")["data"]) == len(load_all())


def test_it_posts_and_tells_what_to_look_at():
    with hook() as it:
        assert "receiver events list --vendor twilio" in done("trigger", "twilio.inbound-sms", "--to", it.url, "--sign")
        method, path, headers, body = it.seen[0]
        assert (method, path, headers["user-agent"]) == ("POST", "/hook", "TwilioProxy/1.1")
        assert body == find("twilio.inbound-sms").request(0).body
        done("trigger", "sendsms.message", "--to", it.url)
        assert it.seen[1][1] == f"/hook?{find('sendsms.message').request(0).query.decode()}"


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "--sign"), (404, "source list"), (503, "check"), (418, "Not taken")]
)
def test_a_refusal_is_exit_code_1_with_a_hint(status: int, hint: str):
    with hook() as it:
        it.status = status
        result = call("trigger", "twilio.inbound-sms", "--to", it.url)
    assert (result.exit_code, hint in result.stderr) == (1, True)
    assert f"twilio.inbound-sms: {status}" in result.stdout


WRONG = [
    (("--to", URL), "VENDOR.CASE is missing"),
    (("twilio.inbound-sms",), "--to is missing"),
    (("twilio.inbound-sm", "--to", URL), "did you mean twilio.inbound-sms?"),
    (("nobody", "--to", URL), "lists them"),
    (("twilio.inbound-sms", "--to", "sms.example.com"), "http"),
    (("twilio.inbound-sms", "--to", URL, "--credential", "auth_token=x"), "--sign"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], said: str):
    assert said in refused("trigger", *arguments, code=2)


def test_nobody_there_is_one_line():
    told = refused("trigger", "sendsms.message", "--to", "http://127.0.0.1:9/in/sendsms/x")
    assert told.startswith("Error: the source cannot be reached: ")


def test_the_list_is_json_for_machines():
    listed = json.loads(done("trigger", "--json"))["data"]
    assert set(listed[0]) == {"name", "title", "outcome"}
