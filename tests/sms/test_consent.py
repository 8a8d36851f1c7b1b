"""Changes of the opt-out list that the API asks for, as events of the contract."""

import pytest

from receiver.sms.compose import encode
from receiver.sms.consent import Change, entry_of, person, sender_of
from receiver.sms.events import ContactOptedInEvent, ContactOptedOutEvent

NOW = 1_700_000_000_000_000


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("+44 (0) 7700-900123", None, "+447700900123"), ("447700900123", None, "+447700900123"),
        ("0612345678", "FR", "+33612345678"), ("0612345678", None, None), ("60777", None, "60777"),
        ("ACME", None, None), ("", None, None),
    ],
)  # fmt: skip
def test_a_person_has_a_number(raw: str, region: str | None, expected: str | None):
    assert person(raw, region) == expected


def test_a_sender_may_be_a_name():
    assert [sender_of(raw) for raw in ("ACME", "60777", "447700900456", "", None)] == [
        "ACME", "60777", "+447700900456", None, None,
    ]  # fmt: skip


def test_an_opt_out_of_everything_is_an_event_that_names_nobody_else():
    entry = entry_of(Change(number="+447700900123", opted_out=True), NOW)
    event = ContactOptedOutEvent.model_validate_json(encode("evt_1", entry))
    assert event.data.number is not None
    assert (event.data.number.address, event.data.number.country) == ("+447700900123", "GB")
    assert (event.data.sender, event.data.scope, event.data.via) == (None, "account", "api")
    assert (event.data.vendor, event.data.source_id, event.data.receipt_id) == (None, None, None)


def test_an_opt_in_for_one_sender_names_it():
    change = Change(number="60777", opted_out=False, scope="sender", sender="ACME", source_id="src_1", vendor="twilio")
    event = ContactOptedInEvent.model_validate_json(encode("evt_1", entry_of(change, NOW)))
    assert event.data.sender is not None
    assert (event.data.sender.address, event.data.source_id, event.data.vendor) == ("ACME", "src_1", "twilio")
    assert change.line == ("src_1", "60777", "sender", "ACME")


def test_a_group_is_named_in_extra():
    entry = entry_of(Change(number="60777", opted_out=True, scope="group", sender="MG1"), NOW)
    assert (entry.data["sender"], entry.data["extra"]) == (None, {"group_id": "MG1"})
