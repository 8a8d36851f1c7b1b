"""When every place is taken: who waits gives way, from the peer that has most downwards, and never a request."""

import asyncio
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from receiver.connections import Connections, places
from tests.delivery.dispatching import until
from tests.wire import Connection, Wire, held, owner_client, raw, wire


@dataclass(eq=False)
class Caller:
    peer: str
    gone: bool = False

    @property
    def client(self) -> tuple[str, int] | None:
        return (self.peer, 4711) if self.peer else None

    @client.setter
    def client(self, value: tuple[str, int] | None) -> None:
        raise AssertionError

    def let_go(self) -> None:
        self.gone = True


class Crowd:
    """Callers at one listener with 32 places, two of which are freed at once."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.places = Connections(32, lambda name: self.counts.update([name]))

    def come(self, peer: str, number: int = 1, *, busy: bool = False) -> list[Caller]:
        made = [Caller(peer) for _ in range(number)]
        for caller in made:
            assert self.places.opened(caller)
            if busy:
                self.places.busy(caller)
        return made


def gone(callers: list[Caller]) -> list[int]:
    return [number for number, caller in enumerate(callers) if caller.gone]


def test_below_the_bound_nobody_is_let_go():
    crowd = Crowd()
    assert gone(crowd.come("a", 32)) == []
    assert crowd.places.open == 32


def test_who_has_waited_longest_goes_first():
    crowd = Crowd()
    callers = crowd.come("a", 32)
    crowd.places.busy(callers[0])
    crowd.places.waits(callers[0])
    crowd.places.waits(callers[1])  # it waited already
    crowd.come("a")
    assert gone(callers) == [1, 2]
    assert crowd.counts == {"connections_let_go": 2}
    assert crowd.places.open == 31


def test_a_flood_from_one_address_takes_no_place_from_another():
    crowd = Crowd()
    few = crowd.come("a", 3)
    flood = crowd.come("b", 200)
    assert gone(few) == []
    assert len(gone(flood)) >= 200 - 29


def test_of_many_addresses_with_one_each_who_has_waited_longest_goes():
    crowd = Crowd()
    flood = [crowd.come(f"198.51.100.{number}")[0] for number in range(33)]
    assert gone(flood) == [0, 1]


def test_what_a_peer_does_at_the_time_counts_among_what_it_holds():
    crowd = Crowd()
    crowd.come("a", 14, busy=True)
    waiting = crowd.come("a", 4)
    others = crowd.come("b", 14)
    crowd.come("c")
    assert (gone(waiting), gone(others)) == ([0, 1], [])


def test_addresses_of_one_ipv6_network_are_one_peer():
    crowd = Crowd()
    few = crowd.come("203.0.113.7", 2)
    flood = [crowd.come(f"2001:db8::{number:x}")[0] for number in range(60)]
    assert gone(few) == []
    assert gone(flood)


def test_a_request_that_is_answered_is_never_let_go_and_one_more_is_refused():
    crowd = Crowd()
    busy = crowd.come("a", 32, busy=True)
    late = Caller("b")
    assert not crowd.places.opened(late)
    assert gone(busy) == []
    assert crowd.counts == {"connections_refused": 1}
    crowd.places.closed(late)
    crowd.places.closed(busy[0])
    assert crowd.places.opened(late)


def test_one_that_is_gone_does_not_come_back():
    crowd = Crowd()
    (caller,) = crowd.come("a")
    for _ in range(2):
        crowd.places.closed(caller)
    crowd.places.waits(caller)
    assert crowd.places.open == 0
    assert gone(crowd.come("b", 33)) == [0, 1]
    assert not caller.gone


def test_that_there_is_no_room_is_told_once_until_half_of_it_is_free(caplog: pytest.LogCaptureFixture):
    crowd = Crowd()
    callers = crowd.come("a", 500)
    assert [record.getMessage() for record in caplog.records] == ["connections.full"]
    for caller in callers:
        crowd.places.closed(caller)
    crowd.come("a", 40)
    assert len(caplog.records) == 2


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[tuple[int, int]]]:
    """The system's limits on descriptors, which a test must not really lower; what they are set to."""

    def given(soft: int, hard: int) -> list[tuple[int, int]]:
        now = [(soft, hard)]
        monkeypatch.setattr(resource, "getrlimit", lambda _what: now[-1])
        monkeypatch.setattr(resource, "setrlimit", lambda _what, pair: now.append(pair))
        return now

    return given


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "raised"),
    [
        (1024, 524_288, 4096, 4096 + 128 + 256),
        (1024, INFINITE, 4096, 4096 + 128 + 256),
        (1024, 1024, 640, 1024),
        (1024, 2048, 1664, 2048),
        (20_000, 20_000, 4096, 20_000),
        (INFINITE, INFINITE, 4096, INFINITE),
        (200, 200, 16, 200),
    ],
)
def test_places_are_as_many_as_the_system_gives_descriptors_for(limits, soft, hard, expected, raised):
    now = limits(soft, hard)
    assert places(outbound=256) == expected
    assert now[-1] == (raised, hard)


