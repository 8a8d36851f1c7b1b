"""Name look-ups: in time, once for all who wait, and never at the others' cost. With threads: `tests/door/test_dns`."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network

import httpx2
import pytest

from receiver import names
from receiver.egress import Guard, NameNotResolved, Transport
from receiver.names import LookUps
from tests.delivery.bad_subscribers import answer, subscriber
from tests.delivery.running import Run, on_asyncio, on_both_loops
from tests.door.knocking import HANG, LOOPBACK, PUBLIC
from tests.test_egress import post_to

SHORT = 0.15
"""Seconds that are waited for in vain; what answers does so at once."""


class Servers:
    """Name servers whose silence is a test's to end. `running` is how many threads they would hold up, by name."""

    def __init__(self, silent: Callable[[str], bool] = lambda host: host.startswith("silent")) -> None:
        self.silent = silent
        self.speak = asyncio.Event()
        self.asked: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.most = 0

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked[host] += 1
        self.running[host] += 1
        self.most = max(self.most, self.running.total())
        try:
            if self.silent(host):
                await self.speak.wait()
            return ["127.0.0.1"]
        finally:
            self.running[host] -= 1


async def ask(look_ups: LookUps, *hosts: str) -> list[Sequence[str] | BaseException]:
    return await asyncio.gather(*[look_ups.addresses(host, 80) for host in hosts], return_exceptions=True)


def in_time(found: Sequence[object]) -> list[bool]:
    return [found == ["127.0.0.1"] for found in found]


@on_both_loops
def test_a_name_is_looked_up_once_for_all_who_wait(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=HANG)
        asking = asyncio.create_task(ask(look_ups, *["silent.test"] * 50))
        await asyncio.sleep(0)
        servers.speak.set()
        assert all(in_time(await asking))
        assert servers.asked == {"silent.test": 1}
        await look_ups.close()

    run(main())


@on_both_loops
def test_who_stops_waiting_does_not_end_the_look_up_of_the_others(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=HANG)
        leaving, staying = [asyncio.create_task(look_ups.addresses("silent.test", 80)) for _ in range(2)]
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        servers.speak.set()
        assert await staying == ["127.0.0.1"]
        assert leaving.cancelled()
        await look_ups.close()

    run(main())


@on_both_loops
def test_silence_is_given_up_on_and_a_name_given_up_on_keeps_one_thread_however_often_it_is_asked(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=SHORT)
        for _ in range(4):
            with pytest.raises(OSError, match=r"the name servers did not answer within 0\.15 s"):
                await look_ups.addresses("silent.test", 80)
        assert servers.most == 1
        await look_ups.close()
        assert servers.running.total() == 0

    run(main())


@on_both_loops
def test_silent_names_hand_their_slot_on_and_a_name_asked_for_last_is_answered(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=HANG, patience=0.01, slots=2, stuck=100)
        silent = asyncio.create_task(ask(look_ups, *[f"silent{number}.test" for number in range(50)]))
        await asyncio.sleep(0)
        assert await look_ups.addresses("quick.test", 80) == ["127.0.0.1"]
        assert not silent.done()
        servers.speak.set()
        assert all(in_time(await silent))
        await look_ups.close()

    run(main())


@on_both_loops
def test_the_threads_are_bounded_even_if_every_name_is_silent(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=0.5, patience=0.005, slots=3, stuck=5)
        found = await ask(look_ups, *[f"silent{number}.test" for number in range(40)])
        assert all(isinstance(each, OSError) for each in found)
        assert servers.most == 8
        await look_ups.close()
        assert servers.running.total() == 0

    run(main())


@on_both_loops
def test_a_look_up_that_has_no_slot_yet_ends_with_the_last_who_waits_for_it(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=SHORT, patience=HANG, slots=1)
        silent = [f"silent{number}.test" for number in range(20)]
        await ask(look_ups, *silent)
        assert servers.asked == {"silent0.test": 1}
        servers.speak.set()
        assert all(in_time(await ask(look_ups, "quick.test")))
        assert set(servers.asked) == {"silent0.test", "quick.test"}
        await look_ups.close()

    run(main())


async def known_to_be_slow(look_ups: LookUps, servers: Servers, *hosts: str) -> None:
    await ask(look_ups, *hosts)
    await asyncio.sleep(SHORT)  # the look-ups began a little after the waiting
    servers.speak.set()
    await all_ended(look_ups)
    servers.speak.clear()


async def all_ended(look_ups: LookUps) -> None:
    async with asyncio.timeout(HANG):
        while look_ups._running:  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0.001)


