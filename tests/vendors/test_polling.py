"""The pure steps of vendors that are asked: what to ask next, and what an answer leads to."""

import io
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.drafts import ConsentChanged, Ignored, Item, Received, Reported, Unreadable
from receiver.vendors import VENDORS
from receiver.vendors.contract import POLL, BadPayload, NotAnswered, Poll, Position, Question, Reply, Source, Step
from receiver.vendors.isendpro_poll import MAX_FILE
from receiver.vendors.polling import CLOSED, asked, check, problems, understood
from tests.vendors.mapped import asked as pushed

CREDENTIALS = {
    "username": ("u",), "password": ("p",), "token": ("JWT t",), "access_token": ("a",), "keyid": ("k",),
    "client_id": ("c",), "client_secret": ("s",),
}  # fmt: skip
NOW = 1_795_186_023_000_000
DAY = 86_400_000_000


def source(vendor: str, poll: Any = None, **options: Any) -> Source:
    model = VENDORS[vendor].options
    return Source(
        id="src_test", vendor=vendor, name="test", credentials=CREDENTIALS,
        options=model.model_validate({"poll": poll or {}, **options}),
    )  # fmt: skip


def poll_of(vendor: str) -> Poll:
    poll = VENDORS[vendor].poll
    assert poll is not None
    return poll


def says(body: bytes | object, status: int = 200) -> Reply:
    return Reply(status=status, headers=(), body=body if isinstance(body, bytes) else orjson.dumps(body))


def ask(vendor: str, feed: str, position: Position | None = None, now: int = NOW, **given: Any) -> Question:
    return poll_of(vendor).feeds[feed].ask(source(vendor, **given), position or {}, now, None)


def read(vendor: str, feed: str, reply: Reply, position: Position | None = None, now: int = NOW, **given: Any) -> Step:
    return poll_of(vendor).feeds[feed].read(source(vendor, **given), position or {}, now, reply)


def trouble(vendor: str, feed: str, reply: Reply, position: Position | None = None) -> tuple[str, str]:
    with pytest.raises(NotAnswered) as caught:
        read(vendor, feed, reply, position)
    return caught.value.kind, str(caught.value)


def parsed(vendor: str, query: str, body: object, **given: Any) -> Sequence[Item]:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return understood(VENDORS[vendor], replace(pushed(query, raw), method=POLL), source(vendor, **given))


FEEDS = [(vendor.name, feed) for vendor in VENDORS.values() if vendor.poll for feed in vendor.poll.feeds]


@pytest.mark.parametrize(("vendor", "feed"), FEEDS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "credentials"),
        (403, "credentials"),
        (429, "busy"),
        (503, "busy"),
        (302, "refused"),
        (404, "refused"),
        (500, "refused"),
    ],
)
def test_a_bad_status_is_told_by_its_kind(vendor: str, feed: str, status: int, kind: str):
    found, why = trouble(vendor, feed, says(b"", status))
    assert found == kind
    assert str(status) in why


@pytest.mark.parametrize(("vendor", "feed"), FEEDS)
@given(
    body=st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"[]", b"{}", b"null", b"5", b'{"data": 5}', b"PK\x03\x04", b'{"rows": []}']),
    )
)
def test_any_bytes_are_an_answer_or_told_to_be_none(vendor: str, feed: str, body: bytes):
    with suppress(NotAnswered):
        step = read(vendor, feed, says(body))
        assert step.pieces is None or isinstance(step.pieces, Sequence)


@pytest.mark.parametrize(("vendor", "feed"), FEEDS)
def test_what_a_receipt_shows_of_a_question_is_no_credential(vendor: str, feed: str):
    question = ask(vendor, feed)
    assert question.about["feed"] == feed
    shown = " ".join(question.about.values())
    assert not [value for (value,) in CREDENTIALS.values() if value in shown.split()]
    assert "repr" not in repr(question)
    assert "password" not in repr(question)


@pytest.mark.parametrize("vendor", ["isendpro", "mobtexting", "sendsms", "thesmsworks"])
def test_without_its_credentials_it_is_not_asked(vendor: str):
    wanted = source(vendor)
    assert asked(VENDORS[vendor], wanted) is not None
    bare = replace(wanted, credentials={})
    assert asked(VENDORS[vendor], bare) is None
    assert problems(VENDORS[vendor], bare)
    assert asked(VENDORS[vendor], replace(wanted, options=VENDORS[vendor].options())) is None
    assert asked(VENDORS["twilio"], wanted) is None


