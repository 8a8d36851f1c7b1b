"""One attempt against subscribers of every kind: classified, bounded in time and memory, and it never raises."""

import asyncio
import time
import tracemalloc
from ipaddress import IPv4Network

import httpx2
import pytest

from receiver.delivery.outcome import Delivered, Forbidden, Gone, Outcome, Refused, Unreachable
from receiver.delivery.post import post
from receiver.egress import Guard, NameNotResolved, TLSFailed, Transport, destination
from tests.delivery.bad_subscribers import (
    GIGABYTE,
    Behaviour,
    Subscriber,
    answer,
    bytes_then_close,
    closes_at_once,
    drip,
    gzip_bomb,
    headers_by_the_thousand,
    no_answer,
    redirect,
    resets_at_once,
    resets_mid_headers,
    sends_a_gigabyte,
    sends_headers_without_end,
    sends_interim_answers_without_end,
    sends_one_header_without_end,
    subscriber,
)
from tests.delivery.running import Run, on_asyncio, on_both_loops

LOOPBACK = Guard([IPv4Network("127.0.0.0/8")])
HEADERS = [(b"content-type", b"application/json"), (b"webhook-id", b"evt_1"), (b"user-agent", b"receiver/0")]
BODY = b'{"id":"evt_1"}'
HTTP = "HTTP/1.1 "


async def attempt(url: str, transport: httpx2.AsyncBaseTransport | None = None, deadline: float = 5.0) -> Outcome:
    own = transport or Transport(LOOPBACK)
    try:
        return await post(own, destination(url), HEADERS, BODY, deadline=deadline, clock=time.monotonic)
    finally:
        if transport is None:
            await own.aclose()


def outcome_of(run: Run, behaviour: Behaviour, deadline: float = 5.0) -> tuple[Outcome, Subscriber]:
    results: list[tuple[Outcome, Subscriber]] = []

    async def main() -> None:
        async with subscriber(behaviour) as it:
            results.append((await attempt(it.url, deadline=deadline), it))

    run(main())
    return results[0]


@on_both_loops
def test_the_request_arrives_as_it_was_made(run: Run):
    outcome, seen = outcome_of(run, answer(201, b"thanks"))
    assert isinstance(outcome, Delivered)
    assert (outcome.status, outcome.answer, outcome.error) == (201, b"thanks", None)
    head, body = seen.requests[0]
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /hook http/1.1"
    assert sorted(filter(None, lines[1:])) == [
        "accept-encoding: identity",
        "accept: */*",
        "content-length: 14",
        "content-type: application/json",
        f"host: 127.0.0.1:{seen.port}",
        "user-agent: receiver/0",
        "webhook-id: evt_1",
    ]
    assert body == BODY


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_2xx_is_delivered(status: int):
    outcome, _ = outcome_of(on_asyncio, answer(status, b""))
    assert isinstance(outcome, Delivered)
    assert outcome.status == status


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 409, 429, 500, 502, 503, 599, 999])
def test_any_other_status_is_refused(status: int):
    outcome, _ = outcome_of(on_asyncio, answer(status, b""))
    assert isinstance(outcome, Refused)
    assert (outcome.status, outcome.error) == (status, "status")


def test_410_is_gone():
    outcome, _ = outcome_of(on_asyncio, answer(410, b"no more"))
    assert isinstance(outcome, Gone)
    assert (outcome.status, outcome.answer) == (410, b"no more")


@pytest.mark.parametrize("value", ["120", "Fri, 31 Dec 2027 23:59:59 GMT", "315360000"])
def test_retry_after_is_handed_on_as_it_came(value: str):
    outcome, _ = outcome_of(on_asyncio, answer(503, b"", [("Retry-After", value)]))
    assert outcome.retry_after == value


