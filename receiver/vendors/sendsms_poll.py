"""sendSMS asked: `messages_get` for inbound messages, `message_status` for one outbound message.

`messages_get` (cursor `last_id`) and the classic `message_status`: https://www.sendsms.ro/api/; the fields of an
inbound message are the sibling platform's (https://panaceamobile.gitbook.io/panacea-mobile-help-centre). The
connector's `message_status` with OAuth 2.0: https://github.com/microsoft/PowerPlatformConnectors
(certified-connectors/sendSMS).
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

import orjson
from pydantic import Field

from receiver.sms.drafts import Ignored, Item, Party, Price, Received, Reported, Unreadable
from receiver.vendors import times
from receiver.vendors.bodies import parse_json
from receiver.vendors.contract import (
    BadPayload,
    Feed,
    Grant,
    Lookup,
    NotAnswered,
    Poll,
    Position,
    Question,
    Reply,
    Source,
    Step,
    VendorRequest,
)
from receiver.vendors.fields import Fields
from receiver.vendors.mapping import mapped
from receiver.vendors.oauth import read_tokens, token_question
from receiver.vendors.polling import (
    LOOKUP,
    PollOptions,
    about,
    bounded,
    document,
    first,
    lacking,
    poll_options,
    unchanged,
    unread,
    with_query,
)

PER_CALL: Final = 50
PER_MINUTE: Final = 10
INBOUND: Final = "messages_get"
_CONNECTOR: Final = "/integration/powerautomate/message_status"
_AUTHENTICATION_FAILED, _TOO_MANY, _NO_SUCH_MESSAGE = -8, -4096, -1
_ID = re.compile(r"[0-9]{1,18}")
_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
_SMALL = re.compile(r"[0-9]{1,3}")
_USED = frozenset({"status", "message", "cost", "parts", "timestamp_delivered", "timestamp_failed", "ctype"})


class SendSmsPoll(PollOptions):
    feeds: tuple[Literal["messages_get"], ...] = Field((INBOUND,), description="what is asked for")
    last_id: int = Field(0, ge=0, description="begin behind this inbound message; 0: with the oldest there is")
    connector: bool = Field(
        False,
        description="ask for states by the OAuth 2.0 connector instead of the classic call with user and password",
    )


def _options(source: Source) -> SendSmsPoll:
    found = poll_options(source)
    assert isinstance(found, SendSmsPoll)
    return found


def _missing(source: Source) -> Sequence[str]:
    options = _options(source)
    classic = bool(options.feeds) or not options.connector
    account = ("username", "password") if classic else ()
    client = ("client_id", "client_secret") if options.connector else ()
    return lacking(source, *account, *client)


def _classic(source: Source, action: str, name: str, value: str) -> str:
    """Every call is a GET with the account in its query; the document gives no other way."""
    pairs = [("action", action), ("username", first(source, "username")), ("password", first(source, "password"))]
    return with_query("/json", [*pairs, (name, value)])


def _ask_inbound(source: Source, position: Position, _now: int, _token: str | None) -> Question:
    last_id = str(position.get("last_id", _options(source).last_id))
    path = _classic(source, INBOUND, "last_id", last_id)
    return Question(path=path, about={"feed": INBOUND, "last_id": last_id})


def _read_inbound(source: Source, position: Position, _now: int, reply: Reply) -> Step:
    """The highest id is the next `last_id`; a full answer means that there may be more."""
    rows = _succeeded(reply).get("details")
    if not rows:
        return unchanged(position)
    if not isinstance(rows, list):
        raise unread("details")
    highest = max(map(_number, bounded(rows)))
    if highest <= int(position.get("last_id", _options(source).last_id)):  # the same question would be asked for ever
        raise unread("details.id")
    return Step(position={"last_id": highest}, more=len(rows) >= PER_CALL)


def _number(row: object) -> int:
    """The id of an inbound message; -1 where there is none."""
    text = str(row.get("id", "")).strip() if isinstance(row, dict) else ""
    return int(text) if _ID.fullmatch(text) else -1


def _succeeded(reply: Reply) -> Fields:
    """The answer's object; its `status` is the result of the call, below zero where it failed."""
    answer = document(reply)
    match _result(answer):
        case code if code >= 0:
            return answer
        case code if code == _AUTHENTICATION_FAILED:
            raise NotAnswered("credentials", f"the vendor refuses the credentials (status {code})")
        case code if code == _TOO_MANY:
            raise NotAnswered("busy", f"the vendor asks to be left alone for a while (status {code})")
        case code:
            raise NotAnswered("refused", f"the vendor answered status {code}")


