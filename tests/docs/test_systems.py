"""docs/systems.md: every call, command, event and option by which it answers for a function is there."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import BaseModel

from receiver.api import OPERATIONS
from receiver.sms.events import TYPES
from receiver.vendors import VENDORS
from tests.docs.commands import problems, typed
from tests.docs.markdown import DOCS
from tests.docs.of_vendors import options_of

PAGE = (DOCS / "systems.md").read_text("utf-8")
HERE = ("yes", "partly", "no", "sending")
_CODE = re.compile(r"`([^`]+)`")


def rows(section: str) -> Sequence[Sequence[str]]:
    """The cells of its table, without the heading."""
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def sections() -> Mapping[str, str]:
    """Each system's part of the page by the vendor whose source it needs."""
    parts = re.split(r"^## .+$", PAGE, flags=re.MULTILINE)[1:]
    return {re.findall(r"A source `(\w+)`", part)[0]: part for part in parts}


def wrong_calls(page: str) -> Iterator[str]:
    """What of the calls no operation takes: a path, a method, a parameter of the query."""
    taken = {(operation.method, operation.path): operation.query for operation in OPERATIONS}
    for call in _CODE.findall(page):
        if "/v1" not in call:
            continue
        method, _, target = call.partition(" ")
        parts = urlsplit(target)
        query = taken.get((method, parts.path))
        if query is None:
            yield f"no operation {call}"
        elif unknown := {name for name, _ in parse_qsl(parts.query)} - parameters(query):
            yield f"{call} does not take {', '.join(sorted(unknown))}"


def parameters(query: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in query.model_fields.items()}


def wrong_commands(page: str) -> Iterator[str]:
    for words in typed(page):
        yield from problems(words)


def wrong_events(page: str) -> Iterator[str]:
    named = {name for code in _CODE.findall(page) for name in re.findall(r"\b(?:message|contact)\.\w+", code)}
    yield from sorted(named - set(TYPES))


def wrong_names(vendor: str, section: str) -> Iterator[str]:
    """Options, credentials and feeds that a source of the vendor does not take; what its setup does not show."""
    known = VENDORS[vendor]
    options = set(re.findall(r"options\.([a-z_.]+)|--option ([a-z_.]+)=", section))
    yield from sorted({first or second for first, second in options} - options_of(known))
    yield from sorted(set(re.findall(r"--credential (\w+)=", section)) - known.credentials.keys())
    feeds = set(re.findall(r"`options\.poll\.feeds` with `(\w+)`", section))
    yield from sorted(feeds - (known.poll.feeds.keys() if known.poll else set()))
    shown = known.setup("https://sms.example.com/in", known.options())
    yield from sorted(set(re.findall(r"setup\.(\w+)", section)) - shown.keys())


@pytest.mark.parametrize("wrong", [wrong_calls, wrong_commands, wrong_events])
def test_what_the_page_names_is_there(wrong: Callable[[str], Iterator[str]]):
    assert list(wrong(PAGE)) == []


@pytest.mark.parametrize("vendor", ["sendsms", "thesmsworks", "powertextor", "isendpro", "mobtexting"])
def test_what_a_system_takes_is_taken(vendor: str):
    assert list(wrong_names(vendor, sections()[vendor])) == []


@pytest.mark.parametrize("vendor", ["sendsms", "thesmsworks", "powertextor", "isendpro", "mobtexting"])
def test_each_function_is_called_by_something_or_it_is_said_why_not(vendor: str):
    table = rows(sections()[vendor])
    assert len(table) >= 8
    for function, here, how in table:
        assert here in HERE, function
        assert here not in ("yes", "partly") or _CODE.search(how) or "you" in how, function
        assert here != "no" or len(how) > 10, function


@pytest.mark.parametrize(
    ("wrong", "page", "told"),
    [
        (wrong_calls, "`GET /v1/inbox`", ["no operation GET /v1/inbox"]),
        (wrong_calls, "`/v1/messages`", ["no operation /v1/messages"]),
        (wrong_calls, "`PUT /v1/messages/{id}`", ["no operation PUT /v1/messages/{id}"]),
        (
            wrong_calls,
            "`GET /v1/messages?unread=true&keyword=…`",
            ["GET /v1/messages?unread=true&keyword=… does not take keyword"],
        ),
        (wrong_commands, "`receiver messages list --lost`", ["list has no --lost"]),
        (wrong_commands, "`receiver inbox`", ["receiver has no inbox"]),
        (wrong_events, "`message.sent`", ["message.sent"]),
    ],
)
def test_a_wrong_one_would_be_told(wrong: Callable[[str], Iterator[str]], page: str, told: Sequence[str]):
    assert list(wrong(page)) == told


def test_a_wrong_name_of_a_source_would_be_told():
    section = (
        "`options.poll.hourly`, `--option basic=x --credential key=y`, `options.poll.feeds` with `sent`, `setup.dlr`"
    )
    assert list(wrong_names("sendsms", section)) == ["poll.hourly", "key", "sent", "dlr"]
