"""Events and campaigns as tables: every fixture's events fit, and each cell is where its heading says."""

from typing import Any

import pytest

from receiver.fixtures import load_all
from receiver.formats import campaign, event_table

EVENTS = [event for fixture in load_all() for event in fixture.expected.events]
ADDRESS = {"address": "+447700900123", "country": "GB"}


def row(event: Any) -> dict[str, object]:
    return dict(zip(event_table.COLUMNS, event_table.cells(event), strict=True))


def report(**given: Any) -> dict[str, Any]:
    return {
        "message_id": "msg_1", "vendor": "isendpro", "source_id": "src_1", "vendor_message_id": None, "to": ADDRESS,
        "from": None, "client_reference": "order 7", "batch_id": None, "occurred_at": None, "final": False,
        "received_at": "2026-11-20T14:47:03.123Z", "current_status": "sent", "reason": None, "vendor_code": None,
        "vendor_status": "1", "vendor_description": None, "network": None, "segments": None, "price": None,
        "stale": False, **given,
    }  # fmt: skip


def campaign_row(*reports: dict[str, Any]) -> dict[str, object]:
    return dict(zip(campaign.COLUMNS, campaign.cells(reports), strict=True))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["type"])
def test_every_event_that_a_vendor_makes_has_a_row_of_plain_cells(event):
    found = row({"id": "evt_1", "supersedes": None, "timestamp": "2026-11-20T14:47:03.123Z", **event})
    assert all(cell is None or isinstance(cell, str | int | bool) for cell in found.values()), found
    assert found["type"] == event["type"]


def test_the_cells_of_a_report():
    data = report(
        price={"amount": "0.01", "currency": "EUR"}, network={"mcc": "234", "mnc": "15", "name": "Net"},
        flags=["truncated", "erased"], extra={"a": 1}, occurred_at="2026-11-20T14:00:00.000Z", media=[],
    )  # fmt: skip
    found = row({"id": "evt_1", "type": "message.status", "timestamp": "t", "supersedes": None, "data": data})
    assert (found["to"], found["from"], found["country"]) == ("+447700900123", None, "GB")
    assert (found["price"], found["currency"], found["mcc"], found["network"]) == ("0.01", "EUR", "234", "Net")
    assert (found["flags"], found["extra"]) == ("truncated erased", '{"a":1}')
    assert found["occurred_at"] == "2026-11-20T14:00:00.000Z"


def test_the_cells_of_an_opt_out_and_of_files():
    data = {"number": ADDRESS, "sender": None, "scope": "account", "via": "vendor"}
    event = {"id": "evt_1", "type": "contact.opted_out", "timestamp": "t", "supersedes": "evt_0", "data": data}
    found = row(event)
    assert (found["from"], found["country"], found["scope"], found["supersedes"]) == (
        "+447700900123", "GB", "account", "evt_0",
    )  # fmt: skip
    files = {"media": [{"url": "https://a/1"}, {"url": "https://a/2"}], "from": None, "to": ADDRESS}
    found = row({**event, "type": "message.received", "data": files})
    assert (found["media"], found["country"]) == ("https://a/1 https://a/2", None)


def test_a_campaign_s_row_is_the_message_as_it_stands():
    sent = report(batch_id="c1", segments=2, occurred_at="2026-11-20T10:00:00.000Z", vendor_description="parti")
    delivered = report(
        current_status="delivered", final=True, occurred_at="2026-11-20T10:05:59.000Z", vendor_status="0",
        network={"mcc": "208", "mnc": "01", "name": None}, price={"amount": "0.04", "currency": None},
    )  # fmt: skip
    stale = report(current_status="delivered", stale=True, vendor_status="1", occurred_at="2026-11-20T10:01:00.000Z")
    found = campaign_row(sent, delivered, stale)
    assert found["num"] == "+447700900123"
    assert (found["tracker"], found["campagne"], found["nb_sms"]) == ("order 7", "c1", 2)
    assert (found["date_envoi"], found["date_statut"]) == ("2026-11-20 10:00", "2026-11-20 10:05")
    assert (found["statut"], found["final"], found["message"]) == ("delivered", True, "0")
    assert (found["operateur"], found["prix"], found["devise"], found["emetteur"]) == ("208-01", "0.04", None, None)


def test_a_campaign_s_row_of_what_is_hardly_known():
    found = campaign_row(report(stale=True, network={"mcc": "208", "mnc": None, "name": None}))
    assert (found["date_envoi"], found["operateur"], found["statut"]) == ("2026-11-20 14:47", None, "sent")
    assert campaign_row(report(network={"mcc": None, "mnc": None, "name": "Orange F"}))["operateur"] == "Orange F"
