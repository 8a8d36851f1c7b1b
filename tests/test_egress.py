"""The door out as a transport: what is sent is what was asked for. What is refused and survived: see `tests/door`."""

import asyncio
from contextlib import AsyncExitStack

import httpx2
import pytest

from receiver.egress import NameNotResolved, Transport, check_url, destination
from tests.delivery.bad_subscribers import answer, no_answer, subscriber
from tests.delivery.dispatching import until
from tests.delivery.running import on_asyncio
from tests.door.knocking import LOOPBACK, PUBLIC, Named

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


@pytest.mark.parametrize("at_once", [False, True])
def test_of_many_hosts_few_connections_are_kept_for_next_time(at_once: bool):
    """Each holds a descriptor, and ten thousand subscriptions may lie at as many hosts."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            hosts = [await stack.enter_async_context(subscriber(answer())) for _ in range(12)]
            transport = await stack.enter_async_context(Transport(LOOPBACK, connections=8))
            if at_once:
                await asyncio.gather(*(post_to(transport, host.url) for host in hosts))
            else:
                for host in hosts:
                    await post_to(transport, host.url)
            await until(lambda: sum(host.held for host in hosts) <= 4)
            await asyncio.gather(*(post_to(transport, host.url) for host in hosts if host.held))
            assert sum(host.connects for host in hosts) == 12  # those that were kept serve again

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
        async with Transport(PUBLIC, resolve=Named([])) as transport:
            with pytest.raises(NameNotResolved):
                await post_to(transport, "http://empty.test/")

    on_asyncio(main())


def test_the_first_address_that_answers_is_used():
    async def main() -> None:
        resolve = Named(["127.0.0.99", "127.0.0.1"])
        async with subscriber(answer()) as it, Transport(LOOPBACK, resolve=resolve) as transport:
            assert (await post_to(transport, f"http://two.test:{it.port}/")).status_code == 200

    on_asyncio(main())
