"""Reports and the state of their message: before, after, and the same in any order."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from receiver.sms.compose import finish_report
from receiver.sms.drafts import Reported, ReportPart
from receiver.sms.state import State
from receiver.sms.timestamps import DAY
from tests.sms.test_compose import NOW, REPORT, composed


def test_a_report_tells_the_state_before_and_after_it():
    entry = composed(replace(REPORT, status="delivered", final=True))
    delivered = finish_report(entry, State("sent", False, "020"))
    assert (entry.data["previous_status"], entry.data["current_status"], entry.data["stale"]) == (
        "sent",
        "delivered",
        False,
    )
    late = composed(REPORT)
    assert finish_report(late, delivered) == delivered
    assert (late.data["previous_status"], late.data["current_status"], late.data["stale"]) == ("delivered",) * 2 + (
        True,
    )
    first = composed(REPORT)
    finish_report(first, None)
    assert first.data["previous_status"] is None


@pytest.mark.parametrize(
    ("sequence", "order"),
    [
        ("7", 7),
        ("0007", 7),
        ("000", 0),
        ("9" * 18, 10**18 - 1),
        ("0" * 50 + "5", 5),
        ("1" + "0" * 18, 10**18),
        ("9" * 100_000, 10**18),
        ("x7", NOW),
        ("٣", NOW),
        ("", NOW),
        (None, NOW),
    ],
)
def test_a_sequence_counts_by_its_number_up_to_18_digits_and_alike_beyond(sequence: str | None, order: int):
    evidence = composed(replace(REPORT, sequence=sequence, occurred_at=NOW)).evidence
    assert evidence is not None
    assert evidence.order == order


words = some.sampled_from(["sent", "delivered", "undelivered", "failed", "unknown", "accepted", "read"])
reports = some.lists(
    some.builds(
        Reported,
        status=words,
        final=some.booleans(),
        vendor_code=some.sampled_from([None, "1", "2"]),
        sequence=some.none() | some.text("0123456789", min_size=1, max_size=40),
        occurred_at=some.none() | some.integers(NOW - DAY, NOW),
        part=some.none() | some.builds(ReportPart, number=some.integers(1, 2), total=some.just(2)),
    ),
    min_size=2,
    max_size=5,
)


@given(reports, some.randoms())
def test_sequences_of_any_length_in_any_order_lead_to_one_state(drafts: list[Reported], random):
    def state_after(order: list[Reported]) -> State | None:
        state = None
        for draft in order:
            state = finish_report(composed(draft), state)
        return state

    shuffled = [*drafts, *drafts[:1]]
    random.shuffle(shuffled)
    assert state_after(shuffled) == state_after(drafts)
