"""Mobtexting asked: the log of inbound messages, delivery states by day, and one outbound message by its id.

https://github.com/mobtexting/docs: v2/vmn/logs.md (30 questions a minute), v2/sms/pull-dlr.md (100 rows a page).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from pydantic import Field

from receiver.sms.drafts import Item, Unreadable
from receiver.sms.timestamps import SECOND
from receiver.vendors import times
from receiver.vendors.bodies import parse_json
from receiver.vendors.contract import (
    BadPayload,
    Feed,
    Lookup,
    Poll,
    Position,
    Question,
    Reply,
    Source,
    Step,
    VendorRequest,
)
from receiver.vendors.fields import Fields
from receiver.vendors.mapping import mapped, read
from receiver.vendors.mapping_options import Names
from receiver.vendors.polling import (
    LOOKUP,
    PollOptions,
    about,
    bounded,
    document,
    first,
    lacking,
    poll_options,
    unread,
    with_query,
)

LOGS: Final = "vmn_logs"
STATUS: Final = "sms_status"
OVERLAP_SECONDS: Final = 600
LOG_NAMES: Mapping[str, Names] = {
    "vendor_message_id": ("id",),
    "from": ("mobile",),
    "to": ("number",),
    "text": ("body",),
    "keyword": ("first_keyword",),
    "sent_at": ("created_at",),
    "network_name": ("provider",),
}
STATUS_NAMES: Mapping[str, Names] = {
    "vendor_message_id": ("id",),
    "client_reference": ("custom",),
    "from": ("sender",),
    "to": ("mobile",),
    "status": ("status",),
    "occurred_at": ("delivered_at",),
    "segments": ("units",),
    "price": ("charges",),
    "network_name": ("provider",),
}
_NUMBERED_BY_PAGE = "serial"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MobtextingPoll(PollOptions):
    feeds: tuple[Literal["vmn_logs", "sms_status"], ...] = Field((LOGS,), description="what is asked for")


def _missing(source: Source) -> Sequence[str]:
    return lacking(source, "access_token")


def _question(source: Source, path: str, query: Sequence[tuple[str, str]], **asked: str) -> Question:
    headers = (("accept", "application/json"), ("authorization", f"Bearer {first(source, 'access_token')}"))
    return Question(path=with_query(path, query), about=asked, headers=headers)


def _ask_logs(source: Source, position: Position, now: int, _token: str | None) -> Question:
    """Day by day from yesterday on, each from its newest page back to where the last round began."""
    day, page = _place(source, position, now)
    query = [("date[created_at]", day), ("page", page)]
    return _question(source, "/vmn/logs", query, feed=LOGS, day=day, page=page)


def _read_logs(source: Source, position: Position, now: int, reply: Reply) -> Step:
    rows, more = _page(document(reply).find("rows"), "next_page_url")
    moments = [found for row in rows if (found := _created(row)) is not None]
    reached = int(position.get("reached", 0))
    top = max([int(position.get("top", 0)), *moments])
    known = bool(moments) and max(moments) < reached - OVERLAP_SECONDS * SECOND
    step = _onward(source, position, now, more=more and not known, empty=not rows)
    ended = not step.more
    kept = {"reached": top if ended else reached, "top": top}
    return Step(position={**step.position, **kept}, more=step.more, pieces=step.pieces)


def _created(row: object) -> int | None:
    text = row.get("created_at") if isinstance(row, dict) else None
    return times.iso(text) if isinstance(text, str) else None


def _ask_states(source: Source, position: Position, now: int, _token: str | None) -> Question:
    """Day by day, all pages: a state changes where it stands."""
    day, page = _place(source, position, now)
    return _question(source, "/sms/status", [("date", day), ("page", page)], feed=STATUS, day=day, page=page)


def _read_states(source: Source, position: Position, now: int, reply: Reply) -> Step:
    answer = document(reply)
    rows, _ = _page({"data": answer.get("data")}, "")
    return _onward(source, position, now, more=bool(answer.find("links.next")), empty=not rows)


def _page(found: object, next_page: str) -> tuple[Sequence[object], bool]:
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(rows, list):
        raise unread("data")
    return bounded(rows), bool(found.get(next_page))


def _place(source: Source, position: Position, now: int) -> tuple[str, str]:
    day = position.get("day") or _day(source, now - _look_back(source))
    return str(day), str(position.get("page", 1))


def _onward(source: Source, position: Position, now: int, *, more: bool, empty: bool) -> Step:
    """The next page, else the next day, else yesterday again in the next round: lists may be late, and their days may
    begin in another zone than ours.
    """
    pieces = () if empty else None
    day, page = _place(source, position, now)
    if more:
        return Step(position={"day": day, "page": int(page) + 1}, more=True, pieces=pieces)
    if day < _day(source, now):
        following = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        return Step(position={"day": following, "page": 1}, more=True, pieces=pieces)
    return Step(position={"day": _day(source, now - 86_400 * SECOND), "page": 1}, pieces=pieces)


def _look_back(source: Source) -> int:
    options = poll_options(source)
    assert options is not None
    return options.look_back * SECOND


def _day(source: Source, micros: int) -> str:
    """In the source's time zone, else in UTC."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.astimezone(source.options.zone or UTC).date().isoformat()


def _ask_one(source: Source, message_id: str, _token: str | None) -> Question:
    return _question(source, "/sms/status", [("id", message_id)], feed=LOOKUP, message_id=message_id)


def _read_one(reply: Reply) -> bool:
    rows, _ = _page({"data": document(reply).get("data")}, "")
    return bool(rows)


def parse(request: VendorRequest, source: Source) -> Sequence[Item]:
    answer = Fields.of(parse_json(request.body)[0])
    logs = about(request).get("feed") == LOGS
    found = answer.object("rows") if logs else answer
    rows = found.items_of("data") if found else ()
    names = LOG_NAMES if logs else STATUS_NAMES
    return [_item(row, source, names) for row in (reversed(rows) if logs else rows)]  # the newest comes first


def _item(row: object, source: Source, names: Mapping[str, Names]) -> Item:
    try:
        fields = Fields({name: value for name, value in Fields.of(row).items() if name != _NUMBERED_BY_PAGE})
        return read(fields, mapped(source), names)
    except BadPayload as error:
        return Unreadable(error=str(error))


MOBTEXTING_POLL = Poll(
    base_url="https://portal.mobtexting.com/api/v2",
    help="the access token stands in the panel; of another brand name its address too (poll.base_url)",
    per_minute=30,
    feeds={
        LOGS: Feed(title="inbound messages", ask=_ask_logs, read=_read_logs),
        STATUS: Feed(title="states of outbound messages, day by day", ask=_ask_states, read=_read_states),
    },
    parse=parse,
    missing=_missing,
    lookup=Lookup(ask=_ask_one, read=_read_one),
)