def test_a_long_retry_after_is_cut():
    outcome, _ = outcome_of(on_asyncio, answer(503, b"", [("Retry-After", "9" * 8000)]))
    assert outcome.retry_after == "9" * 64


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_not_followed(status: int):
    async def main() -> None:
        async with subscriber(answer()) as elsewhere, subscriber(redirect(elsewhere.url, status)) as it:
            outcome = await attempt(it.url)
            assert isinstance(outcome, Refused)
            assert outcome.status == status
            assert elsewhere.connects == 0

    on_asyncio(main())


@on_both_loops
def test_a_gigabyte_is_cut_at_4_kib_with_flat_memory(run: Run):
    tracemalloc.start()
    outcome, seen = outcome_of(run, sends_a_gigabyte)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(outcome, Delivered)
    assert outcome.answer == b"x" * 4096
    assert peak < 8 << 20
    assert seen.bytes_sent < GIGABYTE // 16


@on_both_loops
def test_a_gzip_bomb_is_not_inflated(run: Run):
    bomb = gzip_bomb(8 << 20)
    tracemalloc.start()
    outcome, _ = outcome_of(run, bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(outcome, Delivered)
    assert outcome.answer[:2] == b"\x1f\x8b"
    assert len(outcome.answer) == 4096
    assert peak < 4 << 20


@on_both_loops
@pytest.mark.parametrize(
    "behaviour",
    [
        no_answer,
        drip(f"{HTTP}200 OK\r\ncontent-length: 0\r\n\r\n".encode(), 0.03),
        drip(f"{HTTP}200 OK\r\ncontent-length: 99\r\n\r\n{'x' * 99}".encode(), 0.003),
    ],
    ids=["nothing", "slow head", "slow body"],
)
def test_silence_and_dripping_end_at_the_deadline(run: Run, behaviour: Behaviour):
    outcome, _ = outcome_of(run, behaviour, deadline=0.15)
    assert isinstance(outcome, Unreachable)
    assert (outcome.error, outcome.detail) == ("timeout", "no whole answer within 0.15 s")
    assert outcome.duration_ms >= 140


@on_both_loops
@pytest.mark.parametrize(
    "behaviour",
    [
        closes_at_once,
        resets_at_once,
        resets_mid_headers,
        sends_headers_without_end,
        sends_one_header_without_end,
        sends_interim_answers_without_end,
        headers_by_the_thousand(),
        bytes_then_close(b"\x00\x01 not http\r\n\r\n"),
        bytes_then_close(b"SSH-2.0-OpenSSH_9.6\r\n"),
        bytes_then_close(b"<html>HTTP/0.9"),
        bytes_then_close(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nabc"),
        bytes_then_close(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 3\r\n\r\nabcde"),
        bytes_then_close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc"),
        bytes_then_close(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nabc"),
    ],
    ids=["closed", "reset", "reset mid-headers", "headers without end", "one header without end", "103 for ever",
         "10,000 headers", "garbage", "ssh", "http/0.9", "negative length", "two lengths", "short body", "bad chunk"],
)  # fmt: skip
def test_what_is_not_http_is_a_protocol_error(run: Run, behaviour: Behaviour):
    outcome, seen = outcome_of(run, behaviour)
    assert isinstance(outcome, Unreachable)
    assert outcome.error == "protocol"
    assert 0 < len(outcome.detail) < 100
    assert "http://" not in outcome.detail
    assert len(seen.requests) == 1


def test_nobody_listening_is_a_connect_error():
    async def main() -> None:
        async with subscriber(answer()) as it:
            url = it.url
        outcome = await attempt(url)
        assert isinstance(outcome, Unreachable)
        assert outcome.error == "connect"

    on_asyncio(main())


def test_a_forbidden_address_says_which_setting_would_allow_it():
    async def main() -> None:
        async with subscriber(answer()) as it, Transport(Guard()) as transport:
            outcome = await attempt(it.url, transport)
            assert isinstance(outcome, Forbidden)
            assert "RECEIVER_EGRESS_ALLOW=127.0.0.1/32" in outcome.detail
            assert it.connects == 0

    on_asyncio(main())


def test_connections_are_kept_for_the_next_delivery():
    async def main() -> None:
        async with subscriber(answer()) as it, Transport(LOOPBACK) as transport:
            for _ in range(3):
                await attempt(it.url, transport)
            assert (it.connects, len(it.requests)) == (1, 3)

    on_asyncio(main())


def test_a_slow_subscriber_does_not_delay_another():
    async def main() -> None:
        async with subscriber(no_answer) as slow, subscriber(answer()) as quick, Transport(LOOPBACK) as transport:
            hanging = [asyncio.create_task(attempt(slow.url, transport, 30.0)) for _ in range(60)]
            await asyncio.sleep(0)
            assert isinstance(await attempt(quick.url, transport, 30.0), Delivered)
            assert not any(task.done() for task in hanging)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    on_asyncio(main())


def test_cancelling_an_attempt_is_not_an_outcome():
    async def main() -> None:
        async with subscriber(no_answer) as it, Transport(LOOPBACK) as transport:
            task = asyncio.create_task(attempt(it.url, transport))
            await asyncio.sleep(0.05)  # or longer or shorter: it may be cancelled anywhere
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    on_asyncio(main())


async def judged(handler: object, deadline: float = 1.0) -> Outcome:
    transport = httpx2.MockTransport(handler)  # type: ignore[arg-type]  # some raise what a handler should not
    return await attempt("https://example.com/hook?sig=s3cret", transport, deadline)


@pytest.mark.parametrize(
    ("error", "word", "detail"),
    [
        (NameNotResolved("no address: x"), "dns", "no address: x"),
        (TLSFailed("certificate not accepted: x"), "tls", "certificate not accepted: x"),
        (httpx2.ConnectTimeout("no connection within 5 s"), "timeout", "no connection within 5 s"),
        (httpx2.ConnectError("no connection: x"), "connect", "no connection: x"),
        (httpx2.ReadError("broke"), "protocol", "broke"),
        (TimeoutError("https://example.com?sig=s3cret"), "timeout", "no whole answer within 1 s"),
        (ValueError("https://example.com?sig=s3cret"), "protocol", "ValueError"),
    ],
)
def test_whatever_a_transport_raises_becomes_an_outcome_without_the_url(error: Exception, word: str, detail: str):
    def fail(_request: httpx2.Request) -> httpx2.Response:
        raise error

    async def main() -> None:
        outcome = await judged(fail)
        assert isinstance(outcome, Unreachable)
        assert (outcome.error, outcome.detail) == (word, detail)

    on_asyncio(main())


def test_any_transport_sees_the_whole_request():
    def look(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, str(request.url)) == ("POST", "https://example.com/hook?sig=s3cret")
        assert (request.headers["host"], request.headers["content-length"]) == ("example.com", str(len(BODY)))
        assert request.content == BODY
        return httpx2.Response(200, content=b"seen" * 2000)

    async def main() -> None:
        outcome = await judged(look)
        assert isinstance(outcome, Delivered)
        assert outcome.answer == (b"seen" * 2000)[:4096]

    on_asyncio(main())


def test_a_transport_that_hangs_meets_the_deadline():
    async def hang(_request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async def main() -> None:
        outcome = await judged(hang, deadline=0.05)
        assert (outcome.error, outcome.detail) == ("timeout", "no whole answer within 0.05 s")

    on_asyncio(main())


def test_a_response_stream_that_cannot_be_awaited_is_a_protocol_error():
    class Blocking(httpx2.SyncByteStream):
        pass

    async def main() -> None:
        outcome = await judged(lambda _request: httpx2.Response(200, stream=Blocking()))
        assert outcome.error == "protocol"

    on_asyncio(main())


def test_duration_is_measured_by_the_given_clock():
    ticks = iter([100.0, 100.25])

    async def main() -> None:
        transport = httpx2.MockTransport(lambda _request: httpx2.Response(200))
        outcome = await post(
            transport, destination("https://example.com"), [], b"", deadline=1.0, clock=lambda: next(ticks)
        )
        assert outcome.duration_ms == 250

    on_asyncio(main())
