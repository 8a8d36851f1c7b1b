"""What people read: aligned, on one line each, and harmless to a terminal."""

from receiver.cli.inshort import gist, way
from receiver.cli.output import cell, flat, record, table
from receiver.fixtures import find


def test_a_table_is_aligned_and_its_last_column_cut():
    text = table(("id", "name"), [("1", "short"), ("22222", "x" * 100)])
    assert text.splitlines()[:2] == ["ID     NAME", "1      short"]
    assert text.splitlines()[2] == "22222  " + "x" * 59 + "…"
    assert "x" * 100 in table(("name",), [("x" * 100,)], longest=200)


def test_a_value_never_moves_the_cursor():
    assert cell("red\x1b[31m\nnew\u202eline") == "red\\u001b[31m\\u000anew\\u202eline"
    assert "\x1b" not in record({"text": "\x1b]0;title\x07"})


def test_values_of_every_kind_fit_on_a_line():
    assert [cell(value) for value in (None, "", [], True, False, 0, ["a", "b"], {"a": 1})] == [
        "–", "–", "–", "yes", "no", "0", "a, b", "a=1",
    ]  # fmt: skip


def test_nested_fields_become_dotted_names_and_nulls_go():
    assert flat({"a": {"b": 1, "c": None}, "d": [], "e": "", "f": False}) == {"a.b": 1, "f": False}


def event_of(name: str, number: int = 0):
    return find(name).expected.events[number]


def test_an_event_in_short():
    message = event_of("twilio.inbound-sms")
    assert (way(message), gist(message)) == ("+12125550123 → +15165550199", "Yes, see you at 3pm")
    filtered = event_of("twilio.report-filtered")
    assert gist(filtered) == f"{filtered['data']['status']} (filtered)"
    assert gist(event_of("generic.message-stop", 1)) == "by keyword STOP"
    assert gist(event_of("generic.opt-out")).startswith("by vendor")
    quarantined = event_of("twilio.quarantined-empty")
    assert (way(quarantined), gist(quarantined)) == ("–", quarantined["data"]["error"])
    assert "image/jpeg" in gist(event_of("twilio.inbound-mms"))
    assert gist({"type": "test.ping", "data": {}}) == ""
