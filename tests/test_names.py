"""Name look-ups: in time, once for all who wait, and never at the others' cost."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import httpx2
import pytest

from receiver import egress
from receiver.egress import Guard, NameNotResolved, Transport
from tests.delivery.bad_subscribers import answer, subscriber
from tests.delivery.running import Run, on_asyncio, on_both_loops
from tests.test_egress import LOOPBACK, PUBLIC, post_to


@on_both_loops
def test_a_name_that_does_not_exist_is_a_dns_failure(run: Run):
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def main() -> None:
        async with Transport(PUBLIC, resolve=resolve) as transport:
            with pytest.raises(NameNotResolved, match="no address: Name or service not known"):
                await post_to(transport, "http://nowhere.test/")

    run(main())


def test_a_name_that_dns_cannot_hold_is_a_dns_failure():
    async def main() -> None:
        async with Transport(PUBLIC) as transport:
            with pytest.raises(NameNotResolved):
                await transport.handle_async_request(httpx2.Request("GET", f"http://{'a' * 70}.test/"))

    on_asyncio(main())


@on_both_loops
def test_the_system_resolves_names_in_threads_that_hold_up_nothing(run: Run):
    async def main() -> None:
        async with subscriber(answer()) as it:
            async with Transport(Guard([ip_network("127.0.0.0/8"), ip_network("::1")])) as transport:
                assert (await post_to(transport, f"http://localhost:{it.port}/")).status_code == 200
            assert all(thread.daemon for thread in threading.enumerate() if thread.name == "name look-up")

    run(main())


@pytest.fixture
def held_getaddrinfo(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The system's look-up answers only once the event is set."""
    release = threading.Event()

    def wait(*_args: object, **_options: object) -> list[object]:
        release.wait(5)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    yield release
    release.set()
    for thread in threading.enumerate():
        if thread.name == "name look-up":
            thread.join(5)


def test_a_look_up_that_ends_after_its_loop_is_harmless(held_getaddrinfo: threading.Event):
    async def main() -> None:
        async with Transport(LOOPBACK, dns_timeout=0.05) as transport:
            with pytest.raises(NameNotResolved, match=r"did not answer within 0\.05 s"):
                await post_to(transport, "http://silent.test/")

    on_asyncio(main())  # the fixture lets it end only now


@on_both_loops
def test_a_look_up_that_nobody_waits_for_any_more_is_harmless(run: Run, held_getaddrinfo: threading.Event):
    async def main() -> None:
        task = asyncio.create_task(egress.ask_system("silent.test", 80))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        held_getaddrinfo.set()
        await asyncio.sleep(0.05)

    run(main())


async def silence(_host: str, _port: int) -> Sequence[str]:
    await asyncio.sleep(3600)
    return []


@on_both_loops
def test_silent_name_servers_are_given_up_on(run: Run):
    async def main() -> None:
        async with Transport(PUBLIC, resolve=silence, dns_timeout=0.05) as transport:
            with pytest.raises(NameNotResolved, match=r"did not answer within 0\.05 s"):
                await post_to(transport, "http://silent.test/")

    run(main())


def names(resolve: egress.Resolve, **limits: float) -> egress.Names:
    return egress.Names(LOOPBACK, resolve, **{"deadline": 0.05, **limits})  # type: ignore[arg-type]


def test_a_name_is_looked_up_once_for_all_who_wait():
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        await asyncio.sleep(0.01)
        return ["127.0.0.1"]

    async def main() -> None:
        resolver = names(resolve, deadline=1.0)
        answers = await asyncio.gather(*[resolver.resolve("one.test", 80) for _ in range(50)])
        assert {each[0]["host"] for each in answers} == {"127.0.0.1"}
        await resolver.close()

    on_asyncio(main())
    assert asked == ["one.test"]


def test_a_name_given_up_on_keeps_one_slot_however_often_it_is_asked():
    running = 0
    most = 0

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(3600)
        return []

    async def main() -> None:
        resolver = names(resolve)
        for _ in range(4):
            with pytest.raises(OSError, match="did not answer"):
                await resolver.resolve("silent.test", 80)
        await resolver.close()

    on_asyncio(main())
    assert most == 1


def test_names_known_to_be_slow_leave_slots_to_the_others():
    async def resolve(host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(0.08 if host.startswith("slow") else 0)
        return ["127.0.0.1"]

    async def main() -> None:
        resolver = names(resolve, slots=4, slow_slots=1)
        slow = [f"slow{number}.test" for number in range(4)]
        await asyncio.gather(*[resolver.resolve(name, 80) for name in slow], return_exceptions=True)
        await asyncio.sleep(0.05)  # now all four are known
        again = asyncio.gather(*[resolver.resolve(name, 80) for name in slow], return_exceptions=True)
        await asyncio.sleep(0)
        started = time.monotonic()
        found = await resolver.resolve("quick.test", 80)
        assert found[0]["host"] == "127.0.0.1"
        assert time.monotonic() - started < 0.03
        assert all(isinstance(each, OSError) for each in await again)
        await resolver.close()

    on_asyncio(main())


def test_a_name_that_got_quick_again_is_no_longer_kept_apart():
    waits = [0.08, 0.0, 0.0]

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(waits.pop(0))
        return ["127.0.0.1"]

    async def main() -> None:
        resolver = names(resolve)
        with pytest.raises(OSError, match="did not answer"):
            await resolver.resolve("moody.test", 80)
        await asyncio.sleep(0.05)
        assert "moody.test" in resolver._slow
        await resolver.resolve("moody.test", 80)
        assert "moody.test" not in resolver._slow
        await resolver.close()

    on_asyncio(main())


def test_the_memory_of_slow_names_is_bounded():
    async def main() -> None:
        resolver = names(silence)
        for number in range(10_050):
            resolver._remember_slow(f"{number}.test")
        assert len(resolver._slow) == 10_000
        assert "10049.test" in resolver._slow

    on_asyncio(main())
