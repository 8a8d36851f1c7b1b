"""What an event may hold: sizes, characters and numbers."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from receiver.sms.drafts import (
    Binary,
    InboundPart,
    Media,
    Network,
    Party,
    Price,
    Received,
    Reported,
    ReportPart,
)
from receiver.sms.limits import MAX_EVENT, MAX_EXTRA, MAX_TEXT, bounded, clean_text, cleaned, cut, encoded


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("", ""),
        ("plain é 👍🏽", "plain é 👍🏽"),
        ("a\x00b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("\udc00tail", "\ufffdtail"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d\x00\ude00", "\ufffd\ufffd\ufffd"),
    ],
)
def test_each_unfit_character_becomes_one_replacement_and_pairs_their_character(dirty: str, clean: str):
    assert clean_text(dirty) == clean


def test_every_text_of_a_draft_is_cleaned_wherever_it_lies():
    draft = Received(
        vendor_message_id="\x00id", from_=Party(raw="\x001", city="\ud800"), cc=[Party(raw="\x002")], text="\x00",
        media=(Media(url="\x00u", filename="\x00f"),), binary=Binary(data="\x00", udh="\x00"),
        part=InboundPart(reference="\x00", number=1, total=2), price=Price(amount="\x00", currency="\x00"),
        network=Network(mcc="\x00", name="\x00"), flags=("\x00",), sent_at=5,
        extra={"\x00k": ["\x00", {"\x00": "\x00"}, 1, None]},
    )  # fmt: skip
    clean = cleaned(draft)
    assert isinstance(clean, Received)
    assert "\x00" not in repr(clean)
    assert "\\ud8" not in repr(clean)
    assert clean.from_ == Party(raw="\ufffd1", city="\ufffd")
    assert clean.part == InboundPart(reference="\ufffd", number=1, total=2)
    assert clean.extra == {"\ufffdk": ["\ufffd", {"\ufffd": "\ufffd"}, 1, None]}
    assert clean.sent_at == 5
    reported = cleaned(Reported(status="sent", final=False, part=ReportPart(id="\x00", number=1)))
    assert isinstance(reported, Reported)
    assert reported.part == ReportPart(id="\ufffd", number=1)


@given(some.text(some.characters(), max_size=40))
def test_a_clean_text_always_encodes(text: str):
    assert "\x00" not in clean_text(text).encode().decode()


@pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
def test_a_text_is_cut_at_32_kib_of_utf_8_and_never_inside_a_character(character: str):
    size = len(character.encode())
    fits = character * (MAX_TEXT // size)
    flags: list[str] = []
    assert cut(fits, flags) == fits
    assert flags == []
    shorter = cut("aaa" + fits, flags)
    assert shorter is not None
    assert shorter == ("aaa" + fits)[: len(shorter)]
    assert MAX_TEXT - size < len(shorter.encode()) <= MAX_TEXT
    assert flags == ["truncated"]


def test_no_text_stays_none():
    assert cut(None, []) is None


def test_extra_is_kept_in_order_until_8_kib_are_full():
    flags: list[str] = []
    extra = {f"field{number}": "x" * 100 for number in range(200)}
    kept = bounded(extra, flags)
    assert list(kept) == list(extra)[: len(kept)]
    assert 60 < len(kept) < 80
    assert len(orjson.dumps(kept)) <= MAX_EXTRA
    assert flags == ["truncated"]


def test_one_field_beyond_8_kib_is_left_out_and_flagged_once():
    flags = ["truncated"]
    assert bounded({"a": "1", "big": "x" * MAX_EXTRA, "b": "2"}, flags) == {"a": "1"}
    assert flags == ["truncated"]


def test_numbers_that_json_readers_would_bend_become_text():
    extra = {
        "exact": 2**53 - 1, "bent": 2**53, "low": -(2**53), "sixty_four": 2**64, "digits21": 10**20, "big": 10**4000,
        "nested": [{"deep": 2**63}, (2**70,)], "yes": True, "none": None, "float": 1.5,
    }  # fmt: skip
    kept = bounded(extra, [])
    assert kept == {
        "exact": 2**53 - 1, "bent": str(2**53), "low": str(-(2**53)), "sixty_four": "18446744073709551616",
        "digits21": "1" + "0" * 20, "big": "1" + "0" * 4000, "nested": [{"deep": str(2**63)}, [str(2**70)]],
        "yes": True, "none": None, "float": 1.5,
    }  # fmt: skip
    assert orjson.loads(orjson.dumps(kept)) == kept


def event(**data):
    return {"id": "evt_1", "type": "message.received", "timestamp": "", "data": {"text": None, "flags": [], **data}}


def test_an_event_that_fits_is_not_touched():
    data = {"text": "x" * MAX_TEXT, "note": "y" * 20_000, "list": list(range(100))}
    assert orjson.loads(encoded(event(**data)))["data"] == {**data, "flags": []}


def test_a_large_event_loses_long_words_and_lists_before_its_text():
    text = "x" * MAX_TEXT
    body = encoded(event(text=text, note="y" * 50_000, party={"raw": "z" * 5_000, "size": 7}, list=list(range(100))))
    data = orjson.loads(body)["data"]
    assert len(body) <= MAX_EVENT
    assert data == {
        "text": text, "note": "y" * 1024, "party": {"raw": "z" * 1024, "size": 7}, "list": list(range(16)),
        "flags": ["truncated"],
    }  # fmt: skip


def test_a_text_of_control_characters_is_cut_by_what_it_takes_as_json():
    body = encoded(event(text="\x01" * MAX_TEXT, flags=["truncated"]))
    data = orjson.loads(body)["data"]
    assert MAX_TEXT // 2 < len(body) <= MAX_EVENT
    assert set(data["text"]) == {"\x01"}
    assert data["flags"] == ["truncated"]


def test_however_much_a_vendor_sends_an_event_never_passes_64_kib():
    long = "\x01" * 40_000
    party = dict.fromkeys(("address", "kind", "raw", "country", "city", "region", "postal_code"), long)
    media = dict.fromkeys(("url", "content_type", "filename"), long)
    words = {f"word{number}": long for number in range(20)}
    extra = {f"{number}": "\x01" for number in range(600)}
    body = encoded(
        event(text=long, **{"from": party}, to=party, cc=[party] * 50, media=[media] * 50, extra=extra, **words)
    )
    assert len(body) <= MAX_EVENT
    assert orjson.loads(body)["data"]["flags"] == ["truncated"]
