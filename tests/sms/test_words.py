"""Words of any script, as a search compares them; what an index is asked for never rules out a text that holds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.words import LONGEST, Term, fold, holds, indexed, query

FOUND = [
    ("Yes, see you at 3pm!", "YES", "see you", "3PM", "s* y*", "you SEE"),
    ("Café Élan NAÏVE straße", "cafe", "élan", "naive", "STRASSE", "nai*"),
    ("Mulțumesc, vin mâine", "multumesc", "mâine", "MAINE"),
    ("Łódź, Århus, Đà Nẵng, Øl", "lodz", "arhus", "da nang", "ol"),
    ("Москва, Ёлка", "москва", "елка"),
    ("Ελλάς ΚΑΛΗΜΕΡΑ", "ελλασ", "Καλημέρα"),
    ("שָׁלוֹם", "שלום"),
    ("السَّلامُ عليكم", "السلام", "عليكم"),
    ("हिन्दी नमस्ते", "हिन्दी", "नमस्ते"),
    ("한국어 학교에", "한국어", "학교*"),
    ("東京都に行く", "東京都", "京都", "都に行", "東", "く", "都"),
    ("สวัสดีครับ", "สวัสดี", "ครับ", "ดี"),
    ("ﾊﾝｶｸ", "ハンカク"),
    ("Ok 👍🏽 €5", "👍", "5", "€", "ok"),
    ("don't", "don't", "don"),
    ("code 123456", "123456", "1234*"),
    ("x" * 80, "x" * 80, "x" * LONGEST + "*"),
    ("İstanbul", "istanbul"),
]
MISSED = [
    ("Yes, see you at 3pm!", "ye", "see me", "3", "*", "…"),
    ("東京都に行く", "京東", "東都", "行東"),
    ("東京 京都", "東京都"),  # both of its pairs are there, but not together
    ("がか", "はか"),
    ("스쿨", "학교"),
    ("", "a"),
    ("👍", "👎"),
]


@pytest.mark.parametrize(("text", "asked"), [(text, asked) for text, *queries in FOUND for asked in queries])
def test_what_a_text_says_is_found_in_it(text: str, asked: str):
    assert query(asked)
    assert holds(query(asked), text)


@pytest.mark.parametrize(("text", "asked"), [(text, asked) for text, *queries in MISSED for asked in queries])
def test_what_a_text_does_not_say_is_not_found_in_it(text: str, asked: str):
    assert not query(asked) or not holds(query(asked), text)


def test_a_query_without_words_has_no_terms():
    assert query("") == query(" * !?… ") == []


def test_a_query_asks_for_each_word_once_and_for_a_beginning_only_behind_the_star():
    assert query("a b a B* don't*") == [
        Term("a"), Term("b"), Term("b", prefix=True), Term("don"), Term("t", prefix=True),
    ]  # fmt: skip


def test_an_index_keeps_each_word_once_and_runs_without_blanks_by_pairs():
    assert indexed("b a, B!") == ["b", "a"]
    assert indexed("東京都 ok 東") == ["東京", "京都", "都", "ok", "東"]


def test_a_run_is_looked_up_by_its_pairs_and_a_single_character_by_what_begins_with_it():
    assert Term("東京都").keys == [("東京", False), ("京都", False)]
    assert Term("東").keys == [("東", True)]
    assert Term("stop", prefix=True).keys == [("stop", True)]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("ab东京にสวคครับ éÉ́*-👍", max_size=12)


@given(TEXTS)
def test_folding_twice_changes_nothing(text: str):
    assert fold(fold(text)).split() == fold(text).split()


@given(TEXTS)
def test_a_text_holds_itself(text: str):
    assert holds(query(text), text)


@given(TEXTS, TEXTS)
def test_the_index_has_whatever_a_text_holds(asked: str, text: str):
    terms, kept = query(asked), indexed(text)
    if holds(terms, text):
        for key, prefix in [key for term in terms for key in term.keys]:
            assert any(word.startswith(key) if prefix else word == key for word in kept)


@given(TEXTS)
def test_what_an_index_keeps_has_no_blanks_quotes_or_signs_of_a_query(text: str):
    for word in indexed(text):
        assert word
        assert not set(word) & set(" \t\n\"'\\:*&|!()\x00")
