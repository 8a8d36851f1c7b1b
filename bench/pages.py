"""Pages of the log and of messages by all sorts of filters, through the API, over one connection: the slowest is it."""

import random
import sqlite3
import time
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path
from urllib.parse import quote

from bench import backlog
from bench.figure import Figure
from bench.grown import RARE
from bench.process import API_KEY, PORT, target
from bench.wire import Load, percentile

EVENTS = {
    "nothing": "",
    "newest first": "order=desc",
    "from somewhere in the log": "after={id}",
    "type": "type=message.status&after={id}",
    "a type that hardly comes": "type=contact.*",
    "from": "from={from_address}",
    "from, by prefix": "from={prefix}*",
    "to": "to={to_address}",
    "message": "message_id={message_id}",
    "the vendor's id": "vendor_message_id={vendor_message_id}",
    "a reference that nobody gave": "client_reference={id}",
    "status": "status=delivered&after={id}",
    "a status that never came": "status=rejected",
    "source, newest first": "source={source_id}&order=desc",
    "a source that is not there": "source=src_{tail}",
    "vendor": "vendor=twilio&after={id}",
    "a vendor without events": "vendor=sendsms",
    "since, newest first": "since={at}&order=desc",
    "an hour": "since={at}&until={later}",
    "person and status": "to={to_address}&status=delivered",
    "person and a status that never came": "to={to_address}&status=failed",
    "person and vendor": "from={from_address}&vendor=twilio",
    "type and an hour": "type=message.received&since={at}&until={later}",
    "source, type and our number": "source={source_id}&type=message.received&to={to_address}",
    "two persons who never met": "from={from_address}&to={other}",
    "a word of every text": "q=thanks",
    "the same, newest first": "q=thanks&order=desc",
    "words that are in few texts": f"q={RARE}+thanks&order=desc",
    "the beginning of a word": "q=inv*&after={id}",
    "a word that is nowhere": "q=nowhere",
    "a word and a person": "q=thanks&from={from_address}",
    "a word and a person who never wrote": "q=thanks&from={to_address}9",
    "a word, a source and a time": "q=thanks&source={source_id}&until={at}&order=desc",
}
MESSAGES = {
    "nothing": "",
    "from somewhere among them": "after={message_id}",
    "inbound": "direction=in&after={message_id}",
    "unread": "unread=true",
    "unread of a person": "unread=true&from={from_address}",
    "read, where nothing is": "unread=false",
    "delivered": "status=delivered&after={message_id}",
    "sent, where nothing is": "status=sent&after={message_id}",
    "failed": "status=undelivered&status=rejected&status=failed&status=expired",
    "from": "from={from_address}",
    "from, by prefix": "from={prefix}*",
    "to": "to={to_address}",
    "a conversation": "between={from_address}&between={to_address}",
    "two persons who never met": "between={from_address}&between={other}",
    "source": "source={source_id}&after={message_id}",
    "a vendor without messages": "vendor=sendsms",
    "a batch that is not there": "batch_id={id}",
    "an hour": "since={at}&until={later}",
    "inbound of a person in an hour": "direction=in&from={from_address}&since={at}&until={later}",
    "a word of every text": "q=thanks&unread=true",
    "words that are in few texts": f"q={RARE}+thanks",
}
FILTERS = {f"events: {name}": f"/v1/events?{query}" for name, query in EVENTS.items()} | {
    f"messages: {name}": f"/v1/messages?{query}" for name, query in MESSAGES.items()
}
_COLUMNS = "id, message_id, vendor_message_id, source_id, from_address, to_address, accepted_at"
_EACH, _SECONDS = 200, 5.0


Asked = dict[str, list[bytes]]
"""Requests of each filter, each with values of another event."""


async def slowest(folder: Path) -> Figure:
    """p99 of each filter with values of events that are there."""
    asked = requests(folder)
    async with target("receiver", folder):
        p99 = await tried(asked)
    worst = max(p99, key=lambda name: p99[name])
    return Figure(
        name=f"growth: the slowest of {len(FILTERS)} filtered pages, p99", unit="ms", against="", aim=20, at_most=True,
        measured=[p99[worst]], notes=[f"by {worst}"], detail=p99,
    )  # fmt: skip


async def tried(asked: Asked) -> dict[str, float]:
    """p99 of each filter at the receiver that runs; a filter is tried for a few seconds at most."""
    p99 = {}
    for name, wanted in asked.items():
        load = Load(wanted, 1, seconds=_SECONDS)
        await load.run(PORT)
        load.sound()
        p99[name] = percentile(load.latencies, 0.99)
    return p99


def requests(folder: Path, newest: float = 1.0) -> Asked:
    """With values of events that are anywhere in the newest part of the log."""
    with backlog.opened(folder) as database:
        database.row_factory = sqlite3.Row
        found = list(islice(_values(database, newest), _EACH))
    return {name: [_request(pattern.format(**values)) for values in found] for name, pattern in FILTERS.items()}


def mixed(asked: Asked) -> Iterator[bytes]:
    """One of each filter in turn, without an end."""
    return cycle(chain.from_iterable(zip(*asked.values(), strict=True)))


def _values(database: sqlite3.Connection, newest: float) -> Iterator[dict[str, str]]:
    """Of one event after the other."""
    chance = random.Random(1)
    ((first, most),) = database.execute("SELECT min(seq), max(seq) FROM events")
    first = most - int((most - first) * newest)
    while True:
        (one, other) = (_event(database, chance.randint(first, most)) for _ in range(2))
        at = int(one["accepted_at"])
        yield {name: quote(str(value)) for name, value in zip(one.keys(), one, strict=True)} | {
            "prefix": quote(one["from_address"][:8]),
            "other": quote(other["to_address"]),
            "tail": one["id"][4:],
            "at": _text(at),
            "later": _text(at + 3600 * 1_000_000),
        }


def _event(database: sqlite3.Connection, seq: int) -> sqlite3.Row:
    row: sqlite3.Row = database.execute(f"SELECT {_COLUMNS} FROM events WHERE seq >= ? LIMIT 1", [seq]).fetchone()
    return row


def _text(micros: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(micros / 1e6))


def _request(query: str) -> bytes:
    return f"GET {query} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {API_KEY}\r\n\r\n".encode()
