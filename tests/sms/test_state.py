import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.events import STATUSES
from receiver.sms.state import Evidence, State, advance


def said(
    status: str,
    final: bool | None = None,
    order: int | None = None,
    word: str | None = None,
    code: str | None = None,
    **part: Any,
) -> Evidence:
    if final is None:
        final = status not in ("accepted", "sent", "unknown")
    return Evidence(status=status, final=final, vendor_status=word, vendor_code=code, order=order, **part)


def part(number: int, status: str, total: int | None = 2, **more: Any) -> Evidence:
    return said(status, part_number=number, part_total=total, **more)


def run(first: Evidence, *more: Evidence) -> tuple[State, list[bool]]:
    state, late = advance(None, first)
    stale = [late]
    for report in more:
        state, late = advance(state, report)
        stale.append(late)
    return state, stale


def shown(*reports: Evidence) -> tuple[str, bool]:
    state, _ = run(*reports)
    return state.status, state.final


STRONGER = [
    # 1. non-final < final without a verdict < other final < delivered < read
    (said("sent", order=9), said("unknown", final=True)),
    (said("sent", order=9), said("sent", final=True)),
    (said("sent", final=True), said("canceled")),
    (said("unknown", final=True), said("expired")),
    (said("accepted", final=True), said("failed")),
    (said("rejected", order=1), said("delivered")),
    (said("delivered", word="z"), said("read", word="a")),
    (said("read", final=False, order=9), said("accepted", final=True)),
    # 2. among non-finals unknown < accepted < sent, then the later
    (said("unknown", order=9), said("accepted", order=1)),
    (said("accepted", order=9), said("sent", order=1)),
    (said("accepted", order=9), said("undelivered", final=False, order=1)),
    (said("sent", order=1), said("sent", order=2)),
    (said("sent"), said("sent", order=0)),
    (said("sent", order=9), said("sent", order=10)),
    (said("sent", order=1_700_000_000_000_000), said("expired", final=False, order=1_700_000_000_000_001)),
    # 3. among other finals the earlier, one with a time before one without, then by the verdict
    (said("rejected", order=2), said("canceled", order=1)),
    (said("failed", order=10), said("failed", order=9)),
    (said("rejected"), said("canceled", order=1)),
    (said("undelivered", order=1), said("rejected", order=1)),
    (said("failed"), said("undelivered")),
    (said("expired"), said("failed")),
    (said("canceled"), said("expired")),
    # 4. still equal: vendor status, then vendor code, by bytes
    (said("failed", word="A", code="9"), said("failed", word="B", code="1")),
    (said("failed", word="A", code="1"), said("failed", word="A", code="2")),
    (said("failed", word="A"), said("failed", word="A", code="0")),
    (said("failed", word="A", code="9"), said("failed", word="AA")),
    (said("delivered", word="Z"), said("delivered", word="a")),
    (said("delivered", word="z"), said("delivered", word="é")),
    (said("delivered", word="\uffff"), said("delivered", word="\U00010000")),
    # without a verdict: by the word of the contract first
    (said("unknown", final=True, word="z"), said("sent", final=True, word="a")),
]


@pytest.mark.parametrize(("weaker", "stronger"), STRONGER)
def test_the_stronger_report_stands_whichever_comes_first(weaker, stronger):
    alone, _ = advance(None, stronger)
    assert run(weaker, stronger)[0] == run(stronger, weaker)[0] == alone
    assert alone.key.encode() > advance(None, weaker)[0].key.encode()


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        *((said(status, final=True), (status, True)) for status in STATUSES),
        (said("unknown"), ("unknown", False)),
        (said("accepted"), ("accepted", False)),
        (said("sent"), ("sent", False)),
        # What the vendor itself follows up, or has not confirmed, is no more than sent.
        *(
            (said(status, final=False), ("sent", False))
            for status in STATUSES
            if status not in ("unknown", "accepted", "sent")
        ),
        # A word that the contract lacks.
        (said("flying", final=False), ("unknown", False)),
        (said("flying", final=True), ("unknown", True)),
    ],
)
def test_a_first_report_shows_as_itself_unless_it_is_not_final(report, expected):
    state, stale = advance(None, report)
    assert (state.status, state.final) == expected
    assert state.parts is None
    assert not stale


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([said("accepted"), said("sent"), said("delivered")], [False, False, False]),
        ([said("delivered"), said("sent")], [False, True]),
        ([said("read"), said("delivered")], [False, True]),
        ([said("delivered"), said("undelivered", order=1)], [False, True]),
        ([said("undelivered", order=1), said("failed", order=2)], [False, True]),
        # A repeat of the present state is not stale, whether it is the same report or another that says the same.
        ([said("sent", order=5), said("sent", order=5)], [False, False]),
        ([said("sent", order=5), said("sent", order=4)], [False, False]),
        ([said("delivered", word="b"), said("delivered", word="a")], [False, False]),
        ([said("sent", final=True), said("sent")], [False, False]),
        ([said("sent"), said("undelivered", final=False, order=1)], [False, False]),
        ([said("undelivered"), said("undelivered", final=False, order=1)], [False, True]),
    ],
)
def test_a_report_is_stale_when_the_message_was_further_on(reports, expected):
    assert run(*reports)[1] == expected


