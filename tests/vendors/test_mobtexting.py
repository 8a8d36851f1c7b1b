import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.sms.drafts import ConsentChanged, Ignored, Network, Price, Reported
from receiver.sms.events import REASONS, STATUSES
from receiver.vendors.contract import Answer, BadPayload, BadSignature, VendorRequest
from receiver.vendors.mobtexting import MOBTEXTING, MobtextingOptions
from receiver.vendors.mobtexting_tables import STATUSES as TABLE
from tests.vendors.mapped import FORM, URL, asked, item, message, report, source

ID = "b34e35ad-fe34-4a8b-977c-b21cd76cd7d6:1"
DLR = {"id": ID, "mobile": "918921269123", "status": "DELIVRD", "credits": "2.0000", "units": 2}
TIMES = {"deliv_at": "1701086585", "sent_at": "1701063180", "deliv_time": "2021-04-09 16:27:51"}
CALL = {"bridge": 1, "from": 2, "to": 3, "mid": "m", "flow_id": 4, "duration": "23", "status": "ANSWER"}
CONTACT = {"id": 86, "identity": "a@b.example", "first_name": "A", "updated_at": "x", "status": "Subscriber created"}
DOCUMENTED = """
    DELIVRD INVALID-SUB ABSENT-SUB HANDSET-ERR BARRED NET-ERR MEMEXEC FAILED MOB-OFF HANDSET-BUSY SERIES-BLK EXPIRED
    UNDELIV SERIES-BLOCK NO-CREDITS NO-ACCOUNT SERVER-ERR INV-NUMBER SPAM DNDNUMB BLACKLST SNDR-BLOCK
    TEMPLATE-NOT-FOUND INV-TEMPLATE INV-SENDER NOT-OPTIN OPTOUT-REJ PROMO-TMOUT REJECTED NOTALLOWED DUPLICATE THROTTLED
    DLT-REJECTED REJ-MULTIPART DLT-INV-TMID DLT-INV-ENTITY DLT-INV-TM-ID DLT-TM-VAR-EXECEED DLT-ENTITY-NOT-FOUND
    DLT-TM-BLACKLST DLT-ENTITY-BLACKLST DLT-HEADER-INACTIVE DLT-TM-INACTIVE DLT-SENDER-NOT-REG-TM INV-PROVISION
    INV-SERVICE INV-SCHEDULE AWAITING-DLR TIMEOUT-DLR
"""


def posted(payload: object, query: bytes = b"", authorization: str | None = None) -> VendorRequest:
    headers = {} if authorization is None else {"authorization": authorization}
    return asked(query, json.dumps(payload), content_type="application/json", **headers)


def inbound(text: object = "OFFER नमस्ते", kind: str = "text") -> dict[str, Any]:
    return {
        "event": "vmn:message:in",
        "payload": {
            "id": "in-1",
            "channels": [{"name": "vmn", "to": "919019120123"}],
            "recipient": {"from": "918074012345", "user": {"email": None, "phone": "918074012345"}},
            "message": {"type": kind, "payload": {kind: text}},
        },
    }


def unsubscription(kind: str, value: str) -> dict[str, Any]:
    return {
        "id": 436,
        "receiver": "917002088123",
        "type": kind,
        "value": value,
        "created_at": "2023-07-08T12:27:39.000000Z",
        "status": "Unsubscriber created successfully",
    }


def test_the_report_of_today() -> None:
    got = report(MOBTEXTING, posted({**DLR, **TIMES, "cid": "1234444", "custom": "order 7"}))
    assert got == Reported(
        status="delivered",
        final=True,
        vendor_message_id=ID,
        client_reference="order 7",
        to=got.to,
        vendor_status="DELIVRD",
        occurred_at=1_701_086_585_000_000,
        segments=2,
        price=Price(amount="2.0000"),
        extra={"sent_at": "1701063180", "deliv_time": "2021-04-09 16:27:51", "cid": "1234444"},
    )
    assert got.to is not None
    assert (got.to.raw, got.to.international) == ("918921269123", True)