def test_a_system_that_does_not_raise_its_limit_is_believed(limits, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_given: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    limits(1024, 4096)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert places(outbound=256) == 640


async def alive(connection: Connection) -> bool:
    await connection.send(raw("GET", "/livez"))
    return await connection.status() == 200


async def test_idle_connections_make_room_for_new_ones_and_a_request_under_way_is_finished(tmp_path: Path):
    bound = Connections(16)
    async with wire(tmp_path, connections=bound) as it:
        async with held(it.app):
            posting = await it.say(it.request())
            await until(lambda: it.app.batch.waiting == 1)
            idle = [await it.connect() for _ in range(15)]
            for connection in idle:
                assert await alive(connection)
            for _ in range(10):
                assert await alive(await it.connect())
            assert bound.open <= 16
        assert await posting.status() == 200
        for connection in idle[:10]:
            assert await ended(connection) == b""
        assert len(await it.bodies()) == 1


async def ended(connection: Connection) -> bytes:
    try:
        return await connection.ended()
    except ConnectionError:  # it was reset
        return b""


async def test_unfinished_heads_make_room_before_their_deadline(tmp_path: Path):
    async with wire(tmp_path, connections=Connections(16)) as it:
        slow = [await it.say(b"GET /livez HT") for _ in range(16)]
        assert await alive(await it.connect())
        assert await ended(slow[0]) == b""
        await slow[-1].send(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert await slow[-1].status() == 200


async def test_with_every_place_busy_one_more_is_told_to_come_back(tmp_path: Path):
    async with wire(tmp_path, connections=Connections(4)) as it:
        async with held(it.app):
            posting = [await it.say(it.request(b'{"text": "%d"}' % number)) for number in range(4)]
            await until(lambda: it.app.batch.waiting == 4)
            status, headers, body = await (await it.connect()).answer()
            assert (status, headers["retry-after"], headers["connection"], body) == (503, "5", "close", b"")
        assert [await connection.status() for connection in posting] == [200] * 4
        assert await alive(await it.connect())


async def test_the_owner_has_places_of_its_own(tmp_path: Path):
    async with wire(tmp_path, connections=Connections(2)) as it, held(it.app):
        for number in range(2):
            await it.say(it.request(b'{"text": "%d"}' % number))
        await until(lambda: it.app.batch.waiting == 2)
        async with owner_client(it.owner) as owner:
            assert (await owner.get("/v1/sources")).status_code == 200


async def test_who_comes_and_goes_leaves_no_place_taken(tmp_path: Path):
    bound = Connections(64)
    async with wire(tmp_path, connections=bound) as it:
        await asyncio.gather(*(come_and_go(it, number) for number in range(60)))
        await until(lambda: bound.open == 0)


async def come_and_go(it: Wire, number: int) -> None:
    """In one of the ways in which a connection ends."""
    said = (
        b"",
        b"GET /li",
        b"garbage\r\n\r\n",
        it.request()[:-3],
        it.request(),
        raw("GET", "/livez", "Connection: close"),
    )
    connection = await it.say(said[number % 6])
    if number % 2:
        connection.writer.transport.abort()
    else:
        connection.writer.close()