def test_a_repeat_gives_back_the_very_state():
    state, _ = advance(None, said("delivered"))
    assert advance(state, said("delivered"))[0] is state
    assert advance(state, said("sent"))[0] is state


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        # delivered when every part is
        ([part(1, "delivered")], ("sent", False)),
        ([part(1, "delivered"), part(2, "delivered")], ("delivered", True)),
        ([part(2, "delivered"), part(1, "delivered")], ("delivered", True)),
        ([part(1, "delivered"), part(1, "delivered")], ("sent", False)),
        ([part(1, "read"), part(2, "delivered")], ("delivered", True)),
        ([part(n, "delivered", total=3) for n in (1, 2)], ("sent", False)),
        ([part(n, "delivered", total=3) for n in (3, 1, 2)], ("delivered", True)),
        # else the strongest failure of any part
        ([part(1, "undelivered")], ("undelivered", True)),
        ([part(1, "delivered"), part(2, "undelivered")], ("undelivered", True)),
        ([part(1, "failed", order=2), part(2, "rejected", order=1)], ("rejected", True)),
        ([part(1, "failed", order=1), part(2, "rejected", order=2)], ("failed", True)),
        ([part(1, "undelivered"), part(1, "delivered"), part(2, "delivered")], ("delivered", True)),
        # The corner: a failure of a part is not taken back by the part, only by the whole message's delivery.
        ([part(1, "undelivered"), part(1, "delivered")], ("undelivered", True)),
        ([part(1, "delivered"), part(1, "undelivered")], ("undelivered", True)),
        # else sent
        ([part(1, "accepted")], ("sent", False)),
        ([part(1, "unknown")], ("sent", False)),
        ([part(1, "sent", final=True), part(2, "sent", final=True)], ("sent", False)),
        ([part(1, "delivered", final=False), part(2, "delivered", final=False)], ("sent", False)),
        ([part(1, "undelivered", final=False)], ("sent", False)),
        # a part without a total, or a total without a part, counts as the message
        ([said("delivered", part_number=1)], ("delivered", True)),
        ([said("delivered", part_id="a")], ("delivered", True)),
        ([said("delivered", part_total=2)], ("delivered", True)),
        ([said("delivered", part_total=2, part_id="")], ("delivered", True)),
        ([part(1, "delivered", total=1)], ("delivered", True)),
        ([part(1, "delivered", total=0)], ("delivered", True)),
        ([part(1, "accepted", total=1)], ("accepted", False)),
        ([part(1, "accepted", total=256)], ("accepted", False)),
        # parts by id
        ([said("delivered", part_id="a", part_total=2)], ("sent", False)),
        ([said("delivered", part_id=i, part_total=2) for i in "aab"], ("delivered", True)),
        # Which id is which number nobody knows: counted apart.
        ([part(1, "delivered"), said("delivered", part_id="b", part_total=2)], ("sent", False)),
        ([part(1, "delivered", total=2), part(2, "delivered", total=3)], ("sent", False)),
        # A number outside the total is no part of it.
        ([part(0, "delivered"), part(1, "delivered")], ("sent", False)),
        ([part(3, "delivered"), part(1, "delivered")], ("sent", False)),
        ([part(3, "undelivered")], ("undelivered", True)),
        # together with reports about the whole
        ([part(1, "undelivered"), said("delivered")], ("delivered", True)),
        ([said("delivered"), part(1, "undelivered")], ("delivered", True)),
        ([said("undelivered"), part(1, "delivered"), part(2, "delivered")], ("delivered", True)),
        ([said("sent", final=True), part(1, "delivered")], ("sent", True)),
        ([said("read"), part(1, "delivered"), part(2, "delivered")], ("read", True)),
    ],
)
def test_parts_add_up_to_the_message(reports, expected):
    assert shown(*reports) == expected
    assert shown(*reversed(reports)) == expected


def test_a_part_that_adds_to_the_record_need_not_change_what_is_shown():
    before, _ = advance(None, said("undelivered"))
    after, stale = advance(before, part(1, "delivered"))
    assert stale
    assert (after.status, after.final, after.key) == (before.status, before.final, before.key)
    assert after.parts is not None
    assert json.loads(after.parts) == {"2": ["1"]}
    assert advance(after, part(1, "delivered"))[0] is after


