"""A declared mapping against whole requests: query and body, lists, bytes of any kind, and what may be declared."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from receiver.sms.drafts import Received, Reported, Unreadable
from receiver.vendors.contract import BadPayload
from receiver.vendors.generic import GENERIC
from receiver.vendors.mapping_options import MappedOptions
from tests.vendors.mapped import FORM, asked, items, report
from tests.vendors.test_mapping import EVERY_NAME


def test_the_body_stands_over_the_query() -> None:
    request = asked("id=7&status=sent", "status=done&to=%2B447700900123", content_type=FORM)
    got = report(GENERIC, request, fields=EVERY_NAME | {"vendor_message_id": "id"})
    assert (got.vendor_message_id, got.vendor_status) == ("7", "done")


def test_a_list_is_one_item_each_and_a_bad_one_spoils_no_other() -> None:
    body = json.dumps([{"status": "a"}, 7, {"from": "x"}, {"status": ["b"]}, {"status": "c", "id": 2}])
    found = items(GENERIC, asked("id=1", body), fields={"status": "status", "vendor_message_id": "id"})
    first, *bad, last = found
    assert isinstance(first, Reported)
    assert isinstance(last, Reported)
    assert (first.vendor_status, first.vendor_message_id) == ("a", "1")
    assert (last.vendor_status, last.vendor_message_id) == ("c", "2")
    assert bad == [
        Unreadable(error="item 2: an object is due"),
        Unreadable(error="item 3: status, text, opt_out: none of them came under the names they have here"),
        Unreadable(error="item 4: status: text is due, a list came"),
    ]


@pytest.mark.parametrize("count", [0, 1, 1_000])
def test_a_list_of_any_length(count: int) -> None:
    found = items(GENERIC, asked(body=json.dumps([{"status": "a"}] * count)), fields={"status": "status"})
    assert len(found) == count


def test_a_list_beyond_the_limit_is_not_read() -> None:
    with pytest.raises(BadPayload, match="more than 10000 items"):
        items(GENERIC, asked(body=json.dumps([0] * 10_001)))


def test_bytes_that_are_not_utf8_flag_every_item_of_a_list() -> None:
    found = items(GENERIC, asked(body=b'[{"text":"caf\xe9"},{"text":"b"}]'), fields={"text": "text"})
    assert [(got.text, got.flags) for got in found if isinstance(got, Received)] == [
        ("café", ("charset_guessed",)),
        ("b", ("charset_guessed",)),
    ]


def test_a_form_that_begins_like_a_list_is_a_form() -> None:
    body = '[\r\n--b\r\nContent-Disposition: form-data; name="status"\r\n\r\nx\r\n--b--\r\n'
    with pytest.raises(BadPayload):
        items(GENERIC, asked(body=body, content_type="multipart/form-data; boundary=b"), fields=EVERY_NAME)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"fields": {"form": "x"}}, "fields"),
        ({"fields": {"from": ""}}, "fields"),
        ({"fields": {"from": []}}, "fields"),
        ({"fields": {"from": 7}}, "fields"),
        ({"statuses": {"X": "deliverd"}}, "statuses"),
        ({"statuses": {"X": {"status": "failed", "reason": "sunspots"}}}, "statuses"),
        ({"statuses": {"X": {"status": "failed", "finall": True}}}, "statuses"),
        ({"statuses": {"": "failed"}}, "statuses"),
        ({"time_format": "isoo"}, "time_format"),
        ({"time_format": "%H:%M"}, "time_format"),
        ({"time_format": "%Q"}, "time_format"),
        ({"time_format": ""}, "time_format"),
        ({"field": {}}, "field"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MappedOptions.model_validate(options)
    assert {str(error["loc"][0]) for error in refused.value.errors()} == {where}


def test_a_declaration_survives_being_written_and_read() -> None:
    options = MappedOptions.model_validate(
        {"fields": {"text": "msg", "to": ["a", "b"], "from": None}, "statuses": {"X": "sent", "Y": None}}
    )
    again = MappedOptions.model_validate_json(options.model_dump_json())
    assert (again.names, again.verdicts) == (options.names, options.verdicts)


@given(
    query=st.binary(max_size=64),
    body=st.one_of(
        st.binary(max_size=128),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*EVERY_NAME, "x"]), inner, max_size=6)
            ),
            max_leaves=12,
        ).map(lambda document: json.dumps(document).encode()),
    ),
    content_type=st.sampled_from(
        ["", "application/json", FORM, "multipart/form-data; boundary=x", "text/plain; charset=utf-16"]
    ),
)
def test_whatever_comes_is_read_or_refused(query: bytes, body: bytes, content_type: str) -> None:
    paths = EVERY_NAME | {"text": ["text.0", "text.x", "text"], "cc": "x.to", "vendor_code": "x.0.x"}
    with suppress(BadPayload):
        items(GENERIC, asked(query, body, content_type=content_type), fields=paths)
