"""Parts made one: which part belongs where, and what the parts of a message say together."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.compose import Entry, Origin, compose
from receiver.sms.drafts import Binary, InboundPart, Media, Network, Party, Price, Received
from receiver.sms.joining import Gathered, Part, fate, joined

NOW = 1_795_000_000_000_000
ORIGIN = Origin(source_id="src_1", vendor="generic")
ANNA, US = Party(raw="447700900123", international=True), Party(raw="447700900999", international=True)


def composed(number: int, text: str | None, total: int = 2, **given: Any) -> Entry:
    part = InboundPart(reference="77", number=number, total=total)
    draft = Received(vendor_message_id=f"m{number}", from_=ANNA, to=US, text=text, part=part)
    return compose(replace(draft, **given), ORIGIN, NOW + number, f"rcp_{number}")


def part(number: int, text: str | None, total: int = 2, **given: Any) -> Part:
    entry = composed(number, text, total, **given)
    assert entry.held is not None
    assert entry.consent is None
    return Part(
        number=number, timestamp=entry.timestamp, data=entry.data, scope=entry.held.scope,
        scope_id=entry.held.scope_id,
    )  # fmt: skip


def test_a_whole_message_reads_as_its_parts_in_order_and_is_named_by_the_first():
    entry = joined([part(2, "world", segments=1, flags=["charset_guessed"]), part(1, "hello ", segments=1)])
    data = entry.data
    assert (data["text"], data["part"], data["segments"], data["encoding"]) == ("hello world", None, 2, "gsm7")
    assert (data["vendor_message_id"], data["receipt_id"]) == ("m1", "rcp_1")
    assert (entry.timestamp, data["keyword"], data["flags"]) == (NOW + 1, "HELLO", ["charset_guessed"])
    assert entry.conversation == composed(1, "x").conversation
    assert list(data) == list(composed(1, "x").data)


def test_what_is_missing_is_named():
    data = joined([part(3, "c", 4), part(2, "b", 4)]).data
    assert data["part"] == {"reference": "77", "number": 2, "total": 4, "missing": [1, 4]}
    assert (data["text"], data["vendor_message_id"], data["keyword"], data["intent"]) == ("bc", "m2", None, None)


@given(st.permutations(range(1, 6)), st.sets(st.integers(1, 5)))
def test_the_order_in_which_parts_are_given_does_not_matter(order: list[int], gaps: set[int]):
    parts = [part(number, f"{number}", 5) for number in order if number not in gaps]
    if parts:
        data = joined(parts).data
        assert data["text"] == "".join(f"{number}" for number in range(1, 6) if number not in gaps)
        assert (data["part"]["missing"] if data["part"] else []) == sorted(gaps)


def test_one_that_needs_other_letters_makes_the_whole_ucs2():
    assert joined([part(1, "a"), part(2, "\u0444")]).data["encoding"] == "ucs2"


def test_a_word_may_go_on_in_the_next_part_and_the_vendors_own_keyword_stays():
    assert joined([part(1, "informa"), part(2, "tion please")]).data["keyword"] == "INFORMATION"
    assert joined([part(1, "x y", keyword="JOIN"), part(2, "z")]).data["keyword"] == "JOIN"


@pytest.mark.parametrize(("texts", "intent"), [(("ST", "OP"), "opt_out"), (("STOP", " it"), None)])
def test_only_the_whole_text_opts_out(texts: tuple[str, str], intent: str | None):
    entry = joined([part(1, texts[0]), part(2, texts[1])])
    assert entry.data["intent"] == intent
    assert (entry.consent is not None) == (intent is not None)
    if entry.consent is not None:
        assert (entry.consent.via, entry.consent.number, entry.consent.scope) == ("keyword", "+447700900123", "sender")
    assert joined([part(1, "STOP")]).consent is None


def test_the_vendors_own_signal_counts_even_when_something_is_missing():
    consent = joined([part(2, "x", 3), part(3, "y", 3, intent="opt_out", scope="group", scope_id="g1")]).consent
    assert consent is not None
    assert (consent.via, consent.scope, consent.sender) == ("vendor", "group", "g1")


def test_binary_parts_go_end_to_end_under_a_header_without_their_place():
    first = part(1, None, binary=Binary(data="0102", udh="0B05040B8423F00003CC0201"))
    data = joined([part(2, None, binary=Binary(data="0304", udh="050003CC0202")), first]).data
    assert data["binary"] == {"data": "01020304", "udh": "0605040b8423f0"}
    assert (data["text"], data["encoding"]) == (None, "binary")
    assert joined([part(1, None, binary=Binary(data="01"))]).data["binary"] == {"data": "01", "udh": None}
    assert joined([part(1, None)]).data["encoding"] is None


def test_files_names_and_costs_of_all_parts_are_one_messages():
    network, price = Network(mcc="234"), Price(amount="0.01", currency="EUR")
    parts = [
        part(1, "a", channel="mms", media=[Media(url="https://one")], price=price, from_=None),
        part(2, "b", channel="mms", media=[Media(url="https://two")], price=price, network=network, sent_at=NOW),
    ]
    data = joined(parts).data
    assert [item["url"] for item in data["media"]] == ["https://one", "https://two"]
    assert (data["price"], data["network"]["mcc"]) == ({"amount": "0.02", "currency": "EUR"}, "234")
    assert data["from"]["address"] == "+447700900123"
    assert data["sent_at"] is not None
    assert data["encoding"] is None


@pytest.mark.parametrize("other", [Price(amount="1", currency="USD"), Price(amount="much", currency="EUR")])
def test_costs_that_cannot_be_added_are_unknown(other: Price):
    assert (
        joined([part(1, "a", price=Price(amount="1", currency="EUR")), part(2, "b", price=other)]).data["price"] is None
    )


def test_a_text_beyond_the_limit_is_cut_and_flagged_once():
    data = joined(
        [part(number, "x" * 20_000, 3, flags=["truncated"] if number == 1 else ()) for number in (1, 2, 3)]
    ).data
    assert (len(data["text"]), data["flags"]) == (32 * 1024, ["truncated"])


def test_a_part_finds_its_place():
    waiting = Gathered(total=3, contents={1: "a", 2: "b"})
    assert not waiting.complete
    assert fate(None, 1, "a") == "begins"
    assert fate(waiting, 3, "c") == "joins"
    assert fate(waiting, 1, "a") == "repeats"
    assert fate(waiting, 1, "z") == "begins"
    told = Gathered(total=2, told=True, contents={1: "a"})
    assert (fate(told, 2, "b"), fate(told, 1, "a")) == ("joins", "begins")
    assert Gathered(total=1, contents={1: "a"}).complete


@pytest.mark.parametrize(("number", "total"), [(0, 2), (3, 2), (1, 1), (1, 256)])
def test_a_part_without_a_place_among_others_is_told_of_as_it_is(number: int, total: int):
    assert composed(number, "x", total).held is None


def test_parts_do_not_wait_where_the_source_wants_them_as_they_come():
    draft = Received(from_=ANNA, text="STOP", part=InboundPart(reference="1", number=1, total=2))
    entry = compose(draft, replace(ORIGIN, assemble_after=0), NOW, "rcp_1")
    assert (entry.held, entry.data["part"]["missing"], entry.data["intent"]) == (None, [2], None)


def test_messages_are_kept_apart_by_who_wrote_whom_the_reference_and_the_total():
    changes: list[dict[str, Any]] = [
        {}, {"from_": US}, {"to": ANNA}, {"channel": "whatsapp"},
        {"part": InboundPart(reference="78", number=1, total=2)}, {"part": InboundPart(reference="77", number=1, total=3)},
    ]  # fmt: skip
    groups = [held.group for given in changes if (held := composed(1, "x", **given).held)]
    assert len(set(groups)) == len(changes)
    other = composed(2, "y").held
    assert other is not None
    assert other.group == groups[0]


def test_parts_with_the_same_words_and_no_id_are_not_repeats_of_each_other():
    keys = [composed(number, "aaaa", vendor_message_id=None, sent_at=sent_at).identity
            for number in (1, 2) for sent_at in (None, NOW)]  # fmt: skip
    assert len(set(keys)) == 4