def test_a_time_without_a_zone_waits_for_the_sources() -> None:
    older = {**DLR, "deliv_time": "2021-04-09 16:27:51", "provider": "Jio", "location": "India"}
    assert report(MOBTEXTING, posted(older)).occurred_at is None
    got = report(MOBTEXTING, posted(older), timezone="Asia/Kolkata")
    assert (got.occurred_at, got.network) == (1_617_965_871_000_000, Network(name="Jio"))
    assert got.extra == {"location": "India"}


def test_the_table_holds_every_documented_word_and_only_words_of_ours() -> None:
    assert set(TABLE) == set(DOCUMENTED.split())
    assert {status for status, _, _ in TABLE.values()} <= set(STATUSES)
    assert {reason for _, _, reason in TABLE.values() if reason} <= set(REASONS)


@pytest.mark.parametrize(
    ("word", "status", "final", "reason"),
    [
        ("AWAITING-DLR", "sent", False, None),
        ("TIMEOUT-DLR", "sent", True, None),
        ("ABSENT-SUB", "undelivered", True, "absent"),
        ("MEMEXEC", "undelivered", True, "inbox_full"),
        ("EXPIRED", "expired", True, "expired"),
        ("SERVER-ERR", "failed", True, "vendor_error"),
        ("DNDNUMB", "rejected", True, "do_not_disturb"),
        ("NO-CREDITS", "rejected", True, "no_credit"),
        ("DLT-INV-TM-ID", "rejected", True, "template_rejected"),
        ("DLT-HEADER-INACTIVE", "rejected", True, "sender_rejected"),
        ("delivrd", "unknown", False, None),
        ("013", "unknown", False, None),
    ],
)
def test_status_words(word: str, status: str, final: bool, reason: str | None) -> None:
    got = report(MOBTEXTING, posted({**DLR, "status": word}))
    assert (got.status, got.final, got.reason, got.vendor_status, got.vendor_code) == (
        status,
        final,
        reason,
        word,
        None,
    )


def test_a_refusal_for_an_opt_out_opts_the_number_out() -> None:
    assert report(MOBTEXTING, posted({**DLR, "status": "OPTOUT-REJ"})).opted_out == "unknown"


def test_a_code_is_kept_where_the_source_says_it_comes() -> None:
    got = report(MOBTEXTING, posted({**DLR, "status": "MOB-OFF", "err": "013"}), fields={"vendor_code": "err"})
    assert got.vendor_code == "013"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_templates_and_composed_webhooks_come_in_every_shape(method: str) -> None:
    fields = {"to": "mobile_number", "status": "message_status", "client_reference": "my_id"}
    query = "id=" + ID.replace(":", "%3A")
    pairs = "mobile_number=918921269123&message_status=MOB-OFF&my_id=o-7"
    multipart = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (pair.split("=") for pair in pairs.split("&"))
    )
    shapes = [
        asked(f"{query}&{pairs}", method=method),
        asked(query, pairs, content_type=FORM, method=method),
        asked(query, f"{multipart}--b--\r\n", content_type="multipart/form-data; boundary=b", method=method),
        asked(query, json.dumps(dict(pair.split("=") for pair in pairs.split("&"))), method=method),
    ]
    for shape in shapes:
        got = report(MOBTEXTING, shape, fields=fields)
        assert (got.vendor_message_id, got.client_reference, got.reason) == (ID, "o-7", "absent")


def test_a_report_in_an_envelope_is_the_same_report() -> None:
    wrapped = report(MOBTEXTING, posted({"event": "sms:message:status", "payload": DLR}))
    assert wrapped == report(MOBTEXTING, posted(DLR))


