"""Log lines are one a record and redacted; counters and health say what they were told."""

import json
import logging
import os
import select
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.observe import (
    LONGEST,
    MASK,
    SERIES,
    Counters,
    Format,
    Health,
    Level,
    LineFormatter,
    LineHandler,
    escape,
    log,
    mask_number,
    scrub,
    start_logging,
)

Start = Callable[..., tuple[LineHandler, Callable[[], list[str]]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts logging into a pipe; what was written is read after the handler was closed."""
    root, ours = logging.getLogger(), logging.getLogger("receiver")
    before = root.level, ours.level
    opened: list[int] = []
    handlers: list[LineHandler] = []

    def begin(level: Level = "info", style: Format = "text") -> tuple[LineHandler, Callable[[], list[str]]]:
        reader, writer = os.pipe()
        opened.extend((reader, writer))
        handler = start_logging(level, style, writer)
        handlers.append(handler)

        def lines() -> list[str]:
            handler.close()
            data = b""
            while select.select([reader], [], [], 0)[0]:
                data += os.read(reader, 65_536)
            return data.decode().splitlines()

        return handler, lines

    yield begin
    for handler in handlers:
        handler.close()
    for descriptor in opened:
        os.close(descriptor)
    root.setLevel(before[0])
    ours.setLevel(before[1])


def line(style: Format, message: str, *args: object, **ids: object) -> str:
    record = logging.LogRecord("lib", logging.INFO, "", 0, message, args, None)
    record.created, record.msecs = 1_795_185_000.0, 7.0
    if ids:
        record.__dict__["ids"] = ids
    return LineFormatter(style).format(record)


def test_a_text_line_has_time_level_event_and_ids():
    assert line("text", "receipt.stored", receipt_id="rcp_1", events=2, known=True, source=None, note="two words") == (
        '2026-11-20T14:30:00.007Z INFO receipt.stored receipt_id=rcp_1 events=2 known=true source=null note="two words"'
    )


def test_a_json_line_has_the_same():
    assert json.loads(line("json", "receipt.stored", receipt_id="rcp_1", events=2, source=None)) == {
        "time": "2026-11-20T14:30:00.007Z",
        "level": "info",
        "event": "receipt.stored",
        "receipt_id": "rcp_1",
        "events": 2,
        "source": None,
    }


def test_a_line_of_a_library_is_told_apart():
    assert json.loads(line("json", "took %d ms", 5)) == {
        "time": "2026-11-20T14:30:00.007Z",
        "level": "info",
        "event": "log",
        "logger": "lib",
        "message": "took 5 ms",
    }


def test_an_id_cannot_take_the_place_of_time_level_or_event():
    told = json.loads(line("json", "x", event="evt_1", time="noon"))
    assert (told["event"], told["event_"]) == ("x", "evt_1")
    assert (told["time"], told["time_"]) == ("2026-11-20T14:30:00.007Z", "noon")


@pytest.mark.parametrize("style", ["text", "json"])
@given(text=st.text(st.characters(), max_size=50))
def test_nothing_can_break_a_line_or_turn_its_direction(style: Format, text: str):
    for told in (line(style, text), line(style, "x", note=text), line(style, text, note=1)):
        assert escape(told) == told
        assert told.isprintable() or style == "text"


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\u200f", "\ud800"])
def test_a_dangerous_character_is_written_out(style: Format, sign: str):
    told = line(style, "x", note=f"a{sign}b")
    assert sign not in told
    value = told.partition("note=")[2] if style == "text" else json.dumps(json.loads(told)["note"])
    assert json.loads(value) == f"a{sign}b"


def test_a_forged_field_stays_inside_its_quotes():
    assert line("text", "x", note='a" level=error b="').endswith(r' note="a\" level=error b=\""')


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "api_key",
        "key",
        "authorization",
        "Authorization",
        "authToken",
        "client_secret",
        "password",
        "text",
        "body",
        "raw_body",
        "cookie",
        "webhook_signature",
        "credentials",
        "apikey",
    ],
)
@pytest.mark.parametrize("value", ["hunter2", 12345, "x"])
def test_a_value_with_a_secret_name_is_masked(name: str, value: object):
    assert json.loads(line("json", "x", **{name: value}))[name] == MASK


@pytest.mark.parametrize("name", ["key_id", "context", "keyword_count", "antibody", "texture"])
def test_a_name_that_only_resembles_one_is_shown(name: str):
    assert json.loads(line("json", "x", **{name: "abc"}))[name] == "abc"


def test_a_secret_that_is_not_there_is_seen_to_be_missing():
    told = json.loads(line("json", "x", token=None, password=""))
    assert (told["token"], told["password"]) == (None, "")


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+447700900123", "+44770…123"),
        ("447700900123", "447700…123"),
        ("+15550100", "+155…00"),
        ("60777", "60…7"),
        ("607", "6…"),
        ("", "…"),
    ],
)
def test_a_number_is_shown_in_part(number: str, masked: str):
    assert mask_number(number) == masked


@given(st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True))
def test_no_full_number_passes_by_any_way(number: str):
    international = number if number.startswith("+") else f"+{number}"
    for told in (
        line("text", "x", to=number, from_=number, msisdn=number, caller_number=number),
        line("text", "x", note=international),
        line("text", "x", note=f"no route to {international}, sorry"),
    ):
        assert number.lstrip("+") not in told
    if len(number) > 10:
        assert number.lstrip("+") not in line("text", "cannot reach %s", number)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abc.def-1", f"Authorization: Bearer {MASK}"),
        ("basic dXNlcjpwYXNz", f"basic {MASK}"),
        ("secret whsec_MfKQ9r8+/=", f"secret whsec_{MASK}"),
        ("whsec_MfKQ9r8", f"whsec_{MASK}"),
        ("POST /in/twilio/T0KEN0123?a=1", f"POST /in/twilio/{MASK}?a=1"),
        ("https://x.example/a?sig=a%2Fb&sv=1", f"https://x.example/a?sig={MASK}&sv=1"),
        ("a +44 (0) 7700-900123 b", "a +44 (0…123 b"),
        ("sub_01k5:evt_01k5", "sub_01k5:evt_01k5"),
        ("x" * 501, "x" * 500 + "…"),
        ("x " * 2000, "x " * 250 + "…"),
    ],
)
def test_a_text_is_scrubbed_of_secrets_and_numbers(text: str, kept: str):
    assert scrub(text) == kept
    assert line("json", "x", note=text) == line("json", "x", note=kept)


def test_a_long_value_is_cut():
    assert len(json.loads(line("json", "x", note="é" * 10_000))["note"]) == LONGEST + 1


def test_an_object_that_is_no_value_is_named_not_shown():
    assert line("text", "x", note=["+447700900123"]).endswith(' note="<list>"')


def test_an_exception_has_types_and_places_and_no_message(start: Start):
    _, lines = start()
    try:
        try:
            os.stat("/nonexistent/+447700900123")  # noqa: PTH116
        except OSError as error:
            raise ValueError("Hello from +447700900123") from error
    except ValueError as error:
        log("receipt.failed", level="error", exc=error, receipt_id="rcp_1")
    (told,) = lines()
    assert " ERROR receipt.failed receipt_id=rcp_1 exception=" in told
    assert "ValueError (test_observe.py:" in told
    assert " from FileNotFoundError ENOENT (test_observe.py:" in told
    assert "Hello" not in told
    assert "900123" not in told


def test_an_exception_that_hides_its_context_hides_it_here_too(start: Start):
    _, lines = start()
    shown, hidden = ValueError("b"), ValueError("b")
    shown.__context__ = hidden.__context__ = KeyError("a")
    hidden.__suppress_context__ = True
    log("x", exc=shown)
    log("x", exc=hidden)
    assert ["KeyError" in told for told in lines()] == [True, False]


def test_a_fault_of_the_database_is_named_by_its_code(start: Start):
    _, lines = start()
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("select nothing")
    connection.close()
    log("x", exc=caught.value)
    assert "OperationalError SQLITE_ERROR (" in lines()[0]


def test_a_group_of_exceptions_names_its_parts(start: Start):
    _, lines = start()
    log("x", exc=ExceptionGroup("many", [OSError("no number"), ExceptionGroup("more", [KeyError("k")])]))
    assert lines()[0].endswith(' exception="ExceptionGroup of OSError, ExceptionGroup of KeyError"')


def test_a_chain_of_exceptions_is_told_to_an_end(start: Start):
    _, lines = start()
    last: BaseException = KeyError("0")
    for _ in range(2000):
        following = ValueError("more")
        following.__cause__ = last
        last = following
    log("x", exc=last)
    assert lines()[0].count("ValueError") == 4


def test_a_record_of_a_library_may_have_an_exception_or_none(start: Start):
    _, lines = start()
    logging.getLogger("lib").error("bad", exc_info=ValueError("b"))
    logging.getLogger("lib").error("bad", exc_info=(None, None, None))
    told = lines()
    assert told[0].endswith("logger=lib message=bad exception=ValueError")
    assert told[1].endswith("logger=lib message=bad")


def test_only_lines_of_the_level_and_above_are_written(start: Start):
    _, lines = start("warning")
    log("low")
    log("high", level="warning")
    logging.getLogger("receiver.x").error("higher")
    logging.getLogger("lib").info("not ours")
    assert [told.split()[1] for told in lines()] == ["WARNING", "ERROR"]


def test_the_time_is_that_of_the_record(start: Start):
    _, lines = start(style="json")
    log("x")
    told = datetime.fromisoformat(json.loads(lines()[0])["time"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 30


def test_after_closing_nothing_is_written_and_closing_twice_is_harmless(start: Start):
    handler, lines = start()
    log("one")
    handler.close()
    log("two")
    assert len(lines()) == 1
    assert handler not in logging.getLogger().handlers


def test_lines_keep_their_order_and_none_is_lost(start: Start):
    handler, lines = start()
    for number in range(700):
        log("x", n=number)
    assert [told.rpartition("=")[2] for told in lines()] == [str(number) for number in range(700)]
    assert handler.dropped == 0


def test_counters_count_by_name_and_labels():
    counters = Counters()
    counters.increment("receipts", vendor="twilio", outcome="stored")
    counters.increment("receipts", outcome="stored", vendor="twilio")
    counters.increment("receipts", 3, vendor="generic", outcome='a"b\n')
    counters.increment("starts")
    assert counters.snapshot() == {
        'receipts{outcome="stored",vendor="twilio"}': 2,
        'receipts{outcome="a\\"b\\n",vendor="generic"}': 3,
        "starts": 1,
    }


def test_a_snapshot_does_not_follow_later_counts():
    counters = Counters()
    counters.increment("x")
    before = counters.snapshot()
    counters.increment("x")
    assert (before, counters.snapshot()) == ({"x": 1}, {"x": 2})


def test_words_that_vendors_make_up_cannot_fill_the_memory():
    counters = Counters()
    for number in range(SERIES + 50):
        counters.increment("unknown_status", word=str(number))
    counters.increment("unknown_status", word="0")
    counters.increment("other", word="x" * 10_000)
    snapshot = counters.snapshot()
    assert len(snapshot) == SERIES + 2
    assert snapshot['unknown_status{overflow="true"}'] == 50
    assert snapshot['unknown_status{word="0"}'] == 2
    assert max(map(len, snapshot)) < 200


def test_health_names_its_causes_until_they_are_cleared():
    health = Health()
    assert health.causes() == ()
    health.fail("storage: disk full")
    health.fail("dispatcher: stuck")
    health.fail("storage: disk full")
    assert health.causes() == ("storage: disk full", "dispatcher: stuck")
    health.clear("storage: disk full")
    health.clear("never was")
    assert health.causes() == ("dispatcher: stuck",)
