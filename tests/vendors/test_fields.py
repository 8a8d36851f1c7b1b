"""Untrusted values by name: text, numbers, truth and structures, or BadPayload that names the field."""

import pytest

from receiver.vendors.contract import BadPayload
from receiver.vendors.fields import Fields

EXAMPLE = Fields(
    {
        "text": " a ",
        "empty": " ",
        "null": None,
        "whole": 7,
        "part": 0.5,
        "yes": True,
        "no": False,
        "object": {"code": 1},
        "list": [{"id": "x"}],
        "dotted.name": "literal",
    },
    flags=("charset_guessed",),
)


@pytest.mark.parametrize(
    ("name", "words", "text"),
    [
        ("text", " a ", "a"),
        ("empty", " ", None),
        ("null", None, None),
        ("absent", None, None),
        ("whole", "7", "7"),
        ("part", "0.5", "0.5"),
        ("yes", "true", "true"),
        ("no", "false", "false"),
    ],
)
def test_values_come_out_as_text(name, words, text):
    assert EXAMPLE.words(name) == words
    assert EXAMPLE.text(name) == text


@pytest.mark.parametrize("name", ["object", "list"])
def test_text_is_not_made_of_structures(name):
    with pytest.raises(BadPayload, match=f"{name}: text is due, (an object|a list) came"):
        EXAMPLE.text(name)


def test_the_first_name_that_has_a_value_is_taken():
    assert EXAMPLE.text("absent", "empty", "whole", "text") == "7"
    assert EXAMPLE.require("absent", "text") == "a"
    with pytest.raises(BadPayload, match="absent or empty: missing or empty"):
        EXAMPLE.require("absent", "empty")


@pytest.mark.parametrize(("value", "number"), [("12", 12), (12, 12), (" -3 ", -3), ("+4", 4), ("", None), (None, None)])
def test_whole_numbers_are_read(value, number):
    assert Fields({"n": value}).integer("n") == number


@pytest.mark.parametrize(
    "value", ["1.0", "1e3", "٣", "²", "0x1", "1_000", "9" * 19, "9" * 5_000, 0.5, True, "eleven", {}, [1]]
)
def test_anything_else_is_no_whole_number_and_no_reason_to_lose_a_message(value):
    assert Fields({"n": value}).integer("n") is None


@pytest.mark.parametrize(
    ("value", "truth"),
    [(True, True), ("TRUE", True), (1, True), ("yes", True), (False, False), ("0", False), ("No", False), ("", None)],
)
def test_truth_is_read(value, truth):
    assert Fields({"b": value}).boolean("b") is truth


@pytest.mark.parametrize("value", ["maybe", 2, {}, [True]])
def test_anything_else_is_neither_true_nor_false(value):
    assert Fields({"b": value}).boolean("b") is None


def test_nested_objects_keep_the_flags():
    nested = EXAMPLE.object("object")
    assert nested is not None
    assert (nested.text("code"), nested.flags) == ("1", ("charset_guessed",))
    assert EXAMPLE.object("null") is None
    with pytest.raises(BadPayload, match="list: an object is due, a list came"):
        EXAMPLE.object("list")


def test_nested_lists_are_read():
    assert EXAMPLE.items_of("list") == [{"id": "x"}]
    assert EXAMPLE.items_of("absent") == ()
    with pytest.raises(BadPayload, match="object: a list is due, an object came"):
        EXAMPLE.items_of("object")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", " a "),
        ("dotted.name", "literal"),
        ("object.code", 1),
        ("list.0.id", "x"),
        ("list.1.id", None),
        ("list.²", None),
        ("list." + "9" * 5_000, None),
        ("list.id", None),
        ("text.id", None),
        ("object.absent", None),
    ],
)
def test_a_name_is_found_literally_else_as_a_path(name, value):
    assert EXAMPLE.find(name) == value


def test_the_rest_is_what_was_not_used_and_is_not_empty():
    fields = Fields({"used": 1, "kept": 0, "empty": "", "null": None, "false": False})
    assert fields.rest(["used"]) == {"kept": 0, "false": False}
    assert fields.rest(frozenset({"kept", "false"})) == {"used": 1}
