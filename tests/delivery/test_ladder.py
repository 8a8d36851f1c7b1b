"""Of whose health others are told, and how often; nothing counts before it is on disk."""

from dataclasses import replace
from typing import Any

import pytest

from receiver.delivery.health import APART_AT_LEAST, FAILING_AFTER, HEALTHY, Health
from receiver.delivery.ladder import Ladder, Steps
from receiver.sms.events import EVENT_MODELS
from receiver.sms.timestamps import to_text
from receiver.storage.deliveries import Attempt, Finished
from tests.delivery.lining_up import Known
from tests.delivery.test_lane import NOW, subscription

HOUR = 3_600_000_000
DAY = 24 * HOUR
DISABLE_AFTER = 5 * DAY
FAILING = Health(failures=12, since=NOW - HOUR, apart=1, apart_at=NOW - HOUR, told=True, last_error="timeout")


def ladder(**given: Any) -> Ladder:
    """With one subscription, `sub_1`."""
    catalog = Known()
    catalog.known["sub_1"] = subscription(**given)
    return Ladder(catalog, DISABLE_AFTER)


def outcome(state: str = "retrying", subscription_id: str = "sub_1", **given: Any) -> Finished:
    failed = state != "succeeded"
    made = Attempt(
        number=1, started_at=NOW, duration_ms=5, status=500 if failed else 200, error="status" if failed else None,
        detail=None, answer=b"",
    )  # fmt: skip
    return Finished(
        delivery_id="dlv_1", subscription_id=subscription_id, state=state, next_at=None, attempt=made, **given
    )


def told(steps: Steps) -> list[str]:
    return [notice.type.removeprefix("subscription.") for notice in steps.notices]


def climbed(it: Ladder, *outcomes: Finished, at: int = NOW) -> Steps:
    """On disk at once."""
    steps = it.climb(outcomes, at)
    it.adopt(steps.healths)
    return steps


def test_successes_of_the_healthy_change_nothing() -> None:
    assert ladder().climb([outcome("succeeded")] * 3, NOW) == Steps()


def test_the_tenth_failure_in_a_row_is_told_of_once() -> None:
    it = ladder()
    heard = [told(climbed(it, outcome())) for _ in range(FAILING_AFTER + 5)]
    assert heard == [[]] * (FAILING_AFTER - 1) + [["failing"]] + [[]] * 5


def test_within_one_batch_it_is_told_of_once_too() -> None:
    steps = ladder().climb([outcome()] * 30, NOW)
    assert told(steps) == ["failing"]
    assert steps.healths["sub_1"].failures == 30


def test_an_hour_of_nothing_else_is_told_of() -> None:
    it = ladder()
    assert [told(climbed(it, outcome(), at=NOW + moment)) for moment in (0, HOUR - 1, HOUR)] == [[], [], ["failing"]]


@pytest.mark.parametrize("state", ["retrying", "dead", "forbidden"])
def test_whatever_is_no_success_counts_as_a_failure(state: str) -> None:
    assert ladder().climb([outcome(state)], NOW).healths["sub_1"].failures == 1


def test_the_first_success_of_one_that_failed_is_told_of_once_and_its_count_begins_anew() -> None:
    it = ladder(health=FAILING)
    steps = climbed(it, outcome("succeeded"))
    assert (told(steps), steps.healths) == (["recovered"], {"sub_1": HEALTHY})
    assert climbed(it, outcome("succeeded")) == Steps()
    assert [told(climbed(it, outcome())) for _ in range(FAILING_AFTER)][-1] == ["failing"]


def test_one_that_was_disabled_recovers_with_its_first_success_and_may_fail_anew_before() -> None:
    steps = climbed(ladder(health=Health(lapsed=True)), outcome("succeeded"))
    assert (told(steps), steps.healths) == (["recovered"], {"sub_1": HEALTHY})
    it = ladder(health=Health(lapsed=True))
    assert [told(climbed(it, outcome())) for _ in range(FAILING_AFTER)][-1] == ["failing"]
    assert told(climbed(it, outcome("succeeded"))) == ["recovered"]


def test_a_late_success_changes_nothing_of_one_that_is_disabled() -> None:
    assert ladder(health=FAILING, state="disabled").climb([outcome("succeeded")], NOW) == Steps()


def test_one_that_nobody_heard_of_recovers_without_a_word() -> None:
    it = ladder()
    climbed(it, outcome())
    steps = climbed(it, outcome("succeeded"))
    assert (told(steps), steps.healths) == ([], {"sub_1": HEALTHY})


def test_the_order_within_a_batch_is_the_order_of_the_steps() -> None:
    steps = ladder().climb([*[outcome()] * FAILING_AFTER, outcome("succeeded"), *[outcome()] * FAILING_AFTER], NOW)
    assert told(steps) == ["failing", "recovered", "failing"]


def test_days_of_nothing_but_failures_disable_it_once() -> None:
    it = ladder(health=FAILING)
    heard = [climbed(it, outcome(), at=NOW + day * DAY) for day in range(7)]
    assert [told(steps) for steps in heard] == [[]] * 5 + [["disabled"], ["disabled"]]  # it was not stopped here
    assert [steps.disable for steps in heard[:6]] == [{}] * 5 + [{"sub_1": "failures"}]
    assert heard[5].healths["sub_1"].apart > APART_AT_LEAST


