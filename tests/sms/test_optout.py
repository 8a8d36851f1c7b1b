import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.optout import PUBLISHED, TRANSLATED, first_word, intent_of

ENTRIES = sorted(
    {(word, intent) for table in (PUBLISHED, TRANSLATED) for intent, words in table for word in words.split(", ")}
)
PADDING = st.text(alphabet=" \t\n\r\u00a0\u200b", max_size=4)


def test_no_word_is_listed_with_two_meanings():
    meanings: dict[str, str] = {}
    for word, intent in ENTRIES:
        assert meanings.setdefault(word.casefold(), intent) == intent, word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STOP", "opt_out"),
        ("stop", "opt_out"),
        ("Stop.", "opt_out"),
        (" stop !\n", "opt_out"),
        ("STOP!!!…", "opt_out"),
        ("Stop  All", "opt_out"),
        ("stop\nall", "opt_out"),
        ("Unsubscribe", "opt_out"),
        ("Opt-Out", "opt_out"),
        ("Please opt me out.", "opt_out"),
        ("ＳＴＯＰ！", "opt_out"),
        ("ARRET", "opt_out"),
        ("Arrêt", "opt_out"),
        ("ARRE\u0302T", "opt_out"),
        ("Dezabonare", "opt_out"),
        ("Dezabonaţi", "opt_out"),
        ("Opreşte", "opt_out"),
        ("Baja", "opt_out"),
        ("no más", "opt_out"),
        ("Abmelden", "opt_out"),
        ("बंद करो।", "opt_out"),
        ("Band karo", "opt_out"),
        ("START DND", "opt_out"),
        ("START", "opt_in"),
        ("Unstop", "opt_in"),
        ("RESUME", "opt_in"),
        ("shuru karo", "opt_in"),
        ("HELP?", "help"),
        ("info", "help"),
        ("AIDE", "help"),
        ("ayuda", "help"),
        ("Hilfe", "help"),
        ("Ajutor", "help"),
        ("मदद", "help"),
    ],
)
def test_a_listed_word_or_phrase_alone_has_its_meaning(text, expected):
    assert intent_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "   ",
        "...",
        "CANCEL my 3 pm",
        "Stop by my office",
        "Please do not stop",
        "help me with my order",
        "start the engine",
        "stopp'd",
        "nonstop",
        "STOP-",
        "#STOP",
        "S T O P",
        "STOP 1 STOP 2 STOP 3",
        # Some vendors take a YES as an opt-in; people answer all kinds of questions with it.
        "YES",
        "Y",
        "stop 0",
    ],
)
def test_anything_else_has_none(text):
    assert intent_of(text) is None


@given(st.sampled_from(ENTRIES), PADDING, PADDING, st.sampled_from(["", ".", "!", " !", "?!", "…", ";"]), st.booleans())
def test_blanks_case_and_closing_punctuation_change_no_meaning(entry, before, after, closing, upper):
    word, intent = entry
    assert intent_of(before + (word.upper() if upper else word.title()) + closing + after) == intent


@given(st.sampled_from(ENTRIES), st.sampled_from(["my", "3", "the car", "लेकिन", "x y z w v"]))
def test_a_listed_word_with_more_words_around_it_has_no_meaning(entry, more):
    listed = {word for word, _ in ENTRIES}
    for text in (f"{entry[0]} {more}", f"{more} {entry[0]}"):
        assert text in listed or intent_of(text) is None


@given(st.text())
def test_every_text_can_be_asked(text):
    assert intent_of(text) in (None, "opt_out", "opt_in", "help")
    word = first_word(text)
    assert (word is None) == (not any(c.isalnum() for c in text))
    assert word is None or (len(word) <= 256 and word == word.strip() and word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        ("!!! 👍 ___", None),
        ("join", "JOIN"),
        ("  join, please", "JOIN"),
        ("STOP.Thanks", "STOP"),
        ("yes/no", "YES"),
        ("“Hello” there", "HELLO"),
        ("opt-out now", "OPT-OUT"),
        ("opt- out", "OPT"),
        ("c'est bon", "C'EST"),
        ("👍 ok", "OK"),
        ("win👍", "WIN"),
        ("ｊｏｉｎ", "JOIN"),
        ("arrêt svp", "ARRÊT"),
        ("straße", "STRASSE"),
        ("रोको भाई", "रोको"),
        ("क्\u200dया हाल", "क्\u200dया"),
        ("12345 is my code", "12345"),
        ("vote\u200bA", "VOTE"),
        ("x" * 5000, "X" * 256),
        ("ß" * 5000, "S" * 256),
    ],
)
def test_the_keyword_is_the_first_word_in_upper_case(text, expected):
    assert first_word(text) == expected
