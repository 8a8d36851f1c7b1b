import pytest

from receiver.formats import FORMATS


def test_standard_sends_the_stored_bytes_as_they_are():
    stored = '{"id":"evt_01k", "text":"Grüße"}'.encode()
    headers, body = FORMATS["standard"](stored)
    assert headers == [(b"content-type", b"application/json")]
    assert body is stored


def test_headers_of_one_delivery_are_not_shared_with_the_next():
    first, _ = FORMATS["standard"](b"{}")
    first.append((b"webhook-id", b"evt_1"))
    assert FORMATS["standard"](b"{}")[0] == [(b"content-type", b"application/json")]


def test_formats_cannot_be_added_at_run_time():
    with pytest.raises(TypeError):
        FORMATS["other"] = FORMATS["standard"]  # type: ignore[index]  # that it cannot be is the test
