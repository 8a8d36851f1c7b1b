"""The SMS Works asked: inbound messages by search, and one outbound message by its id.

https://github.com/TheSMSWorks/smsw-csharp-netcore6 (api/openapi.yaml). The inbox is read by POST /messages with the
status INCOMING rather than by POST /messages/inbox: that one gives what is unread, and should reading make it read, an
answer that is lost on its way here would take its messages with it.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal
from urllib.parse import quote

import orjson
from pydantic import Field

from receiver.sms.drafts import Item
from receiver.sms.timestamps import SECOND, to_text
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
from receiver.vendors.polling import (
    LOOKUP,
    PollOptions,
    bounded,
    check,
    first,
    lacking,
    poll_options,
    unchanged,
    unread,
)

INBOX: Final = "inbox"
PER_CALL: Final = 200
OVERLAP_SECONDS: Final = 600
"""How far a round reaches back behind the last one: for what the vendor lists late."""
_JSON = ("content-type", "application/json")


class TheSmsWorksPoll(PollOptions):
    feeds: tuple[Literal["inbox"], ...] = Field((INBOX,), description="what is asked for")


def _missing(source: Source) -> Sequence[str]:
    return lacking(source, "token")


def _ask(source: Source, position: Position, now: int, _token: str | None) -> Question:
    """One window of time, from the end of the last one to now, page by page; the window stays until it is read."""
    since, until, skip = _window(source, position, now)
    query = {"status": "INCOMING", "from": to_text(since), "to": to_text(until), "limit": PER_CALL, "skip": skip}
    return Question(
        method="POST",
        path="/messages",
        about={"feed": INBOX, "from": to_text(since), "to": to_text(until), "skip": str(skip)},
        headers=(_JSON, _authorization(source)),
        body=orjson.dumps(query),
    )


def _read(source: Source, position: Position, now: int, reply: Reply) -> Step:
    check(reply)
    try:
        rows, _ = parse_json(reply.body)
    except BadPayload:
        rows = None
    if not isinstance(rows, list):
        raise unread("the list of messages")
    since, until, skip = _window(source, position, now)
    if len(bounded(rows)) >= PER_CALL:
        return Step(position={"since": since, "until": until, "skip": skip + len(rows)}, more=True)
    reached: Position = {"since": until - OVERLAP_SECONDS * SECOND}
    return Step(position=reached) if rows else unchanged(reached)


def _window(source: Source, position: Position, now: int) -> tuple[int, int, int]:
    options = poll_options(source)
    assert options is not None
    begin = now - options.look_back * SECOND
    return int(position.get("since", begin)), int(position.get("until", now)), int(position.get("skip", 0))


def _ask_one(source: Source, message_id: str, _token: str | None) -> Question:
    about = {"feed": LOOKUP, "message_id": message_id}
    return Question(path=f"/messages/{quote(message_id, safe='')}", about=about, headers=(_authorization(source),))


def _read_one(reply: Reply) -> bool:
    if reply.status == 404:
        return False
    check(reply)
    return True


def _authorization(source: Source) -> tuple[str, str]:
    """The token as the console shows it, its word JWT included."""
    return "authorization", first(source, "token")


def poll(parse: Callable[[VendorRequest, Source], Sequence[Item]]) -> Poll:
    """`parse` is the vendor's own: its answers hold the same objects as its pushes."""
    return Poll(
        base_url="https://api.thesmsworks.co.uk/v1",
        help="make a key and secret in the account's API Key section, and of them the token",
        per_minute=60,
        feeds={INBOX: Feed(title="inbound messages", ask=_ask, read=_read)},
        parse=parse,
        missing=_missing,
        lookup=Lookup(ask=_ask_one, read=_read_one),
    )
