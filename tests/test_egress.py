"""The door out: nothing forbidden is connected to, and what is sent is what was asked for."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_network

import httpx2
import pytest

from receiver import egress
from receiver.egress import ForbiddenDestination, Guard, NameNotResolved, TLSFailed, Transport, check_url, destination
from tests.delivery.bad_subscribers import TLS_HOST, answer, bytes_then_close, no_answer, subscriber, trusting_tls
from tests.delivery.running import Run, on_asyncio, on_both_loops
from tests.test_addresses import FORBIDDEN_ADDRESSES, url_of

PUBLIC = Guard()
LOOPBACK = Guard([ip_network("127.0.0.0/8")])

TARGETS = [
    "/workflows/0123456789abcdef/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0"
    "&sig=" + "aZ9%2B_-~%7e%7E" * 130,
    "/a/../b/./c//d",
    "/%41%zz%?",
    "/?",
    "/?a=b?c=d&&=&x",
    "/a+b%20c;d=e,f:g@h!$'()*[]{}|^`\"<>",
    "?query=only",
]


@pytest.mark.parametrize("target", TARGETS)
def test_path_and_query_are_requested_byte_for_byte(target: str):
    async def main() -> None:
        async with subscriber(answer()) as it, Transport(LOOPBACK) as transport:
            url = f"http://127.0.0.1:{it.port}{target}"
            check_url(url, LOOPBACK)
            await post_to(transport, url)
            wanted = target if target.startswith("/") else f"/{target}"
            assert it.heads[0].split(b"\r\n")[0] == f"POST {wanted} HTTP/1.1".encode()

    on_asyncio(main())


def test_a_plain_httpx_request_works_too():
    async def main() -> None:
        async with subscriber(answer(200, b"hello")) as it, Transport(LOOPBACK) as transport:
            response = await transport.handle_async_request(httpx2.Request("GET", f"{it.url}?a=1"))
            assert (response.status_code, await response.aread()) == (200, b"hello")
            assert it.heads[0].startswith(b"GET /hook?a=1 HTTP/1.1\r\n")

    on_asyncio(main())


async def post_to(transport: httpx2.AsyncBaseTransport, url: str) -> httpx2.Response:
    to = destination(url)
    return await transport.handle_async_request(
        httpx2.Request("POST", to.url, headers=[(b"host", to.host)], content=b"{}", extensions=to.extensions)
    )


def named(*answers: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A resolver that gives these answers one after the other, the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


CONNECT_HOSTS = ["127.0.0.1", "[::ffff:127.0.0.1]", "127.1", "0x7f000001", "2130706433", "017700000001", "localhost"]


@on_both_loops
@pytest.mark.parametrize("host", CONNECT_HOSTS)
def test_nothing_forbidden_is_connected_to_even_if_the_check_at_creation_was_missed(run: Run, host: str):
    async def main() -> None:
        async with subscriber(answer()) as it, Transport(PUBLIC) as transport:
            with pytest.raises(ForbiddenDestination):
                await transport.handle_async_request(httpx2.Request("GET", f"http://{host}:{it.port}/"))
            assert it.connects == 0

    run(main())


@on_both_loops
@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_forbidden_addresses_are_refused_at_connect(run: Run, address: str):
    async def main() -> None:
        async with Transport(PUBLIC, resolve=named([address])) as transport:
            for url in (url_of(address), "http://a.name/hook"):
                with pytest.raises(ForbiddenDestination, match="EGRESS_ALLOW="):
                    await post_to(transport, url)

    run(main())


@on_both_loops
def test_a_name_with_one_forbidden_address_among_many_is_refused(run: Run):
    async def main() -> None:
        resolve = named(["127.0.0.1", "127.0.0.2", "169.254.169.254"])
        async with subscriber(answer()) as it, Transport(LOOPBACK, resolve=resolve) as transport:
            with pytest.raises(ForbiddenDestination, match=r"^169\.254\.169\.254 .*EGRESS_ALLOW=169\.254\.169\.254/32"):
                await post_to(transport, f"http://many.test:{it.port}/")
            assert it.connects == 0

    run(main())


@on_both_loops
def test_a_name_that_changes_its_mind_is_refused_on_the_next_connect(run: Run):
    async def main() -> None:
        resolve = named(["127.0.0.1"], ["10.0.0.1"])
        closing = answer(200, b"", [("connection", "close")])
        async with subscriber(closing) as it, Transport(LOOPBACK, resolve=resolve, dns_ttl=0) as transport:
            url = f"http://rebinding.test:{it.port}/"
            assert (await post_to(transport, url)).status_code == 200
            with pytest.raises(ForbiddenDestination, match=r"^10\.0\.0\.1 "):
                await post_to(transport, url)
            assert it.connects == 1

    run(main())


def test_the_socket_factory_has_the_last_word_on_every_address():
    transport = Transport(PUBLIC)
    for address in (("127.0.0.1", 80), ("fe80::1", 80, 0, 2), ("2606:4700::1", 80, 0, 2), ("10.0.0.1", 443)):
        family = socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
        with pytest.raises(egress.AddressRefused):
            transport._socket((family, socket.SOCK_STREAM, 6, "", address))


def test_the_address_that_was_checked_is_the_one_connected_to_with_the_name_as_host():
    async def main() -> None:
        async with subscriber(answer()) as it, Transport(LOOPBACK, resolve=named(["127.0.0.1"])) as transport:
            await post_to(transport, f"http://some.name.test:{it.port}/")
            assert f"\r\nhost: some.name.test:{it.port}\r\n".encode() in it.heads[0].lower()

    on_asyncio(main())


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch):
    async def main() -> None:
        async with subscriber(answer(502)) as proxy, subscriber(answer(200)) as it, Transport(LOOPBACK) as transport:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            assert (await post_to(transport, it.url)).status_code == 200
            assert proxy.connects == 0

    on_asyncio(main())


def test_cookies_are_not_kept():
    async def main() -> None:
        setting = answer(200, b"", [("set-cookie", "session=1; Path=/")])
        async with subscriber(setting) as it, Transport(LOOPBACK, resolve=named(["127.0.0.1"])) as transport:
            for _ in range(2):
                await post_to(transport, f"http://session.test:{it.port}/")
            assert b"cookie" not in it.heads[1].lower()

    on_asyncio(main())


@on_both_loops
@pytest.mark.parametrize(
    ("certificate", "host", "trusted", "complaint"),
    [
        ("self_signed.pem", TLS_HOST, False, "self-signed"),
        ("self_signed.pem", "other.test", True, "Hostname mismatch"),
        ("expired.pem", TLS_HOST, True, "expired"),
        (None, TLS_HOST, True, "no TLS connection"),
    ],
    ids=["self-signed", "of another host", "expired", "no TLS at all"],
)
def test_a_certificate_that_proves_nothing_is_a_tls_failure(run: Run, certificate, host, trusted, complaint):
    async def main() -> None:
        tls = trusting_tls() if trusted else None
        plain = bytes_then_close(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        async with subscriber(plain, certificate=certificate, at_once=True) as it:
            async with Transport(LOOPBACK, resolve=named(["127.0.0.1"]), tls=tls) as transport:
                with pytest.raises(TLSFailed, match=complaint):
                    await post_to(transport, f"https://{host}:{it.port}/")
            assert it.requests == []

    run(main())


@on_both_loops
def test_a_proven_host_is_delivered_to_over_tls(run: Run):
    async def main() -> None:
        transport = Transport(LOOPBACK, resolve=named(["127.0.0.1"]), tls=trusting_tls())
        async with subscriber(answer(), certificate="self_signed.pem") as it, transport:
            assert (await post_to(transport, f"https://{TLS_HOST}:{it.port}/")).status_code == 200

    run(main())


def test_a_peer_that_never_shakes_hands_meets_the_connect_timeout():
    async def main() -> None:
        async with subscriber(no_answer, at_once=True) as it, Transport(LOOPBACK, connect_timeout=0.1) as transport:
            with pytest.raises(httpx2.ConnectTimeout, match=r"no connection within 0\.1 s"):
                await post_to(transport, f"https://127.0.0.1:{it.port}/")

    on_asyncio(main())


def test_the_transport_has_a_deadline_of_its_own():
    async def main() -> None:
        async with subscriber(no_answer) as it, Transport(LOOPBACK, deadline=0.1) as transport:
            with pytest.raises(httpx2.ReadTimeout, match=r"no whole answer within 0\.1 s"):
                await post_to(transport, it.url)

    on_asyncio(main())


def test_a_header_that_would_split_the_request_is_not_sent():
    async def main() -> None:
        async with subscriber(answer()) as it, Transport(LOOPBACK) as transport:
            with pytest.raises(httpx2.LocalProtocolError, match="could not be sent: ValueError"):
                await transport.handle_async_request(
                    httpx2.Request("POST", it.url, headers=[(b"x", b"1\r\nX-Injected: 1")], content=b"")
                )
            assert it.requests == []

    on_asyncio(main())


def test_a_closed_transport_sends_nothing_and_closing_twice_is_fine():
    async def main() -> None:
        async with subscriber(answer()) as it:
            transport = Transport(LOOPBACK)
            await transport.aclose()
            await post_to(transport, it.url)
            await transport.aclose()
            await transport.aclose()
            with pytest.raises(httpx2.LocalProtocolError):
                await post_to(transport, it.url)

    on_asyncio(main())


def test_an_answer_without_addresses_is_a_dns_failure():
    async def main() -> None:
        async with Transport(PUBLIC, resolve=named([])) as transport:
            with pytest.raises(NameNotResolved):
                await post_to(transport, "http://empty.test/")

    on_asyncio(main())


def test_the_first_address_that_answers_is_used():
    async def main() -> None:
        resolve = named(["127.0.0.99", "127.0.0.1"])
        async with subscriber(answer()) as it, Transport(LOOPBACK, resolve=resolve) as transport:
            assert (await post_to(transport, f"http://two.test:{it.port}/")).status_code == 200

    on_asyncio(main())
