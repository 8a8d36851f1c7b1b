"""The older half of a log is purged while events are accepted and pages are read; and how things are afterwards."""

import asyncio
import os
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import backlog, pages
from bench.figure import Figure
from bench.grown import copied, grown
from bench.pages import FILTERS, Asked
from bench.process import PORT, target
from bench.readers import loaded, paging
from bench.requests import MESSAGE, message_id
from bench.wire import Paced, percentile
from receiver.storage.ids import earliest

_SECOND = 1_000_000
_EVERY = 0.2
_PATIENCE = 60.0
"""Seconds within which something must go."""
_STAYS = 0.45
"""Pages are asked for by values of events that are there all the time."""
_DATED = {"events": "evt", "messages": "msg", "receipts": "rcp"}
"""Tables with rows that grow too old, which their ids tell."""
_PARTED = {
    "deliveries without an event": "FROM deliveries WHERE event_id NOT IN (SELECT id FROM events)",
    "attempts without a delivery": "FROM attempts WHERE delivery_id NOT IN (SELECT id FROM deliveries)",
    "deliveries without an attempt": """FROM deliveries WHERE state = 'succeeded'
        AND id NOT IN (SELECT delivery_id FROM attempts)""",
    "events without a delivery": "FROM events WHERE id NOT IN (SELECT event_id FROM deliveries)",
    "events without a message": "FROM events WHERE message_id NOT IN (SELECT id FROM messages)",
}


@dataclass(frozen=True, slots=True)
class State:
    """Accepts a second, as many as there can be, and p99 of pages by each filter, in milliseconds."""

    rate: float
    pages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Steady:
    """At half of that rate: how many were accepted, and p99 of accepts and of pages, in milliseconds."""

    accepted: int
    accept: float
    page: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Events a second that went, beside the steady accepts and then alone."""

    beside: float
    alone: float


async def purged(seconds: float, events: int, cache: Path, connections: int) -> list[Figure]:
    kept = await grown(cache, events)
    with tempfile.TemporaryDirectory(dir=cache) as place:
        folder = copied(kept, Path(place))
        backlog.pause(folder, paused=True)
        asked = pages.requests(folder, _STAYS)
        keep = _half(folder)
        environ = {f"RECEIVER_RETENTION_{name}": f"{keep}s" for name in ("EVENTS", "RECEIPTS")}
        async with target("receiver", folder):
            before, accepted = await _state(asked, seconds, connections)
            calm = await _steady(asked, before.rate / 2, seconds, connections)
        async with target("receiver", folder, **environ):
            going = Going(folder, keep)
            busy, beside = await asyncio.gather(
                _steady(asked, before.rate / 2, seconds, connections), going.rate(seconds)
            )
            speed = Speed(beside, await going.rate())
            await going.over()
            after, again = await _state(asked, seconds, connections)
        check(kept, folder, (going.until, _bound(keep)), accepted + calm.accepted + busy.accepted + again)
    return _figures(events, (before, after), (calm, busy), speed)


def _half(folder: Path) -> int:
    """How long ago half of the events were there, in whole seconds."""
    with backlog.opened(folder) as database:
        middle = "SELECT accepted_at FROM events WHERE seq >= (SELECT avg(seq) FROM events) LIMIT 1"
        ago: int = backlog.now() - _value(database, middle)
        return ago // _SECOND


async def _state(asked: Asked, seconds: float, connections: int) -> tuple[State, int]:
    """And how many were accepted for it."""
    load = await loaded(seconds, connections)
    return State(load.rate, await pages.tried(asked)), len(load.latencies)


async def _steady(asked: Asked, rate: float, seconds: float, connections: int) -> Steady:
    run, reading = os.urandom(8).hex(), paging(asked, seconds)
    load = Paced([MESSAGE.request(message_id(run, at)) for at in range(round(rate * seconds))], connections, rate=rate)
    await asyncio.gather(load.run(PORT), reading.run(PORT))
    for each in (load, reading):
        each.sound()
    return Steady(len(load.latencies), percentile(load.latencies, 0.99), percentile(reading.latencies, 0.99))


class Going:
    """How far a purge is, looked at beside the receiver. What is older than `keep` seconds is to go."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self.until = _bound(keep)

    async def rate(self, seconds: float = float("inf")) -> float:
        """Events a second that go: in that time, or until no old ones are left; 0 where none do."""
        began = at = time.perf_counter()
        first = last = self._first()
        while self._old("events") and time.perf_counter() < began + seconds:
            await asyncio.sleep(_EVERY)
            if (now := self._first()) > last:
                last, at = now, time.perf_counter()
            assert time.perf_counter() < at + _PATIENCE, f"the purge stands at {last}"
        return (last - first) / (at - began) if last > first else 0.0

    async def over(self) -> None:
        """Until all that was old is gone, from every table."""
        for table in _DATED:
            before, at = "", time.perf_counter()
            while old := self._old(table):
                if old != before:
                    before, at = old, time.perf_counter()
                assert time.perf_counter() < at + _PATIENCE, f"{old} stays"
                await asyncio.sleep(_EVERY)

    def _first(self) -> int:
        with backlog.opened(self._folder) as database:
            found: int = _value(database, "SELECT min(seq) FROM events")
            return found

    def _old(self, table: str) -> str:
        """The oldest row that is to go; empty where there is none."""
        with backlog.opened(self._folder) as database:
            oldest: str = _value(database, f"SELECT min(id) FROM {table}")
            return oldest if oldest < earliest(_DATED[table], self.until) else ""


