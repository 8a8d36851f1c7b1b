"""Nothing forbidden is connected to, however it is written and whoever resolves it. Listeners count, and do bite."""

import inspect
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from ipaddress import ip_network

import httpx2
import pytest

from receiver import egress
from receiver.delivery.outcome import Delivered, Forbidden
from receiver.egress import BadDestination, ForbiddenDestination, Guard, Transport
from tests.delivery.bad_subscribers import Subscriber, answer, subscriber
from tests.delivery.running import Run, on_asyncio, on_both_loops
from tests.door.knocking import LOOPBACK, PUBLIC, Named, attempt, watched_connects
from tests.door.table import BAD_URLS, FORBIDDEN_ADDRESSES, NOTATIONS, SCOPED, url_of

SETTING = "RECEIVER_EGRESS_ALLOW="


@on_both_loops
@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_forbidden_address_is_not_connected_to_and_the_attempt_names_the_setting(run: Run, address: str):
    async def main() -> None:
        async with Transport(PUBLIC, resolve=Named([address])) as transport:
            for url in (url_of(address), "http://a.name/hook", "https://a.name/hook"):
                with watched_connects() as connects:
                    outcome = await attempt(transport, url)
                assert isinstance(outcome, Forbidden)
                assert SETTING in outcome.detail
                assert connects == []

    run(main())


@on_both_loops
@pytest.mark.parametrize("address", SCOPED)
def test_a_name_that_resolves_to_a_scoped_address_is_forbidden_whatever_is_allowed(run: Run, address: str):
    async def main() -> None:
        everything = Guard([ip_network("::/0"), ip_network("0.0.0.0/0")])
        async with Transport(everything, resolve=Named([address])) as transport:
            with watched_connects() as connects:
                outcome = await attempt(transport, "http://a.name/hook")
            assert isinstance(outcome, Forbidden)
            assert connects == []

    run(main())


@pytest.mark.parametrize("answered", ["", "a.name", "127.1", "0x7f000001", "2130706433", "127.0.0.1/32", " 127.0.0.1"])
def test_what_a_resolver_answers_that_is_no_address_is_forbidden(answered: str):
    async def main() -> None:
        async with Transport(LOOPBACK, resolve=Named([answered])) as transport:
            with watched_connects() as connects:
                assert isinstance(await attempt(transport, "http://a.name/hook"), Forbidden)
            assert connects == []

    on_asyncio(main())


@asynccontextmanager
async def local_listeners() -> AsyncIterator[Sequence[Subscriber]]:
    """On this machine's IPv4 and IPv6 loopback, the same port where that is free."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(subscriber(answer()))
        found = [first]
        with suppress(OSError):  # a machine without IPv6 has nothing there to connect to
            found.append(await stack.enter_async_context(subscriber(answer(), host="::1", port=first.port)))
        yield found


@on_both_loops
@pytest.mark.parametrize("host", NOTATIONS.values(), ids=NOTATIONS.keys())
def test_no_notation_of_a_forbidden_host_reaches_a_listener(run: Run, host: str):
    """The resolver takes every one of them for this machine: a lenient system does so for most."""

    async def main() -> None:
        resolve = Named(["127.0.0.1", "::1"])
        async with local_listeners() as listeners, Transport(PUBLIC, resolve=resolve) as transport:
            url = f"http://{host}:{listeners[0].port}/hook"
            with suppress(BadDestination):
                assert isinstance(await attempt(transport, url), Forbidden)
            with suppress(httpx2.InvalidURL):
                request = httpx2.Request("GET", url)  # past every check of the URL
                with pytest.raises(ForbiddenDestination):
                    await transport.handle_async_request(request)
            assert [it.connects for it in listeners] == [0] * len(listeners)

    run(main())


SYSTEM_NOTATIONS = ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "0", "localhost"]


@on_both_loops
@pytest.mark.parametrize("host", [*SYSTEM_NOTATIONS, "[::1]", "[::ffff:127.0.0.1]"])
def test_what_the_systems_own_resolver_makes_of_a_host_reaches_no_listener(run: Run, host: str):
    async def main() -> None:
        async with local_listeners() as listeners, Transport(PUBLIC) as transport:
            outcome = await attempt(transport, f"http://{host}:{listeners[0].port}/")
            assert isinstance(outcome, Forbidden)
            assert [it.connects for it in listeners] == [0] * len(listeners)

    run(main())


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS.keys())
def test_a_bad_url_becomes_no_destination_or_no_connection(url: str):
    async def main() -> None:
        async with Transport(PUBLIC, resolve=Named(["127.0.0.1"])) as transport:
            with watched_connects() as connects, suppress(BadDestination):
                assert isinstance(await attempt(transport, url), Forbidden)
            assert connects == []

    on_asyncio(main())


@on_both_loops
@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "a.name"])
def test_the_listener_counts_as_soon_as_the_setting_opens_its_side(run: Run, host: str):
    async def main() -> None:
        async with subscriber(answer()) as it, Transport(LOOPBACK, resolve=Named(["127.0.0.1"])) as transport:
            with watched_connects() as connects:
                outcome = await attempt(transport, f"http://{host}:{it.port}/")
            assert isinstance(outcome, Delivered)
            assert it.connects == len(connects) == 1

    run(main())


def test_the_socket_factory_has_the_last_word_on_every_address():
    transport = Transport(PUBLIC)
    for address in (("127.0.0.1", 80), ("fe80::1", 80, 0, 2), ("2606:4700::1", 80, 0, 2), ("10.0.0.1", 443)):
        family = socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
        with pytest.raises(egress.AddressRefused):
            transport._socket((family, socket.SOCK_STREAM, 6, "", address))


def test_a_connect_that_nobody_answers_has_five_seconds_and_the_whole_attempt_twenty():
    of = inspect.signature(Transport).parameters
    assert [of[name].default for name in ("connect_timeout", "dns_timeout", "deadline")] == [5.0, 5.0, 20.0]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of 127.0.0.1 to .8 with full queues: the kernel drops every further SYN, nobody answers or refuses."""
    with ExitStack() as stack:
        port = 0
        for last in range(1, 9):
            listening = stack.enter_context(socket.socket())
            listening.bind((f"127.0.0.{last}", port))
            listening.listen(0)
            port = listening.getsockname()[1]
            for _ in range(4):
                queued = stack.enter_context(socket.socket())
                queued.setblocking(False)
                queued.connect_ex(listening.getsockname())
        yield port


@on_both_loops
def test_a_connect_that_nobody_answers_ends_long_before_the_attempt(run: Run, deaf_port: int):
    async def main() -> None:
        async with Transport(LOOPBACK, connect_timeout=0.2) as transport:
            outcome = await attempt(transport, f"http://127.0.0.1:{deaf_port}/", deadline=4.0)
            assert (outcome.error, outcome.detail) == ("timeout", "no connection within 0.2 s")

    run(main())


@on_both_loops
def test_many_addresses_that_nobody_answers_at_have_no_more_time_than_a_look_up_and_one_of_them(
    run: Run, deaf_port: int
):
    """Eight of them would have 3.2 s and meet the deadline of the attempt."""

    async def main() -> None:
        eight = Named([f"127.0.0.{last}" for last in range(1, 9)])
        async with Transport(LOOPBACK, resolve=eight, connect_timeout=0.4, dns_timeout=0.4) as transport:
            outcome = await attempt(transport, f"http://eight.test:{deaf_port}/", deadline=3.0)
            assert (outcome.error, outcome.detail) == ("timeout", "no connection within 0.4 s")

    run(main())
