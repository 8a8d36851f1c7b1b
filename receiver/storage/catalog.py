"""The sources and subscriptions of this moment, in memory: looked up on every request, matched on every event.

A version row counts their changes. It is read inside every recording transaction, so that a subscription whose
creation was answered before an event was accepted never misses it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from receiver.observe import log
from receiver.sms.compose import Origin
from receiver.sms.events import TYPES
from receiver.sms.matching import Matcher
from receiver.storage import sources, subscriptions
from receiver.storage.database import Reader, Soon, Transaction
from receiver.storage.subscriptions import Subscription
from receiver.vendors import VENDORS
from receiver.vendors.contract import Source, Vendor

_VERSION: LiteralString = "SELECT version FROM catalog"


@dataclass(frozen=True, slots=True)
class Door:
    """One source as the intake needs it."""

    token: str
    source: Source
    vendor: Vendor
    origin: Origin


class Catalog:
    """`refresh` inside a transaction or a read; everything else is a look-up."""

    def __init__(self) -> None:
        self._version = 0
        self._doors: Mapping[str, Door] = {}
        self._by_source: Mapping[str, Door] = {}
        self._shut: frozenset[str] = frozenset()
        self._subscriptions: Mapping[str, Subscription] = {}
        self._by_type: Mapping[str, Sequence[tuple[Subscription, Matcher]]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._refreshing = asyncio.Lock()

    def door(self, token: str) -> Door | None:
        return self._doors.get(token)

    def door_of(self, source_id: str) -> Door | None:
        return self._by_source.get(source_id)

    def shut(self, token: str) -> bool:
        """Whether it is that of a source which this version cannot read; what comes there is not refused for good."""
        return token in self._shut

    def subscription(self, subscription_id: str) -> Subscription | None:
        return self._subscriptions.get(subscription_id)

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        return tuple(self._subscriptions.values())

    @property
    def doors(self) -> Sequence[Door]:
        return tuple(self._doors.values())

    @property
    def sources(self) -> Sequence[Source]:
        return tuple(door.source for door in self._doors.values())

    def matchers(self, event_type: str) -> Sequence[tuple[Subscription, Matcher]]:
        """The subscriptions that may want events of that type, each with its test; not those that a job goes through
        the log for.
        """
        return self._by_type.get(event_type, ())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every reload; it must not block or raise."""
        self._listeners.append(listener)

    async def refresh(self, reader: Reader) -> None:
        """Reads everything again when the version row says that something changed.

        One at a time: what a slow reader saw must not replace what a later one has read.
        """
        async with self._refreshing:
            await self._refresh(reader)

    def look(self, transaction: Transaction) -> Soon:
        """For `follow`: the version row, with the next call."""
        return transaction.soon(_VERSION)

    async def follow(self, transaction: Transaction, seen: Soon) -> None:
        """`refresh` by a version that was seen in the same transaction."""
        if seen.rows != [(self._version,)]:
            await self.refresh(transaction)

    async def _refresh(self, reader: Reader) -> None:
        ((version,),) = await reader.fetch(_VERSION)
        if version == self._version:
            return
        doors = {row.token: _door(row) for row in await sources.active(reader)}
        self._doors = {token: door for token, door in doors.items() if door is not None}
        self._by_source = {door.source.id: door for door in self._doors.values()}
        self._shut = frozenset(doors.keys() - self._doors.keys())
        self._subscriptions = {item.id: item for item in await subscriptions.active(reader)}
        told = [item for item in self._subscriptions.values() if not item.catching_up]
        self._by_type = {name: [(item, item.matcher) for item in told if item.may_want(name)] for name in TYPES}
        self._version = version
        for listener in self._listeners:
            listener()


def _door(row: sources.SourceRow) -> Door | None:
    vendor = VENDORS.get(row.vendor)
    if vendor is None:
        log("source.unknown_vendor", level="error", source_id=row.id, vendor=row.vendor)
        return None
    source = row.readable(vendor)
    if source is None:
        log("source.unknown_options", level="error", source_id=row.id, vendor=row.vendor)
        return None
    options = source.options
    origin = Origin(
        source_id=row.id,
        vendor=vendor.name,
        default_region=options.default_region,
        dedup_seconds=options.dedup_seconds,
        reference_days=options.reference_days,
        assemble_after=options.assemble_after,
    )
    return Door(row.token, source, vendor, origin)