def test_a_part_of_a_message_that_is_already_delivered_is_no_news():
    state, stale = run(part(1, "delivered"), part(2, "delivered"), part(2, "delivered"), part(1, "sent", order=1))
    assert stale == [False, False, False, True]
    assert state.status == "delivered"


def test_the_record_of_parts_reads_the_same_in_any_order():
    reports = [part(n, "delivered", total=9) for n in (7, 3, 5, 1, 8)]
    assert run(*reports)[0].parts == run(*reversed(reports))[0].parts == '{"9":["1","3","5","7","8"]}'


def test_the_record_of_parts_stays_small():
    every_id = [said("delivered", part_id="x" * 1000 + str(n), part_total=3) for n in range(50)]
    every_number = [part(n, "delivered", total=255) for n in range(1, 256)]
    state, _ = run(*every_id, *every_number)
    assert state.parts == '{"255":[],"3#":["' + "x" * 64 + '"]}'


@pytest.mark.parametrize("word", ["\x00", "\x1f\x1f", "\ud800", "\n", "é", "x" * 1000])
def test_a_key_holds_nothing_that_a_database_refuses(word):
    key = advance(None, said("failed", word=word, code=word, order=1))[0].key
    assert key.encode()
    assert key.count("\x1f") == 2
    assert "\x00" not in key
    assert len(key) < 200


@pytest.mark.parametrize("order", [-1, 0, 10**20, 10**400])
def test_orders_beyond_any_clock_still_compare(order):
    later, earlier = advance(None, said("sent", order=order))[0], advance(None, said("failed", order=order))[0]
    assert len(later.key) == len(advance(None, said("sent", order=1))[0].key)
    assert len(earlier.key) == len(advance(None, said("failed", order=1))[0].key)


WORDS = st.sampled_from([None, "", "A", "B", "é", "\x1f", "\x00", "A\x1fB"])
PARTS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "part_number": st.integers(0, 4) | st.none(),
            "part_id": st.sampled_from(["a", "b", "c", "d", "", None]),
            "part_total": st.sampled_from([0, 1, 2, 2, 2, 3, 3, 300, None]),
        },
    ),
)
REPORTS = st.builds(
    lambda status, final, word, code, order, where: Evidence(
        status=status, final=final, vendor_status=word, vendor_code=code, order=order, **where
    ),
    st.sampled_from([*STATUSES, "delivered", "delivered", "flying"]),
    st.booleans(),
    WORDS,
    WORDS,
    st.none() | st.integers(-1, 3) | st.sampled_from([10**20, 10**21]),
    PARTS,
)


@given(st.lists(REPORTS, min_size=1, max_size=9), st.data())
def test_any_order_and_any_repetition_of_the_same_reports_ends_in_the_same_state(reports, data):
    expected, _ = run(*reports)
    repeated = reports + data.draw(st.lists(st.sampled_from(reports), max_size=4))
    assert run(*data.draw(st.permutations(repeated)))[0] == expected


@given(st.lists(REPORTS, min_size=1, max_size=9))
def test_no_report_leads_from_final_to_non_final_or_to_a_weaker_state(reports):
    state = None
    for report in reports:
        before = state
        state, stale = advance(before, report)
        if before is not None:
            assert state.final >= before.final
            assert state.key.encode() >= before.key.encode()
            assert (state.key == before.key) == (
                (state.status, state.final, state.key) == (before.status, before.final, before.key)
            )
            assert not stale or state.key == before.key


@given(st.lists(REPORTS, min_size=2, max_size=6))
def test_keys_order_the_same_as_text_and_as_bytes(reports):
    keys = [advance(None, report)[0].key for report in reports]
    assert sorted(keys) == sorted(keys, key=str.encode)


@given(st.lists(REPORTS, min_size=1, max_size=9))
def test_one_key_never_shows_two_states(reports):
    by_key: dict[str, tuple[str, bool]] = {}
    for report in reports:
        state, _ = advance(None, report)
        assert by_key.setdefault(state.key, (state.status, state.final)) == (state.status, state.final)


def test_a_thousand_shuffled_histories_of_a_message_in_three_parts_agree():
    dice = random.Random(3)
    reports = [
        part(n, s, total=3, order=o)
        for o, (n, s) in enumerate((n, s) for n in (1, 2, 3) for s in ("sent", "undelivered", "delivered"))
    ]
    reports += [said("accepted"), said("sent", order=1), said("expired", order=40), part(2, "failed", total=None)]
    ends = set()
    for _ in range(1000):
        dice.shuffle(reports)
        ends.add(run(*reports)[0])
    assert ends == {State("delivered", True, "3", '{"3":[]}')}