def test_an_inbound_message() -> None:
    got = message(MOBTEXTING, posted(inbound()))
    assert got.from_ is not None
    assert got.to is not None
    assert (got.vendor_message_id, got.text, got.channel) == ("in-1", "OFFER नमस्ते", "sms")
    assert (got.from_.raw, got.from_.international, got.to.raw) == ("918074012345", True, "919019120123")
    assert got.extra["payload"] == {
        "channels": [{"name": "vmn"}],
        "recipient": {"user": {"email": None, "phone": "918074012345"}},
        "message": {"type": "text"},
    }


def test_names_for_composed_webhooks_do_not_touch_the_vendors_own_events() -> None:
    fields = {"text": "body", "from": "who", "to": None, "vendor_message_id": None}
    assert message(MOBTEXTING, posted(inbound()), fields=fields) == message(MOBTEXTING, posted(inbound()))


def test_a_composed_inbound_message() -> None:
    query = "from=918074012345&to=919019120123&keyword1=OFFER&keyword2=BLR&text=OFFER%20BLR&timestamp=1701086585"
    got = message(MOBTEXTING, asked(query, method="GET"))
    assert (got.text, got.keyword, got.sent_at) == ("OFFER BLR", "OFFER", 1_701_086_585_000_000)
    assert got.extra == {"keyword2": "BLR"}


@pytest.mark.parametrize(
    "payload", [inbound("https://m.example/1", "image"), inbound({"a": 1}), {"event": "vmn:message:in"}]
)
def test_an_inbound_message_without_a_text_is_not_understood(payload: object) -> None:
    with pytest.raises(BadPayload):
        item(MOBTEXTING, posted(payload))


@pytest.mark.parametrize(
    ("kind", "value", "scope", "channel", "sender"),
    [
        ("sender", "Demo12", "sender", "sms", "Demo12"),
        ("category", "WUC", "group", None, None),
        ("all", "*", "account", None, None),
        ("everything", "*", "account", None, None),
        ("list", "9", "unknown", None, None),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_unsubscriptions(kind: str, value: str, scope: str, channel: str, sender: str | None, wrapped: bool) -> None:
    payload = unsubscription(kind, value)
    got = item(MOBTEXTING, posted({"event": "sms:unsubscription", "payload": payload} if wrapped else payload))
    assert isinstance(got, ConsentChanged)
    assert got.number is not None
    assert (got.opted_out, got.number.raw, got.scope, got.channel) == (True, "917002088123", scope, channel)
    assert (got.sender.raw if got.sender else None, got.vendor_id) == (sender, "436")
    assert got.scope_id == (value if scope == "group" else None)
    assert got.occurred_at == 1_688_819_259_000_000
    assert got.extra.get("value") == (None if sender else value)


def test_an_unsubscription_of_nobody_is_not_understood() -> None:
    with pytest.raises(BadPayload, match="receiver"):
        item(MOBTEXTING, posted({**unsubscription("all", "*"), "receiver": ""}))


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"event": "whatsapp:message:status", "payload": {"status": "read"}}, "whatsapp:message:status"),
        ({"event": "viber:unsubscription", "payload": {}}, "viber:unsubscription"),
        (CALL, "voice:message:out"),
        (CONTACT, "contacts:subscriber:subscription"),
    ],
)
def test_other_events_are_knowingly_ignored(payload: object, name: str) -> None:
    assert item(MOBTEXTING, posted(payload)) == Ignored(what=name)


def test_a_composed_webhook_may_use_the_name_event() -> None:
    got = report(
        MOBTEXTING,
        posted({**DLR, "event": "sms:sent:ok"}),
        fields={"status": "event"},
        statuses={"sms:sent:ok": "sent"},
    )
    assert got.status == "sent"
    assert report(MOBTEXTING, posted({**DLR, "event": "DLR"})).extra == {"event": "DLR"}


@pytest.mark.parametrize("end", [",}", ",\n}\n", " , }"])
def test_the_comma_of_the_printed_samples_is_no_harm(end: str) -> None:
    body = json.dumps(DLR).removesuffix("}") + end
    assert report(MOBTEXTING, asked(body=body)) == report(MOBTEXTING, posted(DLR))