def _result(answer: Fields) -> int:
    found = answer.integer("status")
    if found is None:
        raise unread("status")
    return found


def _ask_status(source: Source, message_id: str, token: str | None) -> Question:
    asked = {"feed": LOOKUP, "message_id": message_id}
    if not _options(source).connector:
        return Question(path=_classic(source, "message_status", "message_id", message_id), about=asked)
    headers = (("content-type", "application/json"), ("authorization", f"Bearer {token}"))
    body = orjson.dumps({"message_id": message_id})
    return Question(method="POST", path=_CONNECTOR, about=asked, headers=headers, body=body)


def _read_status(reply: Reply) -> bool:
    if _result(document(reply)) == _NO_SUCH_MESSAGE:
        return False
    _succeeded(reply)
    return True


def _ask_token(source: Source, refresh: str | None) -> Question:
    """With the refresh token that came last, else the one of the source, else by the client's own name."""
    refresh = refresh or first(source, "refresh_token") or None
    client = (("client_id", first(source, "client_id")), ("client_secret", first(source, "client_secret")))
    if refresh is None:
        return token_question(
            "/oauth2/token", *client, ("grant_type", "client_credentials"), ("scope", "PowerAutomate")
        )
    refreshing = (("grant_type", "refresh_token"), ("refresh_token", refresh))
    return token_question("/oauth2/refresh_token", *client, *refreshing)


def parse(request: VendorRequest, source: Source) -> Sequence[Item]:
    asked = about(request)
    answer = Fields.of(parse_json(request.body)[0])
    if asked.get("feed") == LOOKUP:
        return [_reported(answer, asked.get("message_id"), source)]
    return [_item(row, source) for row in sorted(answer.items_of("details"), key=_number)]  # they come newest first


def _item(row: object, source: Source) -> Item:
    try:
        return _received(Fields.of(row), source)
    except BadPayload as error:
        return Unreadable(error=str(error))


def _received(row: Fields, source: Source) -> Received:
    charset = row.text("charset")
    used = {"id", "from", "to", "data", "created"} | ({"charset"} if (charset or "").upper() == "UTF-8" else set())
    text = row.words("data")
    if text is None:
        raise BadPayload("data: missing")
    return Received(
        vendor_message_id=row.require("id"),
        from_=_party(row.text("from")),
        to=_party(row.text("to")),
        text=text,
        sent_at=times.iso(row.text("created"), source.options.zone),
        extra=row.rest(used),
    )


def _reported(answer: Fields, message_id: str | None, source: Source) -> Item:
    options = mapped(source)
    details = answer.object("details")
    word = details.text("status") if details else None
    if details is None or word is None:
        return Ignored(what="message_status without a state")
    status, final, reason = options.verdicts.get(word, ("unknown", False, None))
    when = {"delivered": "timestamp_delivered"}.get(status, "timestamp_failed")
    cost, parts, channel = details.text("cost"), details.text("parts"), details.text("ctype")
    return Reported(
        status=status,
        final=final,
        reason=reason,
        vendor_message_id=message_id,
        channel=options.CHANNELS.get(channel or "1"),
        vendor_status=word,
        vendor_description=details.text("message"),
        occurred_at=times.iso(details.text(when), options.zone) if final else None,
        segments=int(parts) if parts and _SMALL.fullmatch(parts) else None,
        price=Price(amount=cost) if cost and _AMOUNT.fullmatch(cost) else None,
        extra=details.rest(_USED),
    )


def _party(raw: str | None) -> Party | None:
    return None if raw is None else Party(raw=raw, international=True)


SENDSMS_POLL = Poll(
    base_url="https://api.sendsms.ro",
    help="where the API key is bound to addresses, add this machine's; leave the forwarding of inbound messages off: "
    "a message that is pushed has no id and would come twice",
    per_minute=PER_MINUTE,
    feeds={INBOUND: Feed(title="inbound messages", ask=_ask_inbound, read=_read_inbound)},
    parse=parse,
    missing=_missing,
    lookup=Lookup(ask=_ask_status, read=_read_status),
    grant=Grant(wanted=lambda source: _options(source).connector, ask=_ask_token, read=read_tokens),
)