def test_an_answer_of_a_vendor_that_is_not_asked_is_none():
    with pytest.raises(BadPayload, match="cannot be asked"):
        understood(VENDORS["twilio"], replace(pushed("feed=x"), method=POLL), source("sendsms"))


def test_a_closing_is_a_final_report_of_whatever_is_known():
    (item,) = parsed("sendsms", f"feed={CLOSED}", {"client_reference": "r", "to": "+40727363767", "from": None})
    assert isinstance(item, Reported)
    assert (item.status, item.final, item.flags, item.client_reference) == ("unknown", True, ("no_final_report",), "r")
    assert (item.to and item.to.raw, item.from_) == ("+40727363767", None)


def test_a_push_is_read_as_ever():
    assert isinstance(
        understood(VENDORS["sendsms"], pushed("ref=r&status=1", method="GET"), source("sendsms"))[0], Reported
    )


def test_more_rows_than_one_transaction_takes_are_no_answer():
    many = [{"id": str(number)} for number in range(1_001)]
    for vendor, feed, body in (
        ("sendsms", "messages_get", {"status": 0, "details": many}),
        ("thesmsworks", "inbox", many),
        ("mobtexting", "vmn_logs", {"rows": {"data": many}}),
        ("mobtexting", "sms_status", {"data": many}),
    ):
        assert trouble(vendor, feed, says(body)) == ("answer", "the vendor's answer has more than 1000 rows at once")


# sendSMS


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": -8}, "credentials"),
        ({"status": -4096}, "busy"),
        ({"status": -16}, "refused"),
        ({"status": "x"}, "answer"),
        ({}, "answer"),
        ({"status": 0, "details": "text"}, "answer"),
        ({"status": 0, "details": [{"id": "3"}]}, "answer"),
        (b"<html>", "answer"),
    ],
)
def test_sendsms_results_below_zero_are_told(body: object, kind: str):
    assert trouble("sendsms", "messages_get", says(body), {"last_id": 3})[0] == kind


def test_sendsms_text_in_another_charset_keeps_its_name():
    rows = [{"id": 7, "from": None, "data": "x", "charset": "UTF-16BE", "created": "2026-05-03 14:07:55"}, 5]
    unreadable, item = parsed("sendsms", "feed=messages_get", {"status": 0, "details": rows})
    assert isinstance(unreadable, Unreadable)
    assert isinstance(item, Received)
    assert (item.vendor_message_id, item.from_, dict(item.extra)) == ("7", None, {"charset": "UTF-16BE"})


def test_sendsms_states_without_one_are_ignored_and_side_values_may_be_odd():
    assert isinstance(parsed("sendsms", "feed=lookup", {"status": 0, "details": None})[0], Ignored)
    assert isinstance(parsed("sendsms", "feed=lookup", {"status": 0, "details": {}})[0], Ignored)
    details = {"status": 99, "cost": "free", "parts": "many", "ctype": "3", "failover_id": "f"}
    (item,) = parsed("sendsms", "feed=lookup&message_id=m", {"status": 0, "details": details})
    assert isinstance(item, Reported)
    assert (item.status, item.final, item.channel, item.price, item.segments) == ("unknown", False, "viber", None, None)
    assert dict(item.extra) == {"failover_id": "f"}


def test_sendsms_a_message_that_it_does_not_know_is_no_failure():
    lookup = poll_of("sendsms").lookup
    assert lookup is not None
    assert not lookup.read(says({"status": -1}))
    with pytest.raises(NotAnswered):
        lookup.read(says({"status": -8}))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (says({"error": "invalid_grant"}, 400), "credentials"),
        (says({}, 500), "refused"),
        (says({"token_type": "bearer"}), "answer"),
        (says({"access_token": "a", "expires_in": "soon"}), "answer"),
    ],
)
def test_sendsms_tokens_that_are_none(reply: Reply, kind: str):
    grant = poll_of("sendsms").grant
    assert grant is not None
    with pytest.raises(NotAnswered) as caught:
        grant.read(reply, NOW)
    assert caught.value.kind == kind


