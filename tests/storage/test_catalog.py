"""Sources and subscriptions in memory: always those of the database, whoever changed them and in what order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString

import pytest

from receiver.storage import sources, subscriptions
from receiver.storage.catalog import Catalog
from receiver.storage.database import CannotStart, Unavailable
from receiver.storage.text_index import SQLITE
from receiver.vendors import contract
from tests.storage.making import MOMENT, a_source, a_subscription, saved
from tests.storage.opening import opened


async def refreshed(database: Any, catalog: Catalog | None = None) -> Catalog:
    catalog = catalog or Catalog()
    async with database.reading() as reader:
        await catalog.refresh(reader)
    return catalog


async def test_a_token_leads_to_its_source_with_its_vendor_and_options(tmp_path: Path):
    async with opened(tmp_path) as database:
        row = a_source(
            vendor="twilio",
            credentials={"auth_token": ["one", "two"]},
            options={"default_region": "GB", "dedup_seconds": 5},
        )
        await saved(database, row)
        catalog = await refreshed(database)
        door = catalog.door("token-1")
        assert door is not None
        assert (door.vendor.name, door.source.secrets("auth_token")) == ("twilio", ("one", "two"))
        assert (door.origin.source_id, door.origin.default_region, door.origin.dedup_seconds) == ("src_1", "GB", 5)
        assert [source.id for source in catalog.sources] == ["src_1"]
        assert catalog.door("token-2") is None


@pytest.mark.parametrize(
    "unreadable",
    [{"vendor": "of-the-future"}, {"options": {"timezone": "Mars/Olympus"}}, {"options": {"of_the_future": 1}}],
)
async def test_a_source_that_this_version_cannot_read_is_no_reason_not_to_start(tmp_path: Path, unreadable: Any):
    async with opened(tmp_path) as database:
        await saved(database, a_source("src_1", "token-1", **unreadable), a_source("src_2", "token-2"))
        catalog = await refreshed(database)
        assert [source.id for source in catalog.sources] == ["src_2"]
        assert [catalog.shut(token) for token in ("token-1", "token-2", "token-3")] == [True, False, False]


@pytest.mark.parametrize("change", ["format = 'of-the-future'", """filter = '{"of_the_future": 1}'"""])
async def test_a_subscription_of_another_version_ends_the_start_with_its_id(tmp_path: Path, change: LiteralString):
    """Nobody here could say what it is owed, or write it."""
    async with opened(tmp_path) as database:
        await saved(database, a_subscription("sub_1"))
        async with database.writing() as transaction:
            await transaction.fetch("UPDATE subscriptions SET " + change)
        with pytest.raises(CannotStart, match=r"sub_1: its (format|filter) is of another version"):
            await refreshed(database)


async def test_matchers_are_those_that_may_want_the_type(tmp_path: Path):
    async with opened(tmp_path) as database:
        await saved(database, a_subscription("sub_1", ["message.*"]), a_subscription("sub_2", ["*"]))
        await saved(database, a_subscription("sub_3", ["test.ping"]), a_subscription("sub_4", ["message.status"]))
        catalog = await refreshed(database)
        for name, ids in {
            "message.received": ["sub_1", "sub_2"],
            "message.status": ["sub_1", "sub_2", "sub_4"],
            "contact.opted_out": ["sub_2"],
            "test.ping": ["sub_3"],
            "of.the.future": [],
        }.items():
            assert sorted(item.id for item, _ in catalog.matchers(name)) == ids
        assert len(catalog.subscriptions) == 4
        assert catalog.subscription("sub_1") == a_subscription("sub_1", ["message.*"])
        assert catalog.subscription("sub_9") is None


async def test_removed_ones_are_gone(tmp_path: Path):
    async with opened(tmp_path) as database:
        await saved(database, a_source(), a_subscription())
        catalog = await refreshed(database)
        async with database.writing() as transaction:
            assert await sources.remove(transaction, "src_1", MOMENT + 1)
            assert await subscriptions.remove(transaction, "sub_1", MOMENT + 1)
        await refreshed(database, catalog)
        assert (catalog.door("token-1"), catalog.subscription("sub_1"), catalog.matchers("message.status")) == (
            None,
            None,
            [],
        )


async def test_only_a_change_is_read_again_and_told_to_listeners(tmp_path: Path):
    told: list[int] = []
    async with opened(tmp_path) as database:
        catalog = await refreshed(database)
        catalog.on_change(lambda: told.append(len(catalog.subscriptions)))
        await refreshed(database, catalog)
        assert told == []
        await saved(database, a_subscription())
        await refreshed(database, catalog)
        await refreshed(database, catalog)
        assert told == [1]


async def rolled_back(database: Any, catalog: Catalog, *items: Any) -> None:
    async with database.writing() as transaction:
        for item in items:
            await subscriptions.save(transaction, item)
        await catalog.refresh(transaction)
        raise Unavailable("the disk is full at COMMIT")


async def test_what_was_read_in_a_transaction_that_never_was_does_not_hide_the_next_change(tmp_path: Path):
    async with opened(tmp_path) as database:
        catalog = await refreshed(database)
        with pytest.raises(Unavailable):
            await rolled_back(database, catalog, a_subscription("sub_ghost"))
        await saved(database, a_subscription("sub_real", updated_at=MOMENT + 1))
        await refreshed(database, catalog)
        assert [item.id for item in catalog.subscriptions] == ["sub_real"]


async def test_a_clock_that_goes_back_hides_no_change(tmp_path: Path):
    async with opened(tmp_path) as database:
        catalog = Catalog()
        for number in range(3):
            await saved(database, a_subscription(f"sub_{number}", updated_at=MOMENT - number))
            await refreshed(database, catalog)
            assert len(catalog.subscriptions) == number + 1


class Slow:
    """A reader that is held up once it has seen the version."""

    texts = SQLITE

    def __init__(self, reader: Any, go_on: asyncio.Event) -> None:
        self._reader, self._go_on = reader, go_on

    async def fetch(self, sql: Any, *values: Any) -> Any:
        rows = await self._reader.fetch(sql, *values)
        await self._go_on.wait()
        return rows


@asynccontextmanager
async def held_up(database: Any, catalog: Catalog) -> AsyncIterator[None]:
    """A refresh that saw the database before the block and ends after it."""
    go_on = asyncio.Event()
    async with database.reading() as reader:
        await reader.fetch("SELECT version FROM catalog")
        task = asyncio.create_task(catalog.refresh(Slow(reader, go_on)))
        await asyncio.sleep(0.01)
        yield
        go_on.set()
        await task


async def test_a_slow_reader_does_not_bring_back_what_was_before(tmp_path: Path):
    async with opened(tmp_path) as database:
        catalog = Catalog()
        await saved(database, a_source("src_1", "token-1"))
        async with held_up(database, catalog):
            await saved(database, a_source("src_2", "token-2", updated_at=MOMENT + 1))
            later = asyncio.create_task(refreshed(database, catalog))
            await asyncio.sleep(0.01)
        await later
        assert catalog.door("token-2") is not None


async def test_zones_are_looked_up_once_for_all_sources(tmp_path: Path):
    """Going through the folders of time zones takes five milliseconds, and every change reads all sources again."""
    async with opened(tmp_path) as database:
        zoned = [a_source(f"src_{n}", f"token-{n}", options={"timezone": "Europe/Paris"}) for n in range(5)]
        await saved(database, *zoned)
        contract._timezones.cache_clear()
        assert len((await refreshed(database)).sources) == len(zoned)
        assert contract._timezones.cache_info().misses == 1