@on_both_loops
def test_names_known_to_be_slow_leave_the_slots_to_the_others(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=SHORT, patience=HANG, slots=4, slow_slots=1)
        slow = [f"silent{number}.test" for number in range(4)]
        await known_to_be_slow(look_ups, servers, *slow)
        assert list(look_ups._slow) == slow
        servers.asked.clear()
        again = asyncio.create_task(ask(look_ups, *slow))
        await asyncio.sleep(0)
        assert all(in_time(await ask(look_ups, "quick.test")))
        assert in_time(await again) == [False] * 4
        assert servers.asked == {"silent0.test": 1, "quick.test": 1}
        await look_ups.close()

    run(main())


@on_both_loops
def test_a_name_that_got_quick_again_is_no_longer_kept_apart(run: Run):
    async def main() -> None:
        servers = Servers()
        look_ups = LookUps(servers, deadline=SHORT)
        await known_to_be_slow(look_ups, servers, "silent.test")
        assert "silent.test" in look_ups._slow
        servers.silent = lambda _host: False
        assert all(in_time(await ask(look_ups, "silent.test")))
        assert "silent.test" not in look_ups._slow
        await look_ups.close()

    run(main())


def test_the_memory_of_slow_names_is_bounded():
    async def main() -> None:
        look_ups = LookUps(Servers(), deadline=1.0)
        for number in range(names.MAX_SLOW + 50):
            look_ups._remember_slow(f"{number}.test")
        assert len(look_ups._slow) == names.MAX_SLOW
        assert f"{names.MAX_SLOW + 49}.test" in look_ups._slow

    on_asyncio(main())


@on_both_loops
def test_who_waits_when_all_ends_gets_an_error_and_is_not_cancelled(run: Run):
    async def main() -> None:
        look_ups = LookUps(Servers(), deadline=HANG)
        waiting = asyncio.create_task(look_ups.addresses("silent.test", 80))
        await asyncio.sleep(0)
        await look_ups.close()
        with pytest.raises(OSError, match="no more names are looked up"):
            await waiting

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "not a name that DNS could hold"),
        (None, "the name has no addresses"),
    ],
    ids=["no such name", "no name", "nothing"],
)
def test_no_address_is_an_error_that_says_why_for_all_who_wait(run: Run, error: Exception | None, told: str):
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return []

    async def main() -> None:
        look_ups = LookUps(resolve, deadline=HANG)
        found = await ask(look_ups, *["nowhere.test"] * 3)
        assert [isinstance(each, OSError) and each.strerror for each in found] == [told] * 3
        await look_ups.close()

    run(main())


@on_both_loops
def test_an_error_that_comes_when_nobody_waits_any_more_disturbs_nobody(run: Run):
    """The loop would complain of an exception that was never retrieved, and the runner fails on complaints."""
    speak = asyncio.Event()

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        await speak.wait()
        raise OSError(2, "too late")

    async def main() -> None:
        look_ups = LookUps(resolve, deadline=SHORT, patience=0.01)
        with pytest.raises(OSError, match="did not answer"):
            await look_ups.addresses("silent.test", 80)
        speak.set()
        await all_ended(look_ups)
        await look_ups.close()

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
        release.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    yield release
    release.set()
    for thread in threading.enumerate():
        if thread.name == "name look-up":
            thread.join(20)


def test_a_look_up_that_ends_after_its_loop_is_harmless(held_getaddrinfo: threading.Event):
    async def main() -> None:
        async with Transport(LOOPBACK, dns_timeout=0.05) as transport:
            with pytest.raises(NameNotResolved, match=r"did not answer within 0\.05 s"):
                await post_to(transport, "http://silent.test/")

    on_asyncio(main())  # the fixture lets it end only now


@on_both_loops
def test_a_look_up_that_nobody_waits_for_any_more_is_harmless(run: Run, held_getaddrinfo: threading.Event):
    async def main() -> None:
        task = asyncio.create_task(names.ask_system("silent.test", 80))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        held_getaddrinfo.set()
        await asyncio.sleep(0.05)

    run(main())


def test_a_system_without_threads_left_is_a_dns_failure(monkeypatch: pytest.MonkeyPatch):
    def full(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        async with Transport(LOOPBACK) as transport:
            with pytest.raises(NameNotResolved, match="no thread left"):
                await post_to(transport, "http://a.test/")

    monkeypatch.setattr(threading.Thread, "start", full)
    on_asyncio(main())