def test_sendsms_a_token_without_its_time_lasts_an_hour():
    grant = poll_of("sendsms").grant
    assert grant is not None
    tokens = grant.read(says({"access_token": "a"}), NOW)
    assert (tokens.refresh, tokens.expires_at - NOW) == (None, 3_600_000_000)
    assert "a" not in repr(tokens).split("=")[1:2]


# The SMS Works


def test_thesmsworks_a_round_begins_ten_minutes_before_the_end_of_the_last():
    step = read("thesmsworks", "inbox", says([]))
    assert (step.position, step.more, step.pieces) == ({"since": NOW - 600_000_000}, False, ())
    later = ask("thesmsworks", "inbox", step.position, NOW + 60_000_000)
    assert orjson.loads(later.body)["from"] == "2026-11-20T14:37:03.000Z"
    assert orjson.loads(later.body)["to"] == "2026-11-20T14:48:03.000Z"


# iSendPro


def a_zip(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return made.getvalue()


CAMPAIGN = b"date;num;tracker;statut\r\n2026-11-20 14:22:07;33601020304;t-1;1\r\n"


@pytest.mark.parametrize(
    "body",
    [
        a_zip({"x.txt": b"nothing", "RAPPORT.CSV": CAMPAIGN}),
        CAMPAIGN,
        b"\xef\xbb\xbf" + CAMPAIGN.replace(b";", b","),
        CAMPAIGN.replace(b";", b"\t").replace(b"\r\n", b"\n") + b"\n\t\t\n",
    ],
)
def test_isendpro_a_file_may_come_in_several_ways(body: bytes):
    step = read("isendpro", "campaign", says(body))
    assert step.pieces is not None
    (piece,) = step.pieces
    (item,) = parsed("isendpro", "feed=campaign", piece.body, timezone="Europe/Paris", statuses={"1": "delivered"})
    assert isinstance(item, Reported)
    assert (item.client_reference, item.status, item.to and item.to.raw) == ("t-1", "delivered", "33601020304")
    assert item.occurred_at == 1_795_180_927_000_000


def test_isendpro_latin_letters_are_read():
    step = read("isendpro", "campaign", says("tracker;message\nt;é\n".encode("cp1252")))
    assert step.pieces is not None
    assert step.pieces[0].body == "tracker;message\nt;é\n".encode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (a_zip({"x.txt": b"no"}), "answer"),
        (b"PK\x03\x04broken", "answer"),
        (b'{"etat": {"etat": {"code": 5}}}', "refused"),
        (b'{"etat": {"etat": [{"code": "not a code at all"}]}}', "refused"),
        (b"{broken", "refused"),
        (b'a;b\n"' + b"x" * 140_000 + b'"\n', "answer"),
        (a_zip({"x.csv": b"0" * (MAX_FILE + 1)}), "answer"),
    ],
)
def test_isendpro_what_is_no_file_is_told(body: bytes, kind: str):
    assert trouble("isendpro", "campaign", says(body))[0] == kind


def test_isendpro_a_code_is_told_and_nothing_else():
    said = {"etat": {"etat": [{"code": "21", "message": "0600208432 n'est pas attribué"}]}}
    assert trouble("isendpro", "campaign", says(said, 400)) == ("refused", "the vendor answered an error 21 (HTTP 400)")


def test_isendpro_columns_are_the_sources_own():
    columns = {"vendor_message_id": "Id", "client_reference": None, "status": ["Etat final"]}
    given = {"poll": {"columns": columns}, "statuses": {"OK": "delivered"}}
    body = b"Id;Etat final;tracker\n7;OK;t\n8;;t\n"
    first, second = parsed("isendpro", "feed=campaign", body, **given)
    assert isinstance(first, Reported)
    assert (first.vendor_message_id, first.client_reference, first.status) == ("7", None, "delivered")
    assert isinstance(second, Unreadable)


def test_isendpro_a_row_without_tracker_is_left_and_an_empty_file_too():
    assert isinstance(parsed("isendpro", "feed=campaign", b"num;statut\n33601020304;1\n")[0], Ignored)
    assert parsed("isendpro", "feed=campaign", b"") == []
    assert read("isendpro", "campaign", says(b"")).pieces == []
    assert read("isendpro", "campaign", says(b"date;num\n")).pieces == []


