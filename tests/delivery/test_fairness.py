"""No subscription takes what is the others': places, turns, and the time that retries cost."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.delivery.dispatching import PACE, Gate, WayOut, answers, in_turn, until, way_out
from tests.delivery.settling import passed, settled

SLOW = replace(PACE, timeout=600.0, concurrency=8, schedule=(5.0, 300.0, 300.0))


async def hanging(it: WayOut, *names: str, number: int = 40) -> Gate:
    """Subscriptions that take every place they get, and give none back."""
    gate = Gate()
    for name in names:
        it.subscribers.behaviours[name] = gate
        await it.subscribe(name, max_concurrency=50)
    await it.record(number)
    await settled(it)
    return gate


async def test_however_many_hang_another_is_served_to_the_end_of_its_queue(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = await hanging(it, "h1", "h2", "h3")
        assert it.subscribers.under_way[""] == 8
        await it.subscribe("a")
        events = await it.record(30)
        await it.until(succeeded=30)
        assert it.subscribers.events("a") == events
        gate.opened.set()


async def test_one_that_hangs_leaves_half_of_the_places_to_others(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gates = [await hanging(it, "h1"), await hanging(it, "h2")]
        assert (it.subscribers.under_way["h1"], it.subscribers.under_way["h2"]) == (4, 4)
        for gate in gates:
            gate.opened.set()


async def test_twice_the_places_is_what_even_a_crowd_gets(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = await hanging(it, *[f"h{number}" for number in range(30)], number=3)
        assert it.subscribers.under_way[""] == 16
        gate.opened.set()
        for number in range(30):
            await it.until(f"h{number}", succeeded=3)


async def test_the_places_that_hung_are_everybody_s_again(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = await hanging(it, "h1", "h2", "h3")
        gate.opened.set()
        for name in ("h1", "h2", "h3"):
            await it.until(name, succeeded=40)
        assert it.lanes._running == it.lanes._retrying == 0
        for name in ("h1", "h2", "h3"):
            assert it.subscribers.peak[name] <= 4


async def due_again(it: WayOut, *names: str, number: int) -> Gate:
    """Each has so many deliveries that failed once and are due now; whoever is sent one hangs."""
    gate = Gate()
    for name in names:
        it.subscribers.behaviours[name] = answers(500)
        await it.subscribe(name, max_concurrency=50, types=["receipt.*"])
    await it.record(number)
    for name in names:
        await it.until(name, retrying=number)
        it.subscribers.behaviours[name] = gate
    await passed(it, 5.0)
    return gate


async def test_retries_get_three_quarters_of_the_places_and_no_more(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = await due_again(it, "a", "b", "c", number=15)
        assert it.lanes._retrying == it.subscribers.under_way[""] == 6
        gate.opened.set()
        for name in ("a", "b", "c"):
            await it.until(name, succeeded=15)
        assert it.lanes._retrying == 0


async def test_fresh_events_find_a_place_beside_retries_that_hang(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        gate = await due_again(it, "a", "b", "c", number=15)
        await it.subscribe("d")
        await it.record(20)
        await it.until("d", succeeded=20)
        gate.opened.set()
        for name in ("a", "b", "c"):
            await it.until(name, succeeded=35)


@pytest.mark.parametrize("number", [18, 1_000])
async def test_of_one_subscription_fresh_events_go_between_retries_in_memory_and_in_store(tmp_path: Path, number: int):
    """Not behind them, and not only before them either: of four attempts one is a retry."""
    async with way_out(tmp_path, pace=replace(SLOW, lane=40, schedule=(5.0, 300.0))) as it:
        it.subscribers.behaviours["a"] = in_turn(*[in_turn(answers(500))] * 18, answers(200))
        await it.subscribe("a", max_concurrency=1)
        await it.record(18)
        await it.until(retrying=18)
        await it.batch.write(  # so many more, as an earlier process left them
            lambda transaction: transaction.fetch(
                """WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)
                   INSERT INTO deliveries (id, subscription_id, event_id, state, attempts, next_at, created_at,
                       updated_at)
                   SELECT printf('dlv_00%05d', n), 'sub_a', printf('evt_00%05d', n), 'retrying', 1, ?, ?, ? FROM n""",
                number - 18, it.clock(), it.clock(), it.clock(),
            )
            if number > 18 else transaction.fetch("SELECT 1")
        )  # fmt: skip
        await it.batch.write(
            lambda transaction: transaction.fetch(
                """INSERT INTO events (id, type, accepted_at, body)
                   SELECT event_id, 'receipt.quarantined', 1, '{}' FROM deliveries WHERE event_id LIKE 'evt_00%'"""
            )
        )
        begun = len(it.subscribers.sent)
        gate = Gate()
        it.subscribers.behaviours["a"] = gate
        await passed(it, 5.0)
        fresh = await it.record(30)
        gate.opened.set()
        await it.until(succeeded=number + 30)
        order = [event in fresh for event in it.subscribers.events("a")[begun:]]
        assert all(sum(order[start : start + 4]) == 3 for start in range(1, 37, 4)), order[:60]


async def test_a_retry_is_made_though_fresh_ones_never_end(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500), answers(200))
        await it.subscribe("a", max_concurrency=1)
        (first,) = await it.record()
        await it.until(retrying=1)
        await it.reach(5.0)
        tries = [len(it.subscribers.sent)]
        for _ in range(10):
            await it.record(4)
            await settled(it)
            tries.append(it.subscribers.events("a").count(first))
        assert tries[-1] == 2


async def test_a_breaker_that_opens_while_every_place_is_taken_does_not_end_the_lane(tmp_path: Path):
    """It stood in the row of those that can send, and cannot when its turn comes."""
    async with way_out(tmp_path, pace=replace(SLOW, concurrency=4, schedule=(100_000.0,))) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a", max_concurrency=1, types=["receipt.*"])
        await it.record(19)
        await it.until(retrying=19)
        it.subscribers.behaviours["a"] = last = Gate(answers(500))
        await it.record()
        others = Gate()
        for name, most in (("b", 2), ("c", 1)):
            it.subscribers.behaviours[name] = others
            await it.subscribe(name, max_concurrency=most)
        await it.record(2)
        await until(lambda: it.subscribers.under_way[""] == 4)
        await it.change("sub_a", max_concurrency=2, updated_at=it.clock() + 1)  # it could have one more, had it a place
        await settled(it)
        assert it.subscribers.under_way["a"] == 1
        last.opened.set()
        await settled(it)
        it.subscribers.behaviours["a"] = answers(200)
        await passed(it, 30.0)
        await it.until("a", retrying=20, succeeded=2)
        others.opened.set()


async def test_a_lane_of_one_place_makes_its_retries(tmp_path: Path):
    async with way_out(tmp_path, pace=replace(SLOW, lane=1)) as it:
        it.subscribers.behaviours["a"] = in_turn(answers(500), answers(200))
        await it.subscribe("a")
        await it.record()
        await it.until(retrying=1)
        await passed(it, 5.0)
        await it.until(succeeded=1)


async def tokens(it: WayOut, seconds: float) -> int:
    """How many attempts a stretch of time allows."""
    before = len(it.subscribers.sent)
    await passed(it, seconds)
    return len(it.subscribers.sent) - before


async def test_a_rate_is_a_second_s_worth_at_once_and_then_so_many_a_second(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", rate_per_second=4.0)
        await it.record(30)
        await settled(it)
        assert len(it.subscribers.sent) == 4
        assert [await tokens(it, 0.25) for _ in range(4)] == [1, 1, 1, 1]
        assert [await tokens(it, 1.0) for _ in range(3)] == [4, 4, 4]
        assert await tokens(it, 60.0) == 4  # it does not save up
        await it.until(succeeded=24, sending=6)


async def test_what_waits_for_its_rate_is_no_attempt(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", rate_per_second=1.0)
        await it.record(5)
        await passed(it, 1.0)
        await it.until(succeeded=2, sending=3)
        assert await it.fetch("SELECT count(*), sum(number) FROM attempts") == [(2, 2)]
        assert await it.fetch("SELECT attempts, count(*) FROM deliveries GROUP BY 1 ORDER BY 1") == [(0, 3), (1, 2)]


@pytest.mark.parametrize(
    ("given", "every"),
    [
        ({"allowed_per_minute": 2}, 30.0),
        ({"allowed_per_minute": 2, "rate_per_second": 1.0}, 30.0),
        ({"allowed_per_minute": 600, "rate_per_second": 0.1}, 10.0),
    ],
)
async def test_the_lower_of_its_own_rate_and_of_what_the_url_allowed_holds(
    tmp_path: Path, given: dict[str, float], every: float
):
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", **given)
        await it.record(10)
        await settled(it)
        assert len(it.subscribers.sent) == 1
        for _ in range(3):
            assert await tokens(it, every - 1) == 0
            assert await tokens(it, 1.0) == 1


async def test_retries_count_as_much_as_fresh_ones(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        it.subscribers.behaviours["a"] = answers(500)
        await it.subscribe("a", rate_per_second=1.0, retry_schedule=[1.0])
        await it.record(3)
        await settled(it)
        assert [await tokens(it, 1.0) for _ in range(7)] == [1, 1, 1, 1, 1, 0, 0]
        await it.until(dead=3)


async def test_a_change_of_something_else_gives_no_new_tokens(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", rate_per_second=1.0)
        await it.record(10)
        await settled(it)
        for number in range(5):
            await it.change("sub_a", description=f"{number}", updated_at=it.clock() + number + 1)
            await settled(it)
        assert len(it.subscribers.sent) == 1


async def test_a_higher_rate_holds_at_once(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", allowed_per_minute=1)
        await it.record(10)
        await settled(it)
        await it.change("sub_a", allowed_per_minute=None, updated_at=it.clock() + 1)
        await it.until(succeeded=10)


async def test_the_rate_of_one_is_not_the_rate_of_another(tmp_path: Path):
    async with way_out(tmp_path, pace=SLOW) as it:
        await it.subscribe("a", rate_per_second=1.0)
        await it.subscribe("b")
        await it.record(50)
        await it.until("b", succeeded=50)
        assert len(it.subscribers.events("a")) == 1