@pytest.mark.parametrize("because", ["gone", "answer"])
def test_a_subscriber_that_wants_no_more_is_disabled_at_once_and_once(because: Any) -> None:
    steps = ladder().climb([outcome("dead", disable=because), outcome("dead", disable="gone")], NOW)
    assert (told(steps), steps.disable) == (["disabled"], {"sub_1": because})


def test_its_own_word_counts_before_the_days() -> None:
    hopeless = replace(FAILING, since=NOW - 6 * DAY, apart=9)
    assert ladder(health=hopeless).climb([outcome("dead", disable="gone")], NOW).disable == {"sub_1": "gone"}


def test_one_that_is_paused_is_disabled_and_one_that_is_disabled_is_not_again() -> None:
    assert ladder(state="paused").climb([outcome("dead", disable="gone")], NOW).disable == {"sub_1": "gone"}
    steps = ladder(state="disabled", health=FAILING).climb([outcome("dead", disable="gone")], NOW)
    assert (told(steps), steps.disable) == ([], {})
    assert steps.healths["sub_1"].failures == FAILING.failures + 1


def test_an_attempt_that_succeeds_after_it_was_disabled_is_no_recovery() -> None:
    assert told(ladder(state="disabled", health=FAILING).climb([outcome("succeeded")], NOW)) == []
    steps = ladder(health=FAILING).climb([outcome("dead", disable="gone"), outcome("succeeded")], NOW)
    assert told(steps) == ["disabled"]


def test_whoever_was_disabled_is_not_told_of_as_failing_besides_and_recovers_once_set_to_work() -> None:
    catalog = Known()
    catalog.known["sub_1"] = subscription()
    it = Ladder(catalog, DISABLE_AFTER)
    assert told(climbed(it, outcome("succeeded", disable="answer"))) == ["disabled"]
    catalog.known["sub_1"] = subscription(state="disabled")
    assert told(climbed(it, *[outcome()] * 20)) == []
    catalog.known["sub_1"] = subscription(health=Health(told=True))
    it.forget("sub_1")
    steps = climbed(it, outcome("succeeded"), outcome("succeeded"))
    assert (told(steps), steps.healths) == (["recovered"], {"sub_1": HEALTHY})


def test_nothing_counts_before_it_is_on_disk() -> None:
    it = ladder()
    assert it.climb([outcome()] * 12, NOW) == it.climb([outcome()] * 12, NOW)
    it.adopt(it.climb([outcome()] * 12, NOW).healths)
    assert told(it.climb([outcome()] * 12, NOW)) == []


def test_after_a_restart_it_goes_on_from_what_is_on_disk() -> None:
    assert told(ladder(health=FAILING).climb([outcome()], NOW)) == []
    assert told(ladder(health=replace(FAILING, told=False)).climb([outcome()], NOW)) == ["failing"]


def test_forgotten_what_the_database_says_is_true_again() -> None:
    it = ladder()
    climbed(it, *[outcome()] * 12)
    it.forget("sub_1")
    it.forget("sub_1")
    assert it.climb([outcome()], NOW).healths["sub_1"].failures == 1


def test_outcomes_of_a_subscription_that_was_removed_are_nobody_s() -> None:
    assert ladder().climb([outcome(subscription_id="sub_x", disable="gone")], NOW) == Steps()


def test_subscriptions_are_counted_apart() -> None:
    catalog = Known()
    catalog.known |= {name: subscription(id=name) for name in ("sub_1", "sub_2")}
    it = Ladder(catalog, DISABLE_AFTER)
    mixed = [outcome(subscription_id=f"sub_{1 + number % 2}") for number in range(2 * FAILING_AFTER - 1)]
    steps = it.climb(mixed, NOW)
    assert {name: health.failures for name, health in steps.healths.items()} == {"sub_1": 10, "sub_2": 9}
    assert [(notice.type, notice.about) for notice in steps.notices] == [("subscription.failing", "sub_1")]


def test_what_is_told_are_the_figures_and_of_the_url_the_host_alone() -> None:
    it = ladder(url="https://user:word@Hooks.Example.com:8443/T0KEN?sig=5ecret", health=FAILING)
    (failed,) = it.climb([outcome("dead", disable="gone")], NOW).notices
    assert failed.about == "sub_1"
    assert failed.data == {
        "subscription_id": "sub_1", "host": "hooks.example.com", "failures": 13, "since": to_text(NOW - HOUR),
        "last_error": "status", "last_status": 500, "because": "gone",
    }  # fmt: skip


def test_of_one_that_never_failed_there_is_no_since() -> None:
    """A 2xx whose answer asks for nothing more."""
    (notice,) = ladder().climb([outcome("succeeded", disable="answer")], NOW).notices
    assert (notice.data["failures"], notice.data["since"], notice.data["last_error"]) == (0, None, None)


@pytest.mark.parametrize(
    ("health", "made"),
    [
        (replace(FAILING, told=False), outcome()),
        (FAILING, outcome("succeeded")),
        (HEALTHY, outcome("dead", disable="gone")),
    ],
)
def test_what_is_told_is_what_the_contract_says(health: Health, made: Finished) -> None:
    (notice,) = ladder(health=health).climb([made], NOW).notices
    event = {
        "id": "evt_1", "type": notice.type, "timestamp": to_text(NOW), "supersedes": None, "data": notice.data,
    }  # fmt: skip
    assert EVENT_MODELS[notice.type].model_validate(event).model_dump() == event