@pytest.mark.parametrize("body", [b"\xff", b'a\n"' + b"x" * 140_000 + b'"\n'])
def test_isendpro_a_receipt_that_is_no_csv_goes_to_quarantine(body: bytes):
    with pytest.raises(BadPayload, match="not a CSV"):
        parsed("isendpro", "feed=campaign", body)


@pytest.mark.parametrize(
    ("body", "poll", "numbers"),
    [
        (b"numero\n33601020304\n0601020305\n", {}, ["33601020304", "0601020305"]),
        (b"33601020304\n33601020305\n", {}, ["33601020304", "33601020305"]),
        (b"33601020304\n", {}, ["33601020304"]),
        (b"1234567;33601020304\n", {}, ["1234567"]),
        (b"id;Tel\n1234567;33601020304\n1234568;\n", {"black_list_column": "Tel"}, ["33601020304"]),
        (b"id;num\n1;33601020304\n", {"black_list_column": "gone"}, ["33601020304"]),
        (b"", {"black_list_column": "gone"}, []),
    ],
)
def test_isendpro_a_black_list_has_numbers(body: bytes, poll: Any, numbers: list[str]):
    step = read("isendpro", "black_list", says(body))
    found = [
        item for piece in step.pieces or () for item in parsed("isendpro", "feed=black_list", piece.body, poll=poll)
    ]
    assert [item.number.raw for item in found if isinstance(item, ConsentChanged) and item.number] == numbers
    assert {item.scope for item in found if isinstance(item, ConsentChanged)} <= {"account"}
    assert parsed("isendpro", "feed=black_list", b"", poll=poll) == []


# Mobtexting


def rows(*moments: str, more: bool = False) -> Reply:
    data = [{"id": moment, "created_at": moment} for moment in moments]
    return says({"rows": {"data": data, "next_page_url": "…" if more else None}})


def test_mobtexting_the_log_is_read_back_to_where_the_last_round_began():
    step = read("mobtexting", "vmn_logs", rows("2026-11-20T14:00:00.000000Z", more=True), {"day": "2026-11-20"})
    assert (step.position["page"], step.more) == (2, True)
    ended = read("mobtexting", "vmn_logs", rows("2026-11-20T13:00:00.000000Z"), step.position)
    top = 1_795_183_200_000_000
    assert (ended.position, ended.more) == ({"day": "2026-11-19", "page": 1, "reached": top, "top": top}, False)
    known = read(
        "mobtexting",
        "vmn_logs",
        rows("2026-11-20T13:00:00.000000Z", more=True),
        {**ended.position, "day": "2026-11-20"},
    )
    assert not known.more
    late = read(
        "mobtexting",
        "vmn_logs",
        rows("2026-11-20T13:55:00.000000Z", more=True),
        {**ended.position, "day": "2026-11-20"},
    )
    assert late.more


def test_mobtexting_a_day_follows_the_other_in_the_sources_zone():
    assert ask("mobtexting", "vmn_logs", now=NOW).about["day"] == "2026-11-19"
    late = NOW + 5 * 3_600_000_000  # 19:47 in UTC
    assert ask("mobtexting", "vmn_logs", now=late, timezone="Asia/Kolkata").about["day"] == "2026-11-20"
    step = read("mobtexting", "vmn_logs", rows(), {"day": "2026-11-19", "page": 3})
    assert (step.position["day"], step.position["page"], step.more, step.pieces) == ("2026-11-20", 1, True, ())


@pytest.mark.parametrize("body", [{}, {"rows": None}, {"rows": {"data": None}}, {"rows": []}])
def test_mobtexting_a_log_without_rows_is_none(body: object):
    assert trouble("mobtexting", "vmn_logs", says(body))[0] == "answer"


def test_mobtexting_rows_of_any_kind():
    body = {"rows": {"data": [{"id": "1", "mobile": "918074012345", "body": "", "serial": 1, "created_at": 5}, 7]}}
    unreadable, item = parsed("mobtexting", "feed=vmn_logs", body)
    assert isinstance(unreadable, Unreadable)
    assert isinstance(item, Received)
    assert (item.text, "serial" in item.extra) == ("", False)
    assert parsed("mobtexting", "feed=vmn_logs", {}) == []
    assert read("mobtexting", "vmn_logs", says(body), {"day": "2026-11-20"}).pieces is None
    assert parsed("mobtexting", "feed=sms_status", {"data": None}) == []


def test_a_good_status_passes():
    check(says(b""))
    check(says(b"", 204))
