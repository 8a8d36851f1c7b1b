"""People who talk with us, each a conversation of its own; and what a subscriber hears of it, in which order.

Of every request it is kept which conversation it is about, and whether another of that one was under way.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson

from receiver.sms.compose import compose
from receiver.sms.drafts import Draft, Party, Received, Reported
from receiver.storage.receipts import Receipt
from receiver.storage.recording import Recording
from tests.delivery.dispatching import ORIGIN, Behaviour, Sent, WayOut, answers

OURS = "+447700900999"


def number_of(person: int) -> str:
    return f"+4477009{person:05}"


def message(it: WayOut, person: int, text: str = "hello") -> Recording:
    """A person writes; `STOP` opts out."""
    return _recording(
        it,
        Received(
            vendor_message_id=f"m{next(it.serial)}", from_=Party(raw=number_of(person)), to=Party(raw=OURS), text=text
        ),
    )


def report(it: WayOut, person: int) -> Recording:
    """What we sent to that person was delivered."""
    return _recording(
        it,
        Reported(
            vendor_message_id=f"o{next(it.serial)}", from_=Party(raw=OURS), to=Party(raw=number_of(person)),
            status="delivered", final=True,
        ),
    )  # fmt: skip


def _recording(it: WayOut, draft: Draft) -> Recording:
    now = it.clock()
    receipt = Receipt(
        id=it.ids.new("rcp"), source_id=ORIGIN.source_id, vendor=ORIGIN.vendor, received_at=now, peer="",
        method="POST", target=b"/", headers=b"", body=b"",
    )  # fmt: skip
    return Recording(receipt=receipt, origin=ORIGIN, entries=[compose(draft, ORIGIN, now, receipt.id)])


async def recorded(it: WayOut, *recordings: Recording) -> list[str]:
    """All at once; the ids of their events, in the order of the log."""
    done = await asyncio.gather(*(it.batch.submit(it.recording, item) for item in recordings))
    return [event_id for item in done for event_id, _ in item.events]


async def writes(it: WayOut, *people: int, text: str = "hello") -> list[str]:
    """Each of them a message, at once."""
    return await recorded(it, *(message(it, person, text) for person in people))


def people_in(body: bytes) -> str | None:
    """The person that an event is about; None for what is about nobody."""
    data: dict[str, Any] = orjson.loads(body)["data"]
    named = [data[name]["address"] for name in ("from", "to", "number", "sender") if data.get(name)]
    return next((address for address in named if address != OURS), None)


@dataclass
class Hearing:
    """A subscriber that treats every request as `behaviour` says and notices how conversations come in."""

    behaviour: Behaviour = field(default_factory=lambda: answers(200))
    heard: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    """By person, in the order in which the requests began."""
    overlaps: list[str] = field(default_factory=list)
    under_way: set[str] = field(default_factory=set)

    async def __call__(self, sent: Sent) -> httpx2.Response:
        person = people_in(sent.body)
        if person is None:
            return await self.behaviour(sent)
        if person in self.under_way:
            self.overlaps.append(person)
        self.under_way.add(person)
        self.heard[person].append(sent)
        try:
            return await self.behaviour(sent)
        finally:
            self.under_way.discard(person)

    def events(self, person: int) -> list[str]:
        """Every request about that person."""
        return [sent.event_id for sent in self.heard[number_of(person)]]

    def firsts(self, person: int) -> list[str]:
        """The same without what was tried again."""
        return list(dict.fromkeys(self.events(person)))

    @property
    def in_order(self) -> bool:
        """Never two at once, and once an event came none before it comes any more."""
        lists = [[sent.event_id for sent in heard] for heard in self.heard.values()]
        return not self.overlaps and all(ids == sorted(ids) for ids in lists)


async def killed(it: WayOut) -> None:
    """The process is gone: nothing is given back, and what is under way has no end. Its `way_out` may be left now."""
    left = [task for task in (it.running, *it.dispatcher._tasks) if task is not None]
    it.dispatcher._stopping = True
    for lane in it.lanes:
        lane.empty()
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for lane in it.lanes:
        lane.empty()
    it.running = None


async def order_of(it: WayOut, name: str = "a") -> Sequence[tuple[str, str | None]]:
    """(state, conversation) of a subscription's deliveries, oldest first."""
    rows: Sequence[tuple[str, str | None]] = await it.fetch(
        "SELECT state, conversation FROM deliveries WHERE subscription_id = ? ORDER BY event_id", f"sub_{name}"
    )
    return rows