@pytest.mark.parametrize("body", ["{,}", '{"status":"DELIVRD",,}', '{"status":"DELIVRD"', "[1,]"])
def test_other_broken_json_stays_broken(body: str) -> None:
    with pytest.raises(BadPayload):
        item(MOBTEXTING, asked(body=body, content_type="application/json"))


CHALLENGE = {"validation_key": "9012XXXX", "challenge": 'a2"34qwe'}


def shaken(request: VendorRequest, secret: str = "") -> Answer | None:
    assert MOBTEXTING.handshake is not None
    return MOBTEXTING.handshake(request, source(MOBTEXTING, secret) if secret else source(MOBTEXTING))


def test_the_challenge_goes_back() -> None:
    for answer in (
        shaken(posted(CHALLENGE, b"token=9012XX")),
        shaken(posted(CHALLENGE, authorization="Bearer s"), "s"),
    ):
        assert answer is not None
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert json.loads(answer.body) == {"challenge": CHALLENGE["challenge"]}


@pytest.mark.parametrize("authorization", [None, "Bearer wrong"])
def test_the_challenge_is_for_who_knows_the_secret(authorization: str | None) -> None:
    with pytest.raises(BadSignature):
        shaken(posted(CHALLENGE, authorization=authorization), "s3cret")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(DLR),
        json.dumps({"challenge": "x"}),
        json.dumps({"validation_key": "x", "challenge": 7}),
        json.dumps([CHALLENGE]),
        json.dumps({"a": CHALLENGE}),
        '{"validation_key":"x","challenge":"x"',
        "",
    ],
)
def test_nothing_else_is_a_challenge(body: str) -> None:
    assert shaken(asked(body=body)) is None


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", ""])
def test_a_wrong_or_missing_secret_is_refused(authorization: str | None) -> None:
    with pytest.raises(BadSignature):
        MOBTEXTING.verify(posted(DLR, authorization=authorization), source(MOBTEXTING, "s3cret"))


def test_a_signed_request_is_one_that_verifies() -> None:
    assert MOBTEXTING.sign is not None
    named = source(MOBTEXTING, ("s3cret", "older"))
    MOBTEXTING.verify(MOBTEXTING.sign(posted(DLR), named), named)
    MOBTEXTING.verify(posted(DLR), source(MOBTEXTING))


def test_the_older_template_names_what_the_defaults_read() -> None:
    template = MOBTEXTING.setup(URL, MobtextingOptions())["dlr_url"].partition("?")[2]
    filled = template.format(
        id=ID, mobile="918921269123", status="UNDELIV", credits="1", units="1", deliv_at="1701086585", custom="o-7"
    )
    got = report(MOBTEXTING, asked(filled, method="GET"))
    assert (got.vendor_message_id, got.client_reference, got.status, got.extra) == (ID, "o-7", "undelivered", {})
    with pytest.raises(BadPayload, match="status: the template"):
        item(MOBTEXTING, asked(template, method="GET"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "payload",
                    "recipient",
                    "message",
                    "channels",
                    "from",
                    "text",
                    "id",
                    "status",
                    "type",
                    "value",
                    "receiver",
                    "challenge",
                    "validation_key",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)
EVENT = st.sampled_from(["vmn:message:in", "sms:unsubscription", "sms:message:status", "x:y", "", None, 7])


@given(
    EVENT,
    st.dictionaries(st.sampled_from(["payload", "type", "value", "receiver", "challenge", "validation_key"]), JSON),
    st.binary(max_size=32),
)
def test_whatever_comes_is_read_or_refused(event: object, document: dict[str, Any], raw: bytes) -> None:
    for request in (
        posted({"event": event, **document}),
        posted(document),
        asked(raw, raw, content_type="application/json"),
    ):
        shaken(request)
        with suppress(BadPayload):
            item(MOBTEXTING, request)
