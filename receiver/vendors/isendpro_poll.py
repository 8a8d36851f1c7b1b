"""iSendPro asked: the report of what was sent in a period, and the black list; each a CSV in a zip.

https://github.com/flowground/isendpro-com-connector (lib/spec.json) names the calls. The columns of the files are in no
document that we know: they are options, and their defaults are assumed.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from receiver.sms.drafts import ConsentChanged, Ignored, Item, Party, Reported, Unreadable
from receiver.sms.timestamps import SECOND
from receiver.vendors.bodies import BOM, parse_json
from receiver.vendors.contract import (
    BadPayload,
    Feed,
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
from receiver.vendors.mapping import mapped, read
from receiver.vendors.mapping_options import Names, OurName, SomeNames
from receiver.vendors.polling import PollOptions, about, check, first, lacking, poll_options, unread, with_query

CAMPAIGN: Final = "campaign"
BLACK_LIST: Final = "black_list"
ROWS_A_PIECE: Final = 500
"""A long file is kept in pieces: the rows of one commit must not hold up everything else."""
MAX_FILE: Final = 16 * 1024 * 1024
COLUMNS: Mapping[str, Names] = {
    "client_reference": ("tracker",),
    "from": ("emetteur",),
    "to": ("num", "tel", "numero", "destinataire"),
    "status": ("statut", "etat", "code"),
    "occurred_at": ("date", "date_reception"),
    "vendor_description": ("message",),
}
_NUMBER = re.compile(r"\+?[0-9][0-9 .-]{5,18}")
_CODE = re.compile(r"[0-9]{1,6}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PARIS = ZoneInfo("Europe/Paris")
_CSV = ((b"content-type", b"text/csv; charset=utf-8"),)


class ISendProPoll(PollOptions):
    every: int = Field(900, ge=1, le=86_400, description="seconds from one round to the next")
    feeds: tuple[Literal["campaign", "black_list"], ...] = Field(
        (CAMPAIGN, BLACK_LIST), description="what is asked for"
    )
    columns: dict[OurName, SomeNames | None] = Field(
        {}, description="our names to the columns of the campaign report, merged over assumed defaults"
    )
    black_list_column: str | None = Field(
        None, max_length=256, description="the black list's column of numbers; left out: the first that looks like one"
    )


def _options(source: Source) -> ISendProPoll:
    found = poll_options(source)
    return found if isinstance(found, ISendProPoll) else ISendProPoll()


def _missing(source: Source) -> Sequence[str]:
    return lacking(source, "keyid")


def _ask_campaign(source: Source, _position: Position, now: int, _token: str | None) -> Question:
    """The same length of time each round: a state changes after its message was sent."""
    since, until = _minute(source, now - _options(source).look_back * SECOND), _minute(source, now)
    query = [("keyid", first(source, "keyid")), ("rapportCampagne", "1"), ("date_deb", since), ("date_fin", until)]
    asked = {"feed": CAMPAIGN, "date_deb": since, "date_fin": until}
    return Question(path=with_query("/campagne", query), about=asked)


def _ask_black_list(source: Source, _position: Position, _now: int, _token: str | None) -> Question:
    path = with_query("/getlistenoire", [("keyid", first(source, "keyid")), ("getListeNoire", "1")])
    return Question(method="POST", path=path, about={"feed": BLACK_LIST})


def _minute(source: Source, micros: int) -> str:
    moment = (_EPOCH + timedelta(microseconds=micros)).astimezone(source.options.zone or _PARIS)
    return moment.strftime("%Y-%m-%d %H:%M")


def _read(_source: Source, _position: Position, _now: int, reply: Reply) -> Step:
    if reply.status != 400:
        check(reply)
    if reply.status == 400 or reply.body[:1] == b"{":
        raise NotAnswered("refused", f"the vendor answered an error{_code(reply)} (HTTP {reply.status})")
    return Step(position={}, pieces=[_piece(rows) for rows in _pieces(_rows(_unpacked(reply.body)))])


def _code(reply: Reply) -> str:
    """The code of `{"etat": {"etat": [{"code": …}]}}`; the list may also be its only item."""
    try:
        answer = Fields.of(parse_json(reply.body)[0])
    except BadPayload:
        return ""
    found = answer.find("etat.etat.0.code") or answer.find("etat.etat.code")
    return f" {found}" if found is not None and _CODE.fullmatch(str(found)) else ""


def _unpacked(body: bytes) -> str:
    """The text of the zip's first CSV, or of a CSV that came without one."""
    if body[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                body = _first_csv(archive)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
            raise unread("the zip") from None
    body = body.removeprefix(BOM)
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _first_csv(archive: zipfile.ZipFile) -> bytes:
    name = next((name for name in archive.namelist() if name.lower().endswith(".csv")), None)
    if name is None:
        raise unread("the zip, which holds no CSV,")
    with archive.open(name) as file:
        body = file.read(MAX_FILE + 1)
    if len(body) > MAX_FILE:
        raise NotAnswered("answer", f"the vendor's file is larger than {MAX_FILE} bytes; ask for less (poll.look_back)")
    return body


def _rows(text: str) -> Sequence[Sequence[str]]:
    """Separated by whichever of semicolon, tab and comma the first line has most."""
    head = text.partition("\n")[0]
    separator = max(";\t,", key=head.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error:
        raise unread("the CSV") from None
    return [row for row in rows if any(map(str.strip, row))]


def _pieces(rows: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    """Each with the first line, which names the columns or is a number of a list without names."""
    head, behind = rows[:1], rows[1:]
    if head and not behind and any(map(_NUMBER.fullmatch, head[0])):
        yield head
    for start in range(0, len(behind), ROWS_A_PIECE):
        yield [*head, *behind[start : start + ROWS_A_PIECE]]


def _piece(rows: Sequence[Sequence[str]]) -> Reply:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", lineterminator="\n").writerows(rows)
    return Reply(status=200, headers=_CSV, body=text.getvalue().encode())


def parse(request: VendorRequest, source: Source) -> Sequence[Item]:
    try:
        rows = _rows(request.body.decode())
    except (UnicodeDecodeError, NotAnswered):
        raise BadPayload("body: not a CSV") from None
    if about(request).get("feed") == BLACK_LIST:
        return list(_opt_outs(rows, source))
    head = rows[0] if rows else ()
    names = _columns(source)
    return [_report(dict(zip(head, row, strict=False)), source, names) for row in rows[1:]]


def _columns(source: Source) -> Mapping[str, Names]:
    own = _options(source).columns
    kept = {ours: theirs for ours, theirs in COLUMNS.items() if ours not in own}
    return kept | {ours: theirs for ours, theirs in own.items() if theirs is not None}


def _report(row: Mapping[str, str], source: Source, names: Mapping[str, Names]) -> Item:
    """A row that nothing names would be a new message each time that it is seen."""
    try:
        draft = read(Fields(row), mapped(source), names)
    except BadPayload as error:
        return Unreadable(error=str(error))
    if isinstance(draft, Reported) and not (draft.vendor_message_id or draft.client_reference):
        return Ignored(what="a row without tracker: nothing tells its repeats apart")
    return draft


def _opt_outs(rows: Sequence[Sequence[str]], source: Source) -> Iterator[Item]:
    column = _options(source).black_list_column
    place = list(rows[0]).index(column) if column and rows and column in rows[0] else None
    for row in rows:
        cells = row if place is None else row[place : place + 1]
        number = next((cell.strip() for cell in cells if _NUMBER.fullmatch(cell.strip())), None)
        if number is not None:
            party = Party(raw=number, international=mapped(source).international)
            yield ConsentChanged(opted_out=True, number=party, scope="account")


ISENDPRO_POLL = Poll(
    base_url="https://apirest.isendpro.com/cgi-bin",
    help="the key stands in the account under API (mon compte, mon API); add this machine's address to the list there",
    per_minute=10,
    feeds={
        CAMPAIGN: Feed(title="the campaign report", ask=_ask_campaign, read=_read),
        BLACK_LIST: Feed(title="the black list", ask=_ask_black_list, read=_read),
    },
    parse=parse,
    missing=_missing,
)
