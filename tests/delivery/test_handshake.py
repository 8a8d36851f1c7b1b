"""Consent is what the CloudEvents handshake says it is, and no answer of whatever kind raises."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_network

import httpx2
import pytest

from receiver.delivery.handshake import ORIGIN, Consent, NoConsent, ask_consent
from receiver.egress import Guard, Transport, destination
from tests.delivery.bad_subscribers import (
    TLS_HOST,
    Behaviour,
    Connection,
    answer,
    bytes_then_close,
    closes_at_once,
    drip,
    headers_by_the_thousand,
    no_answer,
    redirect,
    resets_mid_headers,
    sends_a_gigabyte,
    sends_headers_without_end,
    sends_interim_answers_without_end,
    subscriber,
)
from tests.delivery.running import Run, on_asyncio, on_both_loops

LOOPBACK = Guard([ip_network("127.0.0.0/8")])
OURS = "sms.example.com"
HANG = 20.0


async def ask(
    url: str,
    *,
    rate: int | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    deadline: float = HANG,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Consent | NoConsent:
    async with transport or Transport(LOOPBACK) as through:
        to = destination(url)
        return await ask_consent(
            through, to, origin=OURS, rate_per_minute=rate, headers=headers, deadline=deadline
        )  # fmt: skip


def answered(run: Run, *headers: tuple[str, str], status: int = 200, rate: int | None = None) -> Consent | NoConsent:
    found: list[Consent | NoConsent] = []

    async def main() -> None:
        async with subscriber(answer(status, b"", headers)) as it:
            found.append(await ask(it.url, rate=rate))

    run(main())
    return found[0]


@on_both_loops
def test_the_request_is_options_on_the_very_url_with_our_origin_and_the_rate_that_we_would_like(run: Run):
    async def main() -> None:
        async with subscriber(answer()) as it:
            url = f"{it.url}?sig=a%2Fb+c"
            await ask(url, rate=120, headers=[(b"authorization", b"Bearer s3cret")])
            head, body = it.requests[0]
        lines = head.decode().lower().split("\r\n")
        assert head.startswith(b"OPTIONS /hook?sig=a%2Fb+c HTTP/1.1\r\n")
        assert f"host: 127.0.0.1:{it.port}" in lines
        assert "webhook-request-origin: sms.example.com" in lines
        assert "webhook-request-rate: 120" in lines
        assert "authorization: bearer s3cret" in lines
        assert body == b""

    run(main())


def test_without_a_wish_no_rate_is_asked_for_and_never_a_later_consent():
    async def main() -> None:
        async with subscriber(answer()) as it:
            await ask(it.url)
            await ask(it.url, rate=1)
        assert b"webhook-request-rate" not in it.heads[0].lower()
        assert not any(b"webhook-request-callback" in head.lower() for head in it.heads)

    on_asyncio(main())


def test_deliveries_are_told_the_name_of_the_header_that_they_must_carry():
    assert ORIGIN == b"webhook-request-origin"


CONSENTS = [
    ([("WebHook-Allowed-Origin", OURS), ("WebHook-Allowed-Rate", "100")], 120, 100),
    ([("WebHook-Allowed-Origin", OURS), ("WebHook-Allowed-Rate", "100")], None, 100),
    ([("WebHook-Allowed-Origin", OURS), ("WebHook-Allowed-Rate", "999999999")], 120, 999_999_999),
    ([("WebHook-Allowed-Origin", OURS), ("WebHook-Allowed-Rate", "1")], None, 1),
    ([("WebHook-Allowed-Origin", "*"), ("WebHook-Allowed-Rate", "*")], 120, None),
    ([("webhook-allowed-origin", "  sms.example.com  "), ("WEBHOOK-ALLOWED-RATE", " * ")], 120, None),
    ([("WebHook-Allowed-Origin", OURS)], 120, 120),
    ([("WebHook-Allowed-Origin", "*")], None, None),
]


@on_both_loops
@pytest.mark.parametrize(("headers", "wish", "per_minute"), CONSENTS)
def test_consent_holds_for_the_rate_that_was_allowed(run: Run, headers, wish: int | None, per_minute: int | None):
    assert answered(run, *headers, rate=wish) == Consent(per_minute=per_minute)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_may_carry_it(status: int):
    assert answered(on_asyncio, ("WebHook-Allowed-Origin", OURS), status=status) == Consent(per_minute=None)


OTHER_ORIGINS = [
    "", "example.com", "a.sms.example.com", "sms.example.com.", "sms.example.com.evil.test", "SMS.EXAMPLE.COM",
    "https://sms.example.com", "sms.example.com:443", "*.example.com", "**", "null", "sms.example.com, *",
    "evil.test sms.example.com",
]  # fmt: skip


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_any_other_origin_than_ours_or_the_asterisk_is_no_consent(origin: str):
    denied = answered(on_asyncio, ("WebHook-Allowed-Origin", origin), ("WebHook-Allowed-Rate", "*"))
    assert isinstance(denied, NoConsent)
    assert (denied.error, denied.status) == ("origin", 200)


def test_two_origins_are_no_consent():
    denied = answered(on_asyncio, ("WebHook-Allowed-Origin", OURS), ("WebHook-Allowed-Origin", "evil.test"))
    assert isinstance(denied, NoConsent)
    assert denied.error == "origin"


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Allow", "OPTIONS, POST"),),
        (("WebHook-Allowed-Rate", "*"),),
        (("Access-Control-Allow-Origin", "*"),),
        (("WebHook-Request-Origin", OURS),),
    ],
    ids=["nothing", "Allow", "a rate alone", "CORS", "an echo"],
)
def test_a_server_that_merely_answers_options_has_not_consented(headers):
    denied = answered(on_asyncio, *headers)
    assert denied == NoConsent(error="origin", detail="answered without WebHook-Allowed-Origin", status=200)


BAD_RATES = ["", "0", "-1", "+5", "1.5", "1e3", "1 000", "100, 200", "fast", "٣", "**", "0x10", "9" * 10, "9" * 5000]


@pytest.mark.parametrize("rate", BAD_RATES, ids=lambda rate: rate[:12])
def test_a_rate_that_cannot_be_read_is_no_consent(rate: str):
    def look(_request: httpx2.Request) -> httpx2.Response:
        headers = [(b"webhook-allowed-origin", b"*"), (b"webhook-allowed-rate", rate.encode())]
        return httpx2.Response(200, headers=headers)

    async def main() -> None:
        denied = await ask("https://example.com/", transport=httpx2.MockTransport(look))
        assert isinstance(denied, NoConsent)
        assert denied.error == "rate"
        assert len(denied.detail) < 100

    on_asyncio(main())


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 405, 410, 429, 500, 503])
def test_an_error_or_a_redirect_is_no_consent_whatever_its_headers_say(status: int):
    denied = answered(on_asyncio, ("WebHook-Allowed-Origin", OURS), ("WebHook-Allowed-Rate", "*"), status=status)
    assert denied == NoConsent(error="status", detail=f"answered OPTIONS with {status}", status=status)


def test_a_redirect_is_not_followed():
    async def main() -> None:
        consenting = answer(200, b"", [("WebHook-Allowed-Origin", "*")])
        async with subscriber(consenting) as elsewhere, subscriber(redirect(elsewhere.url, 307)) as it:
            assert isinstance(await ask(it.url), NoConsent)
            assert elsewhere.connects == 0

    on_asyncio(main())


NO_ANSWERS: dict[str, tuple[Behaviour, str, float]] = {
    "nothing": (no_answer, "timeout", 0.15),
    "a slow head": (drip(b"HTTP/1.1 200 OK\r\nwebhook-allowed-origin: *\r\n\r\n", 0.05), "timeout", 0.15),
    "closed": (closes_at_once, "protocol", HANG),
    "reset": (resets_mid_headers, "protocol", HANG),
    "not HTTP": (bytes_then_close(b"SSH-2.0-OpenSSH_9.6\r\n"), "protocol", HANG),
    "10,000 headers": (headers_by_the_thousand(), "protocol", HANG),
    "headers without end": (sends_headers_without_end, "protocol", HANG),
    "interim answers without end": (sends_interim_answers_without_end, "protocol", HANG),
}


@on_both_loops
@pytest.mark.parametrize(("behaviour", "word", "deadline"), NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_gives_no_answer_gives_no_consent(run: Run, behaviour: Behaviour, word: str, deadline: float):
    async def main() -> None:
        async with subscriber(behaviour) as it:
            denied = await ask(f"{it.url}?sig=s3cret", deadline=deadline)
        assert isinstance(denied, NoConsent)
        assert (denied.error, denied.status) == (word, None)
        assert 0 < len(denied.detail) < 100
        assert "s3cret" not in denied.detail
        assert "/hook" not in denied.detail

    run(main())


@on_both_loops
def test_a_gigabyte_as_the_answer_to_options_is_not_read(run: Run):
    async def main() -> None:
        async with subscriber(sends_a_gigabyte) as it:
            denied = await ask(it.url)
            assert it.bytes_sent < 64 << 20
        assert isinstance(denied, NoConsent)
        assert denied.error == "origin"

    run(main())


@on_both_loops
def test_the_door_is_the_same_as_for_deliveries(run: Run):
    async def main() -> None:
        async with subscriber(answer(200, b"", [("WebHook-Allowed-Origin", "*")])) as it:
            denied = await ask(it.url, transport=Transport(Guard()))
            assert isinstance(denied, NoConsent)
            assert denied.error == "forbidden"
            assert "RECEIVER_EGRESS_ALLOW=127.0.0.1/32" in denied.detail
            assert it.connects == 0

    run(main())


def test_trouble_with_dns_tls_and_the_connection_is_told_apart():
    async def nowhere(_host: str, _port: int) -> Sequence[str]:
        raise OSError(2, "no such name")

    async def here(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def word(url: str, resolve) -> str:
        denied = await ask(url, transport=Transport(LOOPBACK, resolve=resolve))
        assert isinstance(denied, NoConsent)
        return denied.error

    async def main() -> None:
        assert await word("http://nowhere.test/", nowhere) == "dns"
        async with subscriber(answer(), certificate="self_signed.pem") as it:
            assert await word(f"https://{TLS_HOST}:{it.port}/", here) == "tls"
        assert await word(f"http://{TLS_HOST}:{it.port}/", here) == "connect"

    on_asyncio(main())


@pytest.mark.parametrize("error", [ValueError("s3cret"), RuntimeError("s3cret"), ExceptionGroup("s3cret", [OSError()])])
def test_whatever_a_transport_raises_becomes_a_word_without_the_url(error: Exception):
    def fail(_request: httpx2.Request) -> httpx2.Response:
        raise error

    async def main() -> None:
        denied = await ask("https://example.com/?sig=s3cret", transport=httpx2.MockTransport(fail))
        assert isinstance(denied, NoConsent)
        assert denied.error == "protocol"
        assert "s3cret" not in denied.detail

    on_asyncio(main())


def test_cancelling_the_question_is_not_an_answer():
    async def main() -> None:
        arrived = asyncio.Event()

        async def silent(connection: Connection) -> None:
            arrived.set()
            await no_answer(connection)

        async with subscriber(silent) as it:
            task = asyncio.create_task(ask(it.url))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    on_asyncio(main())
