"""What follows from the outcomes of attempts, and that it follows in one transaction or not at all."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from receiver.delivery.ending import Ended, Endings, attempt, finished
from receiver.delivery.ladder import Ladder
from receiver.delivery.outcome import Delivered, Refused, Unreachable
from receiver.delivery.retry import Next
from receiver.storage import subscriptions
from receiver.storage.catalog import Catalog
from receiver.storage.deliveries import Finished, Leased
from receiver.storage.ids import Ids
from receiver.storage.record import Recorder
from receiver.storage.sqlite import SqliteDatabase
from tests.delivery.test_ladder import outcome
from tests.storage.making import MOMENT, a_subscription, saved
from tests.storage.opening import fetch, opened
from tests.storage.test_deliveries import put

SECOND = 1_000_000


@dataclass
class End:
    """`record` commits outcomes as the dispatcher does."""

    database: SqliteDatabase
    catalog: Catalog
    endings: Endings
    now: int = MOMENT
    full: bool = False

    async def record(self, *outcomes: Finished) -> Ended:
        async with self.database.writing() as transaction:
            answers = await self.endings.record(transaction, outcomes)
        assert list(answers) == [answers[0]] * len(outcomes)
        self.endings.adopt(answers[0])
        return answers[0]

    async def refresh(self) -> None:
        async with self.database.reading() as reader:
            await self.catalog.refresh(reader)

    async def states(self) -> dict[str, tuple[str, int | None]]:
        """Of the deliveries to `sub_1`, with when they are due."""
        rows = await fetch(self.database, "SELECT id, state, next_at FROM deliveries WHERE subscription_id = 'sub_1'")
        return {name: (state, next_at) for name, state, next_at in rows}

    async def told(self) -> list[str]:
        """The events that were made of it."""
        return [
            row[0] for row in await fetch(self.database, "SELECT type FROM events WHERE type LIKE 'subscription.%'")
        ]

    async def roll_back(self, *outcomes: Finished) -> None:
        with suppress(ZeroDivisionError):
            async with self.database.writing() as transaction:
                await self.endings.record(transaction, outcomes)
                raise ZeroDivisionError

    async def health(self) -> Any:
        return (await fetch(self.database, "SELECT health FROM subscriptions WHERE id = 'sub_1'"))[0][0]


@asynccontextmanager
async def ends(folder: Path, *rows: tuple[str, str, int | None], **given: Any) -> AsyncIterator[End]:
    """With `sub_1` and these deliveries to it, and `sub_2` that hears of everything."""
    async with opened(folder) as database:
        catalog = Catalog()
        ids = Ids(lambda: it.now, bytes)
        recorder = Recorder(catalog, ids, lambda: it.now, lambda _, *, urgent: 10)
        ladder = Ladder(catalog, 5 * 86_400 * SECOND)
        endings = Endings(catalog, ladder, lambda: it.now, recorder.tell, lambda _: it.full)
        it = End(database, catalog, endings)
        await saved(database, a_subscription(**given), a_subscription("sub_2", ["subscription.*"]))
        await put(database, *rows)
        await it.refresh()
        yield it


def of(name: str, state: str = "succeeded", **given: Any) -> Finished:
    return replace(outcome(state), delivery_id=name, **given)


async def stopped(it: End, state: Any) -> None:
    found = it.catalog.subscription("sub_1")
    assert found is not None
    await saved(it.database, replace(found, state=state))


GONE = of("a", "dead", disable="gone")


async def test_all_that_follows_is_one_transaction(tmp_path: Path):
    async with ends(tmp_path, ("a", "sending", None), ("b", "waiting", MOMENT)) as it:
        await it.roll_back(GONE)
        await it.refresh()
        assert await it.states() == {"a": ("sending", None), "b": ("waiting", MOMENT)}
        assert (await it.told(), await it.health()) == ([], None)
        assert [item.state for item in it.catalog.subscriptions] == ["active", "active"]
        ended = await it.record(GONE)
        assert ended.healths["sub_1"].failures == 1  # what was rolled back was not counted
        assert await it.told() == ["subscription.disabled"]


async def test_disabled_it_is_known_to_be_at_once_and_what_waits_is_held(tmp_path: Path):
    async with ends(
        tmp_path,
        ("a", "sending", None),
        ("b", "waiting", MOMENT),
        ("c", "sending", None),
        ("d", "retrying", MOMENT + 9),
    ) as it:
        await it.record(GONE)
        found = it.catalog.subscription("sub_1")
        assert found is not None
        assert (found.state, found.disabled_by) == ("disabled", "gone")
        assert await it.states() == {
            "a": ("dead", None), "b": ("held", None), "c": ("sending", None), "d": ("held", None),
        }  # fmt: skip


async def test_the_others_are_told_in_the_same_transaction_and_get_it_from_memory(tmp_path: Path):
    async with ends(tmp_path, ("a", "sending", None)) as it:
        ended = await it.record(GONE)
        (leased,) = ended.outgoing.leased
        assert leased.subscription_id == "sub_2"
        assert await fetch(
            it.database, "SELECT state FROM deliveries WHERE id = ? AND event_id = ?", leased.delivery_id, leased.event_id
        ) == [("sending",)]  # fmt: skip


async def test_of_an_attempt_that_changes_nothing_for_anybody_nobody_is_told(tmp_path: Path):
    async with ends(tmp_path, ("a", "sending", None)) as it:
        ended = await it.record(of("a"))
        assert (ended.outgoing.leased, ended.outgoing.stored, ended.healths) == ([], set(), {})
        assert (await it.told(), await it.health()) == ([], None)


async def test_when_it_is_tried_again_is_counted_from_the_commit(tmp_path: Path):
    async with ends(tmp_path, ("a", "sending", None), ("b", "sending", None)) as it:
        it.now = MOMENT + 77
        await it.record(of("a", "retrying", after=5 * SECOND), of("b", "retrying", after=9 * SECOND))
        assert await it.states() == {
            "a": ("retrying", MOMENT + 77 + 5 * SECOND), "b": ("retrying", MOMENT + 77 + 9 * SECOND),
        }  # fmt: skip


async def test_what_fails_while_the_subscription_is_disabled_is_held(tmp_path: Path):
    async with ends(tmp_path, *((name, "sending", None) for name in "abc")) as it:
        await it.record(GONE, of("b", "retrying", after=SECOND))
        await it.record(of("c", "retrying", after=SECOND))
        assert await it.states() == {"a": ("dead", None), "b": ("held", None), "c": ("held", None)}


@pytest.mark.parametrize("state", ["active", "paused"])
async def test_what_fails_while_it_is_not_disabled_is_to_be_tried_again(tmp_path: Path, state: str):
    async with ends(tmp_path, ("a", "sending", None), ("b", "waiting", MOMENT), state=state) as it:
        await it.record(of("a", "retrying", after=SECOND))
        assert await it.states() == {"a": ("retrying", MOMENT + SECOND), "b": ("waiting", MOMENT)}


async def test_what_was_canceled_meanwhile_stays_so(tmp_path: Path):
    async with ends(tmp_path, ("a", "sending", None), ("b", "sending", None)) as it:
        async with it.database.writing() as transaction:
            await subscriptions.remove(transaction, "sub_1", MOMENT)
        ended = await it.record(of("a", "retrying", after=SECOND, conversation="c"), of("b", conversation="c"))
        assert await it.states() == {"a": ("canceled", None), "b": ("canceled", None)}
        assert ended.outgoing.leased == []
        assert ended.healths == {}


async def test_a_change_that_another_made_a_moment_ago_is_known(tmp_path: Path):
    async with ends(tmp_path, ("a", "sending", None)) as it:
        await stopped(it, "disabled")
        await it.record(of("a", "retrying", after=SECOND))
        assert await it.states() == {"a": ("held", None)}


async def conversing(it: End, *rows: tuple[str, str, int | None], conversation: str = "c") -> None:
    await put(it.database, *rows, conversation=conversation)


@pytest.mark.parametrize("state", ["succeeded", "dead", "forbidden"])
async def test_whatever_became_of_it_the_next_of_its_conversation_goes(tmp_path: Path, state: str):
    async with ends(tmp_path) as it:
        await conversing(it, ("a", "sending", None), ("c", "queued", None), ("b", "queued", None))
        ended = await it.record(of("a", state, conversation="c"))
        missed = None if state == "succeeded" else "evt_a"
        assert ended.outgoing.leased == [
            Leased("b", "sub_1", "evt_b", b"body of b", MOMENT, conversation="c", missed=missed)
        ]
        assert await it.states() == {"a": (state, None), "b": ("sending", None), "c": ("queued", None)}


async def test_one_that_is_tried_again_keeps_its_conversation(tmp_path: Path):
    async with ends(tmp_path) as it:
        await conversing(it, ("a", "sending", None), ("b", "queued", None))
        ended = await it.record(of("a", "retrying", after=SECOND, conversation="c"))
        assert ended.outgoing.leased == []
        assert await it.states() == {"a": ("retrying", MOMENT + SECOND), "b": ("queued", None)}


async def test_each_conversation_of_a_batch_goes_on_once(tmp_path: Path):
    async with ends(tmp_path) as it:
        for name, conversation in (("a", "one"), ("b", "two")):
            await conversing(
                it, (name, "sending", None), (f"{name}1", "queued", None), (f"{name}2", "queued", None),
                conversation=conversation,
            )  # fmt: skip
        ended = await it.record(of("a", conversation="one"), of("b", conversation="two"))
        assert [item.delivery_id for item in ended.outgoing.leased] == ["a1", "b1"]


async def test_while_it_is_paused_the_next_waits_in_store(tmp_path: Path):
    async with ends(tmp_path) as it:
        await conversing(it, ("a", "sending", None), ("b", "queued", None))
        await stopped(it, "paused")
        ended = await it.record(of("a", conversation="c"))
        assert (ended.outgoing.leased, ended.outgoing.stored) == ([], {"sub_1"})
        assert (await it.states())["b"] == ("waiting", MOMENT)


async def test_where_others_wait_in_store_the_next_goes_behind_them(tmp_path: Path):
    async with ends(tmp_path) as it:
        await conversing(it, ("a", "sending", None), ("b", "queued", None), ("c", "queued", None))
        it.full = True
        ended = await it.record(of("a", conversation="c"))
        assert (ended.outgoing.leased, ended.outgoing.stored) == ([], {"sub_1"})
        assert await it.states() == {"a": ("succeeded", None), "b": ("waiting", MOMENT), "c": ("queued", None)}


async def test_disabled_by_the_same_batch_its_conversations_are_held(tmp_path: Path):
    async with ends(tmp_path) as it:
        await conversing(it, ("a", "sending", None), ("b", "queued", None))
        ended = await it.record(replace(GONE, conversation="c"))
        assert [item.subscription_id for item in ended.outgoing.leased] == ["sub_2"]
        assert await it.states() == {"a": ("dead", None), "b": ("held", None)}


async def noted(it: End) -> Any:
    return (await fetch(it.database, "SELECT last_success_at FROM subscriptions WHERE id = 'sub_1'"))[0][0]


async def test_successes_are_noted_once_a_second(tmp_path: Path):
    async with ends(tmp_path, *((name, "sending", None) for name in "abcd")) as it:
        await it.record(of("a", "dead"))
        assert await noted(it) is None
        await it.record(of("b"))
        it.now += SECOND - 1
        await it.record(of("c"))
        assert await noted(it) == MOMENT
        it.now += 1
        await it.record(of("d"))
        assert await noted(it) == MOMENT + SECOND


async def test_a_success_that_was_rolled_back_is_noted_by_the_next_try(tmp_path: Path):
    async with ends(tmp_path, ("a", "sending", None)) as it:
        await it.roll_back(of("a"))
        await it.record(of("a"))
        assert await noted(it) == MOMENT


async def test_the_health_is_on_disk_with_its_outcomes(tmp_path: Path):
    async with ends(tmp_path, *((name, "sending", None) for name in "abc")) as it:
        await it.record(of("a", "retrying", after=SECOND), of("b", "retrying", after=SECOND))
        kept = await subscription_of(it)
        assert (kept.health.failures, kept.health.since, kept.health.last_status) == (2, MOMENT, 500)
        await it.record(of("c"))
        assert await it.health() is None


async def subscription_of(it: End) -> subscriptions.Subscription:
    async with it.database.reading() as reader:
        found = await subscriptions.get(reader, "sub_1")
    assert found is not None
    return found


MADE = Leased("dlv_1", "sub_1", "evt_1", b"{}", MOMENT, conversation="c")
ATTEMPT = outcome().attempt


@pytest.mark.parametrize(
    ("verdict", "state", "after"),
    [
        (Next("succeeded"), "succeeded", None),
        (Next("retry", 2.5), "retrying", 2_500_000),
        (Next("dead"), "dead", None),
        (Next("forbidden"), "forbidden", None),
    ],
)
def test_a_verdict_is_a_state_and_for_how_long(verdict: Next, state: str, after: int | None) -> None:
    made = finished(MADE, verdict, ATTEMPT)
    assert (made.state, made.next_at, made.after, made.disable, made.conversation) == (state, None, after, None, "c")


def test_who_wants_no_more_is_said_with_the_outcome() -> None:
    assert finished(MADE, Next("dead", disable="gone"), ATTEMPT).disable == "gone"


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        (Delivered(status=204, answer=b"ok", duration_ms=3), (204, None, None, b"ok")),
        (Refused(status=503, answer=b"no", duration_ms=3), (503, "status", None, b"no")),
        (Unreachable(error="dns", detail="x" * 999, duration_ms=3), (None, "dns", "x" * 300, b"")),
    ],
)
def test_of_an_attempt_is_kept_what_came_and_of_its_detail_the_beginning(came: Any, expected: Sequence[Any]) -> None:
    made = attempt(came, 7, MOMENT)
    assert (made.status, made.error, made.detail, made.answer) == expected
    assert (made.number, made.started_at, made.duration_ms) == (7, MOMENT, 3)