def _bound(keep: int) -> int:
    return backlog.now() - keep * _SECOND


def _value(database: sqlite3.Connection, sql: str, *values: object) -> Any:
    """The only one of the only row."""
    ((found,),) = database.execute(sql, values)
    return found


def check(kept: Path, folder: Path, bound: tuple[int, int], accepted: int) -> None:
    """Exactly what is too old is gone, every row of the rest stands. Raises AssertionError.

    `kept` is the database as it was before so many were accepted. Rows grow too old one after the other: what was made
    before the first `bound` has to be gone, what was made after the second has to stand.
    """
    with backlog.opened(kept) as whole, backlog.opened(folder) as rest:
        for table, kind in _DATED.items():
            oldest = _value(rest, f"SELECT min(id) FROM {table}")
            least, most = (earliest(kind, at) for at in bound)
            assert oldest >= least, f"{oldest} is too old"
            gone = _value(whole, f"SELECT max(id) FROM {table} WHERE id < ?", oldest)
            assert gone is not None, f"of {table} nothing is gone"
            assert gone < most, f"{gone} went too early"
            wanted = _value(whole, f"SELECT count(*) FROM {table} WHERE id >= ?", oldest) + accepted
            found = _value(rest, f"SELECT count(*) FROM {table}")
            assert found == wanted, f"{found} {table} are left instead of {wanted}"
        for what, rows in _PARTED.items():
            many = _value(rest, f"SELECT count(*) {rows}")
            assert not many, f"{many} {what}"


def _figures(events: int, states: tuple[State, State], steady: tuple[Steady, Steady], speed: Speed) -> list[Figure]:
    (before, after), (calm, busy) = states, steady
    of, ratio = f"purge: half of {events:,}", f"half of {before.rate:,.0f} accepts/s and pages"
    worst = max(after.pages, key=lambda name: after.pages[name])
    return [
        Figure(
            name=f"{of}, events that go", unit="/s", against="", aim=None, measured=[speed.beside],
            beside={"with nothing else to do": [speed.alone]}, notes=[f"beside {ratio}"],
        ),
        Figure(
            name=f"{of}, accepts meanwhile, p99", unit="ms", against="before it", aim=None, measured=[busy.accept],
            reference=[calm.accept],
        ),
        Figure(
            name=f"{of}, pages meanwhile, p99", unit="ms", against="", aim=20, at_most=True, measured=[busy.page],
            beside={"before it": [calm.page]},
        ),
        Figure(
            name=f"{of}, accept afterwards", unit="/s", against="before it", aim=0.9, measured=[after.rate],
            reference=[before.rate],
        ),
        Figure(
            name=f"{of}, the slowest of {len(FILTERS)} filtered pages afterwards, p99", unit="ms", against="", aim=20,
            at_most=True, measured=[after.pages[worst]], notes=[f"by {worst}"],
            beside={"before it": [max(before.pages.values())]},
        ),
    ]  # fmt: skip
